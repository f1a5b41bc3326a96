"""
Calibrate a model
=================

A model is calibrated if, of the predictions that it makes with 80 % confidence, 80 %
are right. When images differ from those of the training it is usually too sure of
itself. One number, the temperature, repairs much of that.
"""

import numpy as np
from matplotlib import pyplot

import zoo
from training import data, metrics
from training.evaluation import evaluate

model = zoo.load("resnet20")
dim = data.load("fashion_mnist_c/contrast/1", "test").sample(2000)
held_out, test = np.arange(0, 2000, 2), np.arange(1, 2000, 2)
images, labels = np.asarray(dim.images[:]), np.asarray(dim.labels)

# %%
# Fit
# ---
#
# The temperature divides the logits. It is fitted to the NLL of labeled images that are
# neither training nor test images; here those are a thousand images of low contrast.

calibrated = zoo.posterior.Temperature(model)
calibrated.adapt(images[held_out], labels[held_out])
print(f"temperature {float(calibrated.temperature.numpy()):.2f}")

# %%
# Compare
# -------
#
# No predicted class changes, so the accuracy stays. The confidence does: the ECE, the
# mean gap between confidence and accuracy, gets smaller, and the NLL falls.

before = zoo.posterior.MonteCarlo(model, num_samples=1)
probs = {
    "before": evaluate.predict(before, images[test], [1])[0],
    "after": evaluate.predict(calibrated, images[test], [1])[0],
}
for name, predicted in probs.items():
    print(
        f"{name:7} accuracy {metrics.accuracy(predicted, labels[test]):.1%}, "
        f"ECE {metrics.ece(predicted, labels[test]):.1%}, "
        f"NLL {metrics.nll(predicted, labels[test]):.3f} nats"
    )

figure, axes = pyplot.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
for axis, (name, predicted) in zip(axes, probs.items(), strict=True):
    bins = metrics.reliability(predicted, labels[test], num_bins=10)
    axis.bar(bins.lower, bins.accuracy, width=0.1, align="edge", edgecolor="white")
    axis.plot(bins.confidence, bins.accuracy, "o", color="C1", label="mean of a bin")
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.8, label="calibrated")
    axis.set(title=f"{name} temperature scaling", xlim=(0, 1), ylim=(0, 1))
    axis.set(xlabel="Confidence", ylabel="Accuracy", aspect="equal")
axes[0].legend(loc="upper left")
pyplot.show()

# %%
# A temperature fits the images that it was fitted to. On images without the corruption
# this one goes too far, and the model is less certain than it could be:

clean = data.load("fashion_mnist", "test").sample(500)
for name, posterior in (("before", before), ("after", calibrated)):
    predicted = evaluate.predict(posterior, clean.images, [1])[0]
    print(f"{name:7} clean NLL {metrics.nll(predicted, clean.labels):.3f} nats")
