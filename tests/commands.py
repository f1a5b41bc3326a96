"""Commands in a process of their own, as a user starts them."""

import os


def environment(backend: str = "tensorflow") -> dict[str, str]:
    """Returns the environment without what an import of JAX has put into it.

    That is also without the log level of this process.

    Args:
        backend: Of Keras. `"jax"` starts in half the time.
    """
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return {**kept, "KERAS_BACKEND": backend}
