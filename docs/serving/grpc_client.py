"""Asks TensorFlow Serving over gRPC what images show.

pip install tensorflow-serving-api
python grpc_client.py localhost:8500 resnet20_smooth_mcdo photo.jpg drawing.png
"""

import pathlib
import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def predict(channel, model, inputs, signature="serving_default", version=None):
    """Returns the outputs of a signature, arrays by name.

    Args:
        channel: Channel of `grpc`.
        model: Its name on the server.
        inputs: Arrays by name, of the type that the signature takes.
        signature: `serving_default`, `serve_uint8`, `serve_encoded` or `sample`.
        version: A number; by default the latest.

    Raises:
        grpc.RpcError: With the server's words, if it refuses the request.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    outputs = stub.Predict(request, timeout=60).outputs
    return {name: tf.make_ndarray(value) for name, value in outputs.items()}


def main(server, model, *paths):
    """Prints a line for each image file."""
    files = np.array([pathlib.Path(path).read_bytes() for path in paths], object)
    with grpc.insecure_channel(server) as channel:
        outputs = predict(channel, model, {"image_bytes": files}, "serve_encoded")
    # A model that knows no names of classes has the numbers alone.
    label = "class_name" if "class_name" in outputs else "label"
    labels = [n.decode() if isinstance(n, bytes) else n for n in outputs[label]]
    names = ("confidence", "entropy", "mutual_information")
    columns = [labels, *(outputs[name] for name in names)]
    for path, *values in zip(paths, *columns, strict=True):
        print(path, "label {} confidence {:.3f} nats {:.3f} {:.3f}".format(*values))


if __name__ == "__main__":
    main(*sys.argv[1:])
