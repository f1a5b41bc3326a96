#!/usr/bin/env bash
# Under tf.distribute.MirroredStrategy, Keras' `fit` weights the images of a last batch
# by replicas, not by images: the gradient is the mean over the replicas of the mean over
# the images of each. Three images on two devices are two and one, and the one alone
# counts twice as much as each of the others. The loss that `fit` reports is the mean
# over all images, so nothing in its output shows it.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, two logical CPU devices.
# Seen: a bias learns the mean (0 + 0 + 3) / 3 = 1 of three labels on one device, and
# ((0 + 0) / 2 + 3) / 2 = 1.5 on two. No warning. Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cd "$folder"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 env/bin/python - <<'PYTHON'
import contextlib

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)


def learned(scope):
    """Returns the bias after a step that jumps to the minimum of a squared error."""
    with scope:
        bias = keras.layers.Dense(1, kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((1,)), bias])
        model.compile(keras.optimizers.SGD(0.5), "mse")
    # The first batch divides, and its labels are met already: it changes nothing.
    images = np.zeros((7, 1), "float32")
    labels = np.array([[0], [0], [0], [0], [0], [0], [3]], "float32")
    model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
    return float(keras.ops.convert_to_numpy(bias.bias)[0])


one = learned(contextlib.nullcontext())
two = learned(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope())
print("one device", one, "two devices", two)
assert abs(one - 1) < 1e-6
assert abs(two - 1.5) < 1e-6
PYTHON
