// Sends big searches to the last instance that may answer, so that the small ones do not wait
// behind them.

import host from "achromat:policy/host";

let resultsMin = 100;

export const routePolicy = {
  configure(config) {
    const text = config.trim();
    if (text !== "") {
      resultsMin = Number(text);
      if (!Number.isInteger(resultsMin) || resultsMin < 0) {
        throw `${JSON.stringify(text.slice(0, 100))} is not a number of results`;
      }
    }
    return { parts: { sizes: true }, headers: [] };
  },

  instances(_instances) {},

  route(operation, states) {
    const results = operation.sizes?.results ?? 0;
    if (results < resultsMin) return { tag: "native" };
    const last = states.findLast((state) => state.eligible);
    if (last === undefined) return { tag: "native" };
    host.count("big_searches", 1);
    return { tag: "first", val: { instances: [last.index], thenOthers: true, allowStale: false } };
  },
};
