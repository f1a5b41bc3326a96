"""The folder of a server, and what a server does with it."""

import base64
import http
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.request
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import model_server
from tests.helpers.exports import dropout_model, softmax, tiny
from training.export import serving, warmup

POOL = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 1)).astype("float32")
OUTPUTS = {"probabilities", "label", "confidence", "entropy", "mutual_information"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with two versions of one model and one of another; their networks."""
    root = tmp_path_factory.mktemp("serving") / "served"
    first, second, dropout = tiny(), tiny(), dropout_model()
    second.get_layer("head").bias.assign([3.0, 2.0, 1.0, 0.0])
    reports = [
        serving.export_version(first, root, name="plain"),
        serving.export_version(second, root, name="plain"),
        serving.export_version(dropout, root, 3, "dropout"),
    ]
    networks = {("plain", 1): first, ("plain", 2): second, ("dropout", 1): dropout}
    return root, networks, reports


@pytest.fixture(scope="module")
def addresses(served):
    with model_server.serving(served[0]) as addresses:
        yield addresses


@pytest.fixture(params=["rest", "grpc"])
def predict(request, addresses):
    """A function that asks the server as the example of a client does, for arrays."""
    remote, rest = addresses
    module = model_server.client(request.param)
    if request.param == "grpc":
        with grpc.insecure_channel(remote) as channel:
            yield lambda *args, **options: module.predict(channel, *args, **options)
        return

    def ask(model, inputs, *args, **options):
        files = inputs.pop("image_bytes", None)
        inputs = {name: np.asarray(value).tolist() for name, value in inputs.items()}
        if files is not None:
            inputs["image_bytes"] = [module.encode(file) for file in files]
        outputs = module.predict(rest, model, inputs, *args, **options)
        return {name: np.array(value) for name, value in outputs.items()}

    yield ask


def png(image):
    return tf.io.encode_png(image.astype("uint8")).numpy()


def probabilities(network, images):
    return softmax(network(images, training=False))


def test_versions_follow_each_other_and_stay(served):
    root, _, reports = served
    assert [(r["name"], r["version"]) for r in reports] == [
        ("plain", 1),
        ("plain", 2),
        ("dropout", 1),
    ]
    names = {".lock", "compose.yaml", "dropout", "models.config", "plain"}
    assert {path.name for path in root.iterdir()} == names
    assert serving.versions(root / "plain") == [1, 2]
    for report in reports:
        folder = root / report["name"] / str(report["version"])
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert report["path"] == str(folder)
        assert report["bytes"] == sum(path.stat().st_size for path in files)
        assert [path.name for path in folder.parent.iterdir()].count(".lock") == 0
        assert not list(folder.parent.glob(".*"))


@pytest.mark.parametrize("model", ["plain/2", "dropout/1"])
def test_the_warm_up_calls_every_signature_with_one_and_with_more_images(served, model):
    answers = warmup.replay(served[0] / model)
    calls = sorted((name, len(o["probabilities"])) for name, o in answers)
    names = warmup.signatures(served[0] / model)
    assert names == sorted(tf.saved_model.load(served[0] / model).signatures)
    assert calls == [(name, size) for name in names for size in (1, 3)]
    for name, outputs in answers:
        assert outputs.keys() - {"samples"} == OUTPUTS
        assert "samples" not in outputs or name == "sample"


def test_each_version_and_each_kind_of_image_gets_its_own_answer(served, predict):
    images = POOL[:4]
    for (model, version), network in served[1].items():
        if model == "dropout":
            continue
        expected = probabilities(network, images)
        latest = version == 2
        for inputs, signature in (
            ({"images": images}, "serving_default"),
            ({"images": images.astype("uint8")}, "serve_uint8"),
            ({"image_bytes": np.array([*map(png, images)], object)}, "serve_encoded"),
        ):
            number = None if latest else version
            outputs = predict(model, inputs, signature, number)
            assert outputs.keys() == OUTPUTS
            np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
            np.testing.assert_array_equal(outputs["label"], expected.argmax(-1))


def test_a_seed_repeats_the_samples_and_every_other_call_draws(served, predict):
    inputs = {"images": POOL[:2], "num_samples": np.int32(4), "seed": np.int32(5)}
    first, second = (predict("dropout", dict(inputs), "sample") for _ in range(2))
    np.testing.assert_array_equal(first["samples"], second["samples"])
    assert first["samples"].shape == (4, 2, 4)
    calls = [predict("dropout", {"images": POOL[:2]}) for _ in range(3)]
    assert len({call["probabilities"].tobytes() for call in calls}) == 3


def post(address, body):
    url = f"http://{address}/v1/models/plain:predict"
    with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
        return json.load(response)


def test_rows_are_answered_by_rows(served, addresses):
    """As by the commands with `curl` in the documentation."""
    expected = probabilities(served[1]["plain", 2], POOL[:2])
    coded = [{"b64": base64.b64encode(png(image)).decode()} for image in POOL[:2]]
    for rows, signature in (
        (POOL[:2].tolist(), "serving_default"),
        (coded, "serve_encoded"),
        ([{"image_bytes": file} for file in coded], "serve_encoded"),
    ):
        body = {"signature_name": signature, "instances": rows}
        answers = post(addresses[1], body)["predictions"]
        assert [set(answer) for answer in answers] == [OUTPUTS] * 2
        probs = [answer["probabilities"] for answer in answers]
        np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_broken_files_fail_their_own_request_alone(predict):
    good, bad = png(POOL[0]), b"no image"
    both = np.array([good, bad], object)
    with pytest.raises((RuntimeError, grpc.RpcError), match=r"JPEG or PNG[\s\S]*\[1\]"):
        predict("plain", {"image_bytes": both}, "serve_encoded")
    cut = np.array([good[:-30]], object)
    with pytest.raises((RuntimeError, grpc.RpcError), match="Invalid PNG data"):
        predict("plain", {"image_bytes": cut}, "serve_encoded")
    predict("plain", {"image_bytes": both[:1]}, "serve_encoded")
    with pytest.raises((RuntimeError, grpc.RpcError), match="version 7"):
        predict("plain", {"images": POOL[:1]}, version=7)


class Gate(http.server.BaseHTTPRequestHandler):
    """What checks passwords before a server, and does not speak JSON."""

    def do_POST(self):  # noqa: N802
        self.send_error(http.HTTPStatus.UNAUTHORIZED, "No such user")

    def log_message(self, *args):
        """Says nothing."""


def test_the_client_of_rest_tells_what_a_gate_before_the_server_says():
    with http.server.HTTPServer(("127.0.0.1", 0), Gate) as gate:
        threading.Thread(target=gate.handle_request, daemon=True).start()
        with pytest.raises(RuntimeError, match="refused .*401: No such user: <!DOC"):
            model_server.client("rest").predict(
                f"127.0.0.1:{gate.server_port}", "plain", {"images": []}
            )


def test_nothing_is_lost_under_load(served, addresses, predict):
    expected = probabilities(served[1]["plain", 2], POOL)

    def ask(number):
        rng = np.random.default_rng(number)
        index = rng.integers(0, len(POOL), rng.integers(1, 9))
        inputs, signature = {"images": POOL[index]}, "serving_default"
        if number % 3 == 1:
            inputs, signature = {"images": POOL[index].astype("uint8")}, "serve_uint8"
        elif number % 3 == 2:
            files = np.array([png(POOL[i]) for i in index], object)
            inputs, signature = {"image_bytes": files}, "serve_encoded"
        outputs = predict("plain", inputs, signature)
        return np.max(np.abs(outputs["probabilities"] - expected[index]))

    with futures.ThreadPoolExecutor(8) as pool:
        assert max(pool.map(ask, range(120))) < 1e-5


def test_the_clients_print_a_line_for_each_file(served, addresses, tmp_path, capsys):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, POOL, strict=False):
        path.write_bytes(png(image))
    labels = probabilities(served[1]["plain", 2], POOL[:3]).argmax(-1)
    for name, address in zip(("grpc", "rest"), addresses, strict=True):
        model_server.client(name).main(address, "plain", *paths)
        lines = capsys.readouterr().out.splitlines()
        starts = [f"{p} label {n} " for p, n in zip(paths, labels, strict=True)]
        assert [*map(str.startswith, lines, starts)] == [True] * 3


@pytest.mark.slow
def test_memory_stays_flat(served, addresses):
    """After the first thousand requests, five thousand more leave it where it was."""
    module = model_server.client("grpc")

    def resident():
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def ask(number):
        images = POOL[: number % 8 + 1]
        signature, inputs = "serving_default", {"images": images}
        if number % 3 == 1:
            signature = "sample"
            inputs |= {
                "num_samples": np.int32(number % 5 + 1),
                "seed": np.int32(number),
            }
        elif number % 3 == 2:
            files = np.array([*map(png, images)], object)
            signature, inputs = "serve_encoded", {"image_bytes": files}
        return module.predict(channel, "dropout", inputs, signature)

    sizes, threads = [], futures.ThreadPoolExecutor(8)
    with grpc.insecure_channel(addresses[0]) as channel, threads as pool:
        for _ in range(6):
            for outputs in pool.map(ask, range(1000)):
                assert outputs["probabilities"].sum() > 0
            sizes.append(resident())
    print("RSS in MB after each thousand requests:", *map(round, sizes))
    assert sizes[-1] - sizes[0] < 30


@pytest.mark.slow
def test_the_clients_run_as_commands(addresses, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(POOL[0]))
    for name, address in zip(("grpc", "rest"), addresses, strict=True):
        command = [
            sys.executable,
            model_server.CLIENTS / f"{name}_client.py",
            address,
            "plain",
            path,
        ]
        result = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=tmp_path
        )
        assert result.stdout.startswith(f"{path} label ")
