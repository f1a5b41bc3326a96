"""Distribution of a training over devices, by name."""

import contextlib
import ctypes
import os

import keras

from training.distribution import cluster, workers


def scope(name: str):
    """Returns a context in which to build and train a model on those devices.

    Args:
        name: `"one"` is one device; `"mirrored"` is all GPUs, or without one all
            logical CPU devices, each with a copy of the model and an equal share of
            every batch, on TensorFlow; `"multi_worker"` is the same with the devices of
            several processes, on one machine or more, which
            `training.distribution.cluster.find` finds; `"data_parallel"` is all devices
            that JAX has, by `keras.distribution.DataParallel`.

    Returns:
        A context manager. With `"multi_worker"`, all processes have come when this
        function returns, and they leave the context together. An error of one of them
        ends the others.

    Raises:
        ValueError: If the name is unknown, the backend cannot do it or the environment
            does not tell the workers.
        ConnectionError: If this worker cannot listen at its address, or in the context,
            if another one has ended.
    """
    if name not in DISTRIBUTIONS:
        raise ValueError(
            f"`distribution` must be one of {', '.join(DISTRIBUTIONS)}. "
            f"Received: distribution={name}"
        )
    return DISTRIBUTIONS[name]()


def _check_tensorflow(name):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`distribution` '{name}' needs the TensorFlow backend. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )


def _mirrored():
    _check_tensorflow("mirrored")
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    # Collective reduction on CPUs breaks the second model of a process.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)
    return strategy.scope()


def _multi_worker():
    _check_tensorflow("multi_worker")
    return workers.join(cluster.find(os.environ))


def _data_parallel():
    if keras.backend.backend() != "jax":
        raise ValueError(
            "`distribution` 'data_parallel' needs the JAX backend, and TensorFlow has "
            f"'mirrored'. Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    return keras.distribution.DataParallel().scope()


def num_replicas() -> int:
    """Returns the number of devices that share a batch in the current scope."""
    if keras.backend.backend() != "tensorflow":
        shared = keras.distribution.distribution()
        is_parallel = isinstance(shared, keras.distribution.DataParallel)
        return shared.num_model_replicas if is_parallel else 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def own_replicas() -> range | None:
    """Returns which of these devices this process has; None is all of them."""
    together = workers.active()
    return together and together.replicas


def shared(dataset):
    """Returns batches as `fit` takes them in the current scope.

    Args:
        dataset: From `training.batches`, with the rows of `own_replicas`.
    """
    together = workers.active()
    if together is None:
        return dataset
    count = len(together.replicas)
    if count > 1:
        dataset = dataset.flat_map(lambda *batch: _divided(batch, count))
    # TensorFlow would make and throw away the rows of the others.
    return together.strategy.distribute_datasets_from_function(lambda _: dataset)


def _divided(batch, count):
    import tensorflow as tf

    rows = tf.nest.map_structure(
        lambda x: tf.reshape(x, (count, -1, *x.shape[1:])), batch
    )
    return tf.data.Dataset.from_tensor_slices(rows)


def callbacks() -> list[keras.callbacks.Callback]:
    """Returns what trainings and evaluations need in the current scope."""
    if num_replicas() == 1:
        return []
    return [OneByOne() if keras.backend.backend() == "jax" else KeptMemory()]


class OneByOne(keras.callbacks.Callback):
    """Lets an evaluation wait for each batch, where devices share it on JAX.

    Keras starts the batches of an evaluation without a look at their results. Where one
    processor plays many devices, XLA then waits in all of its threads for devices that
    have no thread left, and ends the process after 40 seconds. To read the results, as
    a callback of batches makes Keras do, is enough.
    """

    def on_test_batch_end(self, batch, logs=None):
        pass


class KeptMemory(keras.callbacks.Callback):
    """Lets the process keep memory that it frees, after TensorFlow has forbidden it.

    Batches for several devices come out of a generator of TensorFlow, which sets the
    trim threshold of glibc's `malloc` to 128 kB when it is first used. This also ends
    the adaptation of the threshold for mappings, so that every large tensor is mapped,
    cleared page by page and given back: half of the time of a step on CPUs. The
    callback sets the thresholds to which glibc adapts by itself. Without glibc it does
    nothing.
    """

    def __init__(self):
        super().__init__()
        self.is_done = False

    def on_train_batch_end(self, batch, logs=None):
        if not self.is_done:
            keep_memory()
            self.is_done = True


def keep_memory():
    """Sets the thresholds of glibc's `malloc`; see `KeptMemory`."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # Another system.
        return
    mallopt(_MMAP_THRESHOLD, 32 * 2**20)
    mallopt(_TRIM_THRESHOLD, 64 * 2**20)


# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

DISTRIBUTIONS = {
    "one": contextlib.nullcontext,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "data_parallel": _data_parallel,
}
