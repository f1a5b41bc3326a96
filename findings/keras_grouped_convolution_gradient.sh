#!/usr/bin/env bash
# A training of `keras.layers.Conv2D` with groups takes far longer on TensorFlow's CPU
# than that of as many convolutions of a part of the channels each, or of a convolution
# with all channels. TensorFlow has no gradients of grouped convolutions on a CPU, so
# Keras has XLA compile the convolution, and what XLA makes of the gradient by the kernel
# is a plain loop. There is no warning, and a prediction takes a few times as long only.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, CPU.
# Seen: values and gradients agree; the gradient of 4 groups of 32 channels takes 50
# times as long as that of the four groups one by one, a prediction 2.8 times. Exits
# with 1 if the gradient takes less than 10 times as long.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cd "$folder"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 env/bin/python - <<'PYTHON'
import time

import keras
import numpy as np
import tensorflow as tf

GROUPS = 4
rng = np.random.default_rng(0)
maps = tf.constant(rng.normal(size=(16, 32, 32, 32)), "float32")
kernel = tf.constant(rng.normal(size=(3, 3, 32 // GROUPS, 32)) / 10, "float32")


def grouped(x, k):
    return keras.ops.conv(x, k, padding="same")


def one_by_one(x, k):
    pairs = zip(tf.split(x, GROUPS, -1), tf.split(k, GROUPS, -1), strict=True)
    return tf.concat([keras.ops.conv(*pair, padding="same") for pair in pairs], -1)


def measured(conv):
    """Returns values and gradients, and seconds of a prediction and of a gradient."""

    @tf.function
    def predict():
        return conv(maps, kernel)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch((maps, kernel))
            loss = tf.reduce_sum(conv(maps, kernel) ** 2)
        return tape.gradient(loss, (maps, kernel))

    arrays, seconds = [predict(), *gradient()], []
    for function in (predict, gradient):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            tf.nest.map_structure(lambda x: x.numpy(), function())
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    return arrays, seconds


ours, fast = measured(one_by_one)
theirs, slow = measured(grouped)
for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2)
ratios = [a / b for a, b in zip(slow, fast, strict=True)]
print("groups over one by one: prediction %.1f, gradient %.0f" % tuple(ratios))
assert ratios[1] > 10
PYTHON
