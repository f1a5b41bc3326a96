"""Trainings at odd sizes on one device and on several, as JSON; their own process.

    python -m tests.helpers.mirrored '[[10, 21, 33, [2, 3, 4]]]'

trains in batches of 10 of 21 images, with 33 for validation, on 1, 2, 3 and 4 devices;
the name of an objective, or changes of the recipe, may follow, a network of `NETWORKS`,
and augmentations.
Names of models in place of numbers are trained by Keras' own `fit` on two.
Logical devices can only be made before TensorFlow runs anything.
"""

import contextlib
import dataclasses
import functools
import json
import os
import sys
import tempfile

# In oneDNN the convolution of no image has the shape of its inputs.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

import keras
import numpy as np
import tensorflow as tf

import layers
import zoo
from tests.helpers import data_sets, scenes, trainings
from training import trainer

CPU = tf.config.list_physical_devices("CPU")[0]
RECIPE = dataclasses.replace(
    trainings.RECIPE, epochs=1, warmup_epochs=0, augmentations=("flip",)
)


def network(rate=0.0):
    """A network with all that the images of a batch have in common, and dropout."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(x)
    x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(x))
    x = layers.BatchNormalization(momentum=0.9, name="pool_norm")(x)
    x = layers.MCDropout(rate, name="dropout")(x) if rate else x
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="tiny")


def gaussian_process():
    return layers.GaussianProcess(2, 16, length_scale=1.0, name="head")


def centroids():
    return layers.ClassCentroids(2, length_scale=1.0, momentum=0.5, name="head")


def one_pass_network(head):
    """A network with a bound on its convolution, and a head of its own."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(x)
    conv = layers.SpectralConv2D(4, 3, strides=2, max_norm=0.5, name="conv")
    x = layers.BatchNormalization(momentum=0.9, name="norm")(conv(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(x))
    return keras.Model(images, head()(x), name="tiny")


def pixels():
    """A classifier of pixels, whose normalization has those of all images in common."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((*scenes.SHAPE, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(x)
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="conv")(x)
    x = keras.ops.relu(layers.BatchNormalization(momentum=0.9, name="norm")(x))
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="pixels")


NETWORKS = {
    "plain": network,
    "pixels": pixels,
    "sngp": functools.partial(one_pass_network, gaussian_process),
    "duq": functools.partial(one_pass_network, centroids),
}


def scope(devices):
    if devices == 1:
        return contextlib.nullcontext()
    names = [f"CPU:{i}" for i in range(devices)]
    reduction = tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(names, cross_device_ops=reduction).scope()


def weights(model):
    """Returns the weights on each device, by their path."""
    values = {weight.path: weight.value for weight in model.weights}
    copies = max(len(getattr(value, "values", [0])) for value in values.values())
    return [
        {
            path: np.asarray(value.values[i] if copies > 1 else value).tolist()
            for path, value in values.items()
        }
        for i in range(copies)
    ]


def nll(model, data):
    """Returns the mean over the images, by NumPy in float64."""
    logits = np.asarray(model(data.images), "float64").reshape(data.labels.size, -1)
    known = data.labels.ravel() >= 0
    logits, labels = logits[known], data.labels.ravel()[known]
    norm = np.log(np.exp(logits).sum(axis=1))
    return float(np.mean(norm - logits[np.arange(len(logits)), labels]))


def trained(devices, sizes, objective, name, augmentations):
    # One device is the slow version of the others, and these are too few steps to
    # compile them.
    tf.config.run_functions_eagerly(devices == 1)
    batch_size, *counts = sizes
    changes = objective if isinstance(objective, dict) else {"objective": objective}
    changes = {"augmentations": tuple(augmentations), **changes}
    recipe = dataclasses.replace(RECIPE, batch_size=batch_size, **changes)
    make = scenes.scenes if name == "pixels" else data_sets.stripes
    data, validation = map(make, counts)
    with scope(devices), tempfile.TemporaryDirectory() as folder:
        model = NETWORKS[name]()
        rows = trainer.train(model, recipe, data, folder, validation)
    return {
        "rows": trainings.without_time(rows),
        "weights": weights(model),
        "nll": nll(model, validation),
    }


def compiled(learning_rate, **options):
    model = network()
    layers.accept_empty_batches(model)
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **options,
    )
    return model


def left_over():
    """Returns weights after two images on each of two devices, then one on the first.

    By Keras' own `fit`, which learns in the second step alone; and after the same steps
    of each device by itself.
    """
    data = data_sets.stripes(5)
    images, labels = data.images, data.labels
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.0, 0.5])
    with scope(2):
        model = compiled(rates)
    settings = {"batch_size": 4, "verbose": 0}
    history = model.fit(
        images, labels, shuffle=False, validation_data=(images, labels), **settings
    )
    first, second = (compiled(0.0, run_eagerly=True) for _ in range(2))
    first.train_on_batch(images[:2], labels[:2])
    second.train_on_batch(images[2:4], labels[2:4])
    # Keras gives half the weight to an image that is alone.
    first.optimizer.learning_rate = 0.25
    first.train_on_batch(images[4:], labels[4:])
    return {
        "devices": weights(model),
        "alone": weights(first) + weights(second),
        "losses": {name: values[0] for name, values in history.history.items()},
        "rows": len(model.predict(images[:3], batch_size=2, verbose=0)),
        "rows of predict_on_batch": len(model.predict_on_batch(images[:4])),
    }


def survivors(names):
    """Returns what a `fit` of three images on two devices makes of models by name."""
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), "uint8")
    losses = {}
    for name in names:
        with scope(2):
            model = zoo.build(name, (32, 32, 3), 10)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(1e-4), loss)
        history = model.fit(images, np.arange(3), batch_size=2, verbose=0)
        finite = all(np.isfinite(w).all() for w in model.get_weights())
        losses[name] = [*history.history["loss"], finite]
        keras.utils.clear_session()
    return losses


def prepare(devices):
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(CPU, logical)


def main(text):
    cases = json.loads(text)
    if isinstance(cases[0], str):
        prepare(2)
        print(json.dumps(survivors(cases)))
        return
    defaults = None, None, None, None, "cross_entropy", "plain", ["flip"]
    cases = [(*case, *defaults[len(case) :]) for case in cases]
    prepare(max(max(devices) for _, _, _, devices, *_ in cases))
    found = [
        {n: trained(n, sizes, *settings) for n in [1, *devices]}
        for *sizes, devices, objective, name, augmentations in cases
        for settings in [(objective, name, augmentations)]
    ]
    print(json.dumps({"trainings": found, "left over": left_over()}))


if __name__ == "__main__":
    main(sys.argv[1])
