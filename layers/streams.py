"""Where the keys of random layers come from.

A layer that draws derives from `RandomLayer`. Outside a `stream` its keys come from
a counter that is one of its weights, hence saved with the model; inside a `stream`
they come from the stream alone, and no state is read or written.
"""

import contextlib
import contextvars
import threading
import zlib
from random import getrandbits

import keras
import numpy as np
from keras import ops

from layers import graphs, keras_internals, random, replicas, tracing
from layers.checks import check_choice, check_seed
from layers.estimators import ESTIMATORS


class _Stream:
    def __init__(self, key, offset, estimator, prepared, number):
        self.key, self.offset, self.calls = key, offset, {}
        self.number = number
        self.estimator, self.prepared = estimator, prepared or {}
        self.trace = tracing.current()

    def next_key(self, name: str):
        """Returns the key of the next call of the layer of that name."""
        call = self.calls[name] = self.calls.get(name, -1) + 1
        return random.fold(random.fold(self.key, zlib.crc32(name.encode())), call)


_MEMBER = zlib.crc32(b"member")  # In place of the name of a layer.
_STREAM = contextvars.ContextVar("stream", default=None)
# How many rows one after the other are views of one example; see `views`.
_VIEWS = contextvars.ContextVar("views", default=1)
_COUNTING = threading.Lock()


def _active() -> _Stream | None:
    """Returns the stream around, if it was entered in the function that runs.

    One that was entered outside of a compiled function is not of it: its key would be
    a constant of that function in all later calls too.
    """
    active = _STREAM.get()
    return active if active is None or tracing.is_inside(active.trace) else None


@contextlib.contextmanager
def stream(
    key,
    offset=0,
    estimator: str | None = None,
    prepared: dict | None = None,
    number=None,
):
    """Makes every random layer called inside draw from `key`.

    A draw then depends on the key, on the layer's name, on how often the layer was
    called inside and on the example's number alone: not on the batch split, and no
    state is written. Enter it inside a compiled function: around one, such as Keras'
    `fit`, `evaluate` and `predict`, it has no effect, but on PyTorch, where these are
    not compiled.

    Several streams can run as one batch. `key` is then a vector with the key of each,
    and the batch holds all examples of the first stream, then all of the second: each
    row draws what it would draw in the stream of its key alone. Only layers whose
    `by_row` is true can do so.

    Args:
        key: Integer or scalar integer tensor; or a tensor of shape `(streams,)`.
        offset: The number of the first example of the batch.
        estimator: Overrides that of the layers with Gaussian weights: `"flipout"`,
            `"weight_sampling"` or `"local_reparameterization"`.
        prepared: What `prepare` gave, by layer.
        number: Which sample this is, an integer or a scalar integer tensor, for layers
            with several members: it is that of member `number % num_members` in all of
            them. In several streams it has the shape of `key`.

    Example:

    >>> from layers import MCDropout, stream
    >>> dropout, x = MCDropout(0.5), keras.ops.ones((1, 8))
    >>> with stream(7):
    ...     first = dropout(x)
    >>> with stream(7):
    ...     print(bool(keras.ops.all(dropout(x) == first)))
    True
    """
    if estimator is not None:
        check_choice(estimator, "estimator", ESTIMATORS)
    token = _STREAM.set(_Stream(key, offset, estimator, prepared, number))
    try:
        yield
    finally:
        _STREAM.reset(token)


@contextlib.contextmanager
def views(count: int):
    """Makes so many rows, one after the other, those of one member of an ensemble.

    For batches with several views of each example, outside of streams.

    Args:
        count: The number of views.
    """
    token = _VIEWS.set(count)
    try:
        yield
    finally:
        _VIEWS.reset(token)


def estimator() -> str | None:
    """Returns the estimator of the current stream, or None."""
    active = _active()
    return active.estimator if active is not None else None


def number():
    """Returns which sample the current stream is, or None; see `stream`."""
    active = _active()
    return active.number if active is not None else None


def _counting():
    """Returns a context in which no other thread counts.

    Two that read a counter before one of them has written it would draw the same.
    """
    if keras.backend.backend() != "tensorflow":
        return _COUNTING
    import tensorflow as tf

    # In a graph it would lock the tracing alone, and replicas wait for each other.
    context = tf.distribute.get_replica_context()
    is_alone = context is not None and context.num_replicas_in_sync == 1
    eager = is_alone and tf.executing_eagerly()
    return _COUNTING if eager else contextlib.nullcontext()


def of_replica(key):
    """Returns a key that is another one on each replica, from one that is equal.

    Replicas hold equal counters; without it they would draw equal masks.
    """
    place = replicas.place()
    return key if place is None else random.fold(key, place[0])


class RandomLayer(keras.layers.Layer):
    """Base class of layers that draw random numbers.

    A subclass declares in `optional_weights` the attributes that hold weights which the
    layer of a plain network has not: such weights keep their initial values where a
    file has none of their kind. `decays = False` keeps weight decay from its weights,
    for example since they have a prior.

    Args:
        seed: Integer in `[0, 2**32)` that makes the draws reproducible. By default
            it is taken from Python's `random`, which `keras.utils.set_random_seed`
            seeds.
    """

    stochastic = True  # Whether it draws in inference too.
    # Whether what an example draws follows from its key of `row_keys` alone, so that
    # one batch may hold several streams.
    by_row = False
    optional_weights: tuple[str, ...] = ()
    decays = True

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if seed is not None:
            check_seed(seed)
        self.seed = seed
        start = getrandbits(32) if seed is None else seed
        self.random_state = self.add_weight(
            shape=(2,),
            initializer=lambda *_, **__: random.uint32(np.array([start, 0], "uint32")),
            dtype="uint32",
            trainable=False,
            autocast=False,
            name="random_state",
        )

    def next_key(self):
        """Returns a new key, different on each replica of a `tf.distribute` strategy.

        Returns:
            A scalar uint32 tensor; in several streams, of shape `(streams,)`.

        Raises:
            ValueError: If JAX compiles the function around, but for `stateless_call`.
        """
        if (active := _active()) is not None:
            return active.next_key(self.name)
        with _counting():
            # The sum is a tensor; in TensorFlow the variable would be read again.
            state = self.random_state + random.uint32(np.array([0, 1], "uint32"))
            if tracing.would_leak(state):
                raise ValueError(
                    f"The layer '{self.name}' draws inside of a function that JAX "
                    "compiles, which cannot count its calls: enter `layers.stream("
                    "key)` inside that function, or use `stateless_call` of the model."
                )
            self.random_state.assign(state)
        return of_replica(random.fold(state[0], state[1]))

    def next_row_keys(self, num_rows):
        """Returns new keys, one for each example.

        Args:
            num_rows: The number of examples in the batch.

        Returns:
            A uint32 tensor of shape `(num_rows,)`.
        """
        return self.row_keys(self.next_key(), num_rows)

    def row_keys(self, key, num_rows):
        """Returns a key for each example, made from one of `next_key`.

        Args:
            key: Scalar uint32 tensor, or one of shape `(streams,)`.
            num_rows: The number of examples in the batch, of all streams together.

        Returns:
            A uint32 tensor of shape `(num_rows,)`. In a `stream`, examples are
            counted from its offset.
        """
        if (active := _active()) is None:
            return random.fold(key, ops.arange(num_rows, dtype="int32"))
        if not len(key.shape):
            return random.fold(key, self._rows(num_rows, active.offset))
        rows = self._rows(num_rows // ops.shape(key)[0], active.offset)
        return ops.reshape(random.fold(key[:, None], rows), (num_rows,))

    def row_members(self, num_members: int, num_rows):
        """Returns which member of an implicit ensemble each example is of.

        An implicit ensemble is one network in which layers hold several small sets of
        weights, such as biases; a member is the network with those of one number. All
        layers of a pass agree on it, for it depends neither on the layer nor on how
        often it was called. A layer that uses it has `by_row = True`.

        In a `stream` with a `number`, as `zoo.posterior.MonteCarlo` opens one for each
        sample, all examples are of member `number % num_members`, so that as many
        samples as there are members are the ensemble. In a stream without, the member
        is drawn for each example from key, example number and nothing else. Elsewhere,
        as in `fit`, it is the place in the batch modulo the number of members: of
        shuffled examples each has a member at random, and in each batch every member
        has its share. The `views` of an example are of one.

        Args:
            num_members: The number of members.
            num_rows: The number of examples in the batch, of all streams together.

        Returns:
            An int32 tensor of shape `(num_rows,)` in `[0, num_members)`.
        """
        rows = ops.arange(num_rows, dtype="int32")
        if (active := _active()) is None:
            return rows // _VIEWS.get() % num_members
        if active.number is None:
            keys = self.row_keys(random.fold(active.key, _MEMBER), num_rows)
            # LiteRT has no remainder of uint32.
            return ops.cast(ops.right_shift(keys, random.uint32(16)), "int32") % (
                num_members
            )
        numbers = ops.cast(ops.convert_to_tensor(active.number), "int32")
        numbers = ops.reshape(numbers, (-1,)) % num_members
        # Examples of one stream come after another.
        count = ops.shape(numbers)[0]
        return ops.take(numbers, rows // (num_rows // count))

    def _rows(self, num_rows, offset):
        rows = random.uint32(ops.arange(num_rows, dtype="int32"))
        return rows + random.uint32(offset)

    def prepare(self):
        """Returns what calls compute from the weights alone, for `stream` to hold."""
        return ()

    def prepared(self):
        """Returns what the stream around holds of `prepare`, or else a new one."""
        active = _active()
        held = active.prepared.get(self) if active is not None else None
        return self.prepare() if held is None else held

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def set_seed(model: keras.Model, seed: int):
    """Restarts all random layers of a model from one seed.

    Args:
        model: Keras model; layers of nested models are included.
        seed: Integer in `[0, 2**32)`. Layers of different names draw differently.

    Raises:
        ValueError: If the seed is another number.
    """
    check_seed(seed)
    for layer in keras_internals.flat_layers(model):
        if isinstance(layer, RandomLayer):
            start = random.fold(seed, zlib.crc32(layer.name.encode()))
            layer.random_state.assign(ops.stack([start, random.uint32(0)]))


def is_stochastic(model: keras.Model) -> bool:
    """Returns whether two predictions of a model for the same images may differ.

    They may if it has random layers of this package, layers of Keras that are called
    with `training=True`, or layers of others with a `keras.random.SeedGenerator`. What
    layers of others draw by other means, only calls of them tell:
    `zoo.posterior.MonteCarlo` makes these.
    """
    return bool(graphs.switched_on(model)) or any(
        layer.stochastic
        if isinstance(layer, RandomLayer)
        else graphs.is_foreign(layer) and graphs.has_generator(layer)
        for layer in keras_internals.flat_layers(model)
    )
