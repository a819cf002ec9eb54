// Big queries go to one instance, so that the small ones of the others do not wait behind them.
//
// Its configuration is two words: from how many results on a query is big, and the name of the
// instance, such as `100 c`. Results count for each query of a request.

#include <stdlib.h>
#include <string.h>

#include "routing.h"

#define NOWHERE SIZE_MAX

static uint64_t results_min;
static routing_string_t config;
static const uint8_t *name;
static size_t name_length, place = NOWHERE;

// A number of up to nine digits, a blank, and a name that is the rest.
static bool parse(void) {
  size_t at = 0;
  results_min = 0;
  for (; at < config.len && at < 9 && config.ptr[at] >= '0' && config.ptr[at] <= '9'; at++) {
    results_min = results_min * 10 + (config.ptr[at] - '0');
  }
  if (at == 0 || at + 1 >= config.len || config.ptr[at] != ' ') return false;
  name = config.ptr + at + 1;
  name_length = config.len - at - 1;
  return true;
}

bool exports_achromat_policy_route_policy_configure(
    routing_string_t *text, exports_achromat_policy_route_policy_wants_t *ret,
    routing_string_t *err) {
  config = *text;
  if (!parse()) {
    routing_string_dup(
        err, "say how many results make a query big, and where big ones go, such as: 100 c");
    return false;
  }
  ret->parts = ACHROMAT_POLICY_TYPES_PARTS_SIZES;
  ret->headers.ptr = NULL;
  ret->headers.len = 0;
  return true;
}

void exports_achromat_policy_route_policy_instances(
    exports_achromat_policy_route_policy_list_instance_t *instances) {
  place = NOWHERE;
  for (size_t at = 0; at < instances->len; at++) {
    const routing_string_t *other = &instances->ptr[at].name;
    if (other->len == name_length && memcmp(other->ptr, name, name_length) == 0) place = at;
  }
  exports_achromat_policy_route_policy_list_instance_free(instances);
}

void exports_achromat_policy_route_policy_route(
    exports_achromat_policy_route_policy_operation_t *operation,
    exports_achromat_policy_route_policy_list_instance_state_t *states,
    exports_achromat_policy_route_policy_choice_t *ret) {
  uint64_t results = 0;
  if (operation->sizes.is_some) {
    results = (uint64_t)operation->sizes.val.queries * operation->sizes.val.results;
  }
  bool is_big = operation->class_ == ACHROMAT_POLICY_TYPES_CLASS_READ && results >= results_min;
  ret->tag = EXPORTS_ACHROMAT_POLICY_ROUTE_POLICY_CHOICE_NATIVE;
  if (is_big && place < states->len && states->ptr[place].eligible) {
    uint8_t *order = malloc(1);
    *order = states->ptr[place].index;
    ret->tag = EXPORTS_ACHROMAT_POLICY_ROUTE_POLICY_CHOICE_FIRST;
    ret->val.first.instances.ptr = order;
    ret->val.first.instances.len = 1;
    ret->val.first.then_others = true;
    ret->val.first.allow_stale = false;
  }
  exports_achromat_policy_route_policy_operation_free(operation);
  exports_achromat_policy_route_policy_list_instance_state_free(states);
}
