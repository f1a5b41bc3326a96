"""The backends of Keras on which the numbers are right."""

import os
import warnings

# Of the others, OpenVINO takes unsigned integers for signed ones, and NumPy cannot
# train.
BACKENDS = ("tensorflow", "jax", "torch")


def check():
    """Checks the backend, and warns where `tf.keras` is not Keras 3.

    Raises:
        ImportError: If Keras has a backend on which numbers are wrong.
    """
    # What is asked for is said before Keras looks for a package of that name.
    _check(os.environ.get("KERAS_BACKEND") or BACKENDS[0])
    import keras

    _check(keras.backend.backend())
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        warnings.warn(
            "TF_USE_LEGACY_KERAS makes `tf.keras` Keras 2, which takes no model of "
            "smoothzoo: use `keras` in its place, or unset the variable.",
            stacklevel=3,
        )


def _check(backend):
    if backend not in BACKENDS:
        known = f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
        raise ImportError(
            f"smoothzoo needs {known} as the backend of Keras: set "
            f"KERAS_BACKEND before Keras is imported. Received: KERAS_BACKEND={backend}"
        )
