#!/usr/bin/env bash
# Keras' `AdamW.exclude_from_weight_decay` is not part of the optimizer's config, so a
# model that is saved and loaded decays what was excluded, biases and batch
# normalization above all. A training that goes on from a `.keras` file differs from one
# that was not interrupted, without a warning.
#
# Versions: Keras 3.15.1 on JAX 0.10.2; the same on other backends.
# Seen: a bias of 1 without a gradient stays 1 in the model, and is 0.95 after one step
# at learning rate 0.1 and weight decay 0.5 in the one that was loaded. Exits with 1 if
# that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
cd "$folder"
KERAS_BACKEND=jax JAX_PLATFORMS=cpu env/bin/python - <<'PYTHON'
import keras
import numpy as np

inputs, labels = np.zeros((8, 4), "float32"), np.ones((8, 3), "float32")
dense = keras.layers.Dense(3, bias_initializer="ones")
model = keras.Sequential([keras.Input((4,)), dense])
optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
optimizer.exclude_from_weight_decay(var_names=["bias"])
model.compile(optimizer, "mse")
model.fit(inputs, labels, verbose=0)  # The labels are met: there is no gradient.
model.save("model.keras")
loaded = keras.models.load_model("model.keras")
found = {}
for name, each in {"goes on": model, "loaded": loaded}.items():
    each.fit(inputs, labels, verbose=0)
    found[name] = float(np.asarray(each.layers[-1].bias)[0])
print(found)
assert found["goes on"] == 1
assert abs(found["loaded"] - 0.95) < 1e-6
PYTHON
