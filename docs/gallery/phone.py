"""
On a phone, with TensorFlow Lite
================================

A model becomes one file for LiteRT, the new name of TensorFlow Lite. It has built-in
operators only, so the plain interpreter of a phone runs it, and it still draws samples.
:doc:`/device` has all formats and what they cost.
"""

import pathlib
import tempfile
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from matplotlib import pyplot

import zoo
from training import data, export

folder = pathlib.Path(tempfile.mkdtemp())
test = data.load("fashion_mnist", "test").sample(500)
calibration = data.load("fashion_mnist", "test").images[-200:]

# %%
# Three files
# -----------
#
# A deterministic model in 32 and in 8 bits, and a stochastic one that averages five
# passes. To compute in 8 bits the converter needs some images, to see which ranges the
# activations take; labels are not used.

plain, stochastic = zoo.load("resnet20_smooth"), zoo.load("resnet20_smooth_mcdo")
reports = {
    "float32": export.export_tflite(plain, folder / "float32.tflite"),
    "int8": export.export_tflite(
        plain, folder / "int8.tflite", quantization="int8", calibration=calibration
    ),
    "5 passes": export.export_tflite(
        stochastic, folder / "stochastic.tflite", num_samples=5
    ),
}

# %%
# On the device
# -------------
#
# This part needs NumPy and the package ``ai-edge-litert`` alone.


def run(path, images, seed=0):
    """Returns the probabilities, and the milliseconds that an image took."""
    classify = Interpreter(str(path), num_threads=1).get_signature_runner()
    inputs = {"images": images.astype("float32")}
    if "seed" in classify.get_input_details():  # of a stochastic model alone
        inputs["seed"] = np.array(seed, "int32")
    begin = time.perf_counter()
    probabilities = classify(**inputs)["probabilities"]
    return probabilities, 1000 * (time.perf_counter() - begin) / len(images)


probs = {}
for name, report in reports.items():
    probs[name], milliseconds = run(report["path"], np.asarray(test.images))
    accuracy = np.mean(probs[name].argmax(axis=1) == test.labels)
    print(
        f"{name:8} {report['bytes'] / 1e6:.2f} MB, {accuracy:.1%} right, "
        f"{milliseconds:.1f} ms an image"
    )

# %%
# Quantization moves probabilities a little, and hardly ever the predicted class:

same = probs["float32"].argmax(axis=1) == probs["int8"].argmax(axis=1)
print(f"float32 and int8 agree on {same.mean():.1%} of the images")

figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
left.bar(list(reports), [report["bytes"] / 1e6 for report in reports.values()])
left.set(ylabel="Size of the file (MB)")
right.scatter(probs["float32"].max(axis=1), probs["int8"].max(axis=1), s=8, alpha=0.5)
right.plot([0, 1], [0, 1], color="black", linewidth=0.8)
right.set(xlabel="Confidence, float32", ylabel="Confidence, int8")
right.set(xlim=(0.2, 1.02), ylim=(0.2, 1.02))
pyplot.show()

# %%
# Another seed draws other noise, the same seed the same, on the phone as in Keras:

path, images = reports["5 passes"]["path"], np.asarray(test.images[:1])
first, again, other = (run(path, images, seed)[0] for seed in (1, 1, 2))
print("seed 1 twice:", np.array_equal(first, again))
print("seed 1 and 2:", np.array_equal(first, other))
