// Runs exported folders in Node: node litert.mjs NODE_MODULES CASES.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import vm from "node:vm";

const [modules, file] = process.argv.slice(2);
const wasm = `${modules}/@litertjs/core/wasm/`;
// LiteRT.js is for workers of browsers, and asks for these.
globalThis.self = globalThis;
globalThis.require = createRequire(import.meta.url);
globalThis.__dirname = wasm.slice(0, -1);
globalThis.importScripts = (path) =>
  vm.runInThisContext(readFileSync(path, "utf8"), { filename: path });
console.log = console.info = console.warn = () => {}; // It says much.

const { cases, images } = JSON.parse(readFileSync(file));
const found = {};
for (const [name, { folder, seeds }] of Object.entries(cases)) {
  try {
    const { load } = await import(pathToFileURL(`${folder}/classifier.js`));
    const read = async (path) => new Response(readFileSync(`${folder}/${path}`));
    const classifier = await load({ wasm, read });
    const { measure } = await import(pathToFileURL(process.argv[4]));
    found[name] = await measure(classifier, images, seeds);
  } catch (error) {
    found[name] = { refused: error.message };
  }
}
process.stdout.write(JSON.stringify(found));
