"""Requests that a server answers before it takes others, stored with a SavedModel.

TensorFlow builds much of what it needs at the first call of each signature. The server
makes these calls while it loads a version, so no user waits for them.
"""

import os
import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

FILE = "assets.extra/tf_serving_warmup_requests"


def require_api():
    """Checks that the messages of the server are there.

    Raises:
        ImportError: If the package `tensorflow-serving-api` is missing.
    """
    try:
        import tensorflow_serving.apis  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The files of TensorFlow Serving are written by its own messages: "
            "pip install tensorflow-serving-api"
        ) from error


def write(folder: str | os.PathLike, name: str, images, num_samples: int):
    """Writes requests for each signature, of one image and of all.

    Args:
        folder: Folder of a SavedModel of `training.export.saved_model`.
        name: Name of the model on the server.
        images: Array of shape `(count, height, width, channels)`.
        num_samples: What the requests to `sample` ask for.

    Raises:
        ImportError: If the package `tensorflow-serving-api` is missing.
    """
    require_api()
    from tensorflow_serving.apis import prediction_log_pb2

    path = pathlib.Path(folder, FILE)
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for signature in signatures(folder):
            for batch in (images[:1], images):
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                for key, value in inputs(signature, batch, num_samples).items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                writer.write(log.SerializeToString())


def signatures(folder: str | os.PathLike) -> list[str]:
    """Returns the names of the signatures of a SavedModel, without loading it."""
    content = pathlib.Path(folder, "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    return sorted(name for name in graph.signature_def if not name.startswith("__"))


def inputs(signature: str, images, num_samples: int) -> dict[str, np.ndarray]:
    """Returns what a signature takes, for images of shape `(batch, ...)`."""
    images = np.asarray(images, "float32")
    pixels = images.astype("uint8")
    if signature == "serve_uint8":
        return {"images": pixels}
    if signature == "serve_encoded":
        files = [tf.io.encode_png(image).numpy() for image in pixels]
        return {"image_bytes": np.array(files, object)}
    if signature == "sample":
        scalars = {"num_samples": np.int32(num_samples), "seed": np.int32(0)}
        return {"images": images, **scalars}
    return {"images": images}


def replay(folder: str | os.PathLike) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Makes the calls of the stored requests, as the server does when it loads.

    Args:
        folder: Folder of a SavedModel.

    Returns:
        Of each request its signature and what came out.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    loaded, answers = tf.saved_model.load(os.fspath(folder)), []
    records = tf.data.TFRecordDataset(os.fspath(pathlib.Path(folder, FILE)))
    for record in records.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        given = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        name = request.model_spec.signature_name
        outputs = loaded.signatures[name](**given)
        answers.append((name, {k: v.numpy() for k, v in outputs.items()}))
    return answers
