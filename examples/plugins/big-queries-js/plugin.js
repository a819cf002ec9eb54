// Big queries go to one instance, so that the small ones of the others do not wait behind them.
//
// Its configuration is two words: from how many results on a query is big, and the name of the
// instance, such as `100 c`. Results count for each query of a request.

let resultsMin, name, place;

export const routePolicy = {
  configure(config) {
    const words = config.trim().match(/^(\d{1,9}) +(\S.*)$/);
    if (!words) throw "say how many results make a query big, and where big ones go, such as: 100 c";
    [resultsMin, name] = [Number(words[1]), words[2]];
    return { parts: { sizes: true }, headers: [] };
  },

  instances(instances) {
    place = instances.findIndex((instance) => instance.name === name);
  },

  route(operation, states) {
    const { queries, results } = operation.sizes ?? { queries: 0, results: 0 };
    const isBig = operation.class === "read" && queries * results >= resultsMin;
    if (!isBig || !states[place]?.eligible) return { tag: "native" };
    return { tag: "first", val: { instances: [place], thenOthers: true, allowStale: false } };
  },
};
