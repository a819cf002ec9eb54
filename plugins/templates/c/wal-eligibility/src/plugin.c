// Writes of one tenant are answered when all instances in service have done them; all others as
// Achromat is configured.
//
// `achromat plugin build` writes wal_eligibility.h, with the types of wit/ in C. What is handed in is
// freed here, or kept; what is handed back is freed by what calls us.

#include <string.h>

#include "wal_eligibility.h"

static wal_eligibility_string_t tenant;

bool exports_achromat_policy_wal_policy_configure(
    wal_eligibility_string_t *config, exports_achromat_policy_wal_policy_wants_t *ret,
    wal_eligibility_string_t *err) {
  (void)err;
  tenant = *config;
  ret->parts = ACHROMAT_POLICY_TYPES_PARTS_TENANT;
  ret->headers.ptr = NULL;
  ret->headers.len = 0;
  return true;
}

void exports_achromat_policy_wal_policy_judge(
    exports_achromat_policy_wal_policy_operation_t *operation,
    exports_achromat_policy_wal_policy_eligibility_t *ret) {
  bool is_theirs = operation->tenant.is_some && operation->tenant.val.len == tenant.len &&
                   memcmp(operation->tenant.val.ptr, tenant.ptr, tenant.len) == 0;
  if (is_theirs) {
    wal_eligibility_string_t counter;
    wal_eligibility_string_set(&counter, "careful_writes");
    achromat_policy_host_count(&counter, 1);
  }
  ret->tag = EXPORTS_ACHROMAT_POLICY_WAL_POLICY_ELIGIBILITY_REPLICATE;
  ret->val.replicate.level.is_some = is_theirs;
  ret->val.replicate.level.val = EXPORTS_ACHROMAT_POLICY_WAL_POLICY_LEVEL_ALL;
  ret->val.replicate.accept_when_down = false;
  exports_achromat_policy_wal_policy_operation_free(operation);
}
