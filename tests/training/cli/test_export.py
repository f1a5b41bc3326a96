import functools
import sys

import numpy as np
import pytest

from tests.helpers import processes
from tests.helpers.commands import environment
from tests.helpers.exports import IMAGES, dropout_model, invoke, operators
from training.cli import common
from training.evaluation import adaptation
from training.export import formats, warmup


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    dropout_model().save(folder / "model.keras")
    return folder


def execute(folder, *args):
    command = [sys.executable, "-m", "training.cli.export", *args]
    command.insert(3, f"--model={folder / 'model.keras'}")
    options = {"env": environment()}
    return processes.run(command, **options)


def test_the_command_exports_a_keras_file_and_says_what_it_wrote(folder):
    output = folder / "served" / "1"
    args = ["--format=saved_model", "--num_samples=2", f"--output={output}"]
    result = execute(folder, *args)
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith(f"{output}: 0.")
    assert "num_samples=2" in result.stdout
    assert "(allowed: 0.0001), at batch sizes 1 and 3" in result.stdout
    assert (output / "saved_model.pb").exists()


@pytest.mark.slow
def test_the_command_adds_a_version_to_the_folder_of_a_server(folder):
    root = folder / "servers"
    (root / "model" / "3").mkdir(parents=True)
    args = ["--format=serving", "--num_samples=2", f"--output={root}"]
    result = execute(folder, *args)
    assert result.stderr == ""
    assert result.stdout.startswith(f"{root}/model/4: 0.")
    assert (root / "model" / "4" / warmup.FILE).exists()
    assert 'name: "model"' in (root / "models.config").read_text()


def test_the_command_replaces_a_file_on_request_only(folder):
    output = folder / "model.tflite"
    output.write_bytes(b"older")
    args = ["--format=tflite", "--quantization=float16", f"--output={output}"]
    result = execute(folder, *args)
    assert result.returncode == 1
    assert result.stderr == f"Error: {output} exists; `overwrite` replaces it.\n"
    assert output.read_bytes() == b"older"
    assert execute(folder, *args, "--overwrite").returncode == 0
    assert operators(output)[1] == []


@pytest.mark.slow
def test_the_command_calibrates_with_a_data_set_by_its_name(folder):
    output = folder / "bytes.tflite"
    args = ["--format=tflite", "--quantization=int8", "--calibration_count=20"]
    args += ["--input_dtype=uint8", "--calibration=fashion_mnist_size/16"]
    result = execute(folder, *args, f"--output={output}")
    assert result.returncode == 0, result.stderr
    assert "(allowed: 0.5), at batch sizes 1 and 8" in result.stdout
    seed = np.array(1, "int32")
    probs = invoke(output, images=IMAGES.astype("uint8"), seed=seed)
    np.testing.assert_allclose(np.sum(probs, axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "kind, posterior",
    [
        ("tflite", "laplace:subset=all:structure=diagonal"),
        ("onnx", "laplace:subset=all"),
        ("openvino", "laplace:subset=all"),
    ],
)
def test_a_format_is_refused_before_a_posterior_adapts(kind, posterior, monkeypatch):
    monkeypatch.setattr(adaptation, "adapt", None)
    check = functools.partial(formats.check_posterior, kind)
    name = f"resnet20.fashion_mnist@{posterior}"
    with pytest.raises(ValueError, match="no operators"):
        common.load_model(name, check=check)
    common.load_model("resnet20.fashion_mnist@temperature:temperature=2", check=check)


@pytest.mark.parametrize(
    "args, code, message",
    [
        (["--format=saved_model", "--quantization=dynamic"], 1, "is for `--format=tfl"),
        pytest.param(
            *(["--format=serving", "--overwrite"], 1, "adds a version"),
            marks=pytest.mark.slow,
        ),
        (["--format=tflite", "--model=missing.keras"], 1, "missing.keras"),
    ],
)
def test_mistakes_end_in_one_line(folder, args, code, message):
    result = execute(folder, "--output=/nowhere/at/all", *args[::-1])
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


# Prints what a command gives on, in place of loading and exporting.
GIVEN = """
import importlib, sys
from training.cli import common
from training.export import formats, web

def found(*args, **options):
    print("data_dir" in options and options["data_dir"])

command = importlib.import_module(f"training.cli.{sys.argv.pop(1)}")
common.load_model = formats.export_as = found
web.export_web = formats.describe = lambda *args, **options: "done"
command.run()
"""


def test_what_exists_is_refused_before_a_model_is_loaded(tmp_path):
    output = tmp_path / "model.tflite"
    output.write_bytes(b"older")
    args = ["export", "--model=resnet20", "--format=tflite", f"--output={output}"]
    options = {"env": environment()}
    for more, code, said in (([], 1, ""), (["--overwrite"], 0, "None\nNone\ndone\n")):
        command = [sys.executable, "-c", GIVEN, *args, *more]
        result = processes.run(command, **options)
        assert (result.returncode, result.stdout) == (code, said), result.stderr


@pytest.mark.parametrize(
    "command, args, expected",
    [
        ("export", ["--model=resnet20", "--format=tflite"], ["here", "here"]),
        ("web_demo", [], ["here"]),
    ],
)
def test_the_folder_of_data_is_that_of_all_data_sets(command, args, expected, tmp_path):
    args = [command, *args, "--data_dir=here", f"--output={tmp_path / 'output'}"]
    result = processes.run([sys.executable, "-c", GIVEN, *args], env=environment())
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [*expected, "done"]
