"""Perturbation sequences against the published formulas, written slowly."""

import numpy as np
import pytest
from scipy import ndimage

from tests.helpers.checks import assert_mean_close
from training.corruptions import common, sequences
from training.corruptions.sequences import PERTURBATIONS, num_frames, perturb

RANDOM = {n for n in PERTURBATIONS if "noise" in n} | {"snow", "spatter"}


@pytest.fixture(scope="module", params=[(32, 40, 3), (28, 28, 1)], ids=["rgb", "gray"])
def photo(request):
    noise = np.random.default_rng(0).normal(size=request.param)
    smooth = ndimage.gaussian_filter(noise, (1.5, 1.5, 0))
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


def assert_nearly_equal(ours, expected, share=0.999):
    """Equal but for rounding: by one, and nearly nowhere."""
    difference = np.abs(ours.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= share


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_frames_have_the_shape_of_the_image(name, photo):
    frames = perturb(photo, name)
    count = {"motion_blur": 21, "translate": 16}.get(name, 31)
    assert frames.dtype == np.uint8
    assert frames.shape == (count, *photo.shape)
    assert num_frames(name, photo) == count
    moved = np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3))
    assert (moved > 0).mean() > 0.8  # Small steps may fall between two bytes.


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_large_images_have_the_sequences_of_imagenet(name):
    image = np.random.default_rng(0).integers(0, 256, (96, 90, 1), np.uint8)
    count = {"translate": 41}.get(name, 31)
    assert len(perturb(image, name)) == num_frames(name, image) == count


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_random_numbers_depend_on_the_seed_and_the_number_of_the_image(name, photo):
    first = perturb(photo, name, seed=1, index=2)
    np.testing.assert_array_equal(first, perturb(photo, name, seed=1, index=2))
    for seed, index in ((2, 2), (1, 1)):
        other = perturb(photo, name, seed=seed, index=index)
        assert (first != other).any() == (name in RANDOM)


@pytest.mark.parametrize("name", sorted(set(PERTURBATIONS) - RANDOM))
def test_a_gray_image_is_perturbed_as_an_rgb_image_of_equal_channels(name):
    gray = np.random.default_rng(0).integers(0, 256, (28, 28, 1), np.uint8)
    rgb = np.repeat(gray, 3, axis=2)
    np.testing.assert_array_equal(perturb(gray, name), perturb(rgb, name)[..., :1])


@pytest.mark.parametrize(
    "name, scale",
    [
        ("gaussian_noise", 0.02),
        ("gaussian_noise_2", 0.04),
        ("gaussian_noise_3", 0.06),
        ("shot_noise", (0.5 / 700) ** 0.5),
        ("shot_noise_2", (0.5 / 400) ** 0.5),
        ("shot_noise_3", (0.5 / 200) ** 0.5),
        ("speckle_noise", 0.5 * 0.05),
        ("speckle_noise_2", 0.5 * 0.07),
        ("speckle_noise_3", 0.5 * 0.1),
    ],
)
def test_noise_has_its_variance_and_is_new_in_each_frame(name, scale):
    image = np.full((64, 64, 1), 128, np.uint8)
    frames = perturb(image, name).astype(float)
    np.testing.assert_array_equal(frames[0], image)
    noise = frames[1:].reshape(-1) + 0.5 - 128  # Truncated.
    assert_mean_close(noise, 0.0)
    variance = (255 * scale) ** 2 * (128 / 127.5 if "shot" in name else 1)
    variance *= (128 / 127.5) ** 2 if "speckle" in name else 1
    # Truncation adds a twelfth, unless the counts of photons are coarser than bytes.
    rounding = 0 if "_3" in name and "shot" in name else 1 / 12
    assert abs(noise.var() / (variance + rounding) - 1) < 0.03
    products = (frames[1:-1] - 127.5) * (frames[2:] - 127.5)
    assert_mean_close(products.reshape(-1), 0.0)


def test_brightness_is_added_to_the_value_of_the_color(photo):
    from skimage import color

    if photo.shape[2] == 1:
        pytest.skip("Has no colors.")
    image = photo.copy()
    image[:2] = 0  # Black becomes gray.
    hsv = color.rgb2hsv(image)
    expected = []
    for i in range(31):
        brighter = hsv.copy()
        brighter[..., 2] = np.clip(hsv[..., 2] + (i - 15) * 1.5 / 100, 0, 1)
        expected.append(color.hsv2rgb(brighter) * 255)
    ours = perturb(image, "brightness")
    np.testing.assert_array_equal(ours[15], image)
    assert np.abs(ours - np.array(expected)).max() <= 1
    assert (ours <= np.array(expected) + 1e-6).all()  # Truncated, not rounded.


def affine_oracle(image, matrix):
    """Maps `(right, down)` about the exact center, channel by channel."""
    flip = np.array([[0, 1], [1, 0]])
    inverse = flip @ np.linalg.inv(matrix) @ flip
    center = (np.array(image.shape[:2]) - 1) / 2
    channels = [
        ndimage.affine_transform(
            image[..., c].astype(float), inverse, center - inverse @ center, order=1
        )
        for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1)


def rotation(degrees):
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin], [sin, cos]])  # Clockwise, as rows go down.


def slant(degrees):
    angle = np.deg2rad(degrees)
    return np.array([[1, -np.sin(angle)], [0, np.cos(angle)]])


@pytest.mark.parametrize(
    "name, matrix",
    [
        ("rotate", lambda i: rotation(i - 15)),
        ("shear", lambda i: slant(i - 15)),
        ("scale", lambda i: np.eye(2) * (70 + 2 * i) / 100),
    ],
)
def test_affine_frames_are_bilinear_about_the_center(name, matrix, photo):
    inner = np.s_[8:-8, 8:-8]
    for i, frame in enumerate(perturb(photo, name)):
        expected = affine_oracle(photo, matrix(i))[inner]
        assert np.abs(frame[inner] - expected).max() < 1.001, i
    white = perturb(np.full_like(photo, 255), name)[0]
    assert white[::27, ::27].min() == 0


def test_zoom_blur_is_the_mean_of_the_copies_so_far(photo):
    copies, expected = [photo.astype(float)], [photo]
    for i in range(1, 31):
        copies.append(affine_oracle(photo, np.eye(2) * (1 + 0.004 * i)))
        expected.append(np.mean(copies, axis=0))
    inner = np.s_[:, 2:-2, 2:-2]
    difference = perturb(photo, "zoom_blur")[inner] - np.array(expected)[inner]
    assert -2 <= difference.min() <= difference.max() <= 0.5  # Truncated twice.


def tilt_oracle(image, degrees):
    """Projects each pixel of a turned plane in homogeneous coordinates of space."""
    height, width = image.shape[:2]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    f = np.sqrt(width**2 + height**2)
    onto_plane = np.array(
        [[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]]
    )
    about_x = np.eye(4)
    about_x[1:3, 1:3] = [[cos, -sin], [sin, cos]]
    about_y = np.eye(4)
    about_y[::2, ::2][:2, :2] = [[cos, -sin], [sin, cos]]
    away = np.eye(4)
    away[2, 3] = f
    camera = np.array([[f, 0, width / 2, 0], [0, f, height / 2, 0], [0, 0, 1, 0]])
    forward = camera @ away @ about_x @ about_y @ onto_plane
    rows, columns = np.mgrid[:height, :width]
    points = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    x, y, z = np.linalg.inv(forward) @ points
    channels = [
        ndimage.map_coordinates(image[..., c].astype(float), [y / z, x / z], order=1)
        for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1).reshape(image.shape)


def test_tilt_is_the_published_projection(photo):
    for i, frame in enumerate(perturb(photo, "tilt")):
        expected = tilt_oracle(photo, 0.75 * (i - 15))
        # OpenCV interpolates in steps of 1/32 of a pixel.
        difference = np.abs(frame - expected)[6:-6, 6:-6]
        assert difference.max() <= 4, i
        assert difference.mean() <= 1


def test_translation_goes_right_and_leaves_black(photo):
    width = photo.shape[1]
    for i, frame in enumerate(perturb(photo, "translate")):
        for x in range(width):
            source = x - (i - 7)
            expected = photo[:, source] if 0 <= source < width else 0
            np.testing.assert_array_equal(frame[:, x], expected)


def test_gaussian_blur_is_that_of_skimage(photo):
    from skimage import filters

    expected = [
        255
        * filters.gaussian(photo / 255, 0.3 + 0.015 * i, truncate=7, channel_axis=-1)
        for i in range(31)
    ]
    ours = perturb(photo, "gaussian_blur")
    assert_nearly_equal(ours, np.uint8(np.array(expected) + 1e-9), 0.99)


def test_the_direction_of_motion_blur_turns_by_half_a_circle(photo):
    frames = perturb(photo, "motion_blur")
    turned = perturb(photo[::-1, ::-1], "motion_blur")
    assert_nearly_equal(frames[0], turned[20][::-1, ::-1])  # -180 and 0 degrees.
    steps = np.exp(-0.5 * (np.arange(13) / 1.8) ** 2)
    padded = np.pad(photo.astype(float), ((0, 0), (0, 12), (0, 0)), "edge")
    parts = [w * padded[:, k : k + photo.shape[1]] for k, w in enumerate(steps)]
    expected = np.sum(parts, axis=0) / steps.sum()
    assert_nearly_equal(frames[20], np.uint8(expected + 1e-3), 0.98)
    down = common.motion(photo, 6, 1.8, -90)
    np.testing.assert_array_equal(frames[10], common.to_bytes(down))


def test_snow_is_laid_over_a_whitened_image():
    image = np.random.default_rng(1).integers(0, 200, (32, 32, 3), np.uint8)
    frames = perturb(image, "snow").astype(float)
    x = image / 255
    gray = x @ [0.299, 0.587, 0.114]
    white = 0.85 * x + 0.15 * np.maximum(x, gray[..., None] * 1.5 + 0.5)
    flakes = frames - 255 * white
    assert flakes.min() > -1.01
    # Turning the image by 180 degrees leaves the snow layer, but where it is white.
    unclipped = (frames < 255) & (frames[:, ::-1, ::-1] < 255)
    asymmetry = np.abs(flakes - flakes[:, ::-1, ::-1])[unclipped]
    assert asymmetry.max() <= 1.01
    # A flake has the same brightness in all channels.
    bright = frames.max(-1) < 255
    assert np.ptp(flakes, axis=-1)[bright].max() <= 1.01
    assert flakes.max() > 50


def test_flakes_are_as_many_as_published(monkeypatch):
    """Normals of mean 0.05 and deviation 0.3, enlarged twice, that exceed a half."""
    layers = []

    def motion(image, *_):
        layers.append(image)
        return image.astype(np.float32)

    monkeypatch.setattr(sequences, "motion", motion)
    black = np.zeros((32, 32, 1), np.uint8)
    for index in range(40):
        perturb(black, "snow", index=index)
    ours = np.array(layers)[::31]
    rng = np.random.default_rng(0)
    theirs = []
    for _ in range(40):
        middle = rng.normal(0.05, 0.3, (32, 32))[8:24, 8:24]
        flakes = ndimage.zoom(middle, 2, order=1)
        flakes[flakes < 0.5] = 0
        theirs.append(np.clip(flakes, 0, 1) * 255)
    shares = [(np.array(x) > 0).mean((1, 2)) for x in (ours[..., 0], theirs)]
    error = np.hypot(*(share.std() / np.sqrt(40) for share in shares))
    assert abs(shares[0].mean() - shares[1].mean()) < 6 * error
    assert ours[ours > 0].min() >= 127


def test_water_brightens_the_image_and_runs_down():
    image = np.full((32, 32, 3), 60, np.uint8)
    heights, strongest = [], []
    for index in range(60):
        frames = perturb(image, "spatter", index=index).astype(float) - 60
        assert frames.min() >= 0
        if frames[0].any() and frames[6].any():
            rows = [
                np.average(np.arange(32), weights=f.sum((1, 2))) for f in frames[:7]
            ]
            heights.append(rows[6] - rows[0])
            strongest.append(frames[0].reshape(-1, 3).max(0))
    # Each step moves four fifths of the water by one row.
    assert len(heights) > 20
    assert 2 < np.median(heights) < 6
    # The strongest drop has six tenths of the color of water.
    np.testing.assert_allclose(strongest, [[105, 142, 142]] * len(heights), atol=1)


def test_an_image_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        perturb(np.zeros((28, 28, 1)), "rotate")
