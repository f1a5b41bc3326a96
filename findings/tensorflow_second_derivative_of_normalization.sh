#!/usr/bin/env bash
# On TensorFlow the second derivatives of Keras' LayerNormalization, GroupNormalization
# and, in training, BatchNormalization are wrong by a few percent, without a warning:
# `tf.nn.moments` stops the gradient at the mean that is inside of the variance. The
# first derivative does not see it, as that term is zero there. Gradient penalties,
# Hessians and Hessian-vector products do.
#
# Versions: TensorFlow 2.21.0, Keras 3.15.1, float64.
# Seen: Hessian-vector products differ from central differences of the gradient by 4.1,
# 5.7 and 3.4 %; those of RMSNormalization, which has no mean, by 1e-9. First
# derivatives agree to 1e-8. Exits with 1 if that changes.
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

keras.config.set_floatx("float64")
rng = np.random.default_rng(0)
point, direction, weights = rng.normal(size=(3, 4, 6))


def errors(layer, **options):
    """Returns the relative errors of the first and the second derivative."""

    def function(x):
        return tf.reduce_sum(weights * tf.tanh(layer(x, **options)))

    def gradient(x):
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)

    def difference(of, step):
        return (of(point + step * direction) - of(point - step * direction)) / (2 * step)

    x = tf.convert_to_tensor(point)
    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(gradient(x) * direction)
    product = tape.gradient(along, x)
    first, second = difference(function, 1e-6), difference(gradient, 1e-5)
    return (
        abs(float(along - first) / float(first)),
        float(tf.norm(product - second) / tf.norm(second)),
    )


wrong = {
    "LayerNormalization": errors(keras.layers.LayerNormalization()),
    "GroupNormalization": errors(keras.layers.GroupNormalization(2)),
    "BatchNormalization": errors(keras.layers.BatchNormalization(), training=True),
}
right = {"RMSNormalization": errors(keras.layers.RMSNormalization())}
for name, (first, second) in {**wrong, **right}.items():
    print(f"{name}: first derivative {first:.1e}, second {second:.1e}")
    assert first < 1e-6
assert all(second > 0.01 for _, second in wrong.values())
assert all(second < 1e-6 for _, second in right.values())
PYTHON
