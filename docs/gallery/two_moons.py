"""
See what ten methods know
=========================

A network that has seen two half moons should be unsure where they meet, and wherever it
has seen nothing. On points of the plane the uncertainty of a method is a picture. Here
a small residual network learns the moons in ten ways, by parts, objectives and
posteriors that are those of the networks for images.
"""

import types

import keras
import numpy as np
from matplotlib import pyplot
from sklearn.datasets import make_moons

import layers
from training import metrics, objective, objectives
from zoo import posterior, predictive

# Classifiers of the zoo take numbers from 0 to 255. So do these, which stand for a
# square of the plane; the network normalizes them, as others do with pixels.
CORNER, SIDE = np.array([-2.0, -2.25], "float32"), 5.0


def as_pixels(points):
    return np.float32(255 / SIDE * (points - CORNER))


points, labels = make_moons(500, noise=0.1, random_state=0)
pixels = as_pixels(points)

# %%
# The network
# -----------
#
# A dense layer is a convolution on a map of one pixel. The methods differ in these
# layers, in what follows each of them, and in the head.

EPOCHS, BATCH, UNITS = 50, 50, 64


def network(conv=keras.layers.Conv2D, dropout=0.0, head=keras.layers.Dense, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2,))
    moments = {"mean": pixels.mean(axis=0), "variance": pixels.var(axis=0)}
    x = keras.layers.Normalization(**moments)(inputs)
    x = conv(UNITS, 1)(keras.layers.Reshape((1, 1, 2))(x))
    for _ in range(4):
        branch = conv(UNITS, 1, activation="relu")(x)
        branch = layers.MCDropout(dropout)(branch) if dropout else branch
        x = keras.layers.Add()([x, branch])
    return keras.Model(inputs, head(2)(keras.layers.Flatten()(x)))


def train(model, kind="cross_entropy"):
    steps = objective.elbo(model, len(pixels))  # Has the same layers.
    recipe = types.SimpleNamespace(label_smoothing=0.0)  # All that objectives look at.
    steps.minimize(objectives.OBJECTIVES[kind](model, recipe))
    steps.compile(keras.optimizers.Adam(3e-3), steps.objective.loss)
    fit(steps, EPOCHS)
    return model, steps


def fit(steps, epochs):
    steps.fit(pixels, labels, batch_size=BATCH, epochs=epochs, verbose=0)


# %%
# The methods
# -----------
#
# SNGP, DUQ and DDU ask for features that keep distances: a bound on the norm of every
# convolution, or a penalty of gradients. What a posterior adds, it adds to a network
# that was trained already.


def bounded(*args, **settings):
    return layers.SpectralConv2D(*args, max_norm=0.95, **settings)


def gaussian_process(units):
    return layers.GaussianProcess(
        units, 512, length_scale=2.0, mean_field_factor=np.pi / 8
    )


def centroids(units):
    return layers.ClassCentroids(units, length_scale=0.3, momentum=0.99)


members = [train(network(seed=seed))[0] for seed in range(3)]
plain = members[0]
dropout, _ = train(network(dropout=0.2))
sngp, _ = train(network(bounded, head=gaussian_process))
duq, _ = train(network(head=centroids), "duq")
ddu, _ = train(network(bounded))
wandering, steps = train(network(seed=3))


def snapshots():
    steps.optimizer.learning_rate = 0.02  # Too large to stay where it is.
    for _ in range(20):
        fit(steps, epochs=1)
        yield wandering


swag = posterior.SWAG(wandering, num_samples=20, rank=10)
swag.collect(snapshots())
methods = {
    "softmax": posterior.MonteCarlo(plain, 1),
    "MC dropout": posterior.MonteCarlo(dropout, 50),
    "ensemble of 3": posterior.DeepEnsemble(members),
    "Laplace": posterior.Laplace(plain),
    "mixture of Laplace": posterior.Mixture(members),
    "SWAG": swag,
    "SNGP": posterior.MonteCarlo(sngp, 1),
    "DUQ": posterior.MonteCarlo(duq, 1),
    "DDU: softmax": posterior.MonteCarlo(ddu, 1),
    "DDU: density": posterior.Density(ddu, ["density"]),
}
for method in methods.values():
    if not method.is_adapted:
        method.adapt(pixels, labels)

# %%
# The uncertainty of each
# -----------------------
#
# ``ranks_by`` says by which score a method is to be trusted: the entropy of the mean
# prediction, in nats; of DUQ the largest kernel, which says how close a point is to the
# nearest centroid; of DDU the density of the features, which has no bounds and is shown
# by its ranks. The lighter, the more unsure.

ticks = CORNER + SIDE * np.linspace(0, 1, 101)[:, None]
plane = np.stack(np.meshgrid(*ticks.T.astype("float32")), axis=-1).reshape(-1, 2)


def uncertainty(method):
    logits, scores = method.scored(as_pixels(plane), seed=0)
    scores = {
        "entropy": predictive.entropy(logits),
        "max_logit": 1 - np.exp(np.max(logits[0], axis=-1)),
        **{name: np.argsort(np.argsort(score)) for name, score in scores.items()},
    }
    return np.asarray(scores[method.ranks_by]).reshape(101, 101)


pictures = {name: uncertainty(method) for name, method in methods.items()}

figure, axes = pyplot.subplots(
    2, 5, figsize=(10, 4.6), layout="constrained", sharex=True, sharey=True
)
for axis, (name, values) in zip(axes.flat, pictures.items(), strict=True):
    lowest, highest = np.quantile(values, [0.02, 0.98])
    axis.imshow(
        values.clip(lowest, highest),
        origin="lower",
        extent=np.stack([CORNER, CORNER + SIDE], axis=1).ravel(),
        cmap="viridis",
    )
    for label, color in ((0, "white"), (1, "tab:orange")):
        axis.scatter(*points[labels == label][::5].T, s=2, color=color)
    axis.set(title=name, xticks=[], yticks=[])
pyplot.show()

# %%
# What they know
# --------------
#
# All of them know where the classes meet. Beyond the data a softmax is as sure as among
# it, and so is SWAG, whose networks have been to one place only. Passes with dropout
# and networks that were trained apart disagree where the boundary leaves the data.
# Laplace's approximation knows the uncertainty of the last layer, which grows with the
# features. SNGP, DUQ and the density of features are unsure wherever no data were, in
# one pass each. As a number: how well places far from all points of the training are
# told from those among them, by the AUROC.

distances = np.linalg.norm(plane[:, None] - points, axis=-1).min(axis=1)
among, away = distances < 0.1, distances > 0.75
for name, values in pictures.items():
    area = metrics.auroc(values.ravel()[among], values.ravel()[away])
    print(f"{name:18}  AUROC {area:.2f}")
