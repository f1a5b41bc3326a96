"""The most confident mistakes, as pictures."""

import base64
import dataclasses
import io
from collections.abc import Iterable

import numpy as np

from training.data import fingerprint
from training.evaluation import class_names
from training.metrics.inputs import chunks
from training.report.confidence import Stored

# Pictures with a longer side than this are made smaller, and JPEG beyond icons.
_LARGEST, _ICON = 160, 64


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A picture, what the model took it for, how sure it was, and what it is."""

    uri: str
    predicted: str
    confidence: float
    truth: str
    index: int


def most_confident(
    stored: Stored, base: str, images=None, count: int = 12
) -> dict[str, list[Mistake]]:
    """Returns the most confident mistakes of each model on a data set.

    Args:
        stored: The predictions.
        base: Name of the data set.
        images: Data sets among which this one is looked for; see `page.html`.
        count: For each model.

    Returns:
        The mistakes by the name of the model, the most confident one first. Nothing
        where the images are not to be had, or not those of the predictions.
    """
    found, shown = {}, Shown(stored, base, images)
    for model, label in stored.results.labels().items():
        pair, data = stored.get(model, base), shown.of(model)
        if data is None:
            continue
        wrong = _rank(*pair, count)
        if wrong:
            found[label] = [
                Mistake(
                    _picture(np.asarray(data.images[index])),
                    str(data.classes[predicted]),
                    confidence,
                    str(data.classes[int(data.labels[index])]),
                    index,
                )
                for confidence, predicted, index in wrong
            ]
    return found


class Shown:
    """The images of a data set that models have predicted, loaded once.

    Args:
        stored: The predictions.
        base: Name of the data set.
        images: Data sets among which this one is looked for; see `page.html`.
    """

    def __init__(self, stored: Stored, base: str, images=None):
        self._stored, self._base, self._images = stored, base, images
        self._loaded = None

    def of(self, model: str):
        """Returns the images of a model's predictions; None if they are not here."""
        pair = self._stored.get(model, self._base)
        if pair is None:
            return None
        self._loaded = self._loaded or _images(self._base, self._images)
        meta = self._stored.meta(model, self._base)
        data = self._loaded and _as_predicted(self._loaded, meta)
        if data is None or not np.array_equal(data.labels, pair[1]):
            return None
        return data


def _rank(probs, labels, count):
    """Returns confidence, predicted label and index of the most confident mistakes."""
    best, start = [], 0
    for part, truth in chunks(probs, labels):
        predicted = part.argmax(axis=1)
        for index in np.flatnonzero(predicted != truth):
            found = float(part[index].max()), int(predicted[index]), start + int(index)
            best.append(found)
        best = sorted(best, key=lambda m: (-m[0], m[2]))[:count]
        start += len(part)
    return best


def _images(name, images):
    from training import data

    if images is not None:
        several = isinstance(images, Iterable) and not hasattr(images, "labels")
        return next(
            (d for d in (images if several else [images]) if d.name == name), None
        )
    try:
        return data.load(name, "test")
    except (ImportError, OSError, ValueError):
        return None


def _as_predicted(data, meta):
    """Returns the images of predictions with their labels, or None if it has others."""
    try:
        data = data.take(meta["count"] // data.frames)
        found = class_names.relabeled(data, meta.get("classes", ()), "the model")
    except ValueError:
        return None
    known = meta.get("data") or ""
    return found if fingerprint.of_named(data).startswith(known) else None


def _picture(pixels):
    from PIL import Image

    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype("uint8")
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    kind = "png" if max(image.size) <= _ICON else "jpeg"
    image.thumbnail((_LARGEST, _LARGEST))
    target = io.BytesIO()
    image.save(target, kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(target.getvalue()).decode()}"
