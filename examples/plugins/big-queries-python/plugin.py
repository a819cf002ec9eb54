"""Big queries go to one instance, so that the small ones of the others do not wait behind them.

Its configuration is two words: from how many results on a query is big, and the name of the
instance, such as `100 c`. Results count for each query of a request.
"""

import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.route_policy import Choice_First, Choice_Native, Order
from wit_world.imports.types import Class, Parts, Wants

results_min, name, place = 0, "", None


class RoutePolicy(exports.RoutePolicy):
    def configure(self, config):
        global results_min, name
        words = re.fullmatch(r"([0-9]{1,9}) +(\S.*)", config.strip())
        if not words:
            raise Err("say how many results make a query big, and where big ones go, such as: 100 c")
        results_min, name = int(words[1]), words[2]
        return Wants(parts=Parts.SIZES, headers=[])

    def instances(self, instances):
        global place
        names = [instance.name for instance in instances]
        place = names.index(name) if name in names else None

    def route(self, operation, states):
        sizes = operation.sizes
        results = sizes.queries * sizes.results if sizes else 0
        is_big = operation.class_ == Class.READ and results >= results_min
        if not is_big or place is None or not states[place].eligible:
            return Choice_Native()
        return Choice_First(Order(instances=bytes([place]), then_others=True, allow_stale=False))
