// Runs files of ONNX in Node: node onnx.mjs NODE_MODULES CASES.json MEASURE.mjs
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, file, path] = process.argv.slice(2);
const ort = await import(pathToFileURL(`${modules}/onnxruntime-web/dist/ort.node.min.mjs`));
const { measure, onnx } = await import(pathToFileURL(path));
ort.env.wasm.numThreads = 1;
const { cases, images, shape } = JSON.parse(readFileSync(file));
const found = {};
for (const [name, { onnx: model, seeds }] of Object.entries(cases)) {
  if (!model) continue; // Its converter is not installed.
  try {
    const classifier = await onnx(ort, new Uint8Array(readFileSync(model)), "wasm", shape);
    found[name] = await measure(classifier, images, seeds);
  } catch (error) {
    found[name] = { refused: error.message };
  }
}
process.stdout.write(JSON.stringify(found));
