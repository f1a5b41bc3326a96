// What a classifier gives for images, and the milliseconds that one takes: the fewest,
// since other programs take their part of the rest.
export async function measure(classifier, images, seeds, rounds = 15) {
  const results = [];
  for (const [number, pixels] of images.entries()) {
    const result = await classifier.classify(pixels, { seed: seeds[number] });
    results.push({ ...result, probabilities: [...result.probabilities] });
  }
  const times = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await classifier.classify(images[0], { seed: seeds[0] });
    times.push(performance.now() - start);
  }
  return { results, milliseconds: Math.min(...times) };
}

// A file of ONNX as a classifier, whose call averages its passes.
export async function onnx(ort, model, provider, shape) {
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [provider],
  });
  const classify = async (pixels, { seed }) => {
    const inputs = { images: new ort.Tensor("float32", Float32Array.from(pixels), shape) };
    if (session.inputNames.includes("seed")) {
      inputs.seed = new ort.Tensor("int32", Int32Array.of(seed), []);
    }
    const { probabilities } = await session.run(inputs);
    return { probabilities: await probabilities.getData() };
  };
  return { classify };
}
