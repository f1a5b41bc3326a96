"""Checks of arrays of images, of numbers and of labels, the same at every door."""

import numpy as np

_LOOKED_AT = 1000  # Images whose values an error tells.
# In place of the class of a pixel that nobody has labeled, and that counts nowhere.
UNLABELED = -1


def check_images(images, name: str = "images"):
    """Checks that an array holds pixels as bytes.

    Args:
        images: Array of shape `(images, height, width, channels)`, or an object with
            that `shape` that gives such arrays when it is sliced. What has no `dtype`
            is looked at where it is read.
        name: What an error calls it.

    Raises:
        ValueError: If the shape or the type is another.
    """
    shape = tuple(getattr(images, "shape", np.shape(images)))
    if len(shape) != 4:
        raise ValueError(
            f"`{name}` must have the shape (images, height, width, channels). "
            f"Received: shape={shape}"
        )
    dtype = getattr(images, "dtype", None)
    if dtype is not None and dtype != np.uint8:
        raise ValueError(
            f"`{name}` must be pixels in [0, 255] of type uint8; multiply those in "
            f"[0, 1] by 255 and round them. Received: dtype={dtype}{_range(images)}"
        )


def check_pixels(pixels: np.ndarray, name: str = "images") -> np.ndarray:
    """Checks that numbers of any type are pixels from 0 to 255, and returns them.

    Raises:
        ValueError: If they are not, or seem to be in `[0, 1]`: if none is larger than
            1 and some are fractions.
    """
    kind = pixels.dtype.kind if pixels.dtype.name != "bfloat16" else "f"
    if pixels.dtype == np.uint8 or not pixels.size:
        return pixels
    if kind not in "uif":
        raise ValueError(
            f"`{name}` must be numbers in [0, 255]. Received: dtype={pixels.dtype}"
        )
    low, high = float(np.min(pixels)), float(np.max(pixels))
    if not (low >= 0 and high <= 255):  # NaN is not.
        raise ValueError(
            f"`{name}` must be pixels in [0, 255]; models normalize them. Received: "
            f"values from {low:.4g} to {high:.4g}"
        )
    if high <= 1 and kind == "f" and np.any((pixels > 0) & (pixels < 1)):
        raise ValueError(
            f"`{name}` must be pixels in [0, 255], and seem to be in [0, 1]; multiply "
            f"them by 255. Received: values from {low:.4g} to {high:.4g}"
        )
    return pixels


def check_features(features, name: str = "features") -> np.ndarray:
    """Checks that an array holds rows of finite numbers.

    Args:
        features: Array of shape `(examples, features)`.
        name: What an error calls it.

    Returns:
        The array.

    Raises:
        ValueError: If the shape or the type is another, or one is NaN or infinite; it
            says which.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(
            f"`{name}` must have the shape (examples, features), with one feature at "
            f"least. Received: shape={features.shape}"
        )
    _check_finite(features, name)
    return features


def check_targets(targets, name: str = "targets") -> np.ndarray:
    """Checks that an array holds a finite number for each example.

    Args:
        targets: Array of shape `(examples,)`.
        name: What an error calls it.

    Returns:
        The array.

    Raises:
        ValueError: If the shape or the type is another, or one is NaN or infinite; it
            says how many, and which is the first.
    """
    targets = np.asarray(targets)
    if targets.ndim != 1:
        raise ValueError(
            f"`{name}` must have the shape (examples,), one number for each; of "
            f"several targets, train a model each. Received: shape={targets.shape}"
        )
    _check_finite(targets, name)
    return targets


def _check_finite(values, name):
    if values.dtype.kind not in "uif" and values.dtype.name != "bfloat16":
        raise ValueError(
            f"`{name}` must be real numbers. Received: dtype={values.dtype}"
        )
    are_finite = np.isfinite(values.astype("float32"))
    rows = are_finite.all(axis=tuple(range(1, values.ndim)))
    if not rows.all():
        first = int(np.argmin(rows))
        raise ValueError(
            f"`{name}` must be finite; leave out what is missing, or fill it in. "
            f"Received: NaN or infinity in {np.sum(~rows)} of {len(rows)} examples, "
            f"the first of them number {first}"
        )


def check_inputs(inputs) -> np.ndarray:
    """Checks what goes into models: pixels or rows of numbers, and returns it.

    Args:
        inputs: Array of shape `(examples, height, width, channels)` or `(examples,
            features)`.

    Raises:
        ValueError: As `check_pixels` and `check_features`.
    """
    inputs = np.asarray(inputs)
    return _OF_RANK.get(inputs.ndim, check_pixels)(inputs)


_OF_RANK = {2: check_features, 4: check_pixels}


def check_labels(labels, num_classes: int, name: str = "labels") -> np.ndarray:
    """Checks that an array holds the numbers of classes.

    Args:
        labels: Integer array of shape `(examples,)`, or `(examples, height, width)`
            with one for each pixel, which is `UNLABELED` where there is none.
        num_classes: The number of classes.
        name: What an error calls it.

    Returns:
        The labels as an array.

    Raises:
        ValueError: If a shape or type differs, or a label is not one of a class.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 3):
        raise ValueError(
            f"`{name}` must have the shape (examples,), or (examples, height, width) "
            f"with one for each pixel. Received: shape={labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`{name}` must be integers, the numbers of classes from 0 on. "
            f"Received: dtype={labels.dtype}"
        )
    lowest = UNLABELED if labels.ndim == 3 else 0
    if labels.size and (labels.min() < lowest or labels.max() >= num_classes):
        unless = f", or {UNLABELED} for a pixel without a label" if lowest else ""
        raise ValueError(
            f"`{name}` must be in [0, {num_classes}), the numbers of classes{unless}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return labels


def renumbered(labels, places) -> np.ndarray:
    """Returns labels by other numbers of the same classes.

    Args:
        labels: Integer array of any shape.
        places: The new number of each class.

    Returns:
        int32 array of that shape; what is not labeled stays so.

    Example:

    >>> renumbered([[0, 1], [-1, 0]], [5, 3]).tolist()
    [[5, 3], [-1, 5]]
    """
    # The last entry is that of -1.
    return np.array([*places, UNLABELED], "int32")[np.asarray(labels)]


def _range(images):
    if not len(images) or np.asarray(images[:1]).dtype.kind not in "uifb":
        return ""
    part = np.asarray(images[:_LOOKED_AT])
    return f", values from {part.min():.4g} to {part.max():.4g}"
