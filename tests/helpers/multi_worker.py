"""Trainings of several workers on loopback; each is a process of its own.

    TF_CONFIG=... python -m tests.helpers.multi_worker '{"folder": ...}'

trains the network of `tests.helpers.mirrored` and writes the rows, the weights and the
masks of this worker as JSON into the folder.
"""

import dataclasses
import json
import os
import pathlib
import socket
import sys

from tests.helpers import processes

ROOT = pathlib.Path(__file__).parents[2]


def addresses(count):
    """Returns addresses on loopback with ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return found


def start(commands):
    """Starts a worker for each command.

    Args:
        commands: Of each worker; they begin with `sys.executable`.

    Returns:
        The processes.
    """
    cluster = {"worker": addresses(len(commands))}
    started = []
    for index, command in enumerate(commands):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": config}
        started.append(processes.start(command, env=environment, cwd=ROOT))
    return started


def start_trainings(num_workers, folder, changes=None, **settings):
    """Starts a training of some workers.

    Args:
        num_workers: Their number.
        folder: Where they write `0.json` and so on; the chief has `chief` for a folder
            of its training, and the others `other`.
        changes: Settings of single workers, by their number.
        **settings: See `main`.
    """
    texts = [
        json.dumps({"folder": str(folder), **settings, **(changes or {}).get(i, {})})
        for i in range(num_workers)
    ]
    module = [sys.executable, "-m", "tests.helpers.multi_worker"]
    return start([[*module, text] for text in texts])


def main(
    folder,
    distribution="multi_worker",
    batch_size=9,
    count=19,
    validation_count=19,
    epochs=1,
    rate=0.0,
    seed=0,
    inverted=False,
    checkpoint_seconds=60.0,
    devices=None,
):
    """Trains, and writes what came of it.

    Args:
        folder: For the files.
        distribution: Key of `training.distribution.DISTRIBUTIONS`.
        batch_size: Images of a batch of all workers together.
        count: Images of the training set.
        validation_count: Images of the validation set, which is the test set as well.
        epochs: The number of epochs.
        rate: Rate of MC dropout.
        seed: Seed of the training.
        inverted: Whether the images are others.
        checkpoint_seconds: Time between checkpoints.
        devices: How many of the processor this worker has in place of GPUs.
    """
    from training import distribution as distributions

    if devices is not None:
        pretend(devices)
    scope = distributions.scope(distribution)  # Before TensorFlow computes anything.
    import keras

    from tests.helpers import data_sets, mirrored, trainings
    from training import trainer
    from training.distribution import workers

    recipe = dataclasses.replace(mirrored.RECIPE, batch_size=batch_size, epochs=epochs)
    data, validation = map(data_sets.stripes, (count, validation_count))
    if inverted:
        data = dataclasses.replace(data, images=255 - data.images)
    with scope:
        index = workers.active().cluster.index if workers.active() else 0
        model = mirrored.network(rate)
        rows = trainer.train(
            model,
            recipe,
            data,
            pathlib.Path(folder, "other" if index else "chief"),
            validation,
            seed=seed,
            test=validation,
            checkpoint_seconds=checkpoint_seconds,
        )
        weights = {
            w.path: keras.ops.convert_to_numpy(w).tolist() for w in model.weights
        }
        result = {
            "rows": trainings.without_time(rows),
            "weights": weights,
            "nll": mirrored.nll(model, validation),
            "mask": mask(),
        }
    pathlib.Path(folder, f"{index}.json").write_text(json.dumps(result))


def pretend(count):
    """Lets several workers take logical devices of the processor for GPUs."""
    import tensorflow as tf
    from tensorflow.python.distribute.collective_all_reduce_strategy import (
        CollectiveAllReduceExtended,
    )

    def local(self, resolver, worker):
        return tuple(f"{worker}/device:CPU:{i}" for i in range(count)), "CPU"

    (processor,) = tf.config.list_physical_devices("CPU")
    devices = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(processor, devices)
    CollectiveAllReduceExtended._initialize_local_devices = local


def mask():
    """Returns what this process draws."""
    import keras
    import tensorflow as tf

    import layers

    dropout = layers.MCDropout(0.5, seed=1, name="dropout")
    strategy = tf.distribute.get_strategy()
    drawn = tf.function(lambda: strategy.run(dropout, (keras.ops.ones((64,)),)))()
    return strategy.experimental_local_results(drawn)[0].numpy().tolist()


def run(settings):
    """Trains, and ends as the command does."""
    from training.cli import quiet
    from training.distribution import workers

    with quiet.without_lost_connections():
        try:
            main(**settings)
        except (ValueError, ConnectionError) as error:
            workers.end(error)


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
