// What the drivers of JavaScript's SDKs share.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// loader CLIENTS: imports packages of the folder that the clients are installed in.
export function loader(clients) {
  const require = createRequire(clients + "/package.json");
  return (name) => import(pathToFileURL(require.resolve(name)));
}

// The prompt that tells the stage which tools to call, and what to say in the end.
export function marker(calls, final) {
  const id = Math.random().toString(16).slice(2);
  const text = JSON.stringify({ calls, final, fail: [], id });
  return "go E2E:" + Buffer.from(text).toString("base64") + ":E2E";
}

export function must(holds, what) {
  if (!holds) throw new Error(what);
}

export const calls = [
  { name: "save", input: { v: "A" } },
  { name: "save", input: { v: "B" } },
];
