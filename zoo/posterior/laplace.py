"""Laplace's approximation: a Gaussian around the trained weights of the last layer."""

import math
import zlib
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

import layers
from layers.compilation import Compiled
from zoo import outputs, predictive
from zoo.classifier import classes_of
from zoo.posterior import curvature, examples
from zoo.posterior.base import SPLITS, Posterior, at_least_one
from zoo.posterior.curvature import PRIOR_RANGE, STRUCTURES
from zoo.posterior.graph_split import LastLayer
from zoo.posterior.monte_carlo import MonteCarlo
from zoo.posterior.pixels import takes_bytes
from zoo.posterior.scaler import NoBestFitError

_PER_DECADE = 2  # Prior precisions that are tried first, by validation NLL.


@keras.saving.register_keras_serializable(package="zoo")
class Laplace(Posterior):
    """A Gaussian posterior of the weights of the last layer, from one trained network.

    Its mean are the weights, and its covariance is the inverse of `H + prior_precision`
    with the curvature `H` of the cross-entropy of the training images; see
    `zoo.posterior.curvature`. The logits of an image then have a Gaussian distribution
    with the logits `m` of the network as its mean and a covariance `C`, in closed form.
    The further an image is from those of the training, the larger `C`, and the less
    sure the prediction.

    `adapt` takes the images that the network was trained on, without augmentation. The
    network must not draw; its batch normalization uses the moving statistics.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        model: From images to logits, with a `keras.layers.Dense` at its end.
        structure: What is kept of `H`: `"kronecker"`, a Kronecker product; `"diagonal"`
            ; or `"full"`, for up to 8,192 weights.
        predictive: How logits are predicted. `"probit"` gives one sample, `m / sqrt(1 +
            pi / 8 diag(C))`. `"bridge"` gives one whose softmax is the mean of the
            Dirichlet distribution that is like the Gaussian one. `"monte_carlo"` gives
            `num_samples` draws.
        prior_precision: The inverse of the variance that each weight has before there
            are data. `"marginal_likelihood"` takes the one that makes the training
            labels the most probable; `"validation"` that of the best NLL on validation
            images, which `adapt` takes as `validation`; or give a number. The decay
            `d` of a training corresponds to `d` times the number of its images.
        num_samples: The number of draws.
        seed: Makes the calls without a seed reproducible.

    Raises:
        ValueError: If the model draws, does not end with such a layer, or a setting is
            not known.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`, or `(num_samples, batch, num_classes)`.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20", (32, 32, 3), num_classes=2)
    >>> posterior = Laplace(model, prior_precision=1.0)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3))
    >>> posterior.adapt(images, labels=np.array([0, 1, 0, 1]))
    >>> tuple(posterior(images).shape)
    (1, 4, 2)

    Reference:
        [Laplace Redux](https://arxiv.org/abs/2106.14806) (Daxberger et al., 2021);
        [Being Bayesian, Even Just a Bit](https://arxiv.org/abs/2002.10118) (Kristiadi
        et al., 2020), for the last layer and `"probit"`; [Fast Predictive Uncertainty
        for Classification with Bayesian Deep Networks](
        https://arxiv.org/abs/2003.01227) (Hobbhahn et al., 2022), for `"bridge"`.
    """

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        structure: str = "kronecker",
        predictive: str = "probit",
        prior_precision: float | str = "marginal_likelihood",
        num_samples: int = 10,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        model = model.model if isinstance(model, MonteCarlo) else model
        outputs.check_model(model)
        self.structure = layers.checks.check_choice(structure, "structure", STRUCTURES)
        self.predictive = layers.checks.check_choice(
            predictive, "predictive", PREDICTIVES
        )
        self.prior = _check_prior(prior_precision)
        self.num_draws = layers.checks.check_count(num_samples, "num_samples")
        self.num_samples = self.num_draws if self.draws else 1
        self.model = model
        self.num_classes = model.output_shape[-1]
        self.image_shape = tuple(model.input_shape[1:])
        self.takes_bytes = takes_bytes(model)
        self.form = f"{structure} {predictive}"
        self._last = LastLayer(model)
        _check(model, self._last)
        self.adapts_to = SPLITS if self.prior == "validation" else ("train",)
        shapes = self._curvature().shapes
        single = {"prior_precision": (), "log_likelihood": (), "fingerprint": (1,)}
        for name, shape in {**shapes, **single}.items():
            setattr(self, name, self._add(name, shape))
        self.adapted_weights = (*shapes, *single)
        self._predict = Compiled(self._samples, self, pure=not self._last.unknown)
        self._features = Compiled(self._features_of, self, not self._last.unknown)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return classes_of(self.model)

    @property
    def draws(self) -> bool:
        return self.predictive == "monte_carlo"

    @property
    def repeats_itself(self) -> bool:
        return not self.draws

    @property
    def unknown_layers(self) -> list[str]:
        return self._last.unknown

    def call(self, images, seed=None, offset=0):
        self._check_adapted()
        return super().call(images, seed, offset)

    def sample(self, images, key, offset):
        rows = at_least_one(images)
        samples = self._predict((rows, key, offset), ())
        return samples if rows is images else samples[:, : ops.shape(images)[0]]

    def logits(self, images):
        return self._samples(images, 0, 0)[0]

    def logit_variance(self, images) -> np.ndarray:
        """Returns the variance of each logit.

        Args:
            images: Array of shape `(examples, *image_shape)`.

        Returns:
            Array of shape `(examples, num_classes)`.
        """
        self._check_adapted()
        features = self._features((images,), ())
        found = self._curvature().variance(features, self.values())
        return ops.convert_to_numpy(found)

    def log_marginal_likelihood(self, prior_precision: float | None = None) -> float:
        """Returns how probable the training labels are, in nats; see `curvature`.

        Args:
            prior_precision: By default that of the posterior.
        """
        self._check_adapted()
        own = float(ops.convert_to_numpy(self.prior_precision))
        return curvature.log_evidence(
            float(ops.convert_to_numpy(self.log_likelihood)),
            ops.convert_to_numpy(self.curvature),
            own if prior_precision is None else prior_precision,
            self._square_norm(),
        )

    def adapt(
        self,
        dataset,
        labels=None,
        batch_size: int = 100,
        seed: int = 0,
        validation=None,
    ):
        size = layers.checks.check_count(batch_size, "batch_size")
        self._check_validation(validation)
        counts = np.zeros(self.num_classes, int)
        found, log_likelihood = self._curvature(), 0.0
        for features, of_images in self._labeled(dataset, labels, size):
            log_probs = _log_softmax(self._logits(features))
            log_likelihood += log_probs[np.arange(len(features)), of_images].sum()
            counts += np.bincount(of_images, minlength=self.num_classes)
            found.add(features, np.exp(log_probs))
        self._check_counts(counts)
        values = {**found.solve(), "log_likelihood": log_likelihood}
        values["fingerprint"] = _fingerprint(self.model)
        if validation is not None:
            pairs = [*self._labeled(validation, None, size)]
            features, of_images = map(np.concatenate, zip(*pairs, strict=True))
            prior = self._best_by_nll(features, of_images, values, seed)
        elif self.prior == "marginal_likelihood":
            norm = self._square_norm()
            prior = curvature.best_prior_precision(values["curvature"], norm)
        else:
            prior = self.prior
        if prior is None:
            raise NoBestFitError(
                f"No prior precision is the best for these {counts.sum()} images. Give "
                "one, as `prior_precision`. Received: "
                f"prior_precision={self.prior}"
            )
        self.assign({**values, "prior_precision": prior})

    def assign(self, values: Mapping[str, object]):
        shapes = {name: tuple(v.shape) for name, v in self.values().items()}
        given = {name: np.shape(value) for name, value in values.items()}
        if given != shapes:
            raise ValueError(
                f"The posterior '{self.name}' has weights of the shapes {shapes}. "
                f"Received: {given}"
            )
        own = _fingerprint(self.model)
        if not np.array_equal(values["fingerprint"], own):
            raise ValueError(
                f"'{self.model.name}' has other weights than those that the posterior "
                f"was adapted with; adapt it anew. Received: fingerprint="
                f"{int(np.ravel(values['fingerprint'])[0])}, of these weights "
                f"{int(own[0])}"
            )
        super().assign(values)

    def probe_once(self, images):
        self.is_deterministic(images[:1])

    def is_deterministic(self, images) -> bool:
        if self._last.unknown and not MonteCarlo(self.model, 1).is_deterministic(
            images
        ):
            raise _drawing(self.model)
        return not self.draws

    def settled(self, change=lambda model: model):
        settings = self._settings()
        made = Laplace(change(self.model), name=self.name, **settings)
        Posterior.assign(made, self.values())  # The change may be one of weights.
        return made

    def get_config(self):
        model = keras.saving.serialize_keras_object(self.model)
        own = {"model": model, **self._settings(), "is_fitted": self._is_fitted}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        arguments = {key: v for key, v in config.items() if key != "is_fitted"}
        model = keras.saving.deserialize_keras_object(config["model"])
        made = cls(**{**arguments, "model": model})
        made._is_fitted = config.get("is_fitted", False)
        return made

    def _settings(self):
        return {
            "structure": self.structure,
            "predictive": self.predictive,
            "prior_precision": self.prior,
            "num_samples": self.num_draws,
        }

    def _add(self, name, shape):
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype="uint32" if name == "fingerprint" else "float32",
            trainable=False,
            autocast=False,
            name=name,
        )

    def _curvature(self):
        head = self._last.head
        features, classes = head.kernel.shape
        return STRUCTURES[self.structure](features, classes, head.use_bias)

    def _features_of(self, images):
        return ops.cast(self._last.features(images), "float32")

    def _samples(self, images, key, offset):
        features = self._last.features(images)
        mean = ops.cast(self._last.head(features), "float32")
        features = ops.cast(features, "float32")
        return self._samples_at(features, mean, self.values(), key, offset)

    def _samples_at(self, features, mean, values, key, offset):
        """Returns samples of the logits of features; see `sample`."""
        form = PREDICTIVES[self.predictive]
        return form(self, features, mean, values, key, offset)

    def _labeled(self, dataset, labels, batch_size):
        """Yields float64 features and labels of batches."""
        settings = {"classes": self.classes, "num_classes": self.num_classes}
        batches = examples.batches(dataset, labels, batch_size, **settings)
        for number, (images, of_images) in enumerate(batches):
            if not number:
                self.is_deterministic(images[:8])
            features = ops.convert_to_numpy(self._features((images,), ()))
            if bad := np.count_nonzero(~np.isfinite(features).all(axis=1)):
                raise ValueError(
                    f"The features of '{self.model.name}', the inputs of its last "
                    f"layer, must be finite. Received: NaN or infinity in {bad} of "
                    f"{len(features)} images of batch {number}"
                )
            yield features.astype("float64"), of_images

    def _logits(self, features):
        head = self._last.head
        logits = features @ ops.convert_to_numpy(head.kernel).astype("float64")
        return logits + ops.convert_to_numpy(head.bias) if head.use_bias else logits

    def _square_norm(self):
        weights = [ops.convert_to_numpy(w) for w in self._last.head.trainable_variables]
        return float(sum(np.square(w, dtype="float64").sum() for w in weights))

    def _best_by_nll(self, features, labels, values, seed):
        """Returns the prior precision of the best mean prediction."""
        mean = self._logits(features).astype("float32")
        features = features.astype("float32")
        values = {k: np.asarray(v, "float32") for k, v in values.items()}

        def nll(prior):
            own = {**values, "prior_precision": np.float32(prior)}
            samples = self._samples_at(features, mean, own, seed, 0)
            found = ops.convert_to_numpy(predictive.log_probs(samples))
            return -found[np.arange(len(labels)), labels].mean(dtype="float64")

        low, high = map(math.log10, PRIOR_RANGE)
        step = 1 / _PER_DECADE
        priors = 10 ** np.arange(low, high + step / 2, step)
        best = priors[np.argmin([nll(prior) for prior in priors])]
        near = best * 10 ** np.linspace(-step, step, 11)
        best = near[np.argmin([nll(prior) for prior in near])]
        return None if best <= priors[0] else float(best)

    def _check_counts(self, counts):
        if (counts == 0).any():
            missing = np.flatnonzero(counts == 0)
            named = [self.classes[k] if self.classes else str(k) for k in missing[:3]]
            raise ValueError(
                "Among the training images there must be some of each class of the "
                f"model. Received: {counts.sum()} images, and none of {len(missing)} "
                f"of {len(counts)} classes, such as {', '.join(named)}"
            )

    def _check_adapted(self):
        if not self.is_adapted:
            raise ValueError(
                f"The posterior '{self.name}' has not learned the covariance of its "
                "weights yet: call its `adapt` with images of the training."
            )


def _probit(posterior, features, mean, values, key, offset):
    variance = posterior._curvature().variance(features, values)
    return (mean / ops.sqrt(1 + math.pi / 8 * variance))[None]


def _bridge(posterior, features, mean, values, key, offset):
    """Returns the logarithm of the Dirichlet distribution's parameters.

    The Gaussian one is taken under the condition that the logits sum to zero.
    """
    count = posterior.num_classes
    part, variance = posterior._curvature().zero_sum(features, values)
    mean = mean - part * ops.sum(mean, axis=-1, keepdims=True)
    # log(1 - 2 / K + exp(m) sum(exp(-m)) / K^2), where exp(m) may overflow.
    first = math.log(1 - 2 / count) if count > 2 else -1e30
    second = mean + ops.logsumexp(-mean, axis=-1, keepdims=True) - 2 * math.log(count)
    largest = ops.maximum(first, second)
    rest = ops.exp(first - largest) + ops.exp(second - largest)
    return (largest + ops.log(rest) - ops.log(variance))[None]


def _monte_carlo(posterior, features, mean, values, key, offset):
    found, count = posterior._curvature(), posterior.num_samples
    batch = ops.shape(features)[0]
    rows = layers.random.uint32(ops.arange(batch, dtype="int32"))
    keys = layers.random.fold(key, rows + layers.random.uint32(offset))
    samples = ops.arange(count, dtype="int32")
    keys = layers.random.fold(keys[:, None], samples[None])
    normals = layers.random.normal(keys, (batch, count, found.num_normals))
    deviations = found.draw(features, values, normals)
    return ops.transpose(mean[:, None] + deviations, (1, 0, 2))


# By the value of `predictive`: from a posterior, features, their logits, what was
# learned, and key and offset as of `sample`, to samples.
PREDICTIVES = {"probit": _probit, "bridge": _bridge, "monte_carlo": _monte_carlo}


def _log_softmax(logits):
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _check_prior(value):
    if value in ("marginal_likelihood", "validation"):
        return value
    if not (layers.checks.is_number(value) and 0 < value < np.inf):
        raise ValueError(
            "`prior_precision` must be positive, or one of marginal_likelihood, "
            f"validation. Received: prior_precision={value}"
        )
    return float(value)


def _check(model, last):
    if len(model.output_shape) != 2:
        raise ValueError(
            "The posterior is for models with one row of logits for each image. "
            f"Received: model={model.name} with output_shape={model.output_shape}"
        )
    if last.draws:
        raise _drawing(model)


def _drawing(model):
    return ValueError(
        "Laplace's approximation is one around the weights of a network that does not "
        f"draw; take the plain one, or '@mc'. Received: model={model.name}"
    )


def _fingerprint(model) -> np.ndarray:
    """Returns a checksum of the weights, of shape `(1,)`."""
    found = 0
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            array = ops.convert_to_numpy(ops.cast(variable, "float32"))
            found = zlib.crc32(np.ascontiguousarray(array), found)
    return np.array([found], "uint32")
