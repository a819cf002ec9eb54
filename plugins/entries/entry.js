// What Achromat calls: the plugin's functions, and around each what tells an error, with its function and
// line, before it ends the call. WebAssembly itself says only that there was one.

import { begin, say } from "./console.js";
import * as plugin from "../plugin.js";

const policy = plugin.{{policy}};
if (policy === undefined) throw new Error("plugin.js exports no {{policy}}");

// The plugin's own frames, the innermost first.
const place = (stack) => {
  const lines = String(stack ?? "").split("\n").map((line) => line.trim());
  const own = lines.filter((line) => line !== "" && !line.includes("entry.js"));
  const frames = own.slice(0, 4).map((line) => line.replace(/^at /, "").replace(/\((?:.*\/)?([^/]*)\)$/, "($1)"));
  return frames.length === 0 ? "" : `, in ${frames.join(", called by ")}`;
};

const tell = (error) => {
  const isError = error instanceof Error;
  say("error", [isError ? `${error.name}: ${error.message}${place(error.stack)}` : `thrown: ${error}`]);
  throw error;
};

const told = (name, call) => (first, second) => {
  begin();
  try {
    const answer = call(first, second);
    if (name !== "instances" && typeof answer?.tag !== "string") {
      throw new TypeError(`${name} answered ${JSON.stringify(answer)?.slice(0, 200)}, which has no tag`);
    }
    return answer;
  } catch (error) {
    return tell(error);
  }
};

export const {{policy}} = {
  configure(config) {
    begin();
    try {
      return policy.configure(config);
    } catch (error) {
      // A text is the plugin's refusal of its configuration.
      if (typeof error === "string") throw error;
      return tell(error);
    }
  },
{{calls}}};
