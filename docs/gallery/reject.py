"""
Reject what you do not know
===========================

A classifier has to answer with one of its classes, even for an image that belongs to
none of them. The entropy of the prediction tells when not to believe it. Here a model
of clothes gets handwritten digits.
"""

import numpy as np
from matplotlib import pyplot

import zoo
from training import data, metrics
from training.evaluation import evaluate

model = zoo.load("resnet20_smooth")
posterior = zoo.posterior.MonteCarlo(model, num_samples=1)
clothes = data.load("fashion_mnist", "test").sample(1000)
digits = data.load_ood("mnist", model.input_shape[1:]).take(500)

# Probabilities of shape (images, classes). For a stochastic model ask for more samples,
# and these are their means.
of_clothes = evaluate.predict(posterior, clothes.images, [1])[0]
of_digits = evaluate.predict(posterior, digits.images, [1])[0]
known = metrics.ood_scores(of_clothes)["entropy"]
unknown = metrics.ood_scores(of_digits)["entropy"]
print(f"AUROC {metrics.auroc(known, unknown):.3f}")

# %%
# Choose a threshold
# ------------------
#
# The threshold is chosen on images of the known classes alone: here it keeps 90 % of
# the first half of the clothes. It needs no examples of what is to be rejected.

half = len(known) // 2
threshold = np.quantile(known[:half], 0.9)
print(f"threshold {threshold:.2f} nats")
print(f"kept:     {np.mean(known[half:] <= threshold):.0%} of the other clothes")
print(f"rejected: {np.mean(unknown > threshold):.0%} of the digits")

figure, axis = pyplot.subplots(figsize=(7, 3.4), layout="constrained")
bins = np.linspace(0, np.log(10), 40)
for values, name in ((known[half:], "clothes"), (unknown, "digits")):
    axis.hist(values, bins, density=True, alpha=0.6, label=name)
axis.axvline(threshold, color="black", linestyle="--", label="threshold")
axis.set(xlabel="Predictive entropy (nats)", ylabel="Density", yscale="log")
axis.legend()
pyplot.show()

# %%
# Mistakes are rejected, too
# --------------------------
#
# The same threshold rejects clothes that the model would get wrong. The curve shows the
# error rate among the images that are kept, from the most confident one to all of them.

kept = known[half:] <= threshold
right = of_clothes[half:].argmax(axis=1) == clothes.labels[half:]
print(f"accuracy of all clothes:  {right.mean():.1%}")
print(f"accuracy of those kept:   {right[kept].mean():.1%}")

curve = metrics.risk_coverage(of_clothes[half:], clothes.labels[half:])
figure, axis = pyplot.subplots(figsize=(7, 3.4), layout="constrained")
axis.plot(100 * curve.coverage, 100 * curve.risk)
axis.axvline(100 * kept.mean(), color="black", linestyle="--", label="threshold")
axis.set(xlabel="Coverage: images kept (%)", ylabel="Risk: errors among them (%)")
axis.legend()
pyplot.show()

# %%
# The digits that pass are the ones that look like clothes to the model:

figure, axes = pyplot.subplots(2, 6, figsize=(8, 3.6), layout="constrained")
order = np.argsort(unknown)
for row, indices in zip(axes, (order[:6], order[-6:]), strict=True):
    for axis, index in zip(row, indices, strict=True):
        axis.imshow(digits.images[index, ..., 0], cmap="gray")
        axis.set(xticks=[], yticks=[])
        guess = clothes.classes[of_digits[index].argmax()]
        axis.set_title(f"{guess}\n{unknown[index]:.2f} nats", fontsize=9)
axes[0, 0].set_ylabel("least entropy")
axes[1, 0].set_ylabel("most entropy")
pyplot.show()
