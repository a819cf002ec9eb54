// `console` in a plugin: its lines go into Achromat's log. Before the first call there is no log, and
// what is said then is dropped.

import host from "achromat:policy/host";

const text = (value) => {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
};

let isAsked = false;
export const begin = () => {
  isAsked = true;
};
export const say = (level, values) => {
  if (isAsked) host.log(level, values.map(text).join(" "));
};

const levels = { debug: "debug", trace: "debug", log: "info", info: "info", warn: "warn", error: "error" };
globalThis.console = {};
for (const [name, level] of Object.entries(levels)) {
  globalThis.console[name] = (...values) => say(level, values);
}
