"""Examples with a number to predict: rows of features or images, and targets."""

import dataclasses

import numpy as np

from training.data.identities import of_pixels
from training.data.image_data import ImageData
from zoo import arrays

_SHARE = 10  # One in so many rows is for testing.


@dataclasses.dataclass(frozen=True)
class NumberData(ImageData):
    """Examples with a number to predict.

    What is called images and labels in `ImageData` are inputs and targets here.

    Attributes:
        images: Array of shape `(examples, features)`, or uint8 images, as `ImageData`
            has them.
        labels: Array of targets, of shape `(examples,)`; float64 inside.
        classes: Empty.
        columns: Names of the features, if they are known.
    """

    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    task = "regression"
    label_type = "float32"

    def __post_init__(self):
        what = f"of data set '{self.name}'"
        if self.classes:
            raise ValueError(
                f"Data set '{self.name}' has numbers to predict and no classes. "
                f"Received: classes={self.classes}"
            )
        if np.ndim(self.images) == 2 and isinstance(self.images, np.ndarray):
            features = arrays.check_features(self.images, f"features {what}")
            features = np.ascontiguousarray(features, "float32")
            object.__setattr__(self, "images", features)
        elif len(self.images.shape) != 2:
            arrays.check_images(self.images, f"images {what}")
        targets = arrays.check_targets(self.labels, f"targets {what}")
        object.__setattr__(self, "labels", targets.astype("float64"))
        if len(self.images) != len(self.labels) or not len(self.labels):
            raise ValueError(
                f"Data set '{self.name}' needs as many targets as examples and at "
                f"least one. Received: {len(self.images)} examples, {len(self.labels)} "
                "targets"
            )

    @property
    def input_type(self) -> str:
        """The type of the inputs."""
        return "float32" if len(self.images.shape) == 2 else "uint8"

    @property
    def strata(self) -> np.ndarray:
        return np.zeros(len(self), "int32")

    @property
    def model_settings(self) -> dict[str, object]:
        """What a model for them is built with: the moments of the targets."""
        deviation = float(self.labels.std())
        return {"target": (float(self.labels.mean()), deviation or 1.0)}

    def measure_normalization(self, limit: int = 10_000):
        if self.input_type == "uint8":
            return super().measure_normalization(limit)
        features = self.images.astype("float64")
        variance = features.var(axis=0)
        # A feature that is the same throughout becomes zero.
        variance = np.where(variance > 0, variance, 1.0)
        return tuple(features.mean(axis=0).tolist()), tuple(variance.tolist())

    def check_trained(self, test: ImageData):
        if test.input_shape != self.input_shape:
            raise ValueError(
                f"Training and test set of '{self.name}' must have the same features. "
                f"Received: {self.input_shape} and {test.input_shape}"
            )

    def describe(self) -> str:
        shape = " x ".join(map(str, self.input_shape))
        kind = "features" if self.input_type == "float32" else "pixels"
        return (
            f"{self.name}: {len(self):,} examples of {shape} {kind}, targets "
            f"{self.labels.mean():.4g} \u00b1 {self.labels.std():.4g}"
            + (f" ({self.source})" if self.source else "")
        )


def split(data: NumberData, wanted: str) -> NumberData:
    """Returns the rows of a table for training, for testing or all of them.

    One in ten rows is for testing: those with the smallest hashes of their features, so
    that it is the same ones in any order, and equal rows are on one side.

    Args:
        data: All rows.
        wanted: `"train"`, `"test"` or `"all"`.

    Raises:
        ValueError: If there are no rows for testing.
    """
    if wanted == "all":
        return data
    count = len(data) // _SHARE
    numbers = of_pixels(data.images)
    bound = np.sort(numbers)[max(count - 1, 0)]
    chosen = numbers <= bound
    if not count or chosen.all():
        raise ValueError(
            f"Of the rows of '{data.name}' one in {_SHARE} is for testing, so there "
            f"must be {_SHARE} different ones. Received: {len(data)} rows"
        )
    index = np.flatnonzero(chosen == (wanted == "test"))
    images, labels = data.images[index], data.labels[index]
    return dataclasses.replace(data, images=images, labels=labels)
