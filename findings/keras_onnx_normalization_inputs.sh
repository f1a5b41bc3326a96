#!/usr/bin/env bash
# `model.export("model.onnx", format="onnx")` of Keras makes the mean and the deviation of
# a `keras.layers.Normalization` further inputs of the graph, whether they were given or
# learned by `adapt`. The command ends without a warning and the file is valid, but no
# runtime runs it on images alone, and the numbers are not in it.
#
# Versions: Keras 3.15.1, TensorFlow 2.21.0, tf2onnx 1.17.0, onnx 1.23.2, ONNX Runtime
# 1.32.0.
# Seen: with `Rescaling` the inputs are ["images"]; with `Normalization` there are two
# more, with names like "functional_1_1/normalization_1/Sub/y:0", and ONNX Runtime raises
# "Required inputs ... are missing from input feed". Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 tensorflow==2.21.0 tf2onnx==1.17.0 \
  onnx==1.23.2 onnxruntime==1.32.0
cd "$folder"
cat >look.py <<'PYTHON'
import warnings

import keras
import numpy as np
import onnx
import onnxruntime

warnings.simplefilter("ignore", FutureWarning)
x = np.full((1, 8, 8, 1), 200.0, "float32")


def look(layer):
    images = keras.Input((8, 8, 1), name="images")
    model = keras.Model(images, keras.layers.Flatten()(layer(images)))
    expected = np.asarray(model(x))
    model.export("model.onnx", format="onnx", verbose=False)
    onnx.checker.check_model("model.onnx", full_check=True)
    session = onnxruntime.InferenceSession("model.onnx")
    names = [value.name for value in session.get_inputs()]
    print(type(layer).__name__, names)
    try:
        found = session.run(None, {"images": x})[0]
    except ValueError as error:
        print(error)
        assert "missing from input feed" in str(error)
    else:
        assert np.allclose(found, expected)
    return len(names)


learned = keras.layers.Normalization()
learned.adapt(np.random.default_rng(0).normal(100, 20, (50, 8, 8, 1)))
assert look(keras.layers.Rescaling(1 / 255)) == 1
assert look(keras.layers.Normalization(mean=100.0, variance=400.0)) == 3
assert look(learned) == 3
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 env/bin/python look.py
