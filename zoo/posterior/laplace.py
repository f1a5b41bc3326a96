"""Laplace's approximation: a Gaussian around the weights of a trained network."""

import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers.compilation import Compiled
from zoo import arrays, predictive
from zoo.posterior.base import SPLITS, at_least_one
from zoo.posterior.curvature import PRIOR_RANGE, STRUCTURES
from zoo.posterior.last_layer import GaussianWeights, fingerprint
from zoo.posterior.maps import as_rows, by_row, some_pixels
from zoo.posterior.monte_carlo import MonteCarlo
from zoo.posterior.scaler import NoBestFitError
from zoo.posterior.subsets import SUBSETS

_PER_DECADE = 2  # Prior precisions that are tried first, by validation NLL.


@keras.saving.register_keras_serializable(package="zoo")
class Laplace(GaussianWeights):
    """A Gaussian posterior of the weights of one trained network, or of some of them.

    Its mean are the weights, and its covariance is the inverse of `H + prior_precision`
    with the curvature `H` of the cross-entropy of the training images, the generalized
    Gauss-Newton matrix; see `zoo.posterior.curvature` for the last layer, and
    `zoo.posterior.gauss_newton` for more of them. The logits of an image, which are
    linearized in the weights, then have a Gaussian distribution with the logits `m` of
    the network as its mean and a covariance `C`, in closed form. The further an image
    is from those of the training, the larger `C`, and the less sure the prediction.

    Of the last layer, `C` takes one pass. Of other weights it takes the gradient of
    each logit too, so a prediction costs some ten passes for ten classes; images are
    linearized a few at a time. Gaussian are the kernels and biases of dense layers and
    convolutions; all other weights, such as the scales and offsets of a batch
    normalization, which no Kronecker product describes, keep their trained values.

    Of a network with logits for each pixel, `H` is the sum over the labeled pixels, and
    each pixel has a distribution of logits; draws of different pixels are independent.
    Neighbors are alike, so their number says more than they do, and a larger
    `prior_precision` or one by validation may be the better one.

    `adapt` takes the images that the network was trained on, without augmentation. The
    network must not draw; its batch normalization uses the moving statistics.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        model: From images to logits, with a `keras.layers.Dense` at its end.
        structure: What is kept of `H`: `"kronecker"`, a Kronecker product for each
            layer; `"diagonal"`; or `"full"`, for up to 8,192 weights. By default the
            first, and of a `"subnetwork"` the last.
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
        subset: Which weights are Gaussian: those of the `"last_layer"`, of `"all"`
            dense layers and convolutions, or of a `"subnetwork"`.
        subnetwork: Of a subnetwork: the names of its layers; or a number of weights, of
            all layers, which are those of the largest variance: by the diagonal of `H`,
            or by what `choose` was given.

    Raises:
        ValueError: If the model draws, does not end with such a layer, or a setting is
            not known.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`, or `(num_samples, batch, num_classes)`; of
    pixels, height and width follow the batch.

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
        https://arxiv.org/abs/2003.01227) (Hobbhahn et al., 2022), for `"bridge"`;
        [Improving Predictions of Bayesian Neural Nets via Local Linearization](
        https://arxiv.org/abs/2008.08400) (Immer et al., 2021), Eq. 9, for the linear
        network; [Bayesian Deep Learning via Subnetwork Inference](
        https://arxiv.org/abs/2010.14689) (Daxberger et al., 2021), Section 5, for the
        largest variances.
    """

    learns = "the covariance of its weights"

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        structure: str | None = None,
        predictive: str = "probit",
        prior_precision: float | str = "marginal_likelihood",
        num_samples: int = 10,
        seed: int | None = None,
        subset: str = "last_layer",
        subnetwork: int | Sequence[str] | None = None,
        **kwargs,
    ):
        super().__init__(model, seed, **kwargs)
        self.subset = layers.checks.check_choice(subset, "subset", SUBSETS)
        if self.map_shape and subset != "last_layer":
            raise ValueError(
                "Each logit takes a gradient, and of a network with logits for each "
                'pixel there are too many; take subset="last_layer", which takes none. '
                f"Received: subset={subset}, model={self.model.name} with "
                f"output_shape={self.model.output_shape}"
            )
        if structure is None:
            structure = "full" if subset == "subnetwork" else "kronecker"
        self.structure = layers.checks.check_choice(structure, "structure", STRUCTURES)
        self.predictive = layers.checks.check_choice(
            predictive, "predictive", PREDICTIVES
        )
        self.prior = _check_prior(prior_precision)
        self.num_draws = layers.checks.check_count(num_samples, "num_samples")
        self.num_samples = self.num_draws if self.draws else 1
        parts = () if subset == "last_layer" else (subset, str(subnetwork))
        self.form = " ".join((*parts, self.structure, predictive))
        self._subset = SUBSETS[subset](self, self.last, structure, subnetwork)
        self.subnetwork, self._is_chosen = self._subset.subnetwork, False
        self.adapts_to = SPLITS if self.prior == "validation" else ("train",)
        single = {"prior_precision": (), "log_likelihood": ()}
        self.learn({**self._subset.shapes, **single}, _DTYPES)
        self._predict = Compiled(self._samples, self, pure=not self.last.unknown)
        self._variance = Compiled(self._variances, self, not self.last.unknown)

    @classmethod
    def of_prediction(cls, settings):
        # A prior precision that is chosen by predictions is one for these.
        by_nll = settings.get("prior_precision") == "validation"
        return () if by_nll else ("predictive", "num_samples")

    @property
    def draws(self) -> bool:
        return self.predictive == "monte_carlo"

    @property
    def repeats_itself(self) -> bool:
        return not self.draws

    @property
    def takes_gradients(self) -> bool:
        return self.subset != "last_layer"

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
            Array of shape `(examples, *map_shape, num_classes)`.
        """
        self.check_adapted()
        return ops.convert_to_numpy(self._variance((images,), ()))

    def square_norm(self, values):
        return self._subset.square_norm(values)

    def learned(self, dataset, labels, batch_size, seed, validation):
        values = (
            {"indices": ops.convert_to_numpy(self.indices)} if self._is_chosen else {}
        )
        passes = list(self._subset.passes(self._is_chosen))
        if len(passes) > 1 and isinstance(dataset, Iterator):
            raise ValueError(
                "The weights of a subnetwork are chosen in one pass over the images, "
                "and their covariance is learned in another; give what can be gone "
                "through twice, such as a list of batches. Received: dataset of type "
                f"{type(dataset).__name__}"
            )
        for found in passes:
            counts, log_likelihood = np.zeros(self.num_classes, int), 0.0
            for inputs, of_images in self.inputs(dataset, labels, batch_size):
                log_probs = found.add(inputs, values)
                log_likelihood += log_probs[np.arange(len(inputs)), of_images].sum()
                counts += np.bincount(of_images, minlength=self.num_classes)
            self.check_counts(counts)
            values |= found.solve()
        values["log_likelihood"] = log_likelihood
        values["fingerprint"] = fingerprint(self.model)
        if validation is not None:
            maps = self.maps_of_inputs(validation, None, batch_size)
            pairs = [as_rows(*some_pixels(*pair)) for pair in maps]
            prior = self._best_by_nll(pairs, values, seed)
        elif self.prior == "marginal_likelihood":
            prior = self.best_prior_precision(values)
        else:
            prior = self.prior
        if prior is None:
            raise NoBestFitError(
                f"No prior precision is the best for these {counts.sum()} images. Give "
                "one, as `prior_precision`. Received: "
                f"prior_precision={self.prior}"
            )
        return {**values, "prior_precision": prior}

    @property
    def gaussian_layers(self) -> list[keras.Layer]:
        """The layers whose kernels and biases are Gaussian, or may be chosen."""
        return getattr(self._subset, "layers", [self.last.head])

    def choose(self, variances):
        """Makes those weights a subnetwork that have the largest of some variances.

        Such as those of the weights along a training. By default `adapt` takes the
        largest variances of a diagonal approximation, in a pass over the images before.

        Args:
            variances: Array with a number for each weight of the `gaussian_layers`: of
                each the kernel, as one row, and the bias behind it if it has one; or a
                list of arrays of kernels and biases in this order; or a mapping from
                the `path` of each of these weights to its array.

        Raises:
            ValueError: If the `subnetwork` is no number of weights, or there is not a
                finite number for each of them.
        """
        if getattr(self._subset, "count", None) is None:
            raise ValueError(
                "Weights are chosen for a `subnetwork` of a number of them. Received: "
                f"subset={self.subset}, subnetwork={self.subnetwork}"
            )
        self._is_fitted = False
        self.indices.assign(self._subset.largest(variances))
        self._is_chosen = True

    def settled(self, change=lambda model: model):
        made = super().settled(change)
        made._is_chosen = self._is_chosen
        return made

    def get_config(self):
        return {**super().get_config(), "is_chosen": self._is_chosen}

    @classmethod
    def from_config(cls, config):
        own = {key: v for key, v in config.items() if key != "is_chosen"}
        made = super().from_config(own)
        made._is_chosen = config.get("is_chosen", False)
        return made

    def settings(self):
        return {
            "structure": self.structure,
            "predictive": self.predictive,
            "prior_precision": self.prior,
            "num_samples": self.num_draws,
            "subset": self.subset,
            "subnetwork": self._subset.subnetwork,
        }

    def _samples(self, images, key, offset):
        def samples(inputs, first):
            mean, (spread,) = self._distribution(inputs)
            return self._sampled(mean, spread, key, first)

        inputs = self._subset.inputs(images)
        return by_row(samples, inputs, self.map_shape, offset, axis=1)

    def _distribution(self, inputs):
        prior = [self.prior_precision]
        return self._subset.predict(inputs, self.values(), prior)

    def _sampled(self, mean, spread, key, offset):
        return PREDICTIVES[self.predictive](mean, spread, key, offset, self.num_samples)

    def _variances(self, images):
        def variance(inputs, first):
            return self._distribution(inputs)[1][0].variance()

        return by_row(variance, self._subset.inputs(images), self.map_shape)

    def inputs_of(self, images, number):
        return self._subset.checked_inputs(images, number, self.model.name)

    def _best_by_nll(self, pairs, values, seed):
        """Returns the prior precision of the best mean prediction.

        Args:
            pairs: Inputs and labels of batches, or of pixels as rows.
            values: What was learned.
            seed: Seed of the draws.
        """
        values = {
            k: np.asarray(v, _DTYPES.get(k, "float32")) for k, v in values.items()
        }
        names = list(values)

        def samples(inputs, offset, priors, *more):
            *arrays, count = more
            own = dict(zip(names, arrays, strict=True))
            chosen = [priors[number] for number in range(count)]
            mean, spreads = self._subset.predict(inputs, own, chosen)
            found = [self._sampled(mean, spread, seed, offset) for spread in spreads]
            return [predictive.log_probs(logits) for logits in found]

        run = Compiled(samples, self, pure=not self.last.unknown)

        def best(priors):
            nll, offset = np.zeros(len(priors)), 0
            for inputs, of_images in pairs:
                known = np.flatnonzero(of_images != arrays.UNLABELED)
                given = (inputs, offset, priors.astype("float32"), *values.values())
                for number, found in enumerate(run(given, (len(priors),))):
                    logs = ops.convert_to_numpy(found).astype("float64")
                    nll[number] -= logs[known, of_images[known]].sum()
                offset += len(inputs)
            return priors[np.argmin(nll)]

        low, high = map(math.log10, PRIOR_RANGE)
        step = 1 / _PER_DECADE
        priors = 10 ** np.arange(low, high + step / 2, step)
        found = best(priors)
        found = best(found * 10 ** np.linspace(-step, step, 11))
        return None if found <= priors[0] else float(found)


def _probit(mean, spread, key, offset, num_samples):
    return (mean / ops.sqrt(1 + math.pi / 8 * spread.variance()))[None]


def _bridge(mean, spread, key, offset, num_samples):
    """Returns the logarithm of the Dirichlet distribution's parameters.

    The Gaussian one is taken under the condition that the logits sum to zero.
    """
    count = mean.shape[-1]
    part, variance = spread.zero_sum()
    mean = mean - part * ops.sum(mean, axis=-1, keepdims=True)
    # log(1 - 2 / K + exp(m) sum(exp(-m)) / K^2), where exp(m) may overflow.
    first = math.log(1 - 2 / count) if count > 2 else -1e30
    second = mean + ops.logsumexp(-mean, axis=-1, keepdims=True) - 2 * math.log(count)
    largest = ops.maximum(first, second)
    rest = ops.exp(first - largest) + ops.exp(second - largest)
    return (largest + ops.log(rest) - ops.log(variance))[None]


def _monte_carlo(mean, spread, key, offset, num_samples):
    batch = ops.shape(mean)[0]
    rows = layers.random.uint32(ops.arange(batch, dtype="int32"))
    keys = layers.random.fold(key, rows + layers.random.uint32(offset))
    samples = ops.arange(num_samples, dtype="int32")
    keys = layers.random.fold(keys[:, None], samples[None])
    normals = layers.random.normal(keys, (batch, num_samples, spread.num_normals))
    return ops.transpose(mean[:, None] + spread.draw(normals), (1, 0, 2))


# By the value of `predictive`: from mean and distribution of logits, see `subsets`, key
# and offset as of `sample`, and the number of draws, to samples.
PREDICTIVES = {"probit": _probit, "bridge": _bridge, "monte_carlo": _monte_carlo}

# Of the weights that are not float32.
_DTYPES = {"fingerprint": "uint32", "indices": "int32"}


def _check_prior(value):
    if value in ("marginal_likelihood", "validation"):
        return value
    if not (layers.checks.is_number(value) and 0 < value < np.inf):
        raise ValueError(
            "`prior_precision` must be positive, or one of marginal_likelihood, "
            f"validation. Received: prior_precision={value}"
        )
    return float(value)
