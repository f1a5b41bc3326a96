"""Commands in a process of their own, as a user starts them."""

import os
import pathlib


def environment(backend: str = "tensorflow") -> dict[str, str]:
    """Returns the environment without what an import of JAX has put into it.

    That is also without the log level of this process.

    Args:
        backend: Backend of Keras. `"jax"` starts in half the time.
    """
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return {**kept, "KERAS_BACKEND": backend}


def quick(backend: str = "jax") -> dict[str, str]:
    """Returns the environment in which XLA compiles without optimizing.

    It is for numbers that are compared up to rounding.
    """
    flags = "--xla_backend_optimization_level=0"
    return {**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": flags}


ROOT = pathlib.Path(__file__).parents[2]
TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from layers import compilation
compilation._WORTH_FUSING = 1  # Small maps are compiled, too.
"""
WITHOUT_TENSORFLOW = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocker())
"""
