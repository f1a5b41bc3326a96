"""What is drawn of a frame: the frame, its prediction, and how uncertain that is."""

import collections

import numpy as np

from training.metrics.definitions import entropies
from training.report.maps import colors

_HEIGHT = 180  # Of a panel at least, so that words can be read.
_LINE = 18  # Height of a line of words.
_SHOWN = 5  # Classes in the bars.
_CURVE = 150  # Frames in the curve.
_GROUND, _INK, _BAR, _LINE_COLOR = (255,) * 3, (30,) * 3, (76, 114, 176), (196, 78, 82)


class Pictures:
    """Draws frames beside what is predicted, in panels of one size.

    Args:
        classes: Names of the classes.
    """

    def __init__(self, classes: tuple[str, ...]):
        self.classes, self._table = classes, colors(len(classes))
        self._past = collections.deque(maxlen=_CURVE)

    def __call__(self, pixels: np.ndarray, probs: np.ndarray) -> np.ndarray:
        """Returns the picture of the next frame.

        Args:
            pixels: uint8 array of shape `(height, width, 3)`.
            probs: Array of shape `(num_classes,)`, or `(rows, columns, num_classes)`.

        Returns:
            uint8 array of shape `(height, width, 3)` with even sides.
        """
        from PIL import Image

        entropy = entropies(np, probs)
        self._past.append(float(np.mean(entropy)))
        times = -(-_HEIGHT // pixels.shape[0])
        height, width = times * pixels.shape[0], times * pixels.shape[1]
        frame = Image.fromarray(pixels).resize((width, height), Image.NEAREST)
        prediction, uncertainty = PANELS[probs.ndim](self, probs, entropy)
        panels = [frame, *(panel(width, height) for panel in (prediction, uncertainty))]
        whole = Image.new("RGB", (3 * width, height + _LINE), _GROUND)
        for number, panel in enumerate(panels):
            whole.paste(panel, (number * width, 0))
        self._caption(whole, probs, height)
        picture = np.asarray(whole)
        # Codecs take even sides.
        odd = [(0, side % 2) for side in picture.shape[:2]]
        return np.pad(picture, [*odd, (0, 0)], mode="edge")

    def _caption(self, whole, probs, top):
        """Writes the entropy, and the names of what is predicted, in their colors."""
        from PIL import ImageDraw

        draw, left, words = ImageDraw.Draw(whole), 4, f"entropy {self._past[-1]:.3f}"
        draw.text((left, top + 3), words, _INK)
        votes = np.bincount(np.argmax(probs, axis=-1).ravel())
        for index in np.argsort(-votes, kind="stable")[: np.count_nonzero(votes)]:
            left += int(draw.textlength(words)) + 24
            words, color = self.classes[index], tuple(map(int, self._table[index]))
            draw.rectangle((left - 11, top + 5, left - 3, top + 13), color)
            draw.text((left, top + 3), words, _INK)

    def of_classes(self, probs, entropy):
        """Returns the panels of a prediction of the image: bars, and a curve."""
        return (
            lambda width, height: self._bars(probs, width, height),
            self._curve,
        )

    def of_pixels(self, probs, entropy):
        """Returns the panels of predictions of pixels: colors, and a gray map."""
        masks = self._table[np.argmax(probs, axis=-1)]
        limit = np.log(probs.shape[-1])
        gray = np.rint(255 * np.clip(entropy / limit, 0, 1)).astype("uint8")
        return _enlarged(masks), _enlarged(np.repeat(gray[..., None], 3, axis=-1))

    def _bars(self, probs, width, height):
        from PIL import Image, ImageDraw

        panel = Image.new("RGB", (width, height), _GROUND)
        draw = ImageDraw.Draw(panel)
        for row, index in enumerate(np.argsort(-probs, kind="stable")[:_SHOWN]):
            top = 6 + row * 2 * _LINE
            draw.text((6, top), f"{self.classes[index]} {probs[index]:.1%}", _INK)
            right = 6 + round(float(probs[index]) * (width - 12))
            draw.rectangle((6, top + 14, right, top + 2 * _LINE - 6), _BAR)
        return panel

    def _curve(self, width, height):
        from PIL import Image, ImageDraw

        panel = Image.new("RGB", (width, height), _GROUND)
        draw = ImageDraw.Draw(panel)
        limit = np.log(len(self.classes))
        draw.text((6, 4), f"entropy, 0 to {limit:.2f} nats", _INK)
        across = np.arange(len(self._past)) * (width - 1) / (_CURVE - 1)
        down = (1 - np.array(self._past) / limit) * (height - _LINE - 8) + _LINE
        points = [(float(x), float(y)) for x, y in zip(across, down, strict=True)]
        draw.line(points if len(points) > 1 else points * 2, _LINE_COLOR, 2)
        return panel


# By the axes of the probabilities: of an image, or of its pixels.
PANELS = {1: Pictures.of_classes, 3: Pictures.of_pixels}


def _enlarged(pixels):
    from PIL import Image

    image = Image.fromarray(pixels)
    return lambda width, height: image.resize((width, height), Image.NEAREST)


def summary(probs: np.ndarray, classes: tuple[str, ...]) -> dict:
    """Returns what a row says of a prediction.

    Args:
        probs: Array of shape `(num_classes,)`, or `(rows, columns, num_classes)`.
        classes: Names of the classes.

    Returns:
        The `prediction`, the class that is the most probable, or is so for the most
        pixels; and means over these: the `confidence`, the largest probability, and the
        `entropy`, in nats.
    """
    votes = np.bincount(np.argmax(probs, axis=-1).ravel(), minlength=len(classes))
    return {
        "prediction": classes[int(np.argmax(votes))],
        "confidence": round(float(np.mean(np.max(probs, axis=-1))), 6),
        "entropy": round(float(np.mean(entropies(np, probs))), 6),
    }
