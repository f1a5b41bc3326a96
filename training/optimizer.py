"""The optimizer and the learning rate of a recipe."""

import contextvars

import keras
from keras import ops

from layers import keras_internals, replicas


@keras.saving.register_keras_serializable(package="training")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Grows the learning rate linearly, then follows a schedule from its start.

    Args:
        schedule: The `LearningRateSchedule` after the warm-up.
        warmup_steps: Step `i` of the warm-up, from 0, has `(i + 1) / warmup_steps` of
            the schedule's first learning rate.
    """

    def __init__(self, schedule, warmup_steps: int):
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rest = ops.maximum(step - self.warmup_steps, 0)
        growth = ops.minimum((step + 1) / max(self.warmup_steps, 1), 1)
        return growth * ops.cast(self.schedule(rest), "float32")

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config):
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["warmup_steps"])


def learning_rate(recipe, steps_per_epoch: int):
    """Returns the learning-rate schedule of a recipe.

    Args:
        recipe: A `training.recipes.base.Recipe`.
        steps_per_epoch: Updates in one epoch.
    """
    schedules = keras.optimizers.schedules
    main_epochs = recipe.epochs - recipe.warmup_epochs
    if recipe.schedule == "cosine":
        main = schedules.CosineDecay(
            recipe.learning_rate, max(main_epochs * steps_per_epoch, 1)
        )
    else:
        # Keras wants a boundary; one at the end is never passed.
        milestones = recipe.milestones or (recipe.epochs + 1,)
        # Keras' boundaries still have the old rate, hence the - 1.
        boundaries = [m * steps_per_epoch - 1 for m in milestones]
        rates = [recipe.learning_rate * recipe.decay**i for i in range(len(boundaries))]
        rates.append(recipe.learning_rate * recipe.decay ** len(boundaries))
        main = schedules.PiecewiseConstantDecay(boundaries, rates)
    return WarmUp(main, recipe.warmup_epochs * steps_per_epoch)


class _KeepsWeights:
    """An optimizer that keeps moving averages of the weights beside them.

    Keras would put them in place of the weights after each `fit`, an epoch.
    """

    def finalize_variable_values(self, var_list):
        """Leaves the weights as they are; see `average`."""


class _OneRate:
    """An optimizer that computes the learning rate of an update once.

    Keras has it traced again for the decay of every weight.
    """

    @property
    def learning_rate(self):
        """The learning rate, of the update that is being made if one is."""
        owner, rate = _RATE.get()
        return rate if owner is self else super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def apply(self, grads, trainable_variables=None):
        """Updates weights; see `keras.optimizers.Optimizer.apply`."""
        # Replicas meet in another thread, where there is none.
        token = _RATE.set((self, self.learning_rate))
        try:
            super().apply(grads, trainable_variables)
        finally:
            _RATE.reset(token)


_RATE = contextvars.ContextVar("rate", default=(None, None))


def clipped(gradients: list, norm: float) -> list:
    """Returns gradients, shorter if the norm of all of them together is too large.

    On replicas it is that of the sum of their gradients, which Keras' `global_clipnorm`
    does not know when it clips.

    Args:
        gradients: Tensors, and None for weights that have no gradient.
        norm: The largest norm; 0 leaves all as they are.

    Reference:
        [On the difficulty of training recurrent neural networks](
        https://arxiv.org/abs/1211.5063) (Pascanu et al., 2013), algorithm 1.
    """
    if not norm:
        return gradients
    known = replicas.summed([x for x in gradients if x is not None])
    squares = [ops.sum(ops.square(ops.cast(x, "float32"))) for x in known]
    factor = norm / ops.maximum(ops.sqrt(sum(squares)), norm)
    return [x if x is None else x * ops.cast(factor, x.dtype) for x in gradients]


class _Clips(keras_internals.ClipsUpdates):
    """An optimizer that takes the argument `clip_norm`; see `clipped`."""

    def __init__(self, *args, clip_norm: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip_norm = clip_norm

    def clip(self, gradients):
        return clipped(gradients, self.clip_norm)

    def get_config(self):
        """Returns the config of Keras' optimizer, and `clip_norm`."""
        return {**super().get_config(), "clip_norm": self.clip_norm}


@keras.saving.register_keras_serializable(package="training")
class MomentumSGD(_Clips, _OneRate, _KeepsWeights, keras.optimizers.SGD):
    """Keras' gradient descent, updated by TensorFlow's kernel for momentum.

    Keras composes the update of seven operations on each weight. The kernel does them
    at once, with the same result bit for bit. Other backends, and a descent without
    momentum, get Keras' own. The arguments are those of `keras.optimizers.SGD`, and
    `clip_norm`; see `clipped`.
    """

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow" or not self.momentums:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        momentum = self.momentums[keras_internals.index_in(self, variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=momentum.value.handle,
            lr=ops.cast(learning_rate, variable.dtype),
            grad=ops.cast(gradient, variable.dtype),
            momentum=ops.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )


@keras.saving.register_keras_serializable(package="training")
class AdamW(_Clips, _OneRate, _KeepsWeights, keras.optimizers.AdamW):
    """Keras' Adam with decoupled weight decay, its arguments, and `clip_norm`."""


def average(model: keras.Model):
    """Sets the weights of a trained model to their moving averages.

    Args:
        model: Compiled with an `optimizer` whose recipe has an `ema_momentum`.

    Reference:
        [Exponential Moving Average of Weights in Deep Learning: Dynamics and
        Benefits](https://arxiv.org/abs/2411.18704) (Morales-Brotons et al., 2024).
    """
    own = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    super(_KeepsWeights, own).finalize_variable_values(model.trainable_variables)


def _sgd(recipe, rate, **settings):
    """Returns stochastic gradient descent.

    PyTorch adds `weight_decay * w` to the gradient, before the momentum, so that an
    update shrinks a weight by `learning_rate * weight_decay / (1 - momentum)` in the
    long run; Keras subtracts `learning_rate * weight_decay * w` itself. Hence the
    division by `1 - momentum`.
    """
    return MomentumSGD(
        rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay / (1 - recipe.momentum),
        name="sgd",
        **settings,
    )


def _adamw(recipe, rate, **settings):
    """Returns Adam with decoupled weight decay.

    An update shrinks a weight by `learning_rate * weight_decay`, in Keras and PyTorch.

    Reference:
        [Decoupled Weight Decay Regularization](https://arxiv.org/abs/1711.05101)
        (Loshchilov and Hutter, 2019), Algorithm 2.
    """
    first, second = recipe.betas
    return AdamW(
        rate,
        weight_decay=recipe.weight_decay,
        beta_1=first,
        beta_2=second,
        epsilon=1e-8,
        name="adamw",
        **settings,
    )


# By their name in a recipe.
OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}


def optimizer(recipe, steps_per_epoch: int, model: keras.Model):
    """Returns the optimizer as the recipe sets it.

    Layers with `decays = False` have no weight decay, such as those whose weights have
    a prior, and nor have the weights that a layer names in `undecayed`.

    Args:
        recipe: A `training.recipes.base.Recipe`.
        steps_per_epoch: Updates in one epoch.
        model: Whose variables it will update.
    """
    result = OPTIMIZERS[recipe.optimizer](
        recipe,
        learning_rate(recipe, steps_per_epoch),
        use_ema=recipe.ema_momentum > 0,
        ema_momentum=recipe.ema_momentum,
        clip_norm=recipe.clip_norm,
    )
    if spared := undecayed(model):
        result.exclude_from_weight_decay(var_list=spared)
    return result


def undecayed(model: keras.Model) -> list:
    """Returns the weights of a model that have no weight decay."""
    return [
        weight
        for layer in keras_internals.flat_layers(model)
        for weight in _undecayed(layer)
    ]


def _undecayed(layer):
    if not getattr(layer, "decays", True):
        return layer.trainable_weights
    own = (getattr(layer, name) for name in getattr(layer, "undecayed", ()))
    return [weight for weight in own if weight is not None]
