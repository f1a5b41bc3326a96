"""Spectra against NumPy's, and noise that misleads a network of one frequency."""

import keras
import numpy as np
import pytest

from tests.helpers import analyzed
from training import analysis
from training.analysis import frequencies
from training.data import ImageData


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 9), (1, 1)])
def test_log_amplitudes_are_those_of_numpy(size):
    maps = np.random.default_rng(0).normal(1.0, 1.0, (3, *size, 4)).astype("float32")
    spectrum = np.log(np.abs(np.fft.fft2(maps, axes=(1, 2))) + 1e-6)
    side = min(size)
    places = [[round(k * n / side) for k in range(side // 2 + 1)] for n in size]
    wanted = spectrum[:, places[0], places[1]].mean(axis=-1)
    found = np.asarray(frequencies.log_amplitudes(maps))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    expected = [2 * k / side for k in range(side // 2 + 1)]
    np.testing.assert_allclose(frequencies.frequencies_of(*size), expected)


def test_annuli_are_the_frequencies_up_to_pi_each_once():
    rings = frequencies.annuli((32, 20), 0.1)
    assert [ring.low for ring in rings] == [round(0.1 * i, 1) for i in range(10)]
    across, down = (2 * np.fft.fftfreq(n) for n in (32, 20))
    radius = np.hypot(across[:, None], down[None])
    whole = sum(ring.mask for ring in rings)
    np.testing.assert_array_equal(whole, radius <= 1 + 1e-9)
    for ring in rings:
        inside = radius[ring.mask > 0]
        assert ring.low - 1e-9 <= inside.min() <= inside.max() <= ring.high + 1e-9
    assert len(frequencies.annuli((4, 4), 0.1)) < 10  # Some hold no frequency.


def test_noise_has_its_power_in_its_annulus():
    white = np.random.default_rng(0).standard_normal((50, 16, 16, 2))
    for ring in frequencies.annuli((16, 16), 0.25):
        noise = frequencies.confined(white, ring.mask)
        spectrum = np.abs(np.fft.fft2(noise, axes=(1, 2))).mean(axis=(0, 3))
        assert spectrum[ring.mask == 0].max() < 1e-4
        # The variance of a mean of squares of N normal numbers is 2 / N.
        count = 50 * 2 * ring.mask.sum()
        assert abs(noise.var() - 1) < 6 * np.sqrt(2 / count)


def listener(period):
    """Returns a network whose logits are an amplitude of one frequency and zero."""
    wave = np.cos(2 * np.pi * np.arange(16) / period)
    kernel = np.zeros((256, 2), "float32")
    kernel[:, 0] = np.outer(np.ones(16), wave).ravel()
    images = keras.Input((16, 16, 1))
    maps = keras.layers.Rescaling(1.0, -128.0, name="center")(images)
    flat = keras.layers.Flatten()(maps)
    head = keras.layers.Dense(
        2, name="head", kernel_initializer=lambda *_, **__: kernel
    )
    return keras.Model(images, head(flat), name="listener")


def test_noise_misleads_where_a_network_listens():
    period = 4  # Half of pi.
    wave = np.cos(2 * np.pi * np.arange(16) / period)
    pixels = np.stack([128 + 2 * sign * wave for sign in (1, -1)] * 20)
    pixels = np.repeat(pixels[:, None, :, None], 16, axis=1)
    labels = np.arange(40) % 2
    data = ImageData("waves", pixels.round().astype("uint8"), labels, ("up", "down"))
    found = analysis.fourier(listener(period), data, batch_size=20, noise=60.0)
    (clean,) = found.values("accuracy", noise=0.0)
    assert clean == 1
    rows = [r for r in found.rows if r["metric"] == "accuracy" and r["noise"]]
    heard = [row["low"] for row in rows if row["change"] < -0.2]
    assert heard == [0.5]
    assert all(row["change"] == 0 for row in rows if row["low"] != 0.5)
    assert len(frequencies.plot_fourier({"a": found, "b": found})) == 3


def test_smoothing_is_a_low_pass_of_its_gain():
    model, data = analyzed.residual(), analyzed.images(8)
    found = analysis.fourier(model, data, batch_size=4, layers=["one_out", "smooth"])
    before, after = (
        found.arrays[f"log_amplitude/{name}"] for name in ("one_out", "smooth")
    )
    assert after[-1] < before[-1] - 1
    maps = keras.Model(model.input, model.get_layer("smooth").output)
    spectrum = np.fft.fft2(np.asarray(maps(data.images.astype("float32"))), axes=(1, 2))
    logs = np.log(np.abs(spectrum) + 1e-6).mean(axis=(0, 3))
    wanted = [logs[k, k] - logs[0, 0] for k in range(5)]
    np.testing.assert_allclose(after[:-1], wanted[:-1], atol=1e-3)
    # Of pi the filter leaves nothing but at the border, and float32 its rounding.
    np.testing.assert_allclose(after[-1], wanted[-1], atol=0.2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"noise": 0}, "`noise` must be positive"),
        ({"width": 1.5}, "`width` is a part of pi, at most 1. Received: width=1.5"),
        ({"width": "thin"}, "`width` must be positive and finite"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        analysis.fourier(
            analyzed.residual(), analyzed.images(), batch_size=4, **settings
        )
