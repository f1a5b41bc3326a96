#!/usr/bin/env bash
# `shap.DeepExplainer` replaces how TensorFlow records gradients, and puts it back only
# if all goes well. Where it meets an operator without a rule of its own, here the
# depthwise convolution of a stock layer, it raises, and from then on every `fit` of the
# process raises too, of any model, explained or not, with an error that names neither
# SHAP nor the operator. A script that catches the first error can train no more.
#
# Versions: SHAP 0.51.0, Keras 3.15.1, TensorFlow 2.21.0.
# Seen: a dense network trains; DeepExplainer of another one with `DepthwiseConv2D` says
# "gradient registry has no entry for: shap_DepthwiseConv2dNative"; the dense network
# then says "gradient registry has no entry for: shap_DivNoNan". Exits with 1 if that
# changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet shap==0.51.0 keras==3.15.1 tensorflow==2.21.0
cd "$folder"
cat >look.py <<'PYTHON'
import warnings

import keras
import numpy as np
import shap

warnings.simplefilter("ignore")
images = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32")
labels = np.arange(8) % 2


def network(*layers):
    return keras.Sequential([keras.Input((6, 6, 1)), *layers, keras.layers.Dense(2)])


def train(model):
    try:
        model.fit(images, labels, verbose=0)
    except LookupError as error:
        print("fit:", error)
        return False
    print("fit: fine")
    return True


bystander = network(keras.layers.Flatten())
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
bystander.compile("sgd", loss)
assert train(bystander)
explained = network(keras.layers.DepthwiseConv2D(3), keras.layers.Flatten())
try:
    shap.DeepExplainer(explained, images[:4]).shap_values(images[4:6])
except Exception as error:
    print("DeepExplainer:", str(error).strip().splitlines()[-1].strip())
    assert "shap_DepthwiseConv2dNative" in str(error)
else:
    raise AssertionError("DeepExplainer has a rule now.")
another = network(keras.layers.Flatten())
another.compile("sgd", loss)
assert not train(another)
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 env/bin/python look.py
