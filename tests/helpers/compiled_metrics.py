"""Prints what `fit` and `evaluate` say of all metrics, and what the functions say.

python -m tests.helpers.compiled_metrics one|mirrored [metric ...]
"""

import contextlib
import json
import sys

import keras
import numpy as np

from training import metrics
from training.metrics.keras_metrics import Classification

# Enough for the replicas to get other examples, and a last batch that is smaller.
EXAMPLES, BATCH, CLASSES = 1003, 64, 6
# One for each kind of sums.
KINDS = ("nll", "brier_reliability", "ece", "class_wise_ece", "unc_90", "iou_90")


def strategy(kind):
    if kind == "one":
        return contextlib.nullcontext()
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert mirrored.num_replicas_in_sync == 2
    return mirrored.scope()


def data():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(EXAMPLES, 8)).astype("float32")
    # One half is easy and the other one is not, so no batch is like another.
    logits = images[:, :CLASSES] * np.linspace(0, 8, EXAMPLES)[:, None]
    return images, (logits + rng.normal(size=logits.shape)).argmax(axis=1)


def compiled(learning_rate, names=KINDS):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="images")
    scaled = keras.layers.Dense(CLASSES, kernel_initializer="orthogonal")(inputs)
    model = keras.Model(inputs, keras.layers.Rescaling(4.0)(scaled))
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[Classification(name, CLASSES, from_logits=True) for name in names],
    )
    return model


def functions(model, images, labels, names=KINDS):
    """Returns the metrics of all predictions at once."""
    logits = model.predict(images, batch_size=BATCH, verbose=0)
    probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits.astype("float32")))
    return {name: getattr(metrics, name)(probs, labels) for name in names}


def main(kind, *names):
    images, labels = data()
    with strategy(kind):
        model = compiled(0.0, names)
    fitted = model.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0)
    evaluated = model.evaluate(
        images, labels, batch_size=BATCH, verbose=0, return_dict=True
    )
    result = {
        "fit": {name: values[0] for name, values in fitted.history.items()},
        "evaluate": evaluated,
        "expected": functions(model, images, labels, names),
    }
    print(json.dumps(result, default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
