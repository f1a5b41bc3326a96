"""A server of one model by REST, whose answers a test chooses."""

import contextlib
import json
import threading
from http import server

import numpy as np


def metadata(version="1", dtype="DT_FLOAT", sides=(-1, 8, 8, 1), num_classes=3):
    """Returns what TensorFlow Serving says of a model from images to probabilities."""

    def tensor(dtype, *sizes):
        dims = [{"size": str(size), "name": ""} for size in sizes]
        return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}}

    signature = {
        "inputs": {"images": tensor(dtype, *sides)},
        "outputs": {
            "probabilities": tensor("DT_FLOAT", -1, num_classes),
            "label": tensor("DT_INT32", -1),
        },
    }
    return {
        "model_spec": {"name": "mine", "signature_name": "", "version": version},
        "metadata": {
            "signature_def": {"signature_def": {"serving_default": signature}}
        },
    }


def probabilities(images, num_classes=3):
    """Returns a softmax of means over parts of the images."""
    pixels = np.asarray(images, "float64").reshape(len(images), -1)
    parts = np.array_split(pixels, num_classes, axis=1)
    powers = np.exp(np.stack([part.mean(axis=1) / 20 for part in parts], axis=1))
    return powers / powers.sum(axis=-1, keepdims=True)


def predictions(body):
    """Returns the rows of an answer to a request."""
    probs = probabilities(body["instances"])
    return [{"probabilities": p.tolist(), "label": int(p.argmax())} for p in probs]


class Answers:
    """What a server says, and what it was asked.

    Attributes:
        metadata: The answer to a request for metadata.
        answer: From the number of a prediction, from 0 on, and the body of its request
            to a status and what is answered in JSON, or in bytes.
        asked: The paths of all requests.
    """

    def __init__(self, answer=None, **given):
        self.metadata, self.asked, self._count = metadata(**given), [], 0
        self.answer = answer or (
            lambda _, body: (200, {"predictions": predictions(body)})
        )

    def get(self, path):
        self.asked.append(path)
        return 200, self.metadata

    def post(self, path, body):
        self.asked.append(path)
        self._count += 1
        return self.answer(self._count - 1, body)


@contextlib.contextmanager
def serving(answers: Answers):
    """Serves these answers; gives the address of the model."""

    class Handler(server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self._send(*answers.get(self.path))

        def do_POST(self):  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(*answers.post(self.path, json.loads(body)))

        def _send(self, status, content):
            data = (
                content if isinstance(content, bytes) else json.dumps(content).encode()
            )
            with contextlib.suppress(ConnectionError):  # The client has gone.
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    rest = server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=rest.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{rest.server_address[1]}/v1/models/mine"
    finally:
        rest.shutdown()
        thread.join()
        rest.server_close()
