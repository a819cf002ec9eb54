// Collections whose names begin in some way are neither deleted nor renamed.

let prefix = "keep-";

export const guardPolicy = {
  configure(config) {
    prefix = config.trim() || "keep-";
    return { parts: {}, headers: [] };
  },

  permit(question) {
    const name = question.collection ?? "";
    if (question.deed === "delete-records" || !name.startsWith(prefix)) return { tag: "allow" };
    console.info(`${name.slice(0, 100)} stays`);
    return { tag: "deny", val: `${name.slice(0, 100)} stays: see whoever looks after it` };
  },
};
