// CPython 3.14 in Node: py314.mjs CLIENT REPOSITORY PACKAGES. CLIENT is where the npm
// package pyodide is, PACKAGES where pip put pytest (--target). Runs pure_tests.py, in a
// worker, because pytest's calls are deeper than the main thread's stack.
import { writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Worker, isMainThread, workerData } from "node:worker_threads";

async function run([client, repository, packages]) {
  const module = pathToFileURL(client + "/node_modules/pyodide/pyodide.mjs");
  const { loadPyodide } = await import(module);
  const python = await loadPyodide();
  for (const [name, root] of [["/repository", repository], ["/packages", packages]]) {
    python.FS.mkdirTree(name);
    python.FS.mount(python.FS.filesystems.NODEFS, { root }, name);
  }
  for (const set of ["setStdout", "setStderr"]) {
    python[set]({ write: (bytes) => writeSync(1, bytes) });
  }
  return python.runPython(`
import sys
sys.path[:0] = ["/packages", "/repository/.ci"]
import pure_tests
pure_tests.main()
`);
}

if (isMainThread) {
  const limits = { stackSizeMb: 200 };
  const options = { workerData: process.argv.slice(2), resourceLimits: limits };
  const worker = new Worker(new URL(import.meta.url), options);
  worker.on("error", (error) => {
    console.error(String(error));
    process.exit(1);
  });
  worker.on("exit", (code) => process.exit(code));
} else {
  run(workerData).then((code) => process.exit(code));
}
