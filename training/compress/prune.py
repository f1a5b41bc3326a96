"""Pruning: the least weights become zero along a training, or filters are removed."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from layers import checks, keras_internals
from training import named_settings
from zoo import rewriting
from zoo.channels import Channels, Group
from zoo.classifier import Classifier
from zoo.compressed import FILTERS, compression_of, noted

# Layers whose kernels are pruned.
_KERNELS = (
    *rewriting.CONVOLUTIONS,
    *rewriting.DENSE,
    keras.layers.DepthwiseConv2D,
)
_MOST_STEPS, _LEAST_UPDATES = 100, 20


def _check_sparsity(sparsity):
    if not (checks.is_number(sparsity) and 0 < sparsity < 1):
        raise ValueError(
            "`sparsity` is the share of weights or filters that go, between 0 and 1. "
            f"Received: sparsity={sparsity}"
        )


def cubic_sparsity(step, initial: float, final: float, begin: int, end: int):
    """Returns the sparsity of a step: it grows fast at first, and then ever slower.

        final + (initial - final) * (1 - (step - begin) / (end - begin))^3

    between `begin` and `end`, `initial` before and `final` behind.

    Args:
        step: Number of the step, from 0: an integer or a tensor.
        initial: The sparsity at the beginning, in [0, 1].
        final: The one at the end.
        begin: The first step at which weights become zero.
        end: The step at which the sparsity is the final one.

    Returns:
        A float32 tensor of the shape of `step`.

    Reference:
        [To Prune, or Not to Prune](https://arxiv.org/abs/1710.01878) (Zhu and Gupta,
        2017), Eq. 1.
    """
    # Of a single step it is the final one.
    place = (ops.cast(step, "float32") - begin + (begin == end)) / max(end - begin, 1)
    rest = 1 - ops.clip(place, 0.0, 1.0)
    return final + (initial - final) * rest * rest * rest


@dataclasses.dataclass(frozen=True)
class Magnitude:
    """The settings of magnitude pruning.

    Attributes:
        sparsity: The share of the weights of all kernels together that are zero at the
            end, in (0, 1).
        initial: That at the beginning.
        begin: When it begins, as a part of the training.
        end: When it ends; the rest of the training is for the weights that are left.
        every: Steps between two choices of the weights that are zero; 0 for so many
            that there are 20 choices, 100 at most.
    """

    sparsity: float
    initial: float = 0.0
    begin: float = 0.0
    end: float = 0.75
    every: int = 0

    removes = False  # Whether layers become smaller before the training.

    def __post_init__(self):
        _check_sparsity(self.sparsity)
        parts = self.initial, self.begin, self.end, self.every
        whole = all(map(checks.is_number, parts)) and self.every == int(self.every)
        in_order = whole and 0 <= self.begin < self.end <= 1 and self.every >= 0
        if not (in_order and 0 <= self.initial <= self.sparsity):
            raise ValueError(
                "Magnitude pruning begins before it ends, both as parts of a training "
                "in [0, 1], at a sparsity no higher than the last. Received: "
                f"begin={self.begin}, end={self.end}, initial={self.initial}, "
                f"sparsity={self.sparsity}, every={self.every}"
            )


@dataclasses.dataclass(frozen=True)
class Filters:
    """The settings of the removal of filters by the L1 norm of their kernels.

    Attributes:
        sparsity: The share of the filters that go of each group of layers that have
            theirs in common, rounded up; in (0, 1).

    Reference:
        [Pruning Filters for Efficient ConvNets](https://arxiv.org/abs/1608.08710) (Li
        et al., 2017), section 3.
    """

    sparsity: float

    removes = True

    def __post_init__(self):
        _check_sparsity(self.sparsity)

    def score(self, channels: Channels, group: Group) -> np.ndarray:
        """Returns how much each channel of a group counts.

        Args:
            channels: Those of the network.
            group: One of its `groups`.

        Returns:
            The sum over the layers of the mean size of the weights of its filters.
        """
        norms = {
            name: np.mean(_by_filter(channels.layers[name]), axis=0)
            for name in group.layers
            if channels.layers[name] is not None
        }
        return np.array(
            [
                sum(norms[name][place] for name, place in places if name in norms)
                for places in group.channels
            ]
        )


@dataclasses.dataclass(frozen=True)
class Slimming(Filters):
    """The same by the scales of the normalizations that follow.

    Reference:
        [Learning Efficient Convolutional Networks through Network Slimming](
        https://arxiv.org/abs/1708.06519) (Liu et al., 2017), without its penalty.
    """

    def score(self, channels: Channels, group: Group) -> np.ndarray:
        """Returns how much each channel of a group counts.

        Args:
            channels: Those of the network.
            group: One of its `groups`.

        Returns:
            The sum of the sizes of its scales in all normalizations.

        Raises:
            ValueError: If no normalization with a scale follows.
        """
        found = {}
        for layer, numbers in channels.taken.items():
            if type(layer) in rewriting.NORMALIZATIONS and layer.gamma is not None:
                scales = np.abs(ops.convert_to_numpy(layer.gamma))
                for root, scale in zip(channels.roots(numbers), scales, strict=True):
                    found[root] = found.get(root, 0.0) + float(scale)
        roots = [
            channels.roots(channels.made[name][[place]])[0]
            for (name, place), *_ in group.channels
        ]
        if not found.keys() & {*roots}:
            raise ValueError(
                "Filters are ranked by the scales of normalizations, and none follows "
                f"on the layer '{group.name}'; `--score=l1` ranks by kernels. "
                f"Received: model={channels.model.name}"
            )
        return np.array([found.get(root, 0.0) for root in roots])


# By their name in a recipe.
PRUNINGS = {"magnitude": Magnitude, "filters": Filters, "slimming": Slimming}


def read(text: str) -> Magnitude | Filters | None:
    """Returns the settings of a pruning.

    Args:
        text: A key of `PRUNINGS`, and settings behind a colon each; empty for none.

    Raises:
        ValueError: If there is no such pruning, or a setting is out of its range.

    Example:

    >>> read("magnitude:sparsity=0.8:end=0.5")
    Magnitude(sparsity=0.8, initial=0.0, begin=0.0, end=0.5, every=0)
    """
    if not text:
        return None
    name, settings = named_settings.read(text, PRUNINGS, "pruning")
    if "sparsity" not in settings:
        raise ValueError(
            "A pruning needs a sparsity, such as 'magnitude:sparsity=0.8'. Received: "
            f"pruning={text}"
        )
    return PRUNINGS[name](**settings)


class MagnitudePruning:
    """Keeps the least weights of a training at zero.

    After each update of the optimizer what was chosen is made zero again. The choice is
    of all kernels of convolutions and dense layers together: the least by their size,
    so many that their share is that of the cubic schedule, rounded up. A weight that is
    zero stays zero as long as others are larger, which they always are.

    Args:
        settings: The settings.
        num_steps: The steps of the training.
        model: The model that is trained.

    Attributes:
        variables: The masks and the number of the step, for the checkpoint.

    Raises:
        ValueError: If the sparsity would leave a layer empty now.

    Reference:
        [To Prune, or Not to Prune](https://arxiv.org/abs/1710.01878) (Zhu and Gupta,
        2017).
    """

    def __init__(self, settings: Magnitude, num_steps: int, model: keras.Model):
        self.settings = settings
        self.layers = [
            layer
            for layer in keras_internals.flat_layers(model)
            if type(layer) in _KERNELS and layer.built
        ]
        if not self.layers:
            raise ValueError(
                "There is no convolution and no dense layer of Keras whose weights "
                f"could be pruned. Received: model={model.name}"
            )
        self.begin = round(settings.begin * num_steps)
        self.end = max(round(settings.end * num_steps) - 1, self.begin)
        span = self.end - self.begin
        most = max(min(span // _LEAST_UPDATES, _MOST_STEPS), 1)
        self.every = int(settings.every) or most
        self._check_layers(model)
        self._masks = [
            keras.Variable(
                np.ones(layer.kernel.shape, "float32"),
                trainable=False,
                name=f"mask_{number}",
            )
            for number, layer in enumerate(self.layers)
        ]
        self._step = keras.Variable(
            0, dtype="int32", trainable=False, name="prune_step"
        )
        self.variables = [self._step, *self._masks]

    def sparsity(self, step):
        """Returns the share that is zero behind a step; see `cubic_sparsity`."""
        own = self.settings
        return cubic_sparsity(step, own.initial, own.sparsity, self.begin, self.end)

    def apply(self):
        """Makes weights zero after an update, and counts it."""
        step = ops.convert_to_tensor(self._step)
        since = step - self.begin
        in_time = ops.logical_and(since >= 0, step <= self.end)
        is_turn = ops.logical_and(in_time, since % self.every == 0)
        # At the last one too, whatever the steps between; and at the first of all, for
        # weights that are sparse already stay so before it begins.
        is_end = ops.logical_or(ops.equal(step, self.end), ops.equal(step, 0))
        masks = ops.cond(
            ops.logical_or(is_turn, is_end),
            lambda: self._chosen(self.sparsity(step)),
            lambda: [ops.convert_to_tensor(mask) for mask in self._masks],
        )
        # Outside of the condition, for replicas would have to meet inside.
        for mask, new in zip(self._masks, masks, strict=True):
            mask.assign(new)
        self.mask(masks)
        self._step.assign(step + 1)

    def mask(self, masks=None):
        """Makes weights zero that are chosen.

        Args:
            masks: For each kernel a tensor of its shape of zeros and ones; by default
                those of now.
        """
        masks = self._masks if masks is None else masks
        for layer, mask in zip(self.layers, masks, strict=True):
            kernel = layer.kernel
            kernel.assign(kernel * ops.cast(mask, kernel.dtype))

    def _chosen(self, sparsity):
        """Returns the masks of a sparsity."""
        sizes = [
            ops.reshape(ops.abs(ops.cast(layer.kernel, "float32")), (-1,))
            for layer in self.layers
        ]
        flat = ops.concatenate(sizes)
        total = int(flat.shape[0])
        # Products of float32 may be larger than the number by their rounding.
        count = ops.cast(ops.ceil(sparsity * total * (1 - 1e-6)), "int32")
        order = ops.argsort(flat)
        ranks = ops.scatter(
            ops.expand_dims(ops.cast(order, "int32"), -1),
            ops.arange(total, dtype="int32"),
            (total,),
        )
        kept = ops.cast(ranks >= count, "float32")
        parts, start = [], 0
        for layer in self.layers:
            size = int(np.prod(layer.kernel.shape))
            parts.append(ops.reshape(kept[start : start + size], layer.kernel.shape))
            start += size
        return parts

    def _check_layers(self, model):
        sizes = [np.abs(_kernel(layer)).ravel() for layer in self.layers]
        count = _count(self.settings.sparsity, sum(map(len, sizes)))
        bound = np.sort(np.concatenate(sizes))[count - 1]
        for layer, of_layer in zip(self.layers, sizes, strict=True):
            if of_layer.max() <= bound:
                raise ValueError(
                    f"With these weights the sparsity would leave the layer "
                    f"'{layer.name}' of '{model.name}' empty: all of its weights are "
                    "among the least. Ask for a lower one. Received: sparsity="
                    f"{self.settings.sparsity}"
                )

    def measured(self) -> dict[str, float]:
        """Returns the share of the weights that are zero, as `sparsity`.

        Raises:
            ValueError: If a layer has no weight left.
        """
        zeros, total = 0, 0
        for layer in self.layers:
            kernel = _kernel(layer)
            if not kernel.any():
                raise ValueError(
                    f"The layer '{layer.name}' has no weight left that is not zero, so "
                    "nothing passes it; ask for a lower sparsity. Received: sparsity="
                    f"{self.settings.sparsity}"
                )
            zeros, total = zeros + np.sum(kernel == 0), total + kernel.size
        return {"sparsity": float(zeros / total)}


def pruning(
    recipe, steps_per_epoch: int, model: keras.Model
) -> MagnitudePruning | None:
    """Returns what keeps weights at zero in a training, if anything does.

    Args:
        recipe: A `training.recipes.base.Recipe`.
        steps_per_epoch: The steps of an epoch.
        model: The model that is trained.
    """
    settings = read(recipe.pruning)
    if settings is None or settings.removes:
        return None
    return MagnitudePruning(settings, recipe.epochs * steps_per_epoch, model)


def without_filters(model: keras.Model, settings: Filters) -> Classifier:
    """Returns a network without the filters that count the least.

    Of each group of layers whose channels are added to each other the same ones go, so
    many that their share is the sparsity, rounded up. What is left has its weights, and
    the model says what was done to it; see `zoo.compressed`.

    Args:
        model: A functional Keras model, trained.
        settings: Which, and how many.

    Raises:
        ValueError: If the groups cannot be found, or a layer would be left empty.
    """
    channels = Channels(model)
    removed = chosen_filters(channels, settings)
    made = channels.narrowed(channels.kept(removed))
    before = compression_of(model).get(FILTERS, {})
    return noted(made, model, {FILTERS: {**before, **channels.left(removed)}})


def chosen_filters(
    channels: Channels, settings: Filters
) -> list[tuple[Group, Sequence[int]]]:
    """Returns the filters that go, as `zoo.channels.Channels.kept` takes them.

    Args:
        channels: Those of the network.
        settings: Which, and how many.
    """
    removed = []
    for group in channels.groups:
        size = len(group.channels)
        count = _count(settings.sparsity, size)
        if count == size:
            raise ValueError(
                f"This sparsity would leave the layer '{group.name}' empty, which "
                f"has {size} filters that could go. Ask for a lower one. Received: "
                f"sparsity={settings.sparsity}"
            )
        order = np.argsort(settings.score(channels, group), kind="stable")
        removed.append((group, sorted(map(int, order[:count]))))
    return removed


def _count(sparsity: float, size: int) -> int:
    """Returns how many of so many go: their share, rounded up."""
    return int(np.ceil(sparsity * size - 1e-6))


def _kernel(layer) -> np.ndarray:
    return ops.convert_to_numpy(layer.kernel)


def _by_filter(layer) -> np.ndarray:
    """Returns the sizes of weights, of shape `(inputs, filters)`."""
    array = np.abs(_kernel(layer)).astype("float64")
    return array.reshape(-1, array.shape[-1])
