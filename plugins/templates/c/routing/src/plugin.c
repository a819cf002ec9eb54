// Sends big searches to the last instance that may answer, so that the small ones do not wait
// behind them.
//
// `achromat plugin build` writes routing.h, with the types of wit/ in C. What is handed in is freed
// here; what is handed back is freed by what calls us.

#include <stdlib.h>
#include <string.h>

#include "routing.h"

static uint32_t results_min = 100;

// A number of up to nine digits; blanks around it do not count.
static bool parse(const uint8_t *text, size_t length, uint32_t *number) {
  while (length > 0 && strchr(" \t\r\n", text[length - 1]) && text[length - 1]) length--;
  while (length > 0 && strchr(" \t\r\n", *text) && *text) text++, length--;
  if (length == 0) return true;
  uint32_t sum = 0;
  for (size_t at = 0; at < length; at++) {
    if (text[at] < '0' || text[at] > '9' || at == 9) return false;
    sum = sum * 10 + (text[at] - '0');
  }
  *number = sum;
  return true;
}

bool exports_achromat_policy_route_policy_configure(
    routing_string_t *config, exports_achromat_policy_route_policy_wants_t *ret,
    routing_string_t *err) {
  bool is_good = parse(config->ptr, config->len, &results_min);
  routing_string_free(config);
  if (!is_good) {
    routing_string_dup(err, "it is not a number of results");
    return false;
  }
  ret->parts = ACHROMAT_POLICY_TYPES_PARTS_SIZES;
  ret->headers.ptr = NULL;
  ret->headers.len = 0;
  return true;
}

void exports_achromat_policy_route_policy_instances(
    exports_achromat_policy_route_policy_list_instance_t *instances) {
  exports_achromat_policy_route_policy_list_instance_free(instances);
}

void exports_achromat_policy_route_policy_route(
    exports_achromat_policy_route_policy_operation_t *operation,
    exports_achromat_policy_route_policy_list_instance_state_t *states,
    exports_achromat_policy_route_policy_choice_t *ret) {
  uint32_t results = operation->sizes.is_some ? operation->sizes.val.results : 0;
  ret->tag = EXPORTS_ACHROMAT_POLICY_ROUTE_POLICY_CHOICE_NATIVE;
  for (size_t at = states->len; at > 0 && results >= results_min; at--) {
    if (!states->ptr[at - 1].eligible) continue;
    uint8_t *order = malloc(1);
    *order = states->ptr[at - 1].index;
    routing_string_t counter;
    routing_string_set(&counter, "big_searches");
    achromat_policy_host_count(&counter, 1);
    ret->tag = EXPORTS_ACHROMAT_POLICY_ROUTE_POLICY_CHOICE_FIRST;
    ret->val.first.instances.ptr = order;
    ret->val.first.instances.len = 1;
    ret->val.first.then_others = true;
    ret->val.first.allow_stale = false;
    break;
  }
  exports_achromat_policy_route_policy_operation_free(operation);
  exports_achromat_policy_route_policy_list_instance_state_free(states);
}
