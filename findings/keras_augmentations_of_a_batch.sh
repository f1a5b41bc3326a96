#!/usr/bin/env bash
# Three augmentation layers of Keras draw for a batch, or once and for all, what their
# papers draw for each image or each call: `RandAugment` its operations and `CutMix` the
# parameter of its Beta distribution, for a batch; `AugMix` its operations by Python's
# `random` while a graph is traced, so that they are those of the whole training.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0.
# Seen: two operations for 64 images; a scalar parameter; the first call of a compiled
# AugMix draws by `random`, later ones do not. Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1
cd "$folder"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 env/bin/python - <<'PYTHON'
import random

import keras
import numpy as np
import tensorflow as tf

images = np.random.default_rng(0).uniform(0, 255, (64, 8, 8, 3)).astype("float32")
drawn = keras.layers.RandAugment(num_ops=2).get_random_transformation(images)
print("operations of 64 images", drawn["layer_idxes"].shape)
assert tuple(drawn["layer_idxes"].shape) == (2,)

layer, shapes = keras.layers.CutMix(), []
beta = layer.backend.random.beta


def noted(shape, alpha, *others, **options):
    shapes.append(tuple(alpha.shape))
    return beta(shape, alpha, *others, **options)


layer.backend.random.beta = noted
layer.get_random_transformation(images)
layer.backend.random.beta = beta
print("shape of the parameter of CutMix", shapes)
assert shapes == [()]

mix = tf.function(keras.layers.AugMix(seed=0))
states = []
for _ in range(3):
    states.append(random.getstate())
    mix(images)
print("draws of AugMix by call", [a != b for a, b in zip(states, states[1:])])
assert states[0] != states[1]
assert states[1] == states[2]
PYTHON
