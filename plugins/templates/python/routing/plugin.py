"""Sends big searches to the last instance that may answer, so that the small ones do not wait
behind them."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.route_policy import Choice_First, Choice_Native, Order
from wit_world.imports import host
from wit_world.imports.types import Parts, Wants


class RoutePolicy(exports.RoutePolicy):
    results_min = 100

    def configure(self, config):
        text = config.strip()
        if text:
            if not (text.isascii() and text.isdigit()):
                raise Err(f"{text[:100]!r} is not a number of results")
            RoutePolicy.results_min = int(text)
        return Wants(parts=Parts.SIZES, headers=[])

    def instances(self, instances):
        pass

    def route(self, operation, states):
        results = operation.sizes.results if operation.sizes else 0
        eligible = [state.index for state in states if state.eligible]
        if results < RoutePolicy.results_min or not eligible:
            return Choice_Native()
        host.count("big_searches", 1)
        return Choice_First(Order(instances=bytes(eligible[-1:]), then_others=True, allow_stale=False))
