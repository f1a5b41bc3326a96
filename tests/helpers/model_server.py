"""A stand-in for TensorFlow Serving, which cannot be installed by pip.

It speaks the two interfaces of the server, gRPC by the server's own messages and REST
as its documentation says, for a folder of `training.export.serving`: it reads
`models.config`, chooses versions by its policy and replays the warm-up requests.

    python -m tests.helpers.model_server served

serves such a folder until it is interrupted, and prints the addresses.
"""

import base64
import contextlib
import importlib.util
import json
import pathlib
import re
import sys
import threading
from concurrent import futures
from http import server

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from training.export import warmup

MOUNT = "/models/"
CLIENTS = pathlib.Path(__file__).parents[2] / "docs" / "serving"


def client(name: str):
    """Returns the example of a client, `rest` or `grpc`, as a module."""
    path = CLIENTS / f"{name}_client.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_config(path: pathlib.Path):
    """Returns what a `models.config` says about each model."""
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(path.read_text(), config).model_config_list.config


class RefusedError(Exception):
    """A request that is wrong; `status` is that of gRPC."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Models:
    """What the server has loaded: SavedModels by name and version.

    Args:
        root: Folder with `models.config`; without one, nothing is loaded.
    """

    def __init__(self, root: pathlib.Path | None = None):
        self.loaded = {}
        if root is not None:
            self._load(root)

    def _load(self, root):
        for model in read_config(root / "models.config"):
            folder = root / model.base_path.removeprefix(MOUNT)
            numbers = sorted(
                int(path.name) for path in folder.iterdir() if path.name.isdecimal()
            )
            policy = model.model_version_policy
            if policy.WhichOneof("policy_choice") == "specific":
                numbers = [n for n in numbers if n in policy.specific.versions]
            elif policy.WhichOneof("policy_choice") != "all":
                numbers = numbers[-(policy.latest.num_versions or 1) :]
            for number in numbers:
                warmup.replay(folder / str(number))
            self.loaded[model.name] = {
                number: tf.saved_model.load(str(folder / str(number)))
                for number in numbers
            }

    def find(self, name, version=None):
        versions = self.loaded.get(name, {})
        version = max(versions, default=0) if version is None else version
        if version not in versions:
            message = f"Servable not found for request: {name}, version {version}"
            raise RefusedError(grpc.StatusCode.NOT_FOUND, message)
        return version, versions[version]

    def signature(self, model, name):
        signature = model.signatures.get(name or "serving_default")
        if signature is None:
            message = f'Serving signature name: "{name}" not found in signature def'
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, message)
        return signature

    def describe(self, name, version=None):
        """Returns a version, and what its signatures take and give, as messages."""
        version, model = self.find(name, version)
        found = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in model.signatures.items():
            entry = found.signature_def[key]
            for side, tensors in (
                (entry.inputs, signature.structured_input_signature[1]),
                (entry.outputs, signature.structured_outputs),
            ):
                for of, tensor in tensors.items():
                    side[of].dtype = tensor.dtype.as_datatype_enum
                    side[of].tensor_shape.CopyFrom(tensor.shape.as_proto())
        return version, found

    def predict(self, signature, inputs):
        """Runs a signature for arrays by name."""
        specs = signature.structured_input_signature[1]
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        if inputs.keys() != specs.keys():
            raise RefusedError(invalid, f"Inputs expected to be {sorted(specs)}")
        for name, value in inputs.items():
            if tf.as_dtype(value.dtype) != specs[name].dtype:
                raise RefusedError(
                    invalid, f"Expected {name} to be {specs[name].dtype}"
                )
        try:
            outputs = signature(**{k: tf.constant(v) for k, v in inputs.items()})
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise RefusedError(invalid, str(error)) from error
        return {name: value.numpy() for name, value in outputs.items()}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The interface of gRPC."""

    def __init__(self, models: Models):
        self.models = models

    def Predict(self, request, context):  # noqa: N802
        spec, response = request.model_spec, predict_pb2.PredictResponse()
        has_version = spec.WhichOneof("version_choice") == "version"
        try:
            version, model = self.models.find(
                spec.name, spec.version.value if has_version else None
            )
            signature = self.models.signature(model, spec.signature_name)
            given = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            outputs = self.models.predict(signature, given)
        except RefusedError as error:
            context.abort(error.status, str(error))
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = spec.signature_name or "serving_default"
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        spec, response = (
            request.model_spec,
            get_model_metadata_pb2.GetModelMetadataResponse(),
        )
        has_version = spec.WhichOneof("version_choice") == "version"
        try:
            version, found = self.models.describe(
                spec.name, spec.version.value if has_version else None
            )
        except RefusedError as error:
            context.abort(error.status, str(error))
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(found)
        return response


def _handler(models):
    class Handler(server.BaseHTTPRequestHandler):
        """The interface of REST."""

        protocol_version = "HTTP/1.1"

        def do_GET(self):  # noqa: N802
            path = r"/v1/models/([^/:]+)(?:/versions/(\d+))?/metadata"
            if match := re.fullmatch(path, self.path):
                self._describe(match[1], match[2] and int(match[2]))
                return
            match = re.fullmatch(r"/v1/models/([^/:]+)", self.path)
            states = [
                {
                    "version": str(version),
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for version in models.loaded.get(match and match[1], {})
            ]
            self._answer(200 if states else 404, {"model_version_status": states})

        def _describe(self, name, version):
            try:
                version, found = models.describe(name, version)
            except RefusedError as error:
                self._answer(404, {"error": str(error)})
                return
            signatures = json_format.MessageToDict(
                found,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            spec = {"name": name, "signature_name": "", "version": str(version)}
            metadata = {"signature_def": signatures}
            self._answer(200, {"model_spec": spec, "metadata": metadata})

        def do_POST(self):  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            path = r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict"
            match = re.fullmatch(path, self.path)
            try:
                if not match:
                    raise RefusedError(grpc.StatusCode.NOT_FOUND, "Malformed request")
                version = match[2] and int(match[2])
                self._answer(200, _predict(models, match[1], version, body))
            except RefusedError as error:
                missing = error.status is grpc.StatusCode.NOT_FOUND
                self._answer(404 if missing else 400, {"error": str(error)})

        def _answer(self, code, content):
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    return Handler


def _predict(models, name, version, body):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    try:
        request = json.loads(body)
    except ValueError as error:
        raise RefusedError(invalid, f"JSON Parse error: {error}") from error
    _, model = models.find(name, version)
    signature = models.signature(model, request.get("signature_name"))
    specs = signature.structured_input_signature[1]
    if ("instances" in request) == ("inputs" in request):
        raise RefusedError(invalid, "Either 'inputs' or 'instances' is needed")
    given = request.get("inputs", request.get("instances"))
    if "instances" in request and _is_named(given[0]):
        given = {key: [row[key] for row in given] for key in given[0]}
    if not _is_named(given):  # The only input needs no name.
        given = {next(iter(specs)): given}
    outputs = models.predict(
        signature, {k: _tensor(v, specs[k].dtype) for k, v in given.items()}
    )
    if "inputs" in request:
        return {"outputs": {k: _listed(v) for k, v in outputs.items()}}
    if len({len(v) for v in outputs.values()}) != 1:
        raise RefusedError(
            invalid, "Tensors of different sizes need the columnar format"
        )
    rows = zip(*map(_listed, outputs.values()), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}


def _listed(values):
    """Returns what the server writes as JSON: strings are text, not in base 64."""
    listed = values.tolist()
    return [x.decode() for x in listed] if values.dtype == object else listed


def _is_named(value):
    return isinstance(value, dict) and "b64" not in value


def _tensor(value, dtype):
    def decoded(value):
        if isinstance(value, dict):
            return base64.b64decode(value["b64"], validate=True)
        return [decoded(v) for v in value] if isinstance(value, list) else value

    if dtype == tf.string:
        return np.array(decoded(value), object)
    return np.array(value, dtype.as_numpy_dtype)


@contextlib.contextmanager
def serving(root: pathlib.Path):
    """Serves a folder; gives the addresses for gRPC and for REST."""
    with serving_models(Models(root)) as addresses:
        yield addresses


@contextlib.contextmanager
def serving_models(models: Models):
    """Serves what is loaded; gives the addresses for gRPC and for REST."""
    limits = [("grpc.max_receive_message_length", -1)]
    remote = grpc.server(futures.ThreadPoolExecutor(8), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models), remote
    )
    port = remote.add_insecure_port("127.0.0.1:0")
    remote.start()
    rest = server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(models))
    thread = threading.Thread(target=rest.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{port}", f"127.0.0.1:{rest.server_address[1]}"
    finally:
        rest.shutdown()
        thread.join()
        rest.server_close()
        remote.stop(None).wait()


if __name__ == "__main__":
    with serving(pathlib.Path(sys.argv[1])) as (remote, rest):
        print(f"grpc://{remote} http://{rest}", flush=True)
        threading.Event().wait()
