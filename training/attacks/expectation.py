"""The loss of a classifier in expectation over its draws, and gradients by the pixels.

An attack on a network that draws at random must see many draws in each step. The
gradient of one of them points to where this one errs, which the others need not do, so
the network seems to withstand the attack when the attack is weak.

Reference:
    [Obfuscated Gradients Give a False Sense of Security](
    https://arxiv.org/abs/1802.00420) (Athalye et al., 2018), section 4.2.
"""

import contextlib
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation, gradients, graphs, keras_internals
from layers.random import fold
from training.input_gradients import unchanged
from zoo import arrays
from zoo.posterior import DeepEnsemble, MonteCarlo, Posterior
from zoo.posterior.graph_split import Split
from zoo.posterior.monte_carlo import passes_of

DRAWS = 10  # Of what has no end of them.
_MEMORY = 2**28  # Bytes of feature maps that the passes of one batch may take.
_ROWS = 64  # More of them in a batch are no faster.
_LOWEST = -1e30  # In place of minus infinity, whose gradients are not numbers.


def expected_loss(
    model: keras.Model | Posterior,
    draws: int | None = None,
    loss: Callable | None = None,
    training: bool = False,
):
    """Returns the mean loss over the draws of a model, as an object of two functions.

    `gradient(images, labels, key, offset)` gives the mean loss of each image, of shape
    `(batch,)`, and its gradient by the pixels; `prediction` of these the mean loss and
    the mean probabilities. Draw `d` of an image depends on the key, on `d` and on the
    number of the image alone, which is `offset` plus its place in the batch, and no
    weights change. What comes before the first random layer is computed once for all
    draws, both ways.

    Args:
        model: From images to logits; or a posterior.
        draws: How many draws of a model that draws; of a posterior by default as many
            as it has samples. What has a certain number of samples, such as an
            ensemble, has all of them, whatever this says.
        loss: From labels and logits to the loss of each example; by default the
            cross-entropy.
        training: Whether batch normalization uses the statistics of the batch; of a
            Keras model only.

    Raises:
        ValueError: If a posterior is to be in training mode.
    """
    loss = loss or cross_entropy
    if isinstance(model, DeepEnsemble):
        _check_inference(training)
        return _OfMembers([expected_loss(m, draws, loss) for m in model.members], model)
    if isinstance(model, Posterior) and not isinstance(model, MonteCarlo):
        _check_inference(training)
        return _OfSamples(model, loss)
    if isinstance(model, MonteCarlo):
        _check_inference(training)
        count = 1 if model.repeats_itself else draws or model.num_samples
        return _OfDraws(
            model.model,
            model.split,
            count,
            loss,
            owner=model,
            estimator=model.estimator,
        )
    if training:
        count = (draws or DRAWS) if _draws_in_training(model) else 1
        return _OfDraws(model, _InTraining(model), count, loss)
    plain = _plain(model)
    split = Split(plain)
    return _OfDraws(plain, split, (draws or DRAWS) if split.draws else 1, loss)


def cross_entropy(labels, logits):
    """Returns the cross-entropy of logits, whose gradient never rounds to zero.

    It is `log(1 + exp(m))`, where `m` is the log of the sum of the exponentials of all
    other logits, minus the logit of the label. The gradient of the usual formula is a
    difference of numbers near 1, which hides the direction in which a network that is
    certain could err.

    Args:
        labels: Integer tensor of shape `(batch, ...)`.
        logits: Tensor of shape `(batch, ..., num_classes)`.

    Returns:
        Tensor of shape `(batch, ...)`, in nats.
    """
    classes = ops.arange(logits.shape[-1], dtype="int32")
    own = classes == ops.cast(labels, "int32")[..., None]
    others = ops.logsumexp(ops.where(own, _LOWEST, logits), axis=-1)
    return ops.softplus(others - ops.sum(ops.where(own, logits, 0.0), axis=-1))


def _check_inference(training):
    if training:
        raise ValueError(
            "Batch statistics of training are those of a Keras model; a posterior is "
            "for inference. Received: training=True"
        )


def check_differentiable(model: keras.Model | Posterior):
    """Checks that a model has gradients by its images, as one of noise tells.

    Args:
        model: From images to logits; or a posterior, which has adapted.

    Raises:
        ValueError: If there are none, as of a model that another runtime computes.
    """
    is_posterior = isinstance(model, Posterior)
    shape = model.image_shape if is_posterior else model.input_shape[1:]
    maps = model.map_shape if is_posterior else model.output_shape[1:-1]
    noise = np.random.default_rng(0).uniform(0, 255, [1, *(n or 32 for n in shape)])
    expected, labels = expected_loss(model, 1), ops.zeros((1, *maps), "int32")
    text = (
        f"The model '{model.name}' has no gradients by its images, by which it could "
        "be attacked: another runtime may compute it. Attack the Keras model that it "
        "was made of."
    )
    try:
        gradient = gradients.by_input(
            lambda x: ops.sum(expected.prediction(x, labels, 0, 0)[0]),
            ops.convert_to_tensor(noise, "float32"),
        )
    except (LookupError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f"{text} The reason: {error}") from error
    if gradient is None:
        raise ValueError(text)


def wrong(labels, probs):
    """Returns for each image whether the most probable class is another one.

    Args:
        labels: Integer tensor of shape `(batch, ...)`.
        probs: Tensor of shape `(batch, ..., num_classes)`.

    Returns:
        float32 tensor of shape `(batch,)`, 0 or 1; of labeled pixels the part that is
        wrong.
    """
    are = ops.cast(ops.argmax(probs, axis=-1), "int32") != ops.cast(labels, "int32")
    are = ops.reshape(ops.cast(are, "float32"), (ops.shape(labels)[0], -1))
    return _mean_of_labeled(are, labels)


def _mean_of_labeled(values, labels):
    """Returns means over the pixels that have a label, of an image its only value.

    Args:
        values: Tensor of shape `(..., batch, pixels)`.
        labels: Integer tensor of shape `(batch, ...)`.
    """
    known = ops.cast(ops.not_equal(labels, arrays.UNLABELED), values.dtype)
    known = ops.reshape(known, (ops.shape(labels)[0], -1))
    counts = ops.maximum(ops.sum(known, axis=-1), 1)
    return ops.sum(values * known, axis=-1) / counts


def _draws_in_training(model) -> bool:
    return any(
        isinstance(layer, layers.RandomLayer) or graphs.has_generator(layer)
        for layer in keras_internals.flat_layers(model)
    )


def _plain(model):
    """Returns a functional model without what a subclass adds for its training."""
    if graphs.functional(model) is not None:
        return model
    graph = keras_internals.functional_graph(model)
    if graph is None or not len(graph.inputs) == len(graph.outputs) == 1:
        return model
    return keras.Model(graph.inputs[0], graph.outputs[0], name=model.name)


class _InTraining:
    """A model in training mode, as a `Split` with nothing before the first draw."""

    by_row = has_small_maps = False
    is_known = True
    kept_bytes = None

    def __init__(self, model):
        self._model = model

    def prefix(self, images):
        return [images]

    def suffix(self, values):
        if keras_internals.is_stateless():
            return self._model(values[0], training=True)
        with unchanged(self._model):
            return self._model(values[0], training=True)


class _OfDraws:
    """The mean over a number of passes of one network."""

    def __init__(self, model, split, count, loss, owner=None, estimator=None):
        self.count, self.owner = count, owner or model
        self._model, self._split, self._loss = model, split, loss
        self._estimator = estimator

    def gradient(self, images, labels, key, offset):
        batch = ops.shape(images)[0]
        values, pull = gradients.vjp(lambda x: self._prefix(x[0]), [images])
        passes = self._passes(key, offset, batch)

        def of_chunk(numbers):
            def total(values):
                losses = _losses_of(self._loss, labels, passes(values, numbers))
                return [ops.sum(losses, axis=0)]

            (losses,), pull = gradients.vjp(total, values)
            return [losses, *pull([ops.ones_like(losses)])]

        zeros = [ops.zeros((batch,), "float32"), *map(ops.zeros_like, values)]
        losses, *found = self._sum(of_chunk, zeros, images.shape[0])
        (gradient,) = pull(found)
        return losses / self.count, gradient / self.count

    def prediction(self, images, labels, key, offset):
        batch = ops.shape(images)[0]
        values, passes = self._prefix(images), self._passes(key, offset, batch)

        def of_chunk(numbers):
            logits = passes(values, numbers)
            losses = ops.sum(_losses_of(self._loss, labels, logits), axis=0)
            return [losses, ops.sum(ops.softmax(logits, axis=-1), axis=0)]

        shapes = (batch,), (batch, *self._model.output_shape[1:])
        zeros = [ops.zeros(shape, "float32") for shape in shapes]
        losses, probs = self._sum(of_chunk, zeros, images.shape[0])
        return losses / self.count, probs / self.count

    def _prefix(self, images):
        with _kept(self._model):
            return self._split.prefix(images)

    def _passes(self, key, offset, batch):
        passes = passes_of(
            self._model, self._split, key, offset, batch, self._estimator
        )

        def run(values, numbers):
            with _kept(self._model):
                return passes(values, numbers)

        return run

    def _sum(self, of_chunk, zeros, batch):
        """Adds up what a function gives for the numbers of all passes, by chunks."""
        chunk = self._chunk(batch)
        numbers = ops.arange(chunk, dtype="int32")
        if chunk == self.count:
            return of_chunk(numbers)

        def body(start, *sums):
            more = of_chunk(start + numbers)
            pairs = zip(sums, more, strict=True)
            sums = [ops.reshape(a + b, ops.shape(a)) for a, b in pairs]
            return start + chunk, *sums

        _, *sums = compilation.while_loop(
            lambda start, *_: start < self.count,
            body,
            (ops.zeros((), "int32"), *zeros),
            at_once=1,
        )
        return sums

    def _chunk(self, batch):
        """Returns how many passes are one batch, a divisor of their number."""
        if not self._split.by_row or not self._split.kept_bytes or not batch:
            return 1
        rows = min(_MEMORY // self._split.kept_bytes, _ROWS)
        sizes = range(1, self.count + 1)
        return max(
            size
            for size in sizes
            if size == 1 or (self.count % size == 0 and size * batch <= rows)
        )


class _OfMembers:
    """The mean over the members of an ensemble, each of which has its draws."""

    def __init__(self, members, owner):
        self._members, self.owner = members, owner
        self.count = sum(member.count for member in members)

    def gradient(self, *args):
        return self._mean([member.gradient for member in self._members], *args)

    def prediction(self, *args):
        return self._mean([member.prediction for member in self._members], *args)

    def _mean(self, functions, images, labels, key, offset):
        means = [0.0, 0.0]
        for number, (member, function) in enumerate(
            zip(self._members, functions, strict=True)
        ):
            found = function(images, labels, fold(key, number), offset)
            share = member.count / self.count
            means = [m + share * f for m, f in zip(means, found, strict=True)]
        return means


class _OfSamples:
    """The mean over the samples of any other posterior."""

    def __init__(self, posterior, loss):
        self.owner, self.count, self._loss = posterior, posterior.num_samples, loss

    def gradient(self, images, labels, key, offset):
        def total(values):
            with _kept(self.owner):
                samples = self.owner.sample(values[0], key, offset)
            return [ops.mean(_losses_of(self._loss, labels, samples), axis=0)]

        (losses,), pull = gradients.vjp(total, [images])
        (gradient,) = pull([ops.ones_like(losses)])
        return losses, gradient

    def prediction(self, images, labels, key, offset):
        with _kept(self.owner):
            samples = self.owner.sample(images, key, offset)
        losses = ops.mean(_losses_of(self._loss, labels, samples), axis=0)
        return losses, ops.mean(ops.softmax(samples, axis=-1), axis=0)


def _losses_of(loss, labels, logits):
    """Returns losses of `(passes, batch, ..., classes)`, means over labeled pixels."""
    passes, batch = ops.shape(logits)[:2]
    rows = ops.reshape(logits, (-1, *logits.shape[2:]))
    tiled = ops.tile(labels, (passes, *[1] * (len(labels.shape) - 1)))
    losses = ops.reshape(ops.cast(loss(tiled, rows), "float32"), (passes, batch, -1))
    return _mean_of_labeled(losses, labels)


def _kept(owner):
    """Returns a context that keeps new values of weights out of loops of JAX."""
    if not keras_internals.is_stateless():
        return contextlib.nullcontext()
    pairs = [(variable, variable.value) for variable in owner.variables]
    return keras.StatelessScope(state_mapping=pairs)
