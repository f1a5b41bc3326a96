"""Posteriors of no image at all, of other sizes, in threads and in exports of JAX."""

import sys
import threading

import keras
import numpy as np
import pytest

import layers
from tests.helpers import marks, processes
from zoo import predictive
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature, sample_loop

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1)).astype("float32")
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="is of JAX")


def network(shape=(8, 8, 1)):
    images = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3, padding="same")(images)
    x = layers.MCDropout(0.5, seed=0)(layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(6, 3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(3)(x))


POSTERIORS = {
    "monte_carlo": lambda: MonteCarlo(network(), 2),
    "ensemble": lambda: DeepEnsemble([network(), MonteCarlo(network(), 2)]),
    "temperature": lambda: Temperature(MonteCarlo(network(), 2), 2.0),
}


@pytest.mark.parametrize("first", marks.few([0, 2], [2]))
@pytest.mark.parametrize("name", POSTERIORS)
def test_no_image_has_no_samples_whichever_call_is_first(name, first):
    posterior = POSTERIORS[name]()
    for count in (first, 2 - first, first):
        samples = posterior(IMAGES[:count], seed=1)
        assert tuple(samples.shape) == (posterior.num_samples, count, 3)
        assert tuple(predictive.probs(samples).shape) == (count, 3)
        for quantity in ("entropy", "mutual_information", "variation_ratio"):
            assert tuple(getattr(predictive, quantity)(samples).shape) == (count,)


def test_no_image_stops_at_the_first_look():
    posterior = MonteCarlo(network(), 4)
    assert tuple(posterior.sample_until(IMAGES[:0], 0.1, 0, step=2).shape) == (2, 0, 3)


def test_a_wrong_shape_is_refused_and_leaves_nothing_behind():
    posterior = MonteCarlo(network(), 2)
    expected = MonteCarlo(posterior.model, 2)(IMAGES, seed=1)
    for wrong in (np.zeros((2, 9, 8, 1)), np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 1))):
        with pytest.raises(ValueError, match=r"`images` must.*8, 8, 1\)"):
            posterior(wrong, seed=1)
    np.testing.assert_allclose(posterior(IMAGES, seed=1), expected, rtol=1e-5)


def test_sides_that_are_free_may_change_with_every_call():
    model = network((None, None, 1))
    posterior = MonteCarlo(model, 2)
    for side in (8, 6, 8, 5):
        images = IMAGES[:2, :side, :side]
        expected = MonteCarlo(model, 2)(images, seed=1)
        np.testing.assert_allclose(posterior(images, seed=1), expected, rtol=1e-4)


def test_threads_draw_apart():
    dropout, drawn = layers.MCDropout(0.5, seed=0), [[] for _ in range(4)]
    ones = np.ones((1, 128), "float32")

    def draw(own):
        own += [np.array(dropout(ones)).tobytes() for _ in range(20)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=draw, args=(own,)) for own in drawn]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    masks = [mask for own in drawn for mask in own]
    assert len(masks) == 80
    assert len(set(masks)) == 80


@on_jax
@pytest.mark.parametrize("name", POSTERIORS)
def test_an_export_for_any_batch_gives_the_samples_of_a_call(name):
    import jax

    posterior = POSTERIORS[name]()
    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, 8, 8, 1), "float32")
    compiled = jax.jit(lambda x: posterior(x, seed=1))
    exported = jax.export.export(compiled)(images)
    for count in (1, 7, 32):
        images = np.resize(IMAGES, (count, *IMAGES.shape[1:]))
        actual = exported.call(images)
        np.testing.assert_array_equal(actual, compiled(images))
        # There the weights are no constants of the program.
        expected = posterior(images, seed=1)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


@on_jax
@pytest.mark.parametrize("count", [1, 5, 50])
@pytest.mark.parametrize("rows", [1, 17, 500])
def test_an_export_puts_as_many_passes_together_as_a_call(count, rows):
    import jax

    (batch,) = jax.export.symbolic_shape("b")
    size = sample_loop.symbolic_chunk_size(count, rows, batch)
    for number in (1, 2, 3, 7, 17, 18, 32, 501):
        expected = sample_loop.chunk_size(count, max(rows // number, 1), number)
        actual = size if sample_loop.is_number(size) else size._evaluate({"b": number})
        assert actual == expected


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
def test_no_image_on_tensorflow_whatever_its_convolutions_do(monkeypatch):
    """With oneDNN, a convolution of an empty batch has the shape of its inputs."""
    import tensorflow as tf

    posterior, seen = MonteCarlo(network(), 2), []
    prefix = posterior._split.prefix

    def noted(images):
        seen.append(tf.shape(images)[0])
        return prefix(images)

    monkeypatch.setattr(posterior._split, "prefix", noted)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1))])
    def graph(images):
        samples = posterior(images, seed=1)
        return samples, seen[-1]

    for count, rows in ((0, 1), (3, 3)):
        samples, passed = graph(IMAGES[:count])
        assert tuple(samples.shape) == (2, count, 3)
        assert passed == rows


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
