#!/usr/bin/env bash
# What `keras.callbacks.OrbaxCheckpoint` keeps of a `keras.Sequential` is loaded by
# `keras.saving.load_model` without an error or a warning, with the weights of its
# initialization: a checkpoint holds variables by their paths, which begin with the name
# of a Sequential that was built and not of one that was loaded, and what is not found
# is left as it is. The same layers as a functional model come back whole.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, orbax-checkpoint 0.12.8.
# Seen: largest difference of a prediction 0.0 of the functional model, and some units
# of the Sequential, whose checkpoint is loaded in a process of its own; no warning.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 tensorflow==2.21.0 \
  orbax-checkpoint==0.12.8
cd "$folder"
cat >train.py <<'PYTHON'
import os

import keras
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(256, 4)).astype("float32")
y = (x @ rng.normal(size=(4, 1))).astype("float32")
inputs = keras.Input((4,))
outputs = keras.layers.Dense(1)(keras.layers.Dense(8, "relu")(inputs))
models = {
    "functional": keras.Model(inputs, outputs),
    "sequential": keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
    ),
}
for name, model in models.items():
    model.compile("adam", "mse")
    place = os.path.abspath(name)
    kept = keras.callbacks.OrbaxCheckpoint(place, save_on_background=False)
    model.fit(x, y, epochs=30, verbose=0, callbacks=[kept])
    np.savez(f"{name}.npz", x=x, found=model.predict(x, verbose=0))
PYTHON
cat >load.py <<'PYTHON'
import os
import sys
import warnings

import keras
import numpy as np

name = sys.argv[1]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = keras.saving.load_model(os.path.abspath(name))
stored = np.load(f"{name}.npz")
apart = np.abs(model.predict(stored["x"], verbose=0) - stored["found"]).max()
said = [str(warning.message) for warning in caught]
print(f"{name}: {apart:.4f}, warnings: {said}")
assert not any("weight" in text or "variable" in text for text in said)
assert apart < 1e-5 if name == "functional" else apart > 0.1
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
env/bin/python train.py
env/bin/python load.py functional
env/bin/python load.py sequential
