"""The corruptions by name."""

import inspect
import numbers

from training.corruptions import blur, digital, noise, weather
from training.corruptions.frost import frost

SEVERITIES = (1, 2, 3, 4, 5)


def check(name: str, severity: int) -> None:
    """Raises a ValueError for an unknown corruption or severity."""
    if name not in tuple(CORRUPTIONS):
        from zoo import spelling  # The processes that corrupt do without Keras.

        raise ValueError(
            f"Unknown corruption.{spelling.hint(str(name), CORRUPTIONS)} Known: "
            f"{', '.join(CORRUPTIONS)}. Received: name={name}"
        )
    is_integer = isinstance(severity, numbers.Integral)
    if not is_integer or isinstance(severity, bool) or severity not in SEVERITIES:
        raise ValueError(
            "`severity` must be an integer from 1 to 5. "
            f"Received: severity={severity!r}"
        )


_BENCHMARK = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}
_VALIDATION = {
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
# In the published order: the 15 of the benchmark, and 4 to validate on.
CORRUPTIONS = _BENCHMARK | _VALIDATION
BENCHMARK = tuple(_BENCHMARK)
# Those that draw no random numbers, and take None for them.
DETERMINISTIC = {
    name
    for name, corruption in CORRUPTIONS.items()
    if inspect.signature(corruption).parameters["rng"].default is None
}
# Those that move pixels, and their labels with them.
MOVES = {"elastic_transform"}
# Those that treat every pixel alone.
POINTWISE = {"brightness", "saturate"}

# What the source of published images says if the clean ones have another order.
OTHER_ORDER = "in another order than the clean images"
