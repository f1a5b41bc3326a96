"""
Choose the number of forward passes
===================================

A stochastic model predicts with the mean of N forward passes. More passes are better
and slower. This example measures how much better, on images in light fog, with and
without spatial smoothing, and picks the smallest N that is good enough.
"""

import time

import numpy as np
from matplotlib import pyplot

import zoo
from training import data, metrics
from training.evaluation import evaluate

SIZES = (1, 2, 5, 10)
validation = data.load("fashion_mnist_c/fog/1", "test").sample(250)

# One evaluation gives all sizes: the mean of the first n of the same samples.
nll, seconds = {}, {}
for name in ("resnet20_mcdo", "resnet20_smooth_mcdo"):
    posterior = zoo.posterior.MonteCarlo(zoo.load(name), num_samples=max(SIZES))
    means = evaluate.predict(posterior, validation.images, SIZES)
    nll[name] = [metrics.nll(probs, validation.labels) for probs in means]
    for size, value in zip(SIZES, nll[name], strict=True):
        print(f"{name:22} N = {size:2}: NLL {value:.3f} nats")

# %%
# What a pass costs
# -----------------
#
# The layers before the first dropout run once, whatever N is, so ten passes take less
# than ten times as long as one.

batch = validation.images[:100]
for size in SIZES:
    posterior = zoo.posterior.MonteCarlo(zoo.load("resnet20_smooth_mcdo"), size)
    posterior(batch, seed=0)  # compiles
    begin = time.perf_counter()
    np.asarray(posterior(batch, seed=0))
    seconds[size] = time.perf_counter() - begin

figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for name, values in nll.items():
    left.plot(SIZES, values, marker="o", label=name)
left.set(xlabel="Forward passes N", ylabel="NLL in light fog (nats)", xscale="log")
right.plot(SIZES, [10 * seconds[size] for size in SIZES], marker="o", color="C1")
right.set(xlabel="Forward passes N", ylabel="Milliseconds an image", xscale="log")
for axis in (left, right):
    axis.set_xticks(SIZES, SIZES)
    axis.minorticks_off()
left.legend()
pyplot.show()

# %%
# The choice
# ----------
#
# We take the smallest N that gives 90 % of what ten passes gain over a single one.
# A model of your own is measured on images that it has not seen, as different from the
# training images as those that it will meet.

for name, values in nll.items():
    enough = values[0] - 0.9 * (values[0] - values[-1])
    chosen = next(n for n, value in zip(SIZES, values, strict=True) if value <= enough)
    print(f"{name:22} N = {chosen}")
