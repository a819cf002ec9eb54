// Writes of one tenant are answered when all instances in service have done them; all others as
// Achromat is configured.

import host from "achromat:policy/host";

let tenant = "";

export const walPolicy = {
  configure(config) {
    tenant = config.trim();
    return { parts: { tenant: true }, headers: [] };
  },

  judge(operation) {
    const isTheirs = operation.tenant === tenant;
    if (isTheirs) host.count("careful_writes", 1);
    const level = isTheirs ? "all" : undefined;
    return { tag: "replicate", val: { level, acceptWhenDown: false } };
  },
};
