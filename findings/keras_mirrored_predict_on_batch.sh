#!/usr/bin/env bash
# Under tf.distribute.MirroredStrategy, `predict_on_batch` of Keras answers once for each
# replica: every replica gets the whole batch, and the answers are put one after another.
# `predict` splits the batch and gives a row for each image.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, two logical CPU devices.
# Seen: (8, 3) from `predict`, (16, 3) from `predict_on_batch`, whose second half equals
# its first. No warning. Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cd "$folder"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 env/bin/python - <<'PYTHON'
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
logical = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, logical)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
images = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
whole = model.predict(images, batch_size=8, verbose=0)
batch = model.predict_on_batch(images)
print("predict", whole.shape, "predict_on_batch", batch.shape)
assert whole.shape == (8, 3)
assert batch.shape == (16, 3)
np.testing.assert_array_equal(batch[:8], batch[8:])
PYTHON
