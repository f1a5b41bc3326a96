"""One check of an array of images and one of labels, at every public door."""

import keras
import numpy as np
import pytest

from training import batches, metrics
from training.data import shifted
from training.data.image_data import ImageData
from training.evaluation import evaluate
from training.export import parity
from zoo import arrays, posterior

BYTES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
BAD_IMAGES = {
    "in [0, 1]": BYTES.astype("float32") / 255,
    "negative": BYTES.astype("int16") - 128,
    "too large": BYTES.astype("uint16") * 256,
    "NaN": np.where(BYTES > 3, BYTES, np.nan),
    "infinite": np.where(BYTES > 3, BYTES, np.inf),
    "truth": BYTES > 100,
    "complex": BYTES.astype("complex64"),
    "text": BYTES.astype("U3"),
}
BAD_LABELS = {
    "-1": LABELS - 1,
    "too large": LABELS + 1,
    "floats": LABELS.astype("float32"),
    "truth": LABELS > 0,
    "one-hot": np.eye(3, dtype=int)[LABELS],
    "text": LABELS.astype(str),
}


class Data:
    """What evaluation takes beside `ImageData`: any object with these attributes."""

    name, classes = "mine", ("a", "b", "c")

    def __init__(self, images=BYTES, labels=LABELS):
        self.images, self.labels = images, labels


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


# Those that take bytes alone, then those that take numbers of any type.
DOORS = {
    "ImageData": lambda m, x: ImageData("mine", x, LABELS, tuple("abc")),
    "train_batches": lambda m, x: list(batches.train_batches(lazy(x), 3)),
    "test_batches": lambda m, x: list(batches.test_batches(lazy(x), 3)),
    "rotate": lambda m, x: shifted.rotate(x, 30),
    "translate": lambda m, x: shifted.translate(x, 2),
    "evaluate": lambda m, x: evaluate.evaluate(m, Data(x), (1,), progress=False),
    "predict": lambda m, x: evaluate.predict(posterior.MonteCarlo(m, 1), x, (1,)),
    "Temperature.adapt": lambda m, x: posterior.Temperature(m).adapt(x, LABELS),
    "parity": lambda m, x: parity.check_images(x, (8, 8, 1)),
}


def lazy(images):
    """A data set whose images are known when they are read."""

    class Lazy:
        shape = images.shape

        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return images[index]

    return ImageData("mine", Lazy(), LABELS, tuple("abc"))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_what_is_no_image_passes_no_door(door, kind, model):
    images = BAD_IMAGES[kind]
    before = [w.numpy().copy() for w in model.weights]
    # An error within TensorFlow's input pipeline has its message in another one.
    with pytest.raises(Exception, match=r"must be (pixels|numbers) in \[0, 255\]"):
        DOORS[door](model, images)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_pixels_of_any_type_are_evaluated_as_they_are(model):
    floats = BYTES.astype("float64")
    run = posterior.MonteCarlo(model, 1)
    expected = evaluate.predict(run, BYTES, (1,))
    for images in (floats, BYTES.astype("int32"), BYTES.astype("float16")):
        np.testing.assert_allclose(
            evaluate.predict(run, images, (1,)), expected, atol=1e-6
        )
    assert arrays.check_pixels(np.zeros((2, 8, 8, 1), "float32")).max() == 0


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_what_is_no_label_passes_no_door(kind, model):
    labels = BAD_LABELS[kind]
    probs = np.full((6, 3), 1 / 3)
    doors = (
        lambda: ImageData("mine", BYTES, labels, tuple("abc")),
        lambda: evaluate.evaluate(model, Data(labels=labels), (1,), progress=False),
        lambda: posterior.Temperature(model).adapt(BYTES, labels),
        lambda: metrics.ece(probs, labels),
        lambda: metrics.accuracy(probs, labels),
    )
    for door in doors:
        with pytest.raises(ValueError, match="labels.*(must|shape)"):
            door()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_whole_numbers_of_any_type_are_labels(dtype):
    found = arrays.check_labels(LABELS.astype(dtype), 3)
    np.testing.assert_array_equal(found, LABELS)


def test_probabilities_of_one_class_are_refused():
    with pytest.raises(ValueError, match="two classes at least"):
        metrics.ece(np.ones((4, 1)), np.zeros(4, int))


def test_no_examples_are_no_mistake():
    assert arrays.check_features(np.zeros((0, 5))).shape == (0, 5)
    assert arrays.check_targets(np.zeros(0)).shape == (0,)
    inputs = keras.Input((5,))
    run = posterior.MonteCarlo(keras.Model(inputs, keras.layers.Dense(3)(inputs)), 2)
    assert run.predict(np.zeros((0, 5), "float32")).shape == (2, 0, 3)
    features = np.zeros((4, 5))
    features[2, 3] = np.nan
    with pytest.raises(ValueError, match="in 1 of 4 examples.* number 2"):
        arrays.check_features(features)
