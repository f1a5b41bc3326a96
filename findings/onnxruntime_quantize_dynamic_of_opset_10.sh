#!/usr/bin/env bash
# Of a model of opset 10, `quantize_dynamic` of ONNX Runtime writes the quantization of an
# input as arithmetic, with the zero point floor(-min / scale) and a cast of it to uint8. The
# range is not made to have zero in it, as DynamicQuantizeLinear does from opset 11 on: if all
# values are positive, as behind many poolings of rectified maps, the zero point is -1 or less,
# and the cast of ONNX Runtime on x86 wraps it to 255. The one trace is a warning that opset 10
# "does not support node fusions". Of a ResNet-20 of opset 10 the probabilities were off by
# .9, of the same one in opset 13 by .02.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, NumPy 2.4.1.
# Seen: of products of 200 vectors of 64 numbers in [.1, 1] and a matrix of 64 x 8, the results
# in 8 bits are off by at most 1.6 % of their largest value in opset 11, and in opset 10 by
# more than 10 % of each, up to 97 %. Exits with 1 when opset 10 is as good as opset 11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.1
cd "$folder"
cat >look.py <<'PYTHON'
import logging

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, save
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
matrix = rng.normal(size=(64, 8)).astype("float32")
vectors = rng.uniform(0.1, 1, (200, 1, 64)).astype("float32")


def worst(opset):
    """Returns the largest error of each vector, by the largest value of its result."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8))],
        [helper.make_tensor("w", TensorProto.FLOAT, matrix.shape, matrix.ravel())],
    )
    ids = [helper.make_opsetid("", opset)]
    save(helper.make_model(graph, opset_imports=ids, ir_version=8), "float.onnx")
    quantize_dynamic("float.onnx", "eight_bits.onnx")
    session = onnxruntime.InferenceSession("eight_bits.onnx")
    found = [session.run(None, {"x": x})[0] - x @ matrix for x in vectors]
    return np.array([np.abs(e).max() for e in found]) / np.abs(vectors @ matrix).max(
        axis=(1, 2)
    )


errors = {opset: worst(opset) for opset in (10, 11)}
for opset, error in errors.items():
    print(f"opset {opset}: {error.max():.3f} at most, {np.mean(error > 0.1):.0%} > .1")
assert errors[11].max() < 0.1
assert errors[10].max() > 0.2
PYTHON
env/bin/python look.py
