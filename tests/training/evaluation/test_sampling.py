"""Passes on a device whose memory is too small for a batch."""

import keras
import numpy as np
import pytest

import layers
from training.distribution import device_memory
from training.evaluation.sampling import Passes

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 12, 12, 1), "uint8")


def small_model():
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255, name="scale")(images))
    x = layers.MCDropout(0.3, name="dropout")(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="small")


def limited(passes, largest, error):
    """Makes batches of more images than a limit fail, and lists the sizes of all."""
    begin, sizes = passes._begin, []

    def limited_begin(images, first, size, stop):
        sizes.append((first, size))
        if size > largest:
            raise error
        return begin(images, first, size, stop)

    passes._begin = limited_begin
    return sizes


def collected(passes):
    found = list(passes.batches(IMAGES))
    assert [first for first, _ in found] == sorted({first for first, _ in found})
    return np.concatenate([values["probs"] for _, values in found], axis=1)


def test_smaller_batches_follow_with_the_same_values(caplog):
    model = small_model()
    expected = collected(Passes(model, (1, 2), batch_size=8))
    passes = Passes(model, (1, 2), batch_size=8, name="m")
    sizes = limited(passes, 2, RuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
    with caplog.at_level("WARNING", "absl"):
        np.testing.assert_allclose(collected(passes), expected, atol=1e-6)
    assert sizes[:4] == [(0, 8), (0, 4), (0, 2), (2, 2)]
    assert "batches of 8 images of 'm'; they are of 4 from now on." in caplog.text


def test_a_batch_of_which_the_values_fail_is_computed_again(monkeypatch):
    model = small_model()
    expected = collected(Passes(model, (1, 2), batch_size=4))
    passes = Passes(model, (1, 2), batch_size=4)
    read, failed = passes._read, []

    def read_once(first, count, values):
        if first == 4 and not failed:
            failed.append(first)
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return read(first, count, values)

    monkeypatch.setattr(passes, "_read", read_once)
    np.testing.assert_allclose(collected(passes), expected, atol=1e-6)
    assert failed == [4]


@pytest.mark.parametrize("error", [RuntimeError("RESOURCE_EXHAUSTED"), OSError("odd")])
def test_other_errors_and_a_single_image_are_not_tried_again(error):
    passes = Passes(small_model(), (1,), batch_size=2)
    sizes = limited(passes, 0, error)
    with pytest.raises(type(error), match=str(error)):
        collected(passes)
    assert sizes == [(0, 2), (0, 1)][: 1 + ("RESOURCE" in str(error))]


def test_a_training_says_what_would_fit():
    with (
        pytest.raises(MemoryError, match=r"--set=batch_size=64` .*batch_size=128"),
        device_memory.explained(128),
    ):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying 3 GB.")
    with pytest.raises(ZeroDivisionError), device_memory.explained(128):
        raise ZeroDivisionError
