"""Noise, weather and digital corruptions, against slow versions and closed forms."""

import numpy as np
import pytest
from scipy import ndimage, stats

from tests.helpers.checks import assert_mean_close
from tests.oracles.corruptions import SHAPES, assert_same_bytes, smooth_image, truncated
from training.corruptions import common, corrupt, digital, frost, noise, weather


@pytest.fixture(autouse=True)
def _own_textures(monkeypatch):
    monkeypatch.setattr(frost, "_folder", lambda: None)


@pytest.mark.parametrize("side", [32, 90])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_colors_are_those_of_scikit_image(side, severity):
    color = pytest.importorskip("skimage.color")
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    image[:8] = image[:8, :, :1]  # Gray has no hue.
    image[0, :2] = ((0, 0, 0), (255, 255, 255))
    added = common.constants(digital._BRIGHTNESS, image, severity)
    factor, offset = common.constants(digital._SATURATE, image, severity)
    brighter, colorful = color.rgb2hsv(image), color.rgb2hsv(image)
    brighter[..., 2] = np.clip(brighter[..., 2] + added, 0, 1)
    colorful[..., 1] = np.clip(colorful[..., 1] * factor + offset, 0, 1)
    expected = truncated(color.hsv2rgb(brighter))
    assert_same_bytes(corrupt(image, "brightness", severity), expected, share=0.03)
    expected = truncated(color.hsv2rgb(colorful))
    # A factor of two makes whole numbers, which float64 may miss from below.
    assert_same_bytes(corrupt(image, "saturate", severity), expected, share=0.3)


def test_saturate_is_that_of_float64_for_colors_from_black_to_white():
    levels = np.round(np.linspace(0, 255, 48)).astype("uint8")
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    value, low = colors.max(axis=1, keepdims=True), colors.min(axis=1, keepdims=True)
    exact, spread = value.astype("float64"), (value - low).astype("float64")
    gray = spread[:, 0] == 0
    growth = exact / np.where(spread > 0, spread, 1)
    for side, table in ((32, 32), (96, 224)):
        image = colors.reshape(side, -1, 3)
        for severity, (factor, offset) in enumerate(digital._SATURATE[table], 1):
            scale = np.minimum(growth, offset * growth + factor)
            expected = np.floor(exact - (exact - colors) * scale + 1e-4)
            expected[gray, 1:] = (exact / 255 * (1 - offset) * 255)[gray] // 1
            found = corrupt(image, "saturate", severity).reshape(-1, 3)
            np.testing.assert_array_equal(found, np.maximum(expected, 0))


def test_contrast_scales_around_the_mean_of_each_channel(monkeypatch):
    image = smooth_image((32, 32, 3))
    pixels = image / 255.0
    means = image.sum(axis=(0, 1)) / image[..., 0].size / 255
    expected = truncated((pixels - means) * 0.4 + means)
    np.testing.assert_array_equal(corrupt(image, "contrast", 3), expected)
    monkeypatch.setitem(digital._CONTRAST, 32, (1,) * 5)
    # In float64, (x - m) + m may miss x from below.
    assert_same_bytes(corrupt(image, "contrast", 3), image, share=0.1)


@pytest.mark.parametrize("shape", [*SHAPES, (224, 224, 3)])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_pixelate_and_jpeg_are_those_of_pillow(shape, severity, tmp_path):
    from PIL import Image

    image = smooth_image(shape)
    picture = Image.fromarray(image.squeeze())
    scale = common.constants(digital._PIXELATE, image, severity)
    size = [int(side * scale) for side in picture.size]
    small = picture.resize(size, Image.Resampling.BOX)
    expected = np.asarray(small.resize(picture.size, Image.Resampling.BOX))
    actual = corrupt(image, "pixelate", severity)
    np.testing.assert_array_equal(actual, expected.reshape(shape))

    quality = common.constants(digital._JPEG, image, severity)
    picture.save(tmp_path / "a.jpg", quality=quality)
    expected = np.asarray(Image.open(tmp_path / "a.jpg"))
    actual = corrupt(image, "jpeg_compression", severity)
    np.testing.assert_array_equal(actual, expected.reshape(shape))


@pytest.mark.parametrize("count", [3, 12, 60, 500])
def test_the_tables_of_shot_noise_hold_the_poisson_distribution(count):
    thresholds, outcomes = noise._alias_tables(count)
    cells = thresholds.shape[1]
    own = thresholds / 2**22 / cells
    mass = np.zeros((256, 256))
    for level in range(256):
        np.add.at(mass[level], outcomes[level, :, 0], own[level])
        np.add.at(mass[level], outcomes[level, :, 1], 1 / cells - own[level])
    expected = np.zeros((256, 256))
    for value in range(count):
        rates = np.arange(256) / 255 * count
        expected[:, int(value / count * 255)] += stats.poisson.pmf(value, rates)
    expected[:, 255] += stats.poisson.sf(count - 1, rates)
    np.testing.assert_allclose(mass, expected, atol=2**-22)


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "shot_noise"])
def test_noise_has_its_moments(name):
    value = 100
    image = np.full((200, 200, 1), value, np.uint8)
    deviation = {
        "gaussian_noise": 255 * 0.08,
        "speckle_noise": value * 0.15,
        # Poisson(x * c) / c has the variance x / c.
        "shot_noise": 255 * np.sqrt(value / 255 / 60),
    }[name]
    samples = corrupt(image, name, 1).ravel().astype(float) + 0.5  # Truncated.
    if name == "shot_noise":
        samples -= 0.5 * (1 - 1 / 4)  # Counts of 255 / 60 lose 3/8 on average.
    assert_mean_close(samples, value)
    assert_mean_close((samples - value) ** 2, deviation**2 + 1 / 12)


def test_normal_numbers_have_the_normal_distribution():
    samples = common.normal((200_000,), np.random.default_rng(0)).astype(float)
    for power, expected in enumerate((0, 1, 0, 3), start=1):
        assert_mean_close(samples**power, expected)
    assert stats.kstest(samples, "norm").pvalue > 1e-6


def test_impulse_noise_is_half_black_and_half_white():
    image = np.full((200, 200, 3), 100, np.uint8)
    noisy = corrupt(image, "impulse_noise", 5)
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert_mean_close((noisy == 0).ravel(), 0.135)
    assert_mean_close((noisy == 255).ravel(), 0.135)


def test_fog_is_the_published_fractal():
    side, decay = 16, 1.7
    rng = np.random.default_rng(3)
    heights, step, wibble = np.zeros((side, side)), side, 100.0
    while step >= 2:
        half, count = step // 2, side // step
        draws = rng.random((3, count, count), np.float32) * 2.0 - 1
        draws *= wibble**2

        def mean(points, draw):
            values = [heights[y % side, x % side] for y, x in points]
            return np.mean(values) + draw  # noqa: B023

        cells = [(i, j) for i in range(count) for j in range(count)]
        for i, j in cells:
            y, x = i * step, j * step
            corners = (y, x), (y + step, x), (y, x + step), (y + step, x + step)
            heights[y + half, x + half] = mean(corners, draws[0, i, j])
        for i, j in cells:
            y, x = i * step, j * step + half
            around = (y - half, x), (y + half, x), (y, x - half), (y, x + half)
            heights[y, x] = mean(around, draws[1, i, j])
        for i, j in cells:
            y, x = i * step + half, j * step
            around = (y - half, x), (y + half, x), (y, x - half), (y, x + half)
            heights[y, x] = mean(around, draws[2, i, j])
        step, wibble = half, wibble / decay
    heights -= heights.min()
    actual = weather._plasma(side, decay, np.random.default_rng(3))
    np.testing.assert_allclose(actual, heights / heights.max(), atol=1e-5)


@pytest.mark.parametrize("side, factor", [(32, 1.25), (28, 2.25), (224, 4.5), (97, 3)])
def test_flakes_are_enlarged_as_by_scipy(side, factor):
    crop = weather._used(side, factor)
    lines = np.random.default_rng(0).normal(size=(crop, 5)).astype(np.float32)
    large = ndimage.zoom(lines.astype(float), (factor, 1), order=1)
    trim = (len(large) - side) // 2
    actual = weather._stretched(lines, side, factor)
    np.testing.assert_allclose(actual, large[trim : trim + side], atol=1e-5)


def test_snow_on_black_is_flakes_and_a_veil():
    # Without flakes, black becomes (1 - share) * 0.5.
    image = np.zeros((32, 32, 3), np.uint8)
    snowed = corrupt(image, "snow", 5)
    assert snowed.min() == int(0.2 * 127.5)
    np.testing.assert_array_equal(snowed, snowed[::-1, ::-1])
    np.testing.assert_array_equal(snowed[..., 0], snowed[..., 2])


def test_mud_and_water_have_their_colors():
    image = np.zeros((224, 224, 3), np.uint8)
    wet = corrupt(image, "spatter", 3).reshape(-1, 3)
    wettest = wet[wet.sum(axis=1).argmax()]
    np.testing.assert_array_equal(wettest, [int(0.5 * c) for c in (175, 238, 238)])
    muddy = corrupt(image, "spatter", 5).reshape(-1, 3)
    np.testing.assert_allclose(muddy.max(axis=0), (63, 42, 20), atol=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side, severity", [(32, 5), (224, 3), (700, 1)])
def test_frost_is_a_weighted_sum_with_a_crop(channels, side, severity):
    image = np.zeros((side, side, channels), np.uint8)
    share = frost._FROST[common.nearest_side(image)][severity - 1]
    texture = corrupt(image, "frost", severity, 1)
    image += 40
    expected = np.clip(share[0] * 40 + texture.astype(float), 0, 255)
    actual = corrupt(image, "frost", severity, 1)
    assert np.abs(actual - expected).max() <= 1
    assert texture.std() > 5 * share[1]


def test_frost_says_which_textures_it_uses():
    assert frost.frost_source() == "procedural"
    for texture, like in zip(frost.textures("procedural"), frost._LIKE, strict=True):
        assert texture.shape == (*like[:2], 3)
        np.testing.assert_allclose(texture.mean(axis=(0, 1)), like[2], atol=3)
        assert texture.mean(axis=2).std() == pytest.approx(like[3], rel=0.15)


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize(
    "name", ["defocus_blur", "zoom_blur", "contrast", "pixelate", "brightness"]
)
def test_gray_is_what_three_equal_channels_give(name, side):
    gray = smooth_image((side, side, 1))
    color = corrupt(np.repeat(gray, 3, axis=2), name, 4)
    np.testing.assert_array_equal(corrupt(gray, name, 4), color[..., :1])
