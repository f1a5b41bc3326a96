"""Networks whose gradients are true, and others that hide them."""

import re

import keras
import numpy as np
import pytest
from keras import ops

import layers
from training.attacks import gradient_masking, masking

LABELS = np.arange(24) % 2
NOISE = np.random.default_rng(0).uniform(-30, 30, (24, 12, 12, 1))
IMAGES = np.rint(128 + 36 * (LABELS[:, None, None, None] - 0.5) + NOISE)


def network(change=lambda x: x, draws=False):
    """Tells bright images from dark ones."""
    images = keras.Input((12, 12, 1))
    mean = ops.mean(change(images), axis=(1, 2)) / 8 - 16
    x = layers.MCDropout(0.1, name="dropout")(mean) if draws else mean
    return keras.Model(images, ops.concatenate([-x, x], axis=1), name="network")


def test_each_sign_is_a_sentence():
    fine = {"clean": 0.9, "random": 0.8, "fgsm": 0.4, "pgd": 0.3, "pgd on b": 0.5}
    fine |= {"pgd, half of the range": 0.05, "pgd, one draw": 0.31}
    assert [*masking._warnings(fine, 0.0, 0.1)] == []
    for changes, words in (
        ({"random": 0.2}, "leaves an accuracy of 30.0%, and 'random' one of 20.0%"),
        ({"fgsm": 0.1}, "'fgsm' one of 10.0%"),
        ({"pgd on b": 0.2}, "'pgd on b' one of 20.0%"),
        ({"pgd, half of the range": 0.4}, "half of the range.*leaves.*40.0%"),
        ({"pgd, one draw": 0.5}, "sees one draw leaves an accuracy of 50.0%"),
    ):
        (text,) = masking._warnings({**fine, **changes}, 0.0, 0.1)
        assert re.search(words, text)
    flat, falling = masking._warnings(fine, 0.5, 0.75)
    assert "gradient of 50% of the images is zero" in flat
    assert "loss of 75% of the images does not rise" in falling


@pytest.mark.slow
def test_signs_of_masked_gradients_are_found_where_there_are_some():
    plain = network()
    found = gradient_masking(plain, IMAGES, LABELS, 40.0, steps=5)
    assert found.accuracies["clean"] == 1
    assert found.accuracies["pgd"] < 0.2 < found.accuracies["random"]
    assert found.warnings == ()
    assert found.flat == 0
    rounded = network(lambda x: ops.round(x / 8) * 8)
    found = gradient_masking(
        rounded, IMAGES, LABELS, 40.0, steps=5, surrogates={"plain": plain}
    )
    assert found.flat == 1
    assert found.accuracies["clean"] == 1
    assert found.accuracies["pgd on plain"] < 0.2 < found.accuracies["pgd"]
    texts = " ".join(found.warnings)
    assert "gradient of 100% of the images is zero" in texts
    assert "'pgd on plain'" in texts
    assert "half of the range" in texts
    assert "does not rise" in texts


@pytest.mark.slow
def test_what_one_draw_finds_is_told_of_a_random_network():
    found = gradient_masking(
        network(draws=True), IMAGES[:8], LABELS[:8], 40.0, steps=2, draws=3
    )
    assert set(found.accuracies) == {
        *("clean", "random", "fgsm", "pgd", "pgd, one draw"),
        "pgd, half of the range",
    }
    assert all(0 <= value <= 1 for value in found.accuracies.values())
    assert np.isfinite(found.falling)
