"""SavedModels of `training.export` that draw: their signature `sample`."""

import functools
import os
import pathlib

from training.data import fingerprint
from training.data.readers import label_files
from training.runtimes import network
from training.runtimes.network import Network

SIGNATURE = "sample"  # Of images, num_samples and seed.
FILE = "saved_model.pb"


def has_samples(folder: str | os.PathLike) -> bool:
    """Returns whether a SavedModel has the signature `sample` of `training.export`."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = pathlib.Path(folder, FILE).read_bytes()
    found = saved_model_pb2.SavedModel.FromString(content)
    return any(
        set(graph.signature_def[SIGNATURE].inputs) == {"images", *network.SCALARS}
        for graph in found.meta_graphs
        if SIGNATURE in graph.signature_def
    )


def open_network(
    folder: str | os.PathLike, num_samples: int = 1, num_threads: int | None = None
) -> Network:
    """Opens a SavedModel with the signature `sample`, which takes a seed.

    Args:
        folder: Its folder.
        num_samples: Not used; the signature takes a number in each call.
        num_threads: Not used; TensorFlow has as many for all that it computes.

    Raises:
        ValueError: If it has no such signature.
    """
    if not has_samples(folder):
        raise ValueError(f"The SavedModel '{folder}' has no signature {SIGNATURE}.")
    import tensorflow as tf

    loaded = tf.saved_model.load(os.fspath(folder))  # Lives as long as the function.
    spec = loaded.signatures[SIGNATURE].structured_input_signature[1]["images"]

    def sample(images, seed, count):
        values = {"images": images, "num_samples": count, "seed": seed}
        dtypes = {"images": "float32", "num_samples": "int32", "seed": "int32"}
        values = {k: tf.constant(v, dtypes[k]) for k, v in values.items()}
        try:
            found = loaded.signatures[SIGNATURE](**values)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"'{folder}' refuses its inputs: {error}") from error
        return found["samples"].numpy()

    def run(images, seed):
        return {"probabilities": sample(images, seed, 1).mean(axis=0)}

    paths = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file())
    paths = [path for path in paths if path.name != "fingerprint.pb"]
    return Network(
        run,
        ("probabilities",),
        network.image_shape(spec.shape.as_list(), folder),
        functools.partial(fingerprint.of_files, paths),
        takes_seed=True,
        sample=sample,
        classes=label_files.read(folder),
    )
