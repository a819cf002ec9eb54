// Collections whose names begin in some way are neither deleted nor renamed.
//
// `achromat plugin build` writes cleanup_guard.h, with the types of wit/ in C. What is handed in is
// freed here, or kept; what is handed back is freed by what calls us.

#include <stdlib.h>
#include <string.h>

#include "cleanup_guard.h"

static cleanup_guard_string_t prefix;

// The name, or as much of it as a message has room for, and what there is to say of it.
static void explain(const cleanup_guard_string_t *name, cleanup_guard_string_t *message) {
  static const char stays[] = " stays: see whoever looks after it";
  size_t length = name->len < 200 ? name->len : 200;
  while (length < name->len && length > 0 && (name->ptr[length] & 0xC0) == 0x80) length--;
  message->len = length + sizeof stays - 1;
  message->ptr = malloc(message->len);
  memcpy(message->ptr, name->ptr, length);
  memcpy(message->ptr + length, stays, sizeof stays - 1);
}

bool exports_achromat_policy_guard_policy_configure(
    cleanup_guard_string_t *config, exports_achromat_policy_guard_policy_wants_t *ret,
    cleanup_guard_string_t *err) {
  (void)err;
  prefix = *config;
  if (prefix.len == 0) cleanup_guard_string_dup(&prefix, "keep-");
  ret->parts = 0;
  ret->headers.ptr = NULL;
  ret->headers.len = 0;
  return true;
}

void exports_achromat_policy_guard_policy_permit(
    exports_achromat_policy_guard_policy_question_t *question,
    exports_achromat_policy_guard_policy_permission_t *ret) {
  const cleanup_guard_string_t *name = &question->collection.val;
  bool is_kept = question->collection.is_some && name->len >= prefix.len &&
                 memcmp(name->ptr, prefix.ptr, prefix.len) == 0 &&
                 question->deed != EXPORTS_ACHROMAT_POLICY_GUARD_POLICY_DEED_DELETE_RECORDS;
  ret->tag = EXPORTS_ACHROMAT_POLICY_GUARD_POLICY_PERMISSION_ALLOW;
  if (is_kept) {
    ret->tag = EXPORTS_ACHROMAT_POLICY_GUARD_POLICY_PERMISSION_DENY;
    explain(name, &ret->val.deny);
    achromat_policy_host_log(ACHROMAT_POLICY_HOST_LEVEL_INFO, &ret->val.deny);
  }
  exports_achromat_policy_guard_policy_question_free(question);
}
