#!/usr/bin/env bash
# `keras.layers.AdaptiveAveragePooling2D` has no value on JAX for any side of three or
# more, where it gives NaN without a warning, and one of its sizes cannot be compiled by
# TensorFlow: a map of one pixel, which it enlarges in eager code.
#
# Versions: Keras 3.15.1, JAX 0.10.2, TensorFlow 2.21.0.
# Seen: on JAX maps of ones with sides 1 and 2 have averages of 1, those with sides 3, 7
# and 14 are NaN throughout. On TensorFlow all are 1; in a `tf.function` side 1 raises
# "Negative dimension size caused by subtracting 2 from 1". Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 \
  tensorflow==2.21.0
cd "$folder"
cat >look.py <<'PYTHON'
import keras
import numpy as np

layer = keras.layers.AdaptiveAveragePooling2D(7)
maps = {side: np.ones((1, side, side, 1), "float32") for side in (1, 2, 3, 7, 14)}
means = {side: float(np.mean(layer(x))) for side, x in maps.items()}
print(keras.backend.backend(), means)
if keras.backend.backend() == "jax":
    assert [side for side, mean in means.items() if np.isnan(mean)] == [3, 7, 14]
else:
    import tensorflow as tf

    assert all(abs(mean - 1) < 1e-6 for mean in means.values())
    failed = []
    for side, x in maps.items():
        try:
            tf.function(layer)(x)
        except ValueError as error:
            assert "Negative dimension size" in str(error)
            failed.append(side)
    print("in a graph fail", failed)
    assert failed == [1]
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 JAX_PLATFORMS=cpu
KERAS_BACKEND=jax env/bin/python look.py
KERAS_BACKEND=tensorflow env/bin/python look.py
