"""The commands. TensorFlow is quiet in them, unless `TF_CPP_MIN_LOG_LEVEL` is 0."""

from training.cli import quiet

quiet.install()
