"""What posteriors take, and what they refuse, before anything is compiled for it."""

import keras
import numpy as np
import pytest

import layers
from zoo import predictive
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature
from zoo.posterior.pixels import takes_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype("uint8")


def network(*first, rate=None):
    """Layers, a rescaling by default, then the mean of the pixels and three logits."""
    x = images = keras.Input((8, 8, 1))
    for layer in first or (keras.layers.Rescaling(1 / 128, -1),):
        x = layer(x)
    if rate is not None:
        x = layers.MCDropout(rate)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    kernel = keras.initializers.Constant([[1.0, 2.0, 4.0]])
    return keras.Model(images, keras.layers.Dense(3, kernel_initializer=kernel)(x))


def mc_network():
    return network(rate=0.3)


def test_a_list_of_images_is_a_batch():
    posterior = MonteCarlo(mc_network(), 2)
    expected = posterior(IMAGES, seed=1)
    for images in (IMAGES.tolist(), list(IMAGES)):
        np.testing.assert_allclose(posterior(images, seed=1), expected, atol=1e-5)


@pytest.mark.parametrize("images", [None, {"images": IMAGES}, iter(IMAGES), [[1], 2]])
def test_what_is_no_batch_of_images_is_refused(images):
    with pytest.raises(ValueError, match="`images` must be an array or a tensor"):
        MonteCarlo(network(), 1)(images)


KINDS = {
    "MonteCarlo": lambda model: MonteCarlo(model, 2),
    "DeepEnsemble": lambda model: DeepEnsemble(
        [model, keras.models.clone_model(model)]
    ),
    "Temperature": Temperature,
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_scaled_already_are_refused_where_the_model_scales(kind):
    posterior = KINDS[kind](network())
    tensors = [keras.ops.convert_to_tensor(IMAGES / np.float32(255))]
    for images in (IMAGES / 255, IMAGES / 127.5 - 1, IMAGES > 99, *tensors):
        with pytest.raises(ValueError, match="seem to be scaled already. Received: va"):
            posterior(images)
    black = np.zeros((2, 8, 8, 1), "float32")
    for images in (black, black + 1, black - 1 + 30 * (IMAGES[:2] > 9)):
        posterior(images)
    with pytest.raises(ValueError, match="scaled already"):
        MonteCarlo(network(), 5).sample_until(IMAGES / 255, 0.1)


def test_another_model_may_take_any_numbers():
    images = keras.Input((8, 8, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    MonteCarlo(keras.Model(images, keras.layers.Dense(3)(pooled)), 1)(IMAGES / 255)


@pytest.mark.parametrize("value", [1.5, True, "1", [1, 2], np.float32(1), 2**32])
def test_a_seed_and_an_offset_are_whole_numbers(value):
    posterior = MonteCarlo(mc_network(), 1)
    for name in ("seed", "offset"):
        with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
            posterior(IMAGES, **{name: value})


def test_a_rate_that_is_set_after_the_first_call_counts():
    model = mc_network()
    posterior = MonteCarlo(model, 4)
    assert np.std(posterior(IMAGES, seed=1), axis=0).max() > 0
    for layer in model.layers:
        if isinstance(layer, layers.MCDropout):
            layer.rate = 0.0
    assert np.ptp(posterior(IMAGES, seed=1), axis=0).max() == 0
    assert np.ptp(posterior.sample_until(IMAGES, 0.1), axis=0).max() == 0


K = keras.layers
SCALING = {
    "rescaling": (K.Rescaling(1 / 255),),
    "another offset": (K.Rescaling(1 / 127.5, -1),),
    "normalization": (K.Normalization(mean=[70.0], variance=[7000.0]),),
    "after a resize": (K.Resizing(8, 8), K.RandomFlip(), K.Rescaling(1 / 255)),
    "nested": (keras.Sequential([keras.Input((8, 8, 1)), K.Rescaling(1 / 255)]),),
}
OTHERS = {
    "nothing": (K.Activation("linear"),),
    "standard deviations": (K.Normalization(mean=[0.4], variance=[0.1]),),
    "back to bytes": (K.Rescaling(255.0),),
    "a convolution": (K.Conv2D(1, 1), K.Rescaling(1 / 255)),
    "its inverse": (K.Normalization(mean=[70.0], variance=[7000.0], invert=True),),
}


@pytest.mark.parametrize("first", SCALING.values(), ids=SCALING)
def test_a_model_that_scales_bytes_is_known_by_its_graph(first):
    assert takes_bytes(network(*first))


@pytest.mark.parametrize("first", OTHERS.values(), ids=OTHERS)
def test_of_other_models_nothing_is_known(first):
    assert not takes_bytes(network(*first))


@pytest.mark.parametrize("kind", KINDS)
def test_many_images_have_the_samples_of_one_call(kind):
    posterior = KINDS[kind](mc_network())
    samples = posterior.predict(IMAGES, batch_size=2, seed=4)
    assert samples.shape == (posterior.num_samples, 3, 3)
    np.testing.assert_allclose(samples, posterior(IMAGES, seed=4), atol=1e-5)
    assert posterior.predict(IMAGES[:0]).shape == (posterior.num_samples, 0, 3)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        posterior.predict(IMAGES / np.float32(255))
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        posterior.predict(IMAGES, batch_size=0)


IMAGE = keras.Input((8, 8, 1))
ENDS = {
    "samples": lambda samples: samples,
    "softmax": keras.ops.softmax,
    "both": lambda samples: [predictive.probs(samples), samples],
    "nested": lambda samples: keras.Model(IMAGE, samples)(IMAGE),
}
REFUSED = "whose axis Keras would take for the batch"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_keras_does_not_take_samples_for_a_batch(kind, end):
    model = keras.Model(IMAGE, ENDS[end](KINDS[kind](network())(IMAGE)))
    with pytest.raises(ValueError, match=REFUSED):
        model.predict(IMAGES, batch_size=2, verbose=0)


@pytest.mark.parametrize("method", ["predict", "evaluate", "fit"])
def test_no_method_of_keras_takes_samples_for_a_batch(method):
    posterior = MonteCarlo(mc_network(), 2)
    model = keras.Sequential([keras.Input((8, 8, 1)), posterior])
    assert model(IMAGES).shape == (2, 3, 3)
    model.compile(loss="mse", run_eagerly=True)
    labels = {} if method == "predict" else {"y": np.zeros((3, 3))}
    with pytest.raises(ValueError, match=REFUSED):
        getattr(model, method)(IMAGES, **labels, verbose=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_ends_with_the_mean_prediction_predicts(kind, tmp_path):
    posterior, images = KINDS[kind](network()), keras.Input((8, 8, 1))
    summaries = predictive.probs, predictive.entropy
    model = keras.Model(images, [of(posterior(images)) for of in summaries])
    model.save(tmp_path / "mean.keras")
    for mean in (model, keras.saving.load_model(tmp_path / "mean.keras")):
        values = mean.predict(IMAGES, batch_size=2, verbose=0)
        for value, of in zip(values, summaries, strict=True):
            np.testing.assert_allclose(value, of(posterior(IMAGES)), atol=1e-6)
