"""Asks TensorFlow Serving over REST what images show, with nothing but Python.

python rest_client.py localhost:8501 resnet20_smooth_mcdo photo.jpg drawing.png
"""

import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request


def predict(server, model, inputs, signature="serving_default", version=None):
    """Returns the outputs of a signature, lists by name.

    Args:
        server: Host and port, such as `"localhost:8501"`.
        model: Its name on the server.
        inputs: Lists or numbers by name, bytes as `encode` returns them.
        signature: `serving_default`, `serve_uint8`, `serve_encoded` or `sample`.
        version: A number; by default the latest.

    Raises:
        RuntimeError: With the server's words, if it refuses the request.
    """
    place = model if version is None else f"{model}/versions/{version}"
    request = urllib.request.Request(
        f"http://{server}/v1/models/{place}:predict",
        json.dumps({"signature_name": signature, "inputs": inputs}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read().decode(errors="replace")
        try:
            reason = json.loads(reason)["error"]
        except (KeyError, TypeError, ValueError):  # Of what is before the server.
            reason = f"{error}: {reason[:300]}"
        raise RuntimeError(f"{server} refused the request: {reason}") from error


def encode(content: bytes) -> dict:
    """Returns bytes as JSON can hold them."""
    return {"b64": base64.b64encode(content).decode()}


def main(server, model, *paths):
    """Prints a line for each image file."""
    files = [encode(pathlib.Path(path).read_bytes()) for path in paths]
    outputs = predict(server, model, {"image_bytes": files}, "serve_encoded")
    # A model that knows no names of classes has the numbers alone.
    label = "class_name" if "class_name" in outputs else "label"
    names = (label, "confidence", "entropy", "mutual_information")
    for path, *values in zip(paths, *(outputs[name] for name in names), strict=True):
        print(path, "label {} confidence {:.3f} nats {:.3f} {:.3f}".format(*values))


if __name__ == "__main__":
    main(*sys.argv[1:])
