// A classifier in a browser, or in Node: pixels to probabilities and uncertainty.
//
//     import { load } from "./classifier.js";
//     const classifier = await load();
//     const { probabilities, entropy } = await classifier.classify(pixels);
//
// The passes draw what `zoo.posterior.MonteCarlo(model, passes)(images, seed=seed)`
// draws in Python, bit for bit.

const GOLDEN = 0x9e3779b1;
let runtime = null;

function mixed(x, added = 0) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = (x ^ (x >>> 15)) + added;
  x = Math.imul(x ^ 0, 0x846ca68b);
  return x ^ (x >>> 16);
}

// The seed whose first pass draws what pass `number` of another seed draws.
export function seedOfPass(seed, number) {
  return (seed + mixed(number + GOLDEN) - mixed(GOLDEN)) | 0;
}

// Noise that Python makes as well: `training.export.web.check_images`.
export function checkImage(key, level, size) {
  const second = mixed(key + GOLDEN);
  return Float32Array.from({ length: size }, (_, i) => {
    const byte = mixed((Math.imul(i, GOLDEN) + key) | 0, second) >>> 24;
    return Math.floor((byte * level) / 256);
  });
}

function entropyOf(probabilities) {
  return probabilities.reduce((sum, p) => sum - (p > 0 ? p * Math.log(p) : 0), 0);
}

class Classifier {
  constructor(about, network, accelerator, tensors) {
    Object.assign(this, { about, network, accelerator, tensors, waiting: null });
    this.image = network.getInputDetails().find((x) => x.dtype === "float32");
    this.seed = network.getInputDetails().find((x) => x.dtype === "int32");
  }

  // One call of the file, which has one image, as `[probabilities, expected entropy]`.
  async call(pixels, seed) {
    const { Tensor } = this.tensors;
    const isOnePass = this.about.is_repeated || this.about.num_samples === 1;
    const inputs = { [this.image.name]: new Tensor(pixels, [...this.image.shape]) };
    if (this.seed) inputs[this.seed.name] = new Tensor(Int32Array.of(seed), []);
    let outputs = {};
    try {
      outputs = await this.network.run(inputs);
      const probabilities = await outputs.probabilities.data();
      const spread = await outputs.expected_entropy?.data();
      const copy = Float64Array.from(probabilities);
      return [copy, spread ? spread[0] : isOnePass ? entropyOf(copy) : NaN];
    } finally {
      for (const tensor of Object.values({ ...outputs, ...inputs })) tensor.delete();
    }
  }

  // Classifies an image.
  //
  // pixels: height x width x channels numbers in [0, 255], in the shape of the model.
  // passes: forward passes of a network that draws; `about.num_samples` by default.
  // seed: an integer of 32 bits; the same one draws the same noise.
  //
  // Returns the mean `probabilities`; their `entropy`; the mean entropy of the passes,
  // `expectedEntropy`, which is aleatoric; the rest, `mutualInformation`, which is
  // epistemic, all in nats; and the number of `passes`. The two parts are NaN where the
  // file gives the mean of several passes alone, as quantized ensembles do.
  async classify(pixels, { passes = this.about.num_samples, seed = 0 } = {}) {
    const { image_shape, is_repeated, num_samples } = this.about;
    const [height, width, channels] = image_shape;
    if (pixels.length !== height * width * channels) {
      throw new RangeError(
        `The model takes ${height} x ${width} x ${channels} numbers. ` +
          `Received: ${pixels.length}`,
      );
    }
    if (!Number.isInteger(passes) || passes < 1 || (!is_repeated && passes !== num_samples)) {
      throw new RangeError(
        is_repeated
          ? `The number of passes is a positive integer. Received: ${passes}`
          : `The file makes ${num_samples} in each call. Received: passes=${passes}`,
      );
    }
    const values = Float32Array.from(pixels);
    const calls = is_repeated ? passes : 1;
    let mean = null;
    let expectedEntropy = 0;
    for (let number = 0; number < calls; number++) {
      const [probabilities, spread] = await this.call(
        values,
        is_repeated ? seedOfPass(seed, number) : seed | 0,
      );
      mean = mean ? mean.map((p, i) => p + probabilities[i]) : probabilities;
      expectedEntropy += spread / calls;
    }
    mean = mean.map((p) => p / calls);
    const entropy = entropyOf(mean);
    return {
      probabilities: mean,
      entropy,
      expectedEntropy,
      mutualInformation: Math.max(entropy - expectedEntropy, 0),
      passes,
    };
  }

  // Returns how far the probabilities of the check are from those of Python at most.
  async difference() {
    const { check, image_shape } = this.about;
    const size = image_shape.reduce((a, b) => a * b);
    let worst = 0;
    for (const { key, level, seed, probabilities } of check.images) {
      const [found] = await this.call(checkImage(key, level, size), seed);
      found.forEach((p, i) => {
        const apart = Math.abs(p - probabilities[i]);
        worst = Math.max(worst, Number.isNaN(apart) ? Infinity : apart);
      });
    }
    return worst;
  }

  delete() {
    this.network.delete();
  }
}

// Loads the model that lies beside this file.
//
// accelerator: "wasm", the processor, or "webgpu".
// wasm: where the files of LiteRT.js lie; by default where `npm install` puts them.
// read: from the name of a file to a response, as `fetch`.
//
// Throws an Error with the reason where an accelerator cannot run the model, or computes
// other probabilities than Python.
export async function load({
  accelerator = "wasm",
  wasm = new URL("./node_modules/@litertjs/core/wasm/", import.meta.url).href,
  read = (name) => fetch(new URL(name, import.meta.url)),
} = {}) {
  const about = await (await read("./model.json")).json();
  const refusal = about.refused[accelerator];
  if (refusal) throw new Error(refusal);
  const tensors = await import("@litertjs/core");
  runtime ??= tensors.loadLiteRt(wasm);
  await runtime;
  const content = new Uint8Array(await (await read("./model.tflite")).arrayBuffer());
  const network = await tensors.loadAndCompile(content, {
    accelerator,
    gpuOptions: { precision: "fp32" },
  });
  if (accelerator !== "wasm" && !network.isFullyAccelerated) {
    network.delete();
    throw new Error(`LiteRT.js runs a part of this model without ${accelerator}.`);
  }
  const classifier = new Classifier(about, network, accelerator, tensors);
  classifier.apart = await classifier.difference();
  if (!(classifier.apart <= about.check.tolerance)) {
    classifier.delete();
    throw new Error(
      `Here ${accelerator} computes other probabilities than Python: they differ by ` +
        `${classifier.apart.toPrecision(2)}, and ${about.check.tolerance} is allowed.`,
    );
  }
  return classifier;
}
