"""How unlike the features of an image are to those of the training images."""

from collections.abc import Sequence

import keras
from keras import ops

import layers
from layers.compilation import Compiled
from zoo.posterior.base import (
    as_array,
    at_least_one,
    check_images,
    check_keys,
    check_scale,
)
from zoo.posterior.feature_scores import FEATURE_SCORES, Statistics
from zoo.posterior.last_layer import LastLayerPosterior, fingerprint
from zoo.posterior.maps import by_row
from zoo.posterior.monte_carlo import MonteCarlo


@keras.saving.register_keras_serializable(package="zoo")
class Density(LastLayerPosterior):
    """The predictions of a network, and scores of its features for detection.

    The samples are the one of the network, whose entropy is the aleatoric uncertainty.
    The epistemic one is how unlikely the features before the last layer are among those
    of the training images: `scored` gives scores by name, in the same pass, and the
    higher one is, the more out-of-distribution is the image. See
    `zoo.posterior.feature_scores` for their formulas.

    Of a network with logits for each pixel, each pixel has features, scores and a place
    among those of the training, of which the ones without a label count nowhere.

    `adapt` takes the images that the network was trained on, without augmentation, once
    and a few at a time. The network must not draw; its batch normalization uses the
    moving statistics.

    Args:
        model: From images to logits, with a `keras.layers.Dense` at its end.
        scores: Names of scores: `"density"`, minus the log density of one Gaussian for
            each class; `"mahalanobis"`, the squared distance to the nearest class, of
            one covariance; `"relative_mahalanobis"`, that less the one to all images;
            `"nearest_neighbors"`, the distance to the training images themselves, or to
            pixels, where it takes minutes for each large image. The first one ranks
            predictions. By default all of them, of pixels all but the last.
        seed: Of nothing, as no sample is drawn.

    Raises:
        ValueError: If the model draws, does not end with such a layer, a score is not
            known, or takes too much memory.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`, or `(1, batch, height, width,
    num_classes)`; the scores have that of one class of one sample.

    Example:

    >>> import numpy as np
    >>> import zoo
    >>> posterior = Density(zoo.build("resnet20", (32, 32, 3), num_classes=2))
    >>> images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3))
    >>> posterior.adapt(images, labels=np.arange(40) % 2)
    >>> logits, scores = posterior.scored(images[:3])
    >>> tuple(logits.shape), tuple(scores["density"].shape)
    ((1, 3, 2), (3,))

    Reference:
        [Deep Deterministic Uncertainty](https://arxiv.org/abs/2102.11582) (Mukhoti et
        al., 2021); of pixels, [Deep Deterministic Uncertainty for Semantic
        Segmentation](https://arxiv.org/abs/2111.00079) (Mukhoti et al., 2021).
    """

    learns = "the features of its classes"
    repeats_itself = True

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        scores: Sequence[str] | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(model, seed, **kwargs)
        if scores is None:
            names = FEATURE_SCORES.items()
            scores = [k for k, kind in names if kind.of_pixels or not self.map_shape]
        self.score_names = _check_names(scores)
        self.ranks_by = self.score_names[0]
        self.num_samples = 1
        self.form = " ".join(self.score_names)
        sizes = self.last.head.kernel.shape
        self._scores = {name: FEATURE_SCORES[name](*sizes) for name in self.score_names}
        shapes = {}
        for score in self._scores.values():
            shapes.update(score.shapes)
        self.learn(shapes)
        self._predict = Compiled(self._scored, self, pure=not self.last.unknown)

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 1, **settings):
        if len(models) != 1:
            return super().from_models(models)  # An error.
        return cls(models[0], **settings)

    def settings(self):
        return {"scores": list(self.score_names)}

    def sample(self, images, key, offset):
        return self.first_scored(images, key, offset, 1)[0]

    def logits(self, images):
        return ops.cast(self.model(images, training=False), "float32")

    def scored(self, images, seed=None, offset=0):
        self.check_adapted()
        images = as_array(images)
        check_images(images, self.image_shape)
        check_scale(images, self)
        check_keys(seed, offset)
        return self.first_scored(images, 0, 0, 1)

    def first_scored(self, images, key, offset, num_samples):
        rows = at_least_one(images)
        logits, found = self._predict((rows,), ())
        scores = {name: found[name] for name in self.score_names}  # JAX sorts them.
        if rows is not images:
            count = ops.shape(images)[0]
            logits = logits[:count]
            scores = {name: score[:count] for name, score in scores.items()}
        return logits[None], scores

    def learned(self, dataset, labels, batch_size, seed, validation):
        scores = self._scores.values()
        found = Statistics(
            *self.last.head.kernel.shape,
            by_class=any(score.by_class for score in scores),
            num_stored=max(score.num_stored for score in scores),
            seed=seed,
        )
        for features, of_images in self.inputs(dataset, labels, batch_size):
            found.add(features.astype("float64"), of_images)
        self.check_counts(found.counts, max(score.num_needed for score in scores))
        values = {"fingerprint": fingerprint(self.model)}
        for score in scores:
            values.update(score.solve(found))
        return {name: values[name] for name in self.adapted_weights}

    def _scored(self, images):
        features = self.last.features(images)
        logits = ops.cast(self.last.head(features), "float32")
        features, values = ops.cast(features, "float32"), self.values()

        def scores(rows, first):
            found = self._scores.items()
            return {name: score.score(rows, values) for name, score in found}

        return logits, by_row(scores, features, self.map_shape)


def _check_names(scores) -> tuple[str, ...]:
    if isinstance(scores, str) or not scores:
        raise ValueError(
            "`scores` must be one or more names, of "
            f"{', '.join(FEATURE_SCORES)}. Received: scores={scores!r}"
        )
    for name in scores:
        layers.checks.check_choice(name, "scores", FEATURE_SCORES)
    return tuple(dict.fromkeys(scores))
