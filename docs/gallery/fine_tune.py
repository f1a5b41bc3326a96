"""
Fine-tune on your own folder
============================

A folder of images, with one folder for each class, is a data set. Here we write one
from test images of Fashion-MNIST and sort them into three new classes; put the path of
your own folder in its place. The same in one command is ``zoo-train
--recipe=finetune``, see :doc:`/finetune`.
"""

import pathlib
import tempfile

import keras
import numpy as np
from matplotlib import pyplot
from PIL import Image

import zoo
from training import data

NEW_CLASSES = {"Sandal": "shoe", "Sneaker": "shoe", "Ankle boot": "shoe", "Bag": "bag"}

folder = pathlib.Path(tempfile.mkdtemp()) / "wardrobe"
source = data.load("fashion_mnist", "test").sample(400)
for number, (image, label) in enumerate(zip(source.images, source.labels, strict=True)):
    kind = NEW_CLASSES.get(source.classes[label], "garment")
    (folder / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(folder / kind / f"{number}.png")

for path in sorted(folder.iterdir()):
    print(f"{path.name:8} {len(list(path.iterdir())):4} images")

# %%
# One image in ten is for testing, one in ten for validation; which ones depends on the
# names of the files alone, so it is the same each time. Images from files have three
# channels, and ``to_image_shape`` gives them the shape that the model takes.

model = zoo.load("resnet20_smooth_mcdo", num_classes=3)  # pretrained, with a new head
splits = {
    split: data.to_image_shape(data.load(str(folder), split), model.input_shape[1:])
    for split in data.SPLITS
}
for split, part in splits.items():
    print(f"{split:10} {len(part):4} images of {', '.join(part.classes)}")

# %%
# First we train the new head alone. A frozen batch normalization keeps its statistics,
# while MC dropout stays active, as it does in prediction.

for layer in model.layers:
    layer.trainable = layer.name == "head"
model.compile(
    keras.optimizers.Adam(1e-2),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
train, validation = splits["train"], splits["validation"]
history = model.fit(
    train.images[:],
    train.labels,
    batch_size=32,
    epochs=4,
    validation_data=(validation.images[:], validation.labels),
    verbose=0,
)
for epoch, accuracy in enumerate(history.history["val_accuracy"], 1):
    print(f"epoch {epoch}: {accuracy:.1%} of the validation images are right")

# %%
# The result is a posterior like any other. We ask it for twenty samples of each test
# image and look at the ones it is least certain about.

posterior = zoo.posterior.MonteCarlo(model, num_samples=20)
test = splits["test"]
logits = posterior(test.images[:], seed=0)
probs = np.asarray(zoo.predictive.probs(logits))
entropy = np.asarray(zoo.predictive.entropy(logits))
print(
    f"{np.mean(probs.argmax(axis=1) == test.labels):.1%} of the test images are right"
)

figure, axes = pyplot.subplots(2, 4, figsize=(8, 4.6), layout="constrained")
for axis, index in zip(axes.flat, np.argsort(-entropy), strict=False):
    axis.imshow(test.images[index : index + 1][0, ..., 0], cmap="gray")
    axis.set(xticks=[], yticks=[])
    guess = test.classes[probs[index].argmax()]
    right = guess == test.classes[test.labels[index]]
    axis.set_title(
        f"{guess}, {probs[index].max():.0%}\n{entropy[index]:.2f} nats",
        fontsize=10,
        color="black" if right else "#b00020",
    )
figure.suptitle("The least certain test images (mistakes in red)")
pyplot.show()
