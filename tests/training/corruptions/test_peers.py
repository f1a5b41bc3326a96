"""The corruptions against the published programs, where those are installed.

    python -m venv peers
    peers/bin/pip install pytest numpy scipy scikit-image pillow \
        opencv-python-headless "setuptools<81"
    peers/bin/pip install --no-deps imagecorruptions corrupt-tta
    peers/bin/python -m pytest -m slow tests/training/corruptions/test_peers.py

`tensorflow_datasets` is compared in the environment of the product itself; its snow
needs ImageMagick 6, and its frost the photographs of imagecorruptions.
"""

import subprocess
import sys
import types

import cv2
import numpy as np
import pytest
from scipy import ndimage

from tests.helpers.moments import features
from tests.helpers.published import imagemagick
from training.corruptions import (
    CORRUPTIONS,
    DETERMINISTIC,
    common,
    corrupt,
    frost,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DRAWS = 40
SEVERITIES = [1, 3, 5]


def photo(side):
    image = pytest.importorskip("skimage.data").astronaut()
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def imagecorruptions():
    """The package, with the names that newer libraries have dropped."""
    filters = pytest.importorskip("skimage.filters")
    old = types.SimpleNamespace(map_coordinates=ndimage.map_coordinates)
    sys.modules.setdefault("scipy.ndimage.interpolation", old)
    package = pytest.importorskip("imagecorruptions")
    np.float_ = np.float64

    def gaussian(image, sigma, multichannel=False, **options):
        axis = -1 if multichannel else None
        return filters.gaussian(image, sigma, channel_axis=axis, **options)

    package.corruptions.gaussian = gaussian
    return lambda image, name, severity: package.corrupt(image, severity, name)


@pytest.fixture(scope="module")
def corrupt_tta():
    package = pytest.importorskip("corrupt_tta")
    return lambda image, name, severity: np.uint8(
        package.corrupt(image, severity, name)
    )


@pytest.fixture(scope="module")
def tfds():
    """The functions of tensorflow_datasets, which round, made to truncate."""
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.image_classification import corruptions

    corruptions.around_and_astype = lambda x: np.asarray(x).astype(np.uint8)
    corruptions._imagemagick_bin = lambda: (
        imagemagick() or pytest.skip("ImageMagick is not installed.")
    )
    if folder := frost._folder():
        corruptions.FROST_FILENAMES[:] = [str(folder / name) for name in frost._FILES]
    scipy = corruptions.tfds.core.lazy_imports.scipy
    scipy.ndimage.interpolation = ndimage
    names = {"elastic_transform": "elastic"}

    def run(image, name, severity):
        function = getattr(corruptions, name, None)
        return (function or getattr(corruptions, names[name]))(image, severity)

    return run


# The share of bytes that may differ by one, 0.0008 if none is given. Where the exact
# value is a whole number, float64 truncates it or the number below: means of 29 pixels
# (the first disk), doubled distances (the third saturation).
EXACT = dict.fromkeys(["contrast", "jpeg_compression", "pixelate"], 0)
SHARES = {
    "brightness": 0.005,
    "saturate": 0.02,
    ("saturate", 3): 0.12,
    ("defocus_blur", 1): 0.04,
} | EXACT
# corrupt-tta computes colors in float32.
FLOAT32 = {"brightness": 0.04, "saturate": 0.04, ("saturate", 3): 0.17}


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", sorted(DETERMINISTIC))
@pytest.mark.parametrize("peer", ["imagecorruptions", "corrupt_tta", "tfds"])
def test_pixels_are_those_of(peer, name, severity, request):
    if peer == "tfds" and name == "pixelate":
        pytest.skip("It enlarges by bicubic interpolation.")
    image = photo(224)
    expected = request.getfixturevalue(peer)(image, name, severity)
    difference = np.abs(corrupt(image, name, severity).astype(int) - expected)
    assert difference.max() <= 1
    shares = SHARES | FLOAT32 if peer == "corrupt_tta" else SHARES
    most = shares.get((name, severity), shares.get(name, 0.0008))
    assert (difference > 0).mean() <= most


# Random ones that mean the same as ours; docs/corruptions.md explains the others.
SAME = {
    "imagecorruptions": {
        "gaussian_noise": 96,
        "shot_noise": 96,
        "impulse_noise": 96,
        "speckle_noise": 96,
        "glass_blur": 96,
        "motion_blur": 96,
        "fog": 96,
        "spatter": 96,
        "snow": 96,
        "frost": 96,
    },
    "corrupt_tta": {
        "gaussian_noise": 96,
        "shot_noise": 96,
        "impulse_noise": 96,
        "speckle_noise": 96,
    },
    "tfds": {
        "gaussian_noise": 96,
        "shot_noise": 96,
        "impulse_noise": 96,
        "speckle_noise": 96,
        "glass_blur": 96,
        "spatter": 96,
        "elastic_transform": 224,
        "snow": 224,
        "frost": 224,
    },
}
# imagecorruptions rounds the flakes, which the published program truncates, and
# enlarges every texture by a tenth, with cubic interpolation.
SLACK = {("imagecorruptions", "snow"): 1.5, ("imagecorruptions", "frost"): 1.0}


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    "peer, name", [(peer, name) for peer, names in SAME.items() for name in names]
)
def test_moments_are_those_of(peer, name, severity, request):
    run = request.getfixturevalue(peer)
    if name == "frost" and not frost._folder():
        pytest.skip("The photographs are not installed.")
    side = SAME[peer][name]
    image, draws = photo(side), DRAWS if side == 96 else DRAWS // 2
    np.random.seed(0)  # noqa: NPY002
    theirs = [features(image, run(image, name, severity)) for _ in range(draws)]
    ours = [
        features(image, corrupt(image, name, severity, 0, i)) for i in range(4 * draws)
    ]
    error = np.hypot(
        np.std(theirs, axis=0) / np.sqrt(draws),
        np.std(ours, axis=0) / np.sqrt(4 * draws),
    )
    means = np.mean(theirs, axis=0), np.mean(ours, axis=0)
    slack = SLACK.get((peer, name), 0) * np.maximum(1, 2 * np.sqrt(np.abs(means[0])))
    excess = (np.abs(means[0] - means[1]) - slack) / (error + 1e-3)
    assert excess.max() < 6, np.stack([*means, error, excess], axis=1).round(3)


@pytest.mark.parametrize("angle", [-40.0, 0.0, 17.0, -100.0])
def test_motion_at_an_angle_is_that_of_imagecorruptions(angle, imagecorruptions):
    package = sys.modules["imagecorruptions.corruptions"]
    image = photo(96)
    expected = package._motion_blur(image, 15, 8, angle)
    np.testing.assert_allclose(common.motion(image, 15, 8, angle), expected, atol=1e-3)


def test_every_corruption_is_compared():
    random = set(CORRUPTIONS) - DETERMINISTIC
    assert random == set().union(*SAME.values())


@pytest.mark.parametrize("angle", [-44.3, 0.0, 30.0, -91.7, -134.0])
@pytest.mark.parametrize(
    "side, radius, sigma", [(28, 14, 12), (32, 6, 1), (224, 20, 15)]
)
def test_motion_is_that_of_imagemagick(side, radius, sigma, angle, tmp_path):
    if not imagemagick():
        pytest.skip("ImageMagick is not installed.")
    image = photo(side)
    source, target = str(tmp_path / "source.png"), str(tmp_path / "target.png")
    cv2.imwrite(source, image)
    settings = f"{radius}x{sigma}+{angle}"
    command = [imagemagick(), source, "-motion-blur", settings, target]
    subprocess.run(command, check=True)
    actual = common.to_bytes(common.motion(image, radius, sigma, angle))
    difference = np.abs(actual.astype(int) - cv2.imread(target))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005
