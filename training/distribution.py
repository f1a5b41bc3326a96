"""Distribution of a training over devices, by name."""

import contextlib

import keras


def scope(name: str):
    """Returns a context in which to build and train a model on those devices.

    Args:
        name: `"one"` is one device; `"mirrored"` is all GPUs, or without one all
            logical CPU devices, each with a copy of the model and an equal share of
            every batch, on TensorFlow; `"data_parallel"` is all devices that JAX has,
            by `keras.distribution.DataParallel`.

    Returns:
        A context manager.

    Raises:
        ValueError: If the name is unknown or the backend cannot do it.
    """
    if name not in DISTRIBUTIONS:
        raise ValueError(
            f"`distribution` must be one of {', '.join(DISTRIBUTIONS)}. "
            f"Received: distribution={name}"
        )
    return DISTRIBUTIONS[name]()


def _mirrored():
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "`distribution` 'mirrored' needs the TensorFlow backend. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    # Collective reduction on CPUs breaks the second model of a process.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)
    return strategy.scope()


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


DISTRIBUTIONS = {
    "one": contextlib.nullcontext,
    "mirrored": _mirrored,
    "data_parallel": _data_parallel,
}
