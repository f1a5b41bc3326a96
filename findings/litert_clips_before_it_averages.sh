#!/usr/bin/env bash
# TensorFlow's converter to LiteRT takes ranges from tf.quantization.fake_quant nodes. Where an
# average pooling, whose outputs have a smaller range than its inputs, stands behind a padding,
# it moves the change of ranges between the two, in front of the pooling: inputs are clipped to
# the range of the outputs, and then averaged. The graph averages first, and so does the file
# without the padding. Nothing is said, and a network that was trained with these nodes
# computes something else. A depthwise convolution with constant taps, which such a node rounds
# too, is right behind the padding.
#
# Versions: TensorFlow 2.21.0, Python 3.11.
# Seen: maps of one 4 and zeros, with ranges [0, 4] before and [0, 1] behind a 2 x 2 average,
# have the average 1 in TensorFlow and in the file, where AVERAGE_POOL_2D comes before
# QUANTIZE; with zeros padded first .25, as QUANTIZE comes before AVERAGE_POOL_2D; and 1 with a
# convolution. Exits with 1 when these change.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0
cd "$folder"
cat >look.py <<'PYTHON'
import numpy as np
import tensorflow as tf

SHAPE = 1, 4, 4, 2


def rounded(x, low, high):
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


def padded(x):
    return tf.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))


def averaged(x):
    return rounded(tf.nn.avg_pool2d(x, 2, 1, "VALID"), 0, 1)


class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec(SHAPE, tf.float32)])
    def pooled(self, x):
        return averaged(rounded(x, 0, 4))

    @tf.function(input_signature=[tf.TensorSpec(SHAPE, tf.float32)])
    def padded(self, x):
        return averaged(padded(rounded(x, 0, 4)))

    @tf.function(input_signature=[tf.TensorSpec(SHAPE, tf.float32)])
    def convolved(self, x):
        kernel = tf.constant(np.full((2, 2, SHAPE[-1], 1), 0.25, "float32"))
        kernel = tf.quantization.fake_quant_with_min_max_vars(
            kernel, -0.25, 0.25, narrow_range=True
        )
        x = padded(rounded(x, 0, 4))
        return rounded(tf.nn.depthwise_conv2d(x, kernel, [1] * 4, "VALID"), 0, 1)


x = np.zeros(SHAPE, "float32")
x[:, ::2, ::2] = 4
model, found = Model(), {}
for name in ("pooled", "padded", "convolved"):
    function = getattr(model, name).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(
        model_content=converter.convert(), experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    file = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    operators = [op["op_name"] for op in interpreter._get_ops_details()]
    found[name] = float(function(x)[0, 0, 0, 0]), float(file[0, 0, 0, 0])
    print(name, "TensorFlow %.2f, file %.2f" % found[name], *operators)
assert np.allclose(found["padded"], (1, 0.25), atol=0.02), "It averages first now."
assert np.allclose([found["pooled"], found["convolved"]], 1, atol=0.02)
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 env/bin/python look.py 2>/dev/null
