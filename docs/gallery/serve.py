"""
Serve with uncertainty
======================

An exported model keeps its randomness: each answer of the server has the probabilities
*and* how far to believe them. This example writes the SavedModel that TensorFlow
Serving loads, and asks it as a server would. :doc:`/serving` has the server itself.
"""

import json
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from matplotlib import pyplot

import zoo
from training import corruptions, data, export

folder = pathlib.Path(tempfile.mkdtemp()) / "served" / "1"
model = zoo.load("resnet20_smooth_mcdo")
report = export.export_saved_model(model, folder, num_samples=10)
print(f"{report['bytes'] / 1e6:.1f} MB, {report['num_samples']} passes for each answer")
print(f"differs from Keras by {report['max_difference']:.0e} at most")

# %%
# A reply
# -------
#
# The default signature takes raw pixels in [0, 255]. A boot, and the
# same boot in fog.

test = data.load("fashion_mnist", "test")
sharp = test.images[0]
foggy = corruptions.corrupt(sharp, "fog", severity=3)
images = tf.constant(np.stack([sharp, foggy]), "float32")

served = tf.saved_model.load(str(folder))
reply = served.signatures["serving_default"](images=images)
for row in range(2):
    answer = {
        "class_name": reply["class_name"][row].numpy().decode(),
        "confidence": round(float(reply["confidence"][row]), 3),
        "entropy": round(float(reply["entropy"][row]), 3),
        "mutual_information": round(float(reply["mutual_information"][row]), 3),
    }
    print(json.dumps(answer))

# %%
# Behind the answer
# -----------------
#
# Each call draws new noise. The signature ``sample`` takes a seed, which makes the
# answer reproducible on any server, and returns the samples one by one. In fog they
# disagree with each other: that is the mutual information, the epistemic part of the
# entropy.

sample = served.signatures["sample"]
several = sample(images=images, num_samples=tf.constant(30), seed=tf.constant(7))
again = sample(images=images, num_samples=tf.constant(30), seed=tf.constant(7))
print("same seed, same samples:", np.array_equal(several["samples"], again["samples"]))

figure, axes = pyplot.subplots(
    2, 2, figsize=(8, 5), width_ratios=[1, 3], layout="constrained"
)
for row, (name, image) in enumerate((("sharp", sharp), ("foggy", foggy))):
    picture, chart = axes[row]
    picture.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
    picture.set(xticks=[], yticks=[], title=name)
    chart.boxplot(several["samples"][:, row].numpy(), tick_labels=test.classes)
    chart.set(ylim=(0, 1), ylabel="Probability")
    chart.tick_params(axis="x", rotation=35)
figure.suptitle("Thirty samples of the probabilities of each class")
pyplot.show()
