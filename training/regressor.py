"""A network with an uncertainty, as scikit-learn has its regressors."""

import contextlib
import functools
import random

import keras
import numpy as np
from keras import ops

import layers
import zoo
from layers import checks, keras_internals
from layers.variational import divergent_layers
from training import trainer
from training.data.number_data import NumberData
from training.recipes.base import Recipe
from zoo import arrays, predictive
from zoo.posterior import LinearLaplace, MonteCarlo, Posterior, Spread

_STEPS_AT_ONCE = 50
_LEAST = 1e-6  # Of a standard deviation, in that of the targets.


class Regressor:
    """Trains small networks on rows of numbers; `predict` returns deviations too.

    It follows the protocol of scikit-learn, without needing it: `clone`, pipelines and
    cross-validation take it, and so does what asks a regressor for
    `predict(X, return_std=True)`, such as `zoo.optimize`. Features and targets are
    standardized by those of `fit`. Networks of the same settings share one compiled
    program, so that only the first `fit` compiles.

    For larger data, checkpoints, cards and evaluations, train by `zoo-train`.

    Args:
        model: Name of a perceptron, such as `"mlp64x2_mcdo10"` or `"mlp64x2_nomu"`.
        posterior: `"mc"`, several passes of a network that draws; `"laplace"`, that of
            the last layer; or None, one pass.
        num_members: Of how many networks it is an ensemble.
        objective: A key of `training.objectives.OBJECTIVES`, for regressors.
        num_steps: The number of updates.
        batch_size: Examples in each; of fewer examples each comes several times.
        learning_rate: The highest; it falls to zero as a cosine.
        weight_decay: Of AdamW.
        num_samples: Passes of `"mc"`.
        calibration: Share of the examples that are held out of the training, and by
            which a factor of the deviations is chosen; 0 is without.
        seed: Seed of everything random.

    Raises:
        ValueError: In `fit`, if a setting is not known or out of its range.

    Example:

    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> regressor = Regressor("mlp50", num_steps=50).fit(x, 3 * x[:, 0] + 5)
    >>> mean, deviation = regressor.predict(x, return_std=True)
    >>> mean.shape, bool((deviation > 0).all())
    ((20,), True)
    """

    def __init__(
        self,
        model: str = "mlp64x2",
        posterior: str | None = None,
        num_members: int = 1,
        objective: str = "gaussian:beta=0.5",
        num_steps: int = 1000,
        batch_size: int = 32,
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-4,
        num_samples: int = 50,
        calibration: float = 0.0,
        seed: int = 0,
    ):
        self.model = model
        self.posterior = posterior
        self.num_members = num_members
        self.objective = objective
        self.num_steps = num_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.num_samples = num_samples
        self.calibration = calibration
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Returns the arguments of the constructor by name."""
        names = self.__init__.__code__.co_varnames[1:]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params) -> "Regressor":
        """Sets arguments of the constructor by name.

        Raises:
            ValueError: If there is no such argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(
                    f"`Regressor` has no argument '{name}'. Known: "
                    f"{', '.join(self.get_params())}."
                )
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self):
        from sklearn import utils

        return utils.Tags(
            estimator_type="regressor",
            target_tags=utils.TargetTags(required=True),
            regressor_tags=utils.RegressorTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "weights_")

    def fit(self, X, y) -> "Regressor":  # noqa: N803
        """Trains the networks.

        Args:
            X: Array of shape `(examples, features)`, of finite numbers.
            y: Array of shape `(examples,)`, of finite numbers.

        Returns:
            Itself.

        Raises:
            ValueError: If these are no such numbers, or a setting is out of its range.
        """
        self._check()
        data = NumberData("given", np.asarray(X), np.asarray(y))
        features, targets = data.images.astype("float64"), data.labels
        self.mean_, variance = map(np.array, data.measure_normalization())
        self.deviation_ = np.sqrt(variance)
        self.target_ = data.model_settings["target"]
        features = (features - self.mean_) / self.deviation_
        targets = (targets - self.target_[0]) / self.target_[1]
        rng = np.random.default_rng(self.seed)
        chosen = np.ones(len(targets), bool)
        count = round(self.calibration * len(targets))
        chosen[rng.permutation(len(targets))[:count]] = False
        if self.calibration and not 0 < count < len(targets):
            raise ValueError(
                f"Of {len(targets)} examples, {count} would be held out and "
                f"{len(targets) - count} left. Received: calibration={self.calibration}"
            )
        self.count_ = int(chosen.sum())
        program = self._program(features.shape[1], self.count_)
        trained = [
            program.fit(
                features[chosen],
                targets[chosen],
                (self.seed, number),
                self.num_steps,
                program.posterior(self.posterior, self.num_samples),
            )
            for number in range(self.num_members)
        ]
        self.weights_ = trained
        self.factor_ = 1.0
        if count:
            samples = self._samples(features[~chosen])
            pooled = ops.convert_to_numpy(predictive.gaussian(samples))
            spread = Spread(program.model)
            self.factor_ = spread.fit(pooled, targets[~chosen])["factor"]
        return self

    def predict(self, X, return_std: bool = False):  # noqa: N803
        """Returns means, and standard deviations if asked for.

        Args:
            X: Array of shape `(examples, features)`, of finite numbers.
            return_std: Whether to return deviations too.

        Returns:
            float64 array of shape `(examples,)`, or two of them, in the unit of the
            targets.

        Raises:
            ValueError: If there was no `fit`, or these are other numbers.
        """
        if not self.__sklearn_is_fitted__():
            raise ValueError("`fit` comes before `predict`.")
        features = arrays.check_features(X).astype("float64")
        if features.shape[1:] != self.mean_.shape:
            raise ValueError(
                f"`features` must have {len(self.mean_)} columns, as those of `fit`. "
                f"Received: shape={features.shape}"
            )
        samples = self._samples((features - self.mean_) / self.deviation_)
        pooled = ops.convert_to_numpy(predictive.gaussian(samples)).astype("float64")
        loc, scale = self.target_
        means = loc + scale * pooled[:, 0]
        if not return_std:
            return means
        return means, scale * np.maximum(self.factor_ * pooled[:, 1], _LEAST)

    def score(self, X, y) -> float:  # noqa: N803
        """Returns the mean log density of targets, in nats.

        Args:
            X: As in `predict`.
            y: Array of shape `(examples,)`, of finite numbers.

        Raises:
            ValueError: If these are no such numbers, or there was no `fit`.
        """
        means, scales = self.predict(X, return_std=True)
        targets = arrays.check_targets(y).astype("float64")
        if len(targets) != len(means):
            raise ValueError(
                "There must be a target for each example. Received: "
                f"{len(means)} examples, {len(targets)} targets"
            )
        square = np.square((targets - means) / scales)
        return float(-np.mean(square + np.log(2 * np.pi * np.square(scales))) / 2)

    def to_model(self, member: int = 0) -> keras.Model:
        """Returns a network that takes and gives the numbers of the user.

        Args:
            member: The number of the network in an ensemble.

        Returns:
            A model of the zoo, to save, or to make a posterior of.
        """
        features = self.mean_.shape
        moments = tuple(self.mean_.tolist()), tuple((self.deviation_**2).tolist())
        made = zoo.build(
            self.model, features, normalization=moments, target=self.target_
        )
        program = self._program(features[0], self.count_)
        program.load(self.weights_[member])
        made.set_weights(program.model.get_weights())
        return made

    def _check(self):
        for name in ("num_members", "num_steps", "batch_size", "num_samples"):
            checks.check_count(getattr(self, name), name)
        if self.posterior is not None:
            checks.check_choice(self.posterior, "posterior", _POSTERIORS)
        if not (checks.is_number(self.calibration) and 0 <= self.calibration < 1):
            raise ValueError(
                "`calibration` is the share of examples that are held out, in [0, 1). "
                f"Received: calibration={self.calibration}"
            )

    def _program(self, features, count):
        return _Program.cached(
            self.model,
            self.objective,
            self.num_steps,
            self.batch_size,
            self.learning_rate,
            self.weight_decay,
            features,
            # Only the weight of KL divergences depends on it.
            count if _is_divergent(self.model) else 1,
        )

    def _samples(self, features):
        """Returns the samples of all members for standardized features."""
        program = self._program(features.shape[1], self.count_)
        posterior = program.posterior(self.posterior, self.num_samples)
        found = []
        for number, values in enumerate(self.weights_):
            program.load(values, posterior)
            found.append(posterior.predict(features.astype("float32"), seed=number))
        return np.concatenate(found)


@functools.cache
def _is_divergent(model):
    return bool(divergent_layers(zoo.build(model, (1,), target=(0.0, 1.0))))


class _Program:
    """A compiled network and posterior, whose weights are those of the last one."""

    def __init__(
        self,
        model,
        objective,
        num_steps,
        batch_size,
        learning_rate,
        weight_decay,
        features,
        count,
    ):
        recipe = Recipe(
            dataset="given",
            batch_size=batch_size,
            epochs=1,
            warmup_epochs=0,
            learning_rate=learning_rate,
            optimizer="adamw",
            weight_decay=weight_decay,
            objective=objective,
            augmentations=(),
            holdout=0,
        )
        self.batch_size = batch_size
        self._build = functools.partial(
            zoo.build, model, (features,), target=(0.0, 1.0)
        )
        self.model = self._build()
        self._is_plain = all(map(_is_plain, keras_internals.flat_layers(self.model)))
        self.trained = trainer.compile_model(
            self.model,
            recipe,
            count,
            jit_compile=True,
            steps_per_execution=min(_STEPS_AT_ONCE, num_steps),
            steps_per_epoch=num_steps,
        )
        # A variable, for compiled steps would keep a number.
        self.trained.seed = keras.Variable(
            0, dtype="uint32", trainable=False, name="seed"
        )
        self._posteriors = {}
        variables = [*self.trained.variables, *self.trained.optimizer.variables]
        self._variables = list({id(v): v for v in variables}.values())
        self._start = [ops.convert_to_numpy(v) for v in self._variables]

    @classmethod
    @functools.lru_cache(maxsize=32)
    def cached(cls, *settings):
        """Returns the one of some settings."""
        return cls(*settings)

    def posterior(self, kind, num_samples):
        """Returns the posterior of some kind, of the weights that there are."""
        key = kind, num_samples
        if key not in self._posteriors:
            self._posteriors[key] = _POSTERIORS[kind](self.model, num_samples)
        return self._posteriors[key]

    def begin(self, seed) -> np.random.Generator:
        """Gives the network the initial weights of a seed; returns what draws on."""
        for variable, value in zip(self._variables, self._start, strict=True):
            variable.assign(value)
        if not self._is_plain:
            sequence = np.random.SeedSequence(seed, spawn_key=(1,))
            with _seeded(int(sequence.generate_state(1)[0])):
                made = self._build()
            for own, new in zip(self.model.weights, made.weights, strict=True):
                own.assign(new)
        rng = np.random.default_rng(seed)
        for layer in keras_internals.flat_layers(self.model):
            if isinstance(layer, keras.layers.Dense):
                layer.kernel.assign(_drawn(layer, int(rng.integers(2**31))))
        start = int(rng.integers(2**31))
        layers.set_seed(self.model, start)
        self.trained.seed.assign(start)
        return rng

    def fit(self, features, targets, seed, num_steps, posterior):
        """Trains from other initial weights; returns what `load` takes."""
        rng = self.begin(seed)
        data = NumberData("given", features.astype("float32"), targets)
        if self.trained.objective.adapt is not None:
            self.trained.objective.adapt(data, None)
        rows = num_steps * self.batch_size
        rounds = [
            rng.permutation(len(targets)) for _ in range(-(-rows // len(targets)))
        ]
        order = np.concatenate(rounds)[:rows]
        self.trained.fit(
            data.images[order],
            targets[order].astype("float32"),
            batch_size=self.batch_size,
            shuffle=False,
            verbose=0,
        )
        if not all(np.isfinite(w).all() for w in self.model.get_weights()):
            raise FloatingPointError(
                "The training diverged: weights are not finite. Try a lower learning "
                "rate."
            )
        if posterior.adapted_weights:
            posterior.adapt(data.images, targets)
        learned = posterior.values().items()
        return {
            "weights": [ops.convert_to_numpy(w) for w in self.model.weights],
            "learned": {name: ops.convert_to_numpy(value) for name, value in learned},
        }

    def load(self, values, posterior=None):
        """Gives the network and a posterior the weights that `fit` has returned."""
        for variable, value in zip(self.model.weights, values["weights"], strict=True):
            variable.assign(value)
        if posterior is not None and values["learned"]:
            posterior.assign(values["learned"])


def _is_plain(layer) -> bool:
    """Returns whether of its weights kernels of dense layers alone begin at random."""
    if isinstance(layer, keras.Model) or type(layer) is keras.layers.Dense:
        return True
    return not any(keras.backend.is_float_dtype(w.dtype) for w in layer.weights)


@contextlib.contextmanager
def _seeded(seed):
    """Makes the initial weights of networks that are built inside those of a seed."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _drawn(layer, seed):
    """Returns initial weights of a dense layer."""
    kind = layer.kernel_initializer
    settings = {**kind.get_config(), "seed": seed}
    return type(kind).from_config(settings)(layer.kernel.shape)


def _one_pass(model, num_samples) -> Posterior:
    return MonteCarlo(model, 1)


def _laplace(model, num_samples) -> Posterior:
    return LinearLaplace(model)


_POSTERIORS = {None: _one_pass, "mc": MonteCarlo, "laplace": _laplace}
