"""Models on a running server, by the two interfaces of TensorFlow Serving.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import dataclasses
import hashlib
import http
import http.client
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import numpy as np
from absl import logging

from training.runtimes import network, places
from training.runtimes.network import Network

TIMEOUT = 60.0  # Seconds that a server has for an answer.
ATTEMPTS = 4  # Of a request, before a server counts as gone.
PAUSE = 1.0  # Seconds before the second attempt; then twice as long each time.
_DEFAULT = "serving_default"
_SAMPLE = "sample"  # Of `training.export`: it takes a seed, and gives each pass.
_TYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_UINT8": "uint8"}
_STRING = "DT_STRING"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a server says of an input or an output.

    Attributes:
        dtype: Such as `"DT_FLOAT"`.
        shape: Sizes, -1 for any; empty if the rank is not known, too.
    """

    dtype: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a model: what it takes and gives, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class NoAnswerError(Exception):
    """A request that may be answered if it is sent again."""


def open_network(
    place: str, num_samples: int = 1, num_threads: int | None = None
) -> Network:
    """Opens a model on a server.

    The version that it has now is the one that all requests name. A request that is not
    answered in `TIMEOUT` seconds, or not at all, is sent up to `ATTEMPTS` times. A
    model of `training.export` that draws is asked for samples by its signature
    `sample`, any other one by `serving_default`, whose only input is images, or files
    of them, which then are PNG.

    Args:
        place: Its address, see `training.runtimes.places.address`.
        num_samples: Forward passes, if `serving_default` takes their number.
        num_threads: Not used; they are the server's.

    Raises:
        ConnectionError: If the server does not answer, now or later.
        ImportError: If the packages for gRPC are missing.
        ValueError: If the model is not from images, or the server refuses a request.
    """
    parts = places.address(place)
    client = _CLIENTS[parts["scheme"]](place, parts)
    version, signatures = _again(place, client.describe)
    if _is_of_samples(signatures.get(_SAMPLE)):
        found = _sampled(place, client, version, signatures[_SAMPLE])
    elif _DEFAULT in signatures:
        found = _plain(place, client, version, signatures[_DEFAULT], num_samples)
    else:
        raise ValueError(
            f"The model at '{place}' needs a signature {_DEFAULT}. Received: "
            f"{', '.join(sorted(signatures)) or 'no signatures'}"
        )
    # Requests with a version find the same model, also when the next one is loaded.
    text = f"{parts['name']} {version} {sorted(map(str, signatures.items()))}"
    digest = hashlib.sha256(text.encode())
    return dataclasses.replace(found, content=digest.hexdigest, is_served=True)


def _is_of_samples(signature):
    """Returns whether a signature is that of `training.export`."""
    takes = "images", *network.SCALARS
    return signature is not None and (
        set(signature.inputs) == {*takes} and "samples" in signature.outputs
    )


def _sampled(place, client, version, signature):
    def sample(images, seed, count):
        values = {"num_samples": np.int32(count), "seed": np.array(seed, "int32")}
        given = {"images": images.astype("float32"), **values}
        request = version, _SAMPLE, given, ["samples"]
        return _again(place, client.predict, *request)["samples"]

    def run(images, seed):
        return {"probabilities": sample(images, seed, 1).mean(axis=0)}

    return Network(
        run,
        ("probabilities",),
        network.image_shape(signature.inputs["images"].shape, place),
        content=str,
        takes_seed=True,
        sample=sample,
    )


def _plain(place, client, version, signature, num_samples):
    name = network.image_input(signature.inputs, place)
    spec, is_encoded = signature.inputs[name], False
    if spec.dtype == _STRING:
        is_encoded, dtype, shape, batch = True, "uint8", (None,) * 3, None
    elif spec.dtype in _TYPES:
        dtype, shape = _TYPES[spec.dtype], network.image_shape(spec.shape, place)
        batch = network.batch_size(spec.shape)
    else:
        raise ValueError(
            f"The model at '{place}' must take pixels or image files. Received: "
            f"{name} of the type {spec.dtype}"
        )
    # Words, labels and scores of images are no predictions of classes.
    outputs = [k for k, x in signature.outputs.items() if _is_of_classes(x)]

    def run(images, seed):
        if is_encoded:
            value = np.array([_png(image) for image in images.astype(dtype)], object)
        else:
            value = images.astype(dtype)
        given = {name: value, **network.scalars(signature.inputs, seed, num_samples)}
        return _again(place, client.predict, version, _DEFAULT, given, outputs)

    return Network(
        run,
        tuple(outputs),
        shape,
        content=str,
        dtype=dtype,
        batch=batch,
        takes_seed="seed" in signature.inputs,
        num_samples=network.passes(signature.inputs, None, num_samples),
    )


def _is_of_classes(tensor):
    is_real = tensor.dtype in ("DT_FLOAT", "DT_DOUBLE")
    return is_real and len(tensor.shape) in (0, 2, 4)


def _again(place, call, *args):
    """Returns the answer to a request, which is sent again where there is none."""
    left, pause = ATTEMPTS, PAUSE
    while True:
        try:
            return call(*args)
        except NoAnswerError as error:
            left -= 1
            if not left:
                raise ConnectionError(
                    f"The server of '{place}' does not answer, after {ATTEMPTS} "
                    f"attempts: {error}. When it does again, the same command goes on "
                    "from what it has answered."
                ) from error
            logging.warning(
                "No answer from the server of '%s' (%s); it is asked again in %g s.",
                *(place, error, pause),
            )
        time.sleep(pause)
        pause *= 2


class _Rest:
    """The interface of REST."""

    def __init__(self, place, parts):
        self._place, self._version = place, parts["version"]
        self._model = f"{parts['scheme']}://{parts['host']}/v1/models/{parts['name']}"

    def describe(self) -> tuple[str, dict[str, Signature]]:
        """Returns the version and the signatures of the model."""
        found = self._ask(f"{self._at(self._version)}/metadata")
        try:
            signatures = found["metadata"]["signature_def"]["signature_def"]
            return str(found["model_spec"]["version"]), {
                name: Signature(*(_read(entry.get(x)) for x in ("inputs", "outputs")))
                for name, entry in signatures.items()
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"The server of '{self._place}' does not say what the model takes: its "
                f"/metadata has no {error}."
            ) from error

    def predict(self, version, signature, inputs, outputs) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature that are asked for."""
        listed = {name: _listed(value) for name, value in inputs.items()}
        # Rows are what servers of other makes understand too, but hold no scalars.
        if len(inputs) == 1:
            key, (given,) = "predictions", listed.values()
            body = {"signature_name": signature, "instances": given}
        else:
            key, body = "outputs", {"signature_name": signature, "inputs": listed}
        found = self._ask(f"{self._at(version)}:predict", body)
        try:
            return _arrays(found[key], outputs)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"The server of '{self._place}' must give {', '.join(outputs)} in the "
                f"{key} of its answer. Received: {str(found)[:200]}"
            ) from error

    def _at(self, version):
        return f"{self._model}/versions/{version}" if version else self._model

    def _ask(self, url, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")[:300]
            if error.code >= 500 or error.code == http.HTTPStatus.TOO_MANY_REQUESTS:
                raise NoAnswerError(f"{error}: {said}") from error
            raise ValueError(
                f"The server of '{self._place}' refuses the request: {said or error}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise NoAnswerError(str(reason) or type(error).__name__) from error
        try:
            return json.loads(content)
        except ValueError as error:
            raise ValueError(
                f"The server of '{self._place}' must answer in JSON. Received: "
                f"{content[:100]}"
            ) from error


class _Grpc:
    """The interface of gRPC."""

    def __init__(self, place, parts):
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ImportError(
                f"{error}. Servers of gRPC need `pip install smoothzoo[serving]`."
            ) from error
        limits = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
        options = [(name, -1) for name in limits]
        channel = grpc.insecure_channel(parts["host"], options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._place, self._name, self._version = place, parts["name"], parts["version"]

    def describe(self) -> tuple[str, dict[str, Signature]]:
        """Returns the version and the signatures of the model."""
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name_model(request, self._version)
        answer = self._call(self._stub.GetModelMetadata, request)
        found = messages.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)

        def read(tensors):
            return {
                name: Tensor(
                    types_pb2.DataType.Name(info.dtype),
                    tuple(dim.size for dim in info.tensor_shape.dim),
                )
                for name, info in tensors.items()
            }

        return str(answer.model_spec.version.value or ""), {
            name: Signature(read(entry.inputs), read(entry.outputs))
            for name, entry in found.signature_def.items()
        }

    def predict(self, version, signature, inputs, outputs) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature that are asked for."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        self._name_model(request, version)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        found = self._call(self._stub.Predict, request).outputs
        if missing := [name for name in outputs if name not in found]:
            raise ValueError(
                f"The server of '{self._place}' must give {', '.join(outputs)}. "
                f"Received: no {missing[0]}"
            )
        return {name: tf.make_ndarray(found[name]) for name in outputs}

    def _name_model(self, request, version):
        request.model_spec.name = self._name
        if version:
            request.model_spec.version.value = int(version)

    def _call(self, method, request):
        import grpc

        again = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED
        try:
            return method(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            said = f"{error.code().name}: {error.details()}"
            if error.code() in again:
                raise NoAnswerError(said) from error
            raise ValueError(
                f"The server of '{self._place}' refuses the request: {said}"
            ) from error


_CLIENTS = {"http": _Rest, "https": _Rest, "grpc": _Grpc}


def _read(tensors) -> dict[str, Tensor]:
    """Returns tensors as the metadata in JSON describe them."""
    return {
        name: Tensor(
            entry["dtype"],
            tuple(int(dim["size"]) for dim in entry["tensor_shape"].get("dim", ())),
        )
        for name, entry in (tensors or {}).items()
    }


def _listed(value):
    """Returns an array as JSON has it, files in base 64."""
    if value.dtype == object:
        return [{"b64": base64.b64encode(file).decode()} for file in value]
    return value.tolist()


def _arrays(found, names) -> dict[str, np.ndarray]:
    """Returns the outputs in columns or rows; a single one has no name there."""
    if isinstance(found, dict):
        return {name: np.array(found[name], "float32") for name in names}
    if found and isinstance(found[0], dict):
        columns = {name: [row[name] for row in found] for name in names}
        return {name: np.array(rows, "float32") for name, rows in columns.items()}
    (name,) = names
    return {name: np.array(found, "float32")}


def _png(image) -> bytes:
    """Returns an image as a PNG file, which keeps its pixels."""
    from PIL import Image

    file = io.BytesIO()
    gray = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if gray else image).save(file, "png")
    return file.getvalue()
