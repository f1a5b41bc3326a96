// The page: a picture, a corruption, and how sure the model is.
import { load } from "./classifier.js";
import { CORRUPTIONS, corrupt } from "./corruptions.js";
import { decode, fit } from "./image.js";

const byId = (id) => document.getElementById(id);
const STEPS = 10; // Of the curve, which has twice as many on the slider.
const SHOWN = 10; // Classes.
let classifier = null;
let pixels = null; // Of the picture, in the shape of the model.
let taken = 0; // The last of the pictures that were given.
let running = 0; // The last of the computations that were asked for.

function say(text) {
  byId("status").textContent = text;
  byId("status").hidden = !text;
}

function nameOf(label) {
  return classifier.about.classes[label] ?? `class ${label}`;
}

function show(shown) {
  const [height, width, channels] = classifier.about.image_shape;
  const canvas = byId("seen");
  Object.assign(canvas, { height, width });
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = shown[channels * i + (channels === 3 ? c : 0)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function tell(result) {
  const order = [...result.probabilities.keys()].sort(
    (a, b) => result.probabilities[b] - result.probabilities[a],
  );
  const percent = (p) => (100 * p).toFixed(1);
  byId("verdict").textContent =
    `${nameOf(order[0])}, ${percent(result.probabilities[order[0]])} % sure`;
  const few = result.probabilities.length <= SHOWN;
  const lines = few ? [...result.probabilities.keys()] : order.slice(0, SHOWN);
  byId("bars").tBodies[0].replaceChildren(
    ...lines.map((label) => {
      const row = document.createElement("tr");
      row.classList.toggle("best", label === order[0]);
      const name = document.createElement("th");
      Object.assign(name, { scope: "row", textContent: nameOf(label) });
      row.append(name);
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.width = `${percent(result.probabilities[label])}%`;
      row.insertCell().append(bar);
      row.insertCell().textContent = percent(result.probabilities[label]);
      return row;
    }),
  );
  const isWhole = classifier.about.num_samples === 1 || Number.isNaN(result.expectedEntropy);
  for (const id of ["aleatoric-box", "epistemic-box"]) byId(id).hidden = isWhole;
  byId("entropy").textContent = result.entropy.toFixed(3);
  byId("aleatoric").textContent = result.expectedEntropy.toFixed(3);
  byId("epistemic").textContent = result.mutualInformation.toFixed(3);
}

function drawn(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// Draws what was computed so far, points of `[strength, aleatoric, entropy]`.
function plot(points, strength) {
  const [left, right, top, bottom] = [30, 350, 10, 172];
  const highest = Math.log(classifier.about.num_classes);
  const largest = Math.max(...points.map((point) => point[2]), 0.1);
  const high = [0.25, 0.5, 1, 2, 4, 8].find((x) => x >= largest) ?? highest;
  const x = (value) => (left + value * (right - left)).toFixed(1);
  const y = (value) => (bottom - (value / high) * (bottom - top)).toFixed(1);
  const area = (kind, low, up) => {
    const path = [
      ...points.map((p) => `${x(p[0])},${y(p[up])}`),
      ...points.toReversed().map((p) => `${x(p[0])},${y(low ? p[low] : 0)}`),
    ];
    return drawn("polygon", { points: path.join(" "), class: kind });
  };
  const parts = [area("aleatoric", 0, 1), area("epistemic", 1, 2)];
  for (const share of [0, 0.5, 1]) {
    const level = share * high;
    parts.push(
      drawn("line", { x1: left, x2: right, y1: y(level), y2: y(level), class: "axis" }),
      drawn("text", { x: left - 5, y: +y(level) + 4, "text-anchor": "end" },
        `${+level.toFixed(3)}`),
    );
  }
  for (const share of [0, 0.5, 1]) {
    const anchor = { 0: "start", 0.5: "middle", 1: "end" }[share];
    parts.push(
      drawn("text", { x: x(share), y: bottom + 18, "text-anchor": anchor },
        `${100 * share} %`),
    );
  }
  parts.push(
    drawn("line", { x1: x(strength), x2: x(strength), y1: top, y2: bottom, class: "here" }),
  );
  byId("curve").replaceChildren(...parts);
}

// Computes what the settings say, and then the curve, unless the settings change.
async function update() {
  const number = ++running;
  const slider = byId("strength");
  const strength = slider.value / slider.max;
  const passes = +byId("passes").value;
  byId("strength-said").textContent = `${Math.round(100 * strength)} %`;
  byId("passes-said").textContent = passes;
  if (!pixels) return;
  const shape = classifier.about.image_shape;
  const ask = (x) => {
    const changed = corrupt(byId("corruption").value, pixels, shape, x);
    return [changed, classifier.classify(changed, { passes, seed: 0 })];
  };
  const start = performance.now();
  const [shown, found] = ask(strength);
  show(shown);
  const result = await found;
  if (number !== running) return;
  const took = performance.now() - start;
  byId("time").textContent =
    `${took.toFixed(took < 10 ? 1 : 0)} ms for ${passes} ` +
    `${passes === 1 ? "pass" : "passes"}, here.`;
  tell(result);
  const points = [];
  for (let step = 0; step <= STEPS; step++) {
    await new Promise((done) => setTimeout(done)); // Let the page follow the slider.
    if (number !== running) return;
    const one = await ask(step / STEPS)[1];
    if (number !== running) return;
    const inner = Number.isNaN(one.expectedEntropy) ? one.entropy : one.expectedEntropy;
    points.push([step / STEPS, inner, one.entropy]);
    if (step % 2 === 0) plot(points, strength);
  }
  document.body.dataset.done = number;
}

async function take(blob, button = null) {
  const number = ++taken;
  try {
    const picture = await decode(await blob);
    if (number !== taken) return;
    pixels = fit(picture, classifier.about.image_shape);
  } catch (error) {
    if (number !== taken) return;
    say(`This browser cannot read the picture: ${error.message}`);
    return;
  }
  say("");
  for (const other of byId("samples").children) {
    other.setAttribute("aria-pressed", other === button);
  }
  await update();
}

// Loads the model for an accelerator; where that cannot be, says why and stays.
async function use(accelerator) {
  try {
    const next = await load({ accelerator });
    classifier?.delete();
    classifier = next;
    byId("refusal").hidden = true;
  } catch (error) {
    if (!classifier) throw error;
    byId("accelerator").value = classifier.accelerator;
    byId("refusal").textContent = error.message;
    byId("refusal").hidden = false;
  }
}

async function begin() {
  await use("wasm");
  const { about } = classifier;
  byId("model").textContent = about.name;
  byId("facts").textContent =
    `${about.name ? ", " : ""}${about.quantization ?? "float32"}, computed in this ` +
    "browser: no picture leaves it.";
  for (const name of Object.keys(CORRUPTIONS)) byId("corruption").add(new Option(name));
  byId("passes").max = Math.max(byId("passes").max, about.num_samples);
  byId("passes").value = about.num_samples;
  byId("passes-label").hidden = !about.is_repeated;
  byId("main").hidden = false;
  for (const id of ["strength", "corruption", "passes"]) {
    byId(id).addEventListener("input", update);
  }
  byId("accelerator").addEventListener("change", async (event) => {
    running++;
    await use(event.target.value);
    await update();
  });
  byId("file").addEventListener("change", (event) => take(event.target.files[0]));
  const drop = byId("drop");
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  for (const name of about.samples) {
    const [button, image] = ["button", "img"].map((x) => document.createElement(x));
    Object.assign(image, { src: name, alt: name.replace(/^.*\/\d*_?|\..*$/g, "") });
    button.append(image);
    button.addEventListener("click", () => take(fetch(name).then((x) => x.blob()), button));
    byId("samples").append(button);
  }
  say("");
  byId("samples").firstChild?.click();
}

begin().catch((error) => say(
  `${error.message} — The page needs a server of files, such as “python3 -m http.server”, ` +
    "and “npm install” in its folder.",
));
