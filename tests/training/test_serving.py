"""The folder of a server, and what a server does with it."""

import importlib.util
import pathlib
import sys
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.training.exports import MODELS, dropout_model, softmax, tiny
from tests.training.standin import serving as stand_in
from training import export, serving, warmup

CLIENTS = pathlib.Path(__file__).parents[2] / "docs" / "serving"
POOL = np.random.default_rng(1).integers(0, 256, (40, 16, 16, 1)).astype("float32")
OUTPUTS = {"probabilities", "label", "confidence", "entropy", "mutual_information"}


def client(name):
    path = CLIENTS / f"{name}_client.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    with stand_in(served[0]) as addresses:
        yield addresses


@pytest.fixture(params=["rest", "grpc"])
def predict(request, addresses):
    """A function that asks the server as the example of a client does, for arrays."""
    remote, rest = addresses
    module = client(request.param)
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


def read_config(path):
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(path.read_text(), config).model_config_list.config


def test_the_configuration_names_each_model_once_and_keeps_two_versions(served):
    models = read_config(served[0] / "models.config")
    assert [model.name for model in models] == ["plain", "dropout"]
    for model in models:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"
        assert model.model_version_policy.latest.num_versions == 2


def test_the_compose_file_starts_the_official_server_on_this_folder(served):
    content = yaml.safe_load((served[0] / "compose.yaml").read_text())
    (service,) = content["services"].values()
    assert service["image"].startswith("tensorflow/serving:")
    assert service["volumes"] == [".:/models:ro"]
    assert "--model_config_file=/models/models.config" in service["command"]
    assert "--enable_model_warmup=true" in service["command"]
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


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
        client(name).main(address, "plain", *paths)
        lines = capsys.readouterr().out.splitlines()
        starts = [f"{p} label {n} " for p, n in zip(paths, labels, strict=True)]
        assert [*map(str.startswith, lines, starts)] == [True] * 3


def test_other_settings_of_the_server_stay(served, tmp_path, monkeypatch):
    export_fake(monkeypatch)
    config = (
        'model_config_list { config { name: "old" base_path: "/elsewhere" '
        'version_labels { key: "stable" value: 3 } } }'
    )
    (tmp_path / "models.config").write_text(config)
    (tmp_path / "compose.yaml").write_text("mine")
    serving.export_version(tiny(), tmp_path, name="old")
    assert (tmp_path / "models.config").read_text() == config
    serving.export_version(tiny(), tmp_path, name="new")
    old, new = read_config(tmp_path / "models.config")
    assert (old.base_path, old.version_labels["stable"]) == ("/elsewhere", 3)
    assert new.name == "new"
    assert (tmp_path / "compose.yaml").read_text() == "mine"


def export_fake(monkeypatch):
    """Lets exports write the warm-up alone, without a network."""

    def fake(model, folder, num_samples, images=None):
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
        return {"num_samples": num_samples, "bytes": 0}

    monkeypatch.setattr(export, "export_saved_model", fake)
    monkeypatch.setattr(warmup, "write", lambda *args: None)
    monkeypatch.setattr(warmup, "replay", lambda *args: None)


def test_exports_at_the_same_time_get_versions_of_their_own(tmp_path, monkeypatch):
    export_fake(monkeypatch)
    model = tiny()
    (tmp_path / "m" / "7").mkdir(parents=True)
    (tmp_path / "m" / "08.old").mkdir()
    with futures.ThreadPoolExecutor(4) as pool:
        reports = pool.map(
            lambda _: serving.export_version(model, tmp_path, name="m"), range(6)
        )
        assert sorted(report["version"] for report in reports) == [*range(8, 14)]


def test_what_fails_leaves_no_version(tmp_path, monkeypatch):
    model = MODELS["plain"]()
    with pytest.raises(ValueError, match="letters, digits.*name=a/b"):
        serving.export_version(model, tmp_path, name="a/b")
    (tmp_path / "models.config").write_text("model_list {}")
    with pytest.raises(ValueError, match="Cannot read .*models.config"):
        serving.export_version(model, tmp_path, name="m")
    (tmp_path / "models.config").unlink()
    export_fake(monkeypatch)

    def fail(*args):
        raise ValueError("No answer.")

    monkeypatch.setattr(warmup, "replay", fail)
    with pytest.raises(ValueError, match="No answer"):
        serving.export_version(model, tmp_path, name="m")
    assert not list((tmp_path / "m").iterdir())
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError, match="pip install tensorflow-serving-api"):
        serving.export_version(model, tmp_path, name="m")
    assert not (tmp_path / "models.config").exists()
