#!/usr/bin/env bash
# The derivative of `keras.ops.relu` at zero stops what comes from behind on JAX, and does
# not on TensorFlow: its gradient is a product with zero, so an infinite derivative
# behind becomes NaN, where JAX chooses and gives zero. `sqrt(relu(x))`, which guards a
# root against values below zero, thus has a gradient at x = 0 on one backend and none on
# the other. It is NaN only if the gradient behind the root is not zero, since TensorFlow's
# root gives zero for zero, so a training may run for hours until a sum of squares is
# exactly zero. A test with a squared loss does not see it either.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, JAX 0.10.2, CPU.
# Seen: gradients of sum(weight * sqrt(relu(x))) at x = 0 and x = 4 with the weights 1 and
# 0 at x = 0: TensorFlow NaN and 0, JAX 0 and 0; 1/4 at x = 4 everywhere. Exits with 1 if
# that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1 jax==0.10.2
cd "$folder"
cat > gradient.py <<'PYTHON'
import math

import keras
import numpy as np
from keras import ops


def loss(x, weight):
    return ops.sum(weight * ops.sqrt(ops.relu(x)))


def gradient(weight):
    x = np.array([0, 4], "float32")
    weight = np.array([weight, 1], "float32")
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(loss)(x, weight))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x, weight)
    return tape.gradient(value, x).numpy()


found = [gradient(weight) for weight in (1, 0)]
print(keras.backend.backend(), *found)
is_nan = keras.backend.backend() == "tensorflow"
assert math.isnan(found[0][0]) == is_nan
assert is_nan or found[0][0] == 0
assert found[1][0] == 0
assert found[0][1] == found[1][1] == 0.25
PYTHON
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=2 env/bin/python gradient.py
done
