"""What a training minimizes: objectives, and the evidence lower bound of each."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Sequence

import keras
from keras import ops

from layers import checks, compilation, members, random, streams
from layers.variational import divergence_per_example
from training import task
from training.bayesian.kl_weight import KLWeight
from training.input_gradients import state_of
from training.stochastic_depth import Branches
from zoo import predictive
from zoo.classifier import Classifier, classes_of, task_known

# The tasks whose labels are classes, of images or of pixels.
OF_CLASSES = ("classification", "segmentation")
_MOVED = 0xA77AC  # Folded into the key of what moves images.
# Which images of the training set the rows of a batch are; None is not told.
_NUMBERS = contextvars.ContextVar("numbers", default=None)
# How many of the first rows of a replica's batch are images; None is all.
_IMAGES = contextvars.ContextVar("images", default=None)
# What a step knows beside its batch of labeled images; None outside of steps.
_STEP = contextvars.ContextVar("step", default=None)


def are_probabilities(labels, logits) -> bool:
    """Returns whether labels are probabilities of the classes, not their numbers.

    Args:
        labels: Tensor of the shape of the logits, or without their last axis.
        logits: Tensor of shape `(batch, ..., num_classes)`.
    """
    same_rank = len(labels.shape) == len(logits.shape)
    return same_rank and labels.shape[-1] == logits.shape[-1] > 1


@keras.saving.register_keras_serializable(package="training")
class SmoothedCrossEntropy(keras.losses.Loss):
    """The cross-entropy of labels and logits, in nats, with label smoothing.

    Labels are integers, or probabilities of the classes, of the shape of the logits.

    Args:
        label_smoothing: Probability spread over all classes; 0 is without.
        num_classes: The number of classes.
    """

    def __init__(self, label_smoothing: float, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.label_smoothing, self.num_classes = label_smoothing, num_classes

    def call(self, y_true, y_pred):
        labels, is_soft = y_true, are_probabilities(y_true, y_pred)
        if not (is_soft or self.label_smoothing):
            return keras.losses.sparse_categorical_crossentropy(
                labels, y_pred, from_logits=True
            )
        if not is_soft:
            labels = ops.one_hot(labels, self.num_classes)
        return keras.losses.categorical_crossentropy(
            labels, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self):
        own = {"label_smoothing": self.label_smoothing, "num_classes": self.num_classes}
        return {**super().get_config(), **own}


def cross_entropy(label_smoothing: float = 0.0, num_classes: int | None = None):
    """Returns the cross-entropy of labels and logits, in nats.

    Args:
        label_smoothing: Probability spread over all classes.
        num_classes: The number of classes; needed for label smoothing, and for labels
            that are probabilities of the classes, as mixtures of images have them.

    Returns:
        A loss for `compile`.
    """
    if not (checks.is_number(label_smoothing) and 0 <= label_smoothing <= 1):
        raise ValueError(
            "`label_smoothing` is a probability, in [0, 1]. Received: "
            f"label_smoothing={label_smoothing}"
        )
    if not (label_smoothing or num_classes):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return SmoothedCrossEntropy(label_smoothing, num_classes)


def divergence(logs, logits):
    """Returns the KL divergence of predictions from others, `KL(p || q)`, in nats.

    Args:
        logs: float32 tensor of shape `(..., num_classes)`, the logarithms of `p`.
        logits: Tensor of that shape, those of `q`.

    Returns:
        float32 tensor of shape `(...)`.
    """
    others = ops.log_softmax(ops.cast(logits, "float32"))
    return ops.sum(ops.exp(logs) * (logs - others), axis=-1)


@dataclasses.dataclass(frozen=True)
class Objective:
    """What the steps of a training minimize, in nats per example.

    `training.objectives.OBJECTIVES` has those that recipes name. KL divergences of
    Gaussian weights, divided by the number of training examples, and penalties of
    layers are added to all of them.

    Attributes:
        loss: The loss of labels and logits. It is shown for the validation and the test
            set, and is what a step minimizes where there is no `training_loss`.
        training_loss: A function of `(model, images, labels, logits)` to the nats of
            each example, of shape `(batch,)`, or `(batch, height, width)` with logits
            for each pixel, which a step minimizes in place of `loss`. The logits are
            those of the images in training, in float32 also in mixed precision; it may
            call the model with others. Labels are those of classes, also for pixels
            that have none and do not count. With `takes_unlabeled` it returns a pair:
            of these nats and a scalar that is added to their mean, or None.
        views: The views of an image that a step gets: for each of them the names of
            augmentations that follow those of the recipe. With more than one, images
            have the shape `(batch, views, height, width, channels)` and logits
            `(batch, views, num_classes)`. Metrics are those of the first view, and
            batch statistics those of all together.
        begin_epoch: A function of the model and the number of the epoch, from 0, that
            is called before its first step; not where a training goes on inside of it.
            See `layers.EpochEvents`.
        variables: State that steps, `begin_epoch` or `end_epoch` change: Keras
            variables without a gradient. It is in the checkpoint, and not in the
            weights. On several devices each changes a copy, unless the variable has an
            `aggregation`. `adapt` may add to a list of them, where their shapes depend
            on the data.
        adapt: A function of the training and the validation set, of which the second
            may be None, that is called before the first step of a process, also where a
            training goes on: what it learns of them is not in the checkpoint.
        end_epoch: A function of the model and the number of the epoch, from 0, that is
            called when the validation set was measured, before the checkpoint. It
            returns figures for the row of the epoch, by their names.
        moved: A function of `(model, images, labels, key)` to the images that pass in
            place of these, computed before the step: it has no gradient and changes no
            variable. The key, a scalar uint32 tensor, is another one in each step and
            on each replica.
        numbered: Whether steps are told which images they get; see `numbers`.
        num_members: Of how many members of an implicit ensemble each image gets the
            logits in training, which then have the shape `(batch, num_members,
            num_classes)`. Metrics are those of their mean prediction.
        integer_labels: Whether labels must be numbers of classes; others may be
            probabilities of them too, of the shape of the logits.
        takes_unlabeled: Whether steps get images without labels beside the others, in
            a training with `labels`; see `unlabeled`.
        repeats: Whether `training_loss` passes the images again with the draws that
            they had; see `state_before`.
        tasks: The tasks that it is for, keys of `training.task.TASKS`.
    """

    loss: keras.losses.Loss
    training_loss: Callable | None = None
    views: tuple[tuple[str, ...], ...] = ((),)
    begin_epoch: Callable[[keras.Model, int], None] | None = None
    variables: Sequence[keras.Variable] = ()
    adapt: Callable[[object, object], None] | None = None
    end_epoch: Callable[[keras.Model, int], dict[str, float]] | None = None
    moved: Callable | None = None
    numbered: bool = False
    num_members: int = 1
    integer_labels: bool = False
    takes_unlabeled: bool = False
    repeats: bool = False
    tasks: tuple[str, ...] = ("classification",)


@dataclasses.dataclass
class _Step:
    """What a step knows beside its batch of labeled images."""

    unlabeled: object = None
    before: list | None = None


def num_images():
    """Returns how many of the first rows of a batch in training are images.

    A `training_loss` asks it, where rows may fill up a batch of several devices.

    Returns:
        Scalar int32 tensor; None if all are.
    """
    return _IMAGES.get()


def numbers():
    """Returns which images of the training set the rows of a batch are.

    A `training_loss` of an objective that is `numbered` asks it.

    Returns:
        uint32 tensor of shape `(batch,)`.
    """
    return _NUMBERS.get()


def unlabeled():
    """Returns the images without labels that a step has beside the others.

    A `training_loss` of an objective that `takes_unlabeled` asks it. They have not
    passed the model, so that batch statistics are those of the labeled ones.

    Returns:
        Tensor of shape `(unlabeled_batch_size, height, width, channels)`, or a part of
        it on each replica, filled up to equal parts; None in a training in which all
        images have labels.
    """
    step = _STEP.get()
    return None if step is None else step.unlabeled


@contextlib.contextmanager
def other_images():
    """Lets a `training_loss` call the model with any number of other images.

    Elsewhere rows behind `num_images` do not pass it.
    """
    token = _IMAGES.set(None)
    try:
        yield
    finally:
        _IMAGES.reset(token)


def state_before():
    """Returns the state of the model before the images of a step passed it.

    A `training_loss` of an objective that `repeats` the pass asks it, for
    `training.input_gradients.repeated`.

    Returns:
        List of tensors; None where the logits are not those of a step.
    """
    step = _STEP.get()
    return None if step is None else step.before


class _Mean(keras.losses.Loss):
    """The mean of values as of every loss: by their weights, a part on each replica."""

    def call(self, y_true, y_pred):
        return y_pred


@keras.saving.register_keras_serializable(package="training")
class Elbo(Classifier):
    """What `elbo` returns; loaded, copied and cloned it divides by the same number."""

    # Whether weights are those of batches that were filled up; see `training.batches`.
    filled_up = False
    # Images that are on the device already, for which `fit` gets numbers.
    resident = None
    # What steps minimize in place of the loss that the model is compiled with.
    objective: Objective | None = None
    # The weight of the KL divergences; None is 1.
    kl_weight: KLWeight | None = None
    # What is done to the weights after each update; see `minimize`.
    pruning = None
    # Residual branches that steps leave out; see `training.stochastic_depth`.
    branches: Branches | None = None
    # Of what an objective draws.
    seed = 0
    # The weight of each class in the loss; None is 1.
    class_weights: Sequence[float] | None = None

    @property
    def num_examples(self) -> int:
        """The size of the training set; of maps, the number of labeled pixels."""
        return self.knows().get("num_examples", 1)

    @property
    def task(self) -> task.Task:
        """What the model is for."""
        return task.of(self)

    def minimize(
        self, objective: Objective, kl_weight: KLWeight | None = None, pruning=None
    ):
        """Makes the steps of `fit` minimize an objective, with whose loss it compiles.

        Args:
            objective: What is minimized. With several views, batches of a training have
                an axis of them behind that of the examples, and so have the logits.
            kl_weight: The weight of the KL divergences in each step; None is 1.
            pruning: Has `variables`, and a method `apply` that is called after each
                update, such as `training.compress.prune.MagnitudePruning`.
        """
        self.objective, self.kl_weight, self.pruning = objective, kl_weight, pruning
        if self._num_views > 1 or objective.takes_unlabeled:
            self.input_spec = None

    def begin_epoch(self, epoch: int):
        """Tells the objective that an epoch begins; see `layers.EpochEvents`."""
        if self.objective is not None and self.objective.begin_epoch is not None:
            self.objective.begin_epoch(self, epoch)

    def measure_epoch(self, epoch: int) -> dict[str, float]:
        """Tells the objective that an epoch was validated; returns its figures."""
        if self.objective is None or self.objective.end_epoch is None:
            return {}
        return self.objective.end_epoch(self, epoch)

    @property
    def _num_views(self):
        return 1 if self.objective is None else len(self.objective.views)

    @property
    def _repeats(self):
        return self.objective is not None and self.objective.repeats

    @property
    def variables(self):
        each = self.objective, self.kl_weight, self.pruning, self.branches
        states = [state for state in each if state is not None]
        own = [variable for state in states for variable in state.variables]
        return [*super().variables, *own]

    def around(self, operation, call):
        return call if self.branches is None else self.branches.around(operation, call)

    def train_step(self, *args):
        *state, data = args  # The state of all variables, on JAX.
        data, unlabeled = _divided(data)
        with compilation.fused():
            data = self._moved(data, *state)
            # Here, since each replica of a distributed training has its own thread.
            token = _IMAGES.set(self._num_images(data))
            step = _STEP.set(_Step(unlabeled))
            try:
                return self._pruned(super().train_step(*state, data))
            finally:
                _STEP.reset(step)
                _IMAGES.reset(token)

    def _pruned(self, result):
        """Changes weights after an update, and returns what the step does."""
        if self.pruning is None:
            return result
        if keras.backend.backend() != "jax":
            self.pruning.apply()
            return result
        logs, state = result
        with self._with_values(state) as scope:
            self.pruning.apply()
        groups = self._groups_of_state()
        changed = [
            [scope.get_current_value(variable) for variable in variables]
            for variables in groups
        ]
        return logs, (*changed, *state[len(groups) :])

    def _groups_of_state(self):
        """Returns the variables that the state of JAX has values of, in its order."""
        return (
            *(self.trainable_variables, self.non_trainable_variables),
            self.optimizer.variables,
        )

    def _moved(self, data, state=None):
        """Returns a batch with the images that the objective wants in their place."""
        if self.objective is None or self.objective.moved is None:
            return data
        images, y, *weights = data
        labels, _ = _split(y)
        with self._with_values(state):
            key = random.fold(self.seed, self.optimizer.iterations.value)
            key = streams.of_replica(random.fold(key, _MOVED))
            images = self.objective.moved(self, images, labels, key)
        return ops.stop_gradient(images), y, *weights

    def _with_values(self, state):
        """Returns a context in which variables have the values of a state of JAX."""
        if state is None:
            return contextlib.nullcontext()
        pairs = [
            pair
            for variables, values in zip(
                self._groups_of_state(), state[:3], strict=True
            )
            for pair in zip(variables, values, strict=True)
        ]
        return keras.StatelessScope(state_mapping=pairs)

    def make_train_function(self, force=False):
        if self.resident is None:
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = self.resident.train_function(self.train_step)
        return self.train_function

    def _num_images(self, data):
        weights = keras.utils.unpack_x_y_sample_weight(data)[2]
        if weights is None or not self.filled_up:
            return None
        return ops.sum(ops.cast(weights > 0, "int32"))

    def call(self, inputs, training=None, mask=None):
        if isinstance(inputs, (tuple, list)):
            # Keras passes a whole batch once, to see the shapes of its logits.
            inputs, mask = inputs[0], None
        step = _STEP.get()
        if training and self._repeats and step is not None and step.before is None:
            step.before = state_of(self)
        # The images alone, so that no batch statistic is of rows that fill up.
        count = _IMAGES.get()
        rows = inputs if count is None else inputs[:count]
        with divergence_per_example(self.num_examples, self._kl_factor(training)):
            outputs = self._all_logits(rows, training, mask)
        if count is None:
            return outputs
        # In place of their logits: they have no weight in the loss.
        missing = (ops.shape(inputs)[0] - count, *outputs.shape[1:])
        return ops.concatenate([outputs, ops.zeros(missing, outputs.dtype)])

    def _kl_factor(self, training):
        if self.kl_weight is None:
            return 1.0
        return self.kl_weight.now() if training else self.kl_weight.base

    @property
    def _num_members(self):
        return 1 if self.objective is None else self.objective.num_members

    def _all_logits(self, images, training, mask):
        """Passes images, once for each of their members in training."""
        count = self._num_members
        if count == 1 or not training:
            return self._all_views(images, training, mask)
        if all(layer.computes_all for layer in members.layers_of(self)):
            with members.together():
                return super().call(images, training=training)
        # Row `i` of a batch is of member `i % num_members`.
        logits = super().call(ops.repeat(images, count, axis=0), training=training)
        return ops.reshape(logits, (-1, count, *logits.shape[1:]))

    def _all_views(self, images, training, mask):
        """Passes images, or views of them, whose logits get the axis of the views."""
        if self._num_views == 1 or len(images.shape) == len(self.input_shape):
            return super().call(images, training=training, mask=mask)
        rows = ops.reshape(images, (-1, *images.shape[2:]))
        with streams.views(images.shape[1]):
            logits = super().call(rows, training=training)
        return ops.reshape(logits, (-1, images.shape[1], *logits.shape[1:]))

    def _one_prediction(self, logits):
        """Returns the logits of the first view, or of the mean of all members."""
        if len(logits.shape) == len(self.output_shape):
            return logits
        if self._num_members > 1:
            return predictive.log_probs(ops.swapaxes(logits, 0, 1))
        return logits[:, 0]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        y, index = _split(y)
        token = _NUMBERS.set(index)
        try:
            loss = self._minimized(x, y, y_pred, sample_weight, training)
        finally:
            _NUMBERS.reset(token)
        if training and self.kl_weight is not None:
            self.kl_weight.advance()
        return loss

    def _minimized(self, x, y, y_pred, sample_weight, training):
        y, weights = self.task.counted(y, sample_weight)
        is_soft = are_probabilities(y, self.output)
        weights = task.weigh(y, weights, self.class_weights, is_soft)
        if weights is not sample_weight:
            sample_weight = task.mean_weights(weights)
        own = None if self.objective is None else self.objective.training_loss
        if own is None or not training:
            y_pred = self._one_prediction(y_pred)
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        penalties = list(self.losses)  # A second pass of the model would replace them.
        mean = _Mean(name="mean")
        # What objectives add to the loss is in float32, also where layers are not.
        wide = keras.backend.result_type(y_pred.dtype, "float32")
        losses = own(self, x, y, ops.cast(y_pred, wide))
        if self.objective.takes_unlabeled:
            losses, added = losses
            penalties += [] if added is None else [added]
        total = mean(y, losses, sample_weight)
        return total + sum(mean(y, ops.reshape(loss, (1,))) for loss in penalties)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        (y, _), y_pred = _split(y), self._one_prediction(y_pred)
        if are_probabilities(y, y_pred):  # Metrics are of the most probable class.
            y = ops.argmax(y, axis=-1)
        if self.filled_up and sample_weight is not None:
            # Every image is one: sums of ones are exact.
            sample_weight = ops.cast(sample_weight > 0, "float32")
        y, sample_weight = self.task.counted(y, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)


def _divided(data):
    """Returns a batch of labeled images, and the unlabeled ones beside them or None."""
    kinds = tuple, list  # The second on PyTorch.
    if not isinstance(data, kinds) or not isinstance(data[0], kinds):
        return data, None
    (images, unlabeled), *others = data
    return (images, *others), unlabeled


def elbo(model: keras.Model, num_examples: int) -> keras.Model:
    """Makes `fit` minimize the negative evidence lower bound per training example.

    Layers with a Gaussian posterior add their KL divergence from the prior to
    `model.losses`, in nats, and Keras would add that sum to the mean loss of a batch as
    it is. Here it is divided by the number of training examples first. Penalties of
    other layers are left as they are, so a model without Gaussian weights trains as
    before.

    Args:
        model: From images to logits.
        num_examples: The size of the training set, not of a batch.

    Returns:
        A model with the same layers, hence the same weights, to `compile` and `fit`.

    Raises:
        ValueError: If `num_examples` is not positive.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20_mcdo", (28, 28, 1), 10)
    >>> trained = elbo(model, num_examples=60_000)
    >>> trained.compile("sgd", cross_entropy())

    Reference:
        [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
        (Blundell et al., 2015), Eq. 1 divided by the number of examples.
    """
    checks.check_count(num_examples, "num_examples")
    trained = Elbo(inputs=model.input, outputs=model.output, name=model.name)
    trained.know(
        num_examples=int(num_examples),
        classes=classes_of(model),
        **task_known(model),
    )
    return trained


def _split(y):
    """Returns labels, and the numbers of the images if they are beside them."""
    return y if isinstance(y, (tuple, list)) else (y, None)
