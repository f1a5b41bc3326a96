#!/usr/bin/env bash
# A Keras model that begins with a Resizing or CenterCrop layer, which do nothing else
# in training, or with an augmentation, trains its batch normalizations when it is
# called as `model(images)`: the default `training=True` of the first layer becomes that
# of all layers behind it that have no default of their own. The outputs depend on the
# other images of the batch, and the moving averages move with every call.
# `model.predict` and `model(images, training=False)` do not; Rescaling does not either.
#
# Versions: Keras 3.15.1 on JAX 0.10.2; the same on TensorFlow.
# Seen: True for Resizing, CenterCrop and RandomFlip, False for Identity and Rescaling.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
cd "$folder"
KERAS_BACKEND=jax JAX_PLATFORMS=cpu env/bin/python - <<'PYTHON'
import keras
import numpy as np
from keras import ops

images = np.random.default_rng(0).normal(3, 2, (16, 8, 8, 3)).astype("float32")


def moves(first, call):
    """Returns whether the moving averages of a model move when it is called."""
    inputs = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization()
    model = keras.Model(inputs, norm(first(inputs)))
    before = ops.convert_to_numpy(norm.moving_mean).copy()
    call(model)
    return not np.array_equal(before, ops.convert_to_numpy(norm.moving_mean))


FIRST = {
    "Identity": keras.layers.Identity,
    "Rescaling": lambda: keras.layers.Rescaling(1.0),
    "Resizing": lambda: keras.layers.Resizing(8, 8),
    "CenterCrop": lambda: keras.layers.CenterCrop(8, 8),
    "RandomFlip": keras.layers.RandomFlip,
}
found = {name: moves(make(), lambda m: m(images)) for name, make in FIRST.items()}
print(found)
assert [name for name, moved in found.items() if moved] == [
    *("Resizing", "CenterCrop", "RandomFlip"),
]
for make in FIRST.values():
    assert not moves(make(), lambda m: m.predict(images, verbose=0))
    assert not moves(make(), lambda m: m(images, training=False))
PYTHON
