"""Functions of image arrays: corruptions, perturbations, posteriors, evaluation."""

import keras
import numpy as np
import pytest

import layers
from tests.contracts.cases import Case, Refused, Same, check_all
from tests.helpers import marks
from training import corruptions
from training.corruptions import sequences
from training.data import image_data as images
from training.evaluation import evaluate
from training.evaluation.sampling import Passes
from zoo.posterior import (
    SWA,
    SWAG,
    DeepEnsemble,
    Density,
    Laplace,
    Mixture,
    MonteCarlo,
    Temperature,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 16, 16, 3)).astype("uint8")
GRAY = IMAGES[..., :1]
FLAT = np.full_like(IMAGES, 100)
NAMED = Refused("image", "images", "shape", "dtype")
BYTES = [
    Case("columns first", (np.asfortranarray(IMAGES),), Same((IMAGES,), 0)),
    Case("a view", (np.repeat(IMAGES, 2, 2)[:, :, ::2],), Same((IMAGES,), 0)),
    Case("floats", (IMAGES.astype("float32"),), NAMED),
    Case("floats to 1", (IMAGES / 255,), NAMED),
    Case("16 bits", (IMAGES.astype("int16"),), NAMED),
    Case("booleans", (IMAGES > 100,), NAMED),
    Case("words", (IMAGES.astype(str),), NAMED),
    Case("a list", (IMAGES.tolist(),), NAMED),
    Case("NaN", (np.full(IMAGES.shape, np.nan),), NAMED),
    Case("two channels", (IMAGES[..., :2],), NAMED),
    Case("four channels", (np.repeat(GRAY, 4, -1),), NAMED),
    Case("channels first", (np.moveaxis(IMAGES, -1, 1),), NAMED),
    Case("too small", (IMAGES[:, :4],), NAMED),
    Case("no pixels", (IMAGES[:, :0],), NAMED),
    Case("one axis more", (IMAGES[None],), NAMED),
    Case("one axis less", (IMAGES[..., 0],), NAMED),
    Case("a number", (3,), NAMED),
    Case("None", (None,), NAMED),
]
SETTINGS = {
    "name": ["", "fogs", "Fog", None, 3],
    "severity": [0, 6, -1, 2.5, "3", None, np.nan],
    "seed": [-1, 1.5, "1", None],
}


@pytest.mark.parametrize("name", ["fog", "gaussian_noise", "brightness"])
def test_corruptions_are_right_or_name_the_argument(name):
    check_all(lambda x: corruptions.corrupt_all(x, name, 3), BYTES)
    single = [
        case._replace(args=(case.args[0][0],), outcome=case.outcome)
        for case in BYTES
        if isinstance(case.outcome, Refused) and hasattr(case.args[0], "shape")
    ]
    check_all(lambda x: corruptions.corrupt(x, name, 3), single)
    check_all(lambda x: sequences.perturb(x, name), single)


@pytest.mark.parametrize("argument", SETTINGS)
def test_settings_of_corruptions_are_named(argument):
    cases = [Case(repr(v), (v,), Refused(argument)) for v in SETTINGS[argument]]
    given = {"name": "fog", "severity": 3, "seed": 0}
    check_all(
        lambda v: corruptions.corrupt_all(IMAGES, **{**given, argument: v}), cases
    )
    check_all(lambda v: corruptions.corrupt(IMAGES[0], **{**given, argument: v}), cases)


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_a_corruption_of_several_is_that_of_each(name):
    together = corruptions.corrupt_all(IMAGES, name, 2, workers=1)
    for number, image in enumerate(IMAGES):
        alone = corruptions.corrupt(image, name, 2, index=number)
        np.testing.assert_array_equal(together[number], alone)
    for odd in (IMAGES[:0], FLAT[:1], GRAY[:1], IMAGES[:1, :9, :]):
        found = corruptions.corrupt_all(odd, name, 5, workers=1)
        assert (found.shape, found.dtype) == (odd.shape, np.uint8)


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    x = layers.MCDropout(0.5, name="drop")(keras.layers.Dense(8, "relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="theirs")
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(RNG.normal(size=weight.shape))
    return model


PIXELS = [
    Case("floats", (IMAGES.astype("float32"),), Same((IMAGES,))),
    Case("doubles", (IMAGES.astype("float64"),), Same((IMAGES,))),
    Case("32 bits", (IMAGES.astype("int32"),), Same((IMAGES,))),
    Case("a view", (np.repeat(IMAGES, 2, 2)[:, :, ::2],), Same((IMAGES,))),
    Case("the last batch of one", (IMAGES[:1],), Same((IMAGES[:1].copy(),))),
]


def fitted(kind):
    images = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(3)(x))
    posterior = kind([model] if kind is Mixture else model)
    if posterior.takes_snapshots:
        posterior.collect([posterior.model] * 2)
    posterior.adapt(np.resize(IMAGES, (12, 16, 16, 3)), np.arange(12) // 4)
    return posterior


@pytest.mark.parametrize(
    "kind",
    [
        *("MonteCarlo", "Temperature", Laplace, Density, SWA),
        *marks.few(["DeepEnsemble", Mixture, SWAG], ["DeepEnsemble", Mixture, SWAG]),
    ],
)
def test_posteriors_take_pixels_of_any_type(kind, model):
    posterior = {
        "MonteCarlo": lambda: MonteCarlo(model, 2),
        "DeepEnsemble": lambda: DeepEnsemble([model, model]),
        "Temperature": lambda: Temperature(MonteCarlo(model, 2)),
    }.get(kind, lambda: fitted(kind))()

    def sampled(pixels):
        return keras.ops.convert_to_numpy(posterior(pixels, seed=1))

    check_all(sampled, PIXELS)


def test_one_bad_image_does_not_touch_the_others(model):
    bad = IMAGES.astype("float32")
    bad[1] = np.nan
    found = evaluate_posterior(model, bad)
    expected = evaluate_posterior(model, IMAGES)
    np.testing.assert_array_equal(found[:, [0, 2, 3]], expected[:, [0, 2, 3]])
    if nan_is_kept():
        assert np.isnan(found[:, 1]).all()


def nan_is_kept():
    """Returns whether a compiled dense layer with a rectifier gives NaN for NaN.

    TensorFlow computes the two at once, by oneDNN, which gives 0 on some processors.
    """
    inputs = keras.Input((8,))
    layer = keras.Model(inputs, keras.layers.Dense(8, "relu")(inputs))
    return np.isnan(layer.predict(np.full((4, 8), np.nan), verbose=0)).all()


def evaluate_posterior(model, pixels):
    return keras.ops.convert_to_numpy(MonteCarlo(model, 3)(pixels, seed=1))


def image_data(pixels, labels=(0, 1, 2, 0)):
    return images.ImageData("mine", pixels, np.array(labels), ("a", "b", "c"))


def test_evaluation_refuses_images_with_nan(model):
    bad = IMAGES.astype("float32")
    bad[[1, 3]] = np.nan
    check_all(
        lambda x: evaluate.predict(MonteCarlo(model, 2), x, (2,)),
        [Case("NaN", (bad,), Refused("images"))],
    )


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_the_size_of_batches_does_not_matter(model, batch_size):
    (_, values), *more = Passes(model, (2,), 1, batch_size).batches(IMAGES)
    probs = np.concatenate([values["probs"], *(v["probs"] for _, v in more)], axis=1)
    logits = keras.ops.convert_to_numpy(MonteCarlo(model, 2)(IMAGES, seed=1))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probs[0], expected.mean(axis=0), atol=1e-5)


WRONG = [
    Case("another size", (IMAGES[:, :8],), Refused("dataset", "images")),
    Case("another channel", (GRAY,), Refused("dataset", "images")),
    Case("one axis less", (IMAGES[..., 0],), Refused("images of data set 'mine'")),
]


def test_data_that_do_not_fit_a_model_are_named(model):
    def evaluated(pixels):
        return evaluate.evaluate(model, image_data(pixels), (1,), progress=False)

    check_all(evaluated, WRONG)


NUMBERS = [
    Case(repr(value), (value,), Refused("num_samples"))
    for value in ((), (0,), (-1,), (1.5,), ("2",), (None,), (np.nan,))
]


def test_numbers_of_samples_are_named(model):
    check_all(lambda n: evaluate.predict(MonteCarlo(model, 3), IMAGES, n), NUMBERS)
    single = [case._replace(args=case.args[0]) for case in NUMBERS[1:]]
    check_all(lambda n: MonteCarlo(model, n), single)
