"""Draws and ranges on two replicas, as a NumPy archive; a process of its own.

Logical devices can only be made before TensorFlow runs anything.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from layers import DenseFlipout, FakeQuantization, MCDropout

CPU = tf.config.list_physical_devices("CPU")[0]
# On each replica; in the second of them one has no image.
BATCHES = [
    np.split(np.float32([[-1, 2], [0, 1], [-3, 0.5], [1, 8]]), [2]),
    np.split(np.float32([[-5, 2], [0, 4]]), [2]),
]
DEVICES = [tf.config.LogicalDeviceConfiguration()] * 2


def main(path):
    tf.config.set_logical_device_configuration(CPU, DEVICES)
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    with strategy.scope():
        inputs = keras.Input((64,))
        outputs = MCDropout(0.5, seed=1, name="dropout")(inputs)
        dropout = keras.Model(inputs, outputs)
        outputs = DenseFlipout(8, seed=2, initial_scale=1.0, name="dense")(outputs)
        model = keras.Model(inputs, outputs)
        model.compile("sgd", "mse")
        layer = FakeQuantization(momentum=0.5)
        layer.build((None, 2))
    x = tf.ones((4, 64))

    def values(per_replica):
        return np.array(
            [v.numpy() for v in strategy.experimental_local_results(per_replica)]
        )

    @tf.function
    def run(function):
        return strategy.run(function, (x,))

    results = {
        "masks": [values(run(dropout)) for _ in range(3)],
        "dense": [values(run(model)) for _ in range(3)],
    }
    model.fit(np.ones((16, 64)), np.ones((16, 8)), batch_size=8, verbose=0)

    @tf.function
    def follow(images):
        return strategy.run(lambda x: layer(x, training=True), (images,))

    ranges = []
    for parts in BATCHES:
        follow(
            strategy.experimental_distribute_values_from_function(
                lambda at, parts=parts: tf.constant(parts[at.replica_id_in_sync_group])
            )
        )
        ranges.append([values(layer.low.value), values(layer.high.value)])
    results["ranges"] = ranges
    states = [model.get_layer(name).random_state for name in ("dropout", "dense")]
    results["states"] = [values(state.value) for state in states]
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
