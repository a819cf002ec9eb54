// Writes of one tenant are answered when all instances in service have done them; all others as
// Achromat is configured.

let tenant = "";

export const walPolicy = {
  configure(config) {
    tenant = config.trim();
    return { parts: { tenant: true }, headers: [] };
  },

  judge(operation) {
    const level = operation.tenant === tenant ? "all" : undefined;
    return { tag: "replicate", val: { level, acceptWhenDown: false } };
  },
};
