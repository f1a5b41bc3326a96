"""Names of classes travel with every exported file."""

import json
import zipfile

import keras
import numpy as np
import pytest

from tests.helpers import model_server
from tests.helpers.exports import IMAGES, call, flatbuffer, invoke, softmax, tiny
from training import export
from training.data.readers import label_files
from training.evaluation import external_models
from training.export import onnx, serving
from training.runtimes import litert
from zoo.classifier import named

CLASSES = ("T-shirt/top", "Schuh, gro\u00df", "\u65e5\u672c", "9")


@pytest.fixture(scope="module")
def model():
    """A network that knows names, and takes dark images for 0 and light ones for 1."""
    model = named(tiny(), CLASSES)
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    dark, light = np.asarray(pooled(np.stack([0 * IMAGES[0], IMAGES[0]])))
    kernel, bias = np.zeros((8, 4)), np.zeros(4)
    kernel[:, 1] = light - dark
    bias[1] = -kernel[:, 1] @ (light + dark) / 2
    model.get_layer("head").set_weights([kernel, bias])
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A folder of a server with that network."""
    root = tmp_path_factory.mktemp("named") / "served"
    serving.export_version(model, root, name="named")
    return root


def test_a_saved_model_gives_the_name_of_the_label(folder):
    images = np.stack([0 * IMAGES[0], IMAGES[0]])
    served = call(folder / "named" / "1", images=images)
    assert [name.decode() for name in served["class_name"]] == [*CLASSES[:2]]
    path = folder / "named" / "1" / "assets.extra" / "labels.txt"
    assert path.read_text(encoding="utf-8").splitlines() == [*CLASSES]


def test_a_saved_model_is_read_with_its_names(folder):
    loaded = external_models.load(str(folder / "named" / "1"), outputs="probs")
    assert loaded.classes == CLASSES


def test_the_clients_print_names(model, folder, tmp_path, capsys):
    import tensorflow as tf

    path, image = tmp_path / "image.png", IMAGES[0].astype("uint8")
    path.write_bytes(tf.io.encode_png(image).numpy())
    name = CLASSES[softmax(model(image[None])).argmax()]
    with model_server.serving(folder) as addresses:
        for kind, address in zip(("grpc", "rest"), addresses, strict=True):
            model_server.client(kind).main(address, "named", path)
            assert capsys.readouterr().out.startswith(f"{path} label {name} conf")


def test_a_litert_file_holds_the_names_and_stays_one(model, tmp_path):
    report = export.export_tflite(model, tmp_path / "model.tflite")
    assert report["classes"] == CLASSES
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == [*CLASSES]
    content = (tmp_path / "model.tflite").read_bytes()
    assert content[4:8] == b"TFL3"
    assert flatbuffer(content).subgraphs
    probs = invoke(tmp_path / "model.tflite", images=IMAGES)
    np.testing.assert_allclose(probs, softmax(model(IMAGES)), atol=1e-4)
    export.export_tflite(model, tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == content
    export.export_tflite(tiny(), tmp_path / "plain.tflite")
    assert not zipfile.is_zipfile(tmp_path / "plain.tflite")


def test_lines_of_both_formats_end_alike(tmp_path):
    names = ("a\u2028b", "c\x85d", "e\x0cf")
    path = tmp_path / "file.tflite"
    path.write_bytes(b"model")
    label_files.attach(path, names)
    label_files.write(tmp_path, names)
    assert litert.classes(path) == label_files.read(tmp_path) == names


def test_an_onnx_file_has_the_names_in_its_metadata(model, tmp_path):
    for package in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime

    onnx.export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = session.get_modelmeta().custom_metadata_map["classes"]
    assert tuple(json.loads(found)) == CLASSES


def test_names_are_given_one_by_one_or_in_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(b"cat\r\n\ndog \n")
    assert label_files.given([str(path)]) == ("cat", "dog")
    assert label_files.given(["cat", "dog"]) == ("cat", "dog")
    assert label_files.given([]) == ()


def test_names_of_a_file_of_keras_are_given_by_the_command(tmp_path):
    from training.cli import common

    tiny().save(tmp_path / "model.keras")
    found = common.load_model(str(tmp_path / "model.keras"), classes=CLASSES)
    assert found.classes == CLASSES
    with pytest.raises(ValueError, match="'resnet20' knows its classes"):
        common.load_model("resnet20", classes=CLASSES)
