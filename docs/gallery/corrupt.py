"""
Corrupt your own data set
=========================

How does a model do when the weather or the camera gets worse? Nineteen corruptions at
five severities are made from any images, in memory or by the name of a data set.
:doc:`/corruptions` says what each one does.
"""

import pathlib
import tempfile

from matplotlib import pyplot
from PIL import Image

import zoo
from training import corruptions, data, metrics
from training.evaluation import evaluate

test = data.load("fashion_mnist", "test")
image = test.images[18]

shown = {"as it is": image}
for name in corruptions.CORRUPTIONS:
    shown[name.replace("_", " ")] = corruptions.corrupt(image, name, severity=3)

rows = -(-len(shown) // 5)
figure = pyplot.figure(figsize=(8, 1.85 * rows), layout="constrained")
for place, (title, pixels) in enumerate(shown.items(), 1):
    axis = figure.add_subplot(rows, 5, place, xticks=[], yticks=[])
    axis.imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize=9)
pyplot.show()

# %%
# By name
# -------
#
# ``_c/fog/3`` behind the name of a data set, or behind the path of a folder, is the
# same set in fog. Images are corrupted when they are read, always in the same way.

folder = pathlib.Path(tempfile.mkdtemp()) / "wardrobe"
for number in range(100):
    path = folder / test.classes[test.labels[number]].replace("/", " ")
    path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(test.images[number, ..., 0]).save(path / f"{number}.png")
foggy = data.load(f"{folder}_c/fog/3", "all")
print(f"{len(foggy)} images of {len(foggy.classes)} classes, {foggy.images.shape[1:]}")

# %%
# Which model holds?
# ------------------
#
# Accuracy and NLL of two models, from clean images (severity 0) to the worst fog.

sets = {0: test.sample(300)}
for severity in corruptions.SEVERITIES:
    sets[severity] = data.load(f"fashion_mnist_c/fog/{severity}", "test").sample(300)

figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for name in ("resnet20", "resnet20_smooth"):
    posterior = zoo.posterior.MonteCarlo(zoo.load(name), num_samples=1)
    probs = [evaluate.predict(posterior, part.images, [1])[0] for part in sets.values()]
    for axis, metric in zip(axes, (metrics.accuracy, metrics.nll), strict=True):
        values = [
            metric(predicted, part.labels)
            for predicted, part in zip(probs, sets.values(), strict=True)
        ]
        axis.plot(list(sets), values, marker="o", label=name)
        print(f"{name:16} {metric.__name__:9}", *(f"{value:.3f}" for value in values))
axes[0].set(xlabel="Severity of the fog", ylabel="Accuracy")
axes[1].set(xlabel="Severity of the fog", ylabel="NLL (nats)")
axes[0].legend()
pyplot.show()

# %%
# All 95 sets at once, with tables and a page of figures, are one command:
#
# .. code-block:: bash
#
#     zoo-evaluate --model=resnet20,resnet20_smooth --dataset="fashion_mnist_c/*/*" \
#       --num_samples=1 --output=runs/corrupted
