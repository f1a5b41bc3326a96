"""The commands. Importing them is silent, unless `TF_CPP_MIN_LOG_LEVEL` is set."""

import os


def _import_quietly():
    """Imports Keras without the lines that TensorFlow prints whatever its log level."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import keras  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    _import_quietly()
