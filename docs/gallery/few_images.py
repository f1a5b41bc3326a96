"""
Fine-tune on 500 images
=======================

Five hundred images are few to learn from, unless a network has seen others before. Here
``resnet18_smooth_mcdo``, trained on CIFAR-100, learns ten kinds of clothes from fifty
images of each, beside the same network with random weights and one of
``keras.applications``. It takes a few minutes on two cores.
"""

import pathlib
import tempfile
import time

import keras
import numpy as np
from matplotlib import pyplot
from PIL import Image

import zoo
from training import batch_statistics, data, metrics
from training.evaluation import evaluate

COUNTS = {"train": 500, "test": 1000}

folder = pathlib.Path(tempfile.mkdtemp()) / "clothes"
source = data.load("fashion_mnist", "test").sample(sum(COUNTS.values()))
splits = np.repeat(list(COUNTS), list(COUNTS.values()))
np.random.default_rng(0).shuffle(splits)
pairs = zip(source.images, source.labels, strict=True)
for number, (split, (image, label)) in enumerate(zip(splits, pairs, strict=True)):
    kind = source.classes[label].replace("/", " or ").lower()
    (folder / split / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(folder / split / kind / f"{number}.png")

# %%
# A data set from a folder holds some of its training images out for validation. We
# choose nothing by them, so that ``holdout=0`` keeps all of them for the training.

train, test = (
    data.to_image_shape(data.load(str(folder), split, holdout=0), (32, 32, 3))
    for split in COUNTS
)
print(f"{len(train)} images to learn from, {len(test)} to test on")

# %%
# Three networks
# --------------
#
# ``zoo.load`` puts a new head on the pretrained body, ``zoo.build`` has random weights.
# The third is the smallest of ``keras.applications``; with ``WEIGHTS = "imagenet"``
# Keras downloads weights for it, which is the fair comparison where there is a network.

WEIGHTS = None
classes = len(train.classes)


def mobile_net():
    body = keras.applications.MobileNetV2(
        (96, 96, 3), weights=WEIGHTS, include_top=False
    )
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Resizing(96, 96)(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = keras.layers.GlobalAveragePooling2D()(body(x))
    return keras.Model(inputs, keras.layers.Dense(classes, name="head")(x))


def build(name):
    keras.utils.set_random_seed(0)
    if name == "MobileNetV2":
        return mobile_net()
    if name == "random weights":
        return zoo.build("resnet18_smooth_mcdo", (32, 32, 3), classes)
    return zoo.load("resnet18_smooth_mcdo.cifar100", num_classes=classes)


# %%
# All of them learn in the same way: stochastic gradient descent with momentum, and a
# learning rate that falls along a cosine. The moving statistics of MobileNetV2 forget
# with a factor of 0.999 and would still be those of the start after 160 steps, so each
# network gets batch statistics of the training images in the end.

EPOCHS, BATCH = 8, 25
steps = EPOCHS * len(train) // BATCH
accuracies, rows = {}, []
for name in ("CIFAR-100", "random weights", "MobileNetV2"):
    model, start = build(name), time.perf_counter()
    rate = keras.optimizers.schedules.CosineDecay(0.02, steps)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        train.images[:], train.labels, batch_size=BATCH, epochs=EPOCHS, verbose=0
    )
    batch_statistics.update_batch_statistics(model, train.images)
    seconds = time.perf_counter() - start
    accuracies[name] = history.history["accuracy"]
    posterior = zoo.posterior.MonteCarlo(model, num_samples=5)
    probs = evaluate.predict(posterior, test.images[:], [5])[0]
    rows.append(
        [metric(probs, test.labels) for metric in (metrics.accuracy, metrics.nll)]
    )
    print(
        f"{name:14}  accuracy {rows[-1][0]:.1%}, NLL {rows[-1][1]:.2f} nats, "
        f"trained in {seconds:.0f} s"
    )

# %%
# The standard error of an accuracy over a thousand images is a little more than one
# percent, so what the photographs of CIFAR-100 taught is worth more than chance here.

figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
for (name, values), (accuracy, _) in zip(accuracies.items(), rows, strict=True):
    axis.plot(range(1, EPOCHS + 1), values, "o-", label=f"{name}: test {accuracy:.1%}")
axis.set(xlabel="Epoch", ylabel="Accuracy on the training images", ylim=(0, 1))
axis.legend()
pyplot.show()
