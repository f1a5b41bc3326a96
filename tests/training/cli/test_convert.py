import json
import os
import sys

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import zoo
from tests.helpers import keras_hub_files, processes, torch_states
from tests.helpers.commands import ROOT, environment
from zoo import convert
from zoo.presets.weight_file import variables
from zoo.publishing import publish

CONFIG = {"pretrained_cfg": {"tag": "mine", "input_size": [3, 32, 32]}}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    state = torch_states.cifar_resnet()
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def execute(folder, *arguments):
    command = [sys.executable, "-m", "training.cli.convert", *map(str, arguments)]
    options = {"cwd": folder, "env": {**environment(), "PYTHONPATH": os.fspath(ROOT)}}
    return processes.run(command, **options)


def test_the_command_writes_a_folder_that_loads_and_says_what_it_is_not(
    folder, tmp_path
):
    result = execute(
        tmp_path,
        *("--source", folder, f"--output={tmp_path / 'ours'}", "--license=mit"),
        "--nosaved_model",
        *("--model=resnet20_smooth_mcdo", "--mean=0.5,0.5,0.5", "--std=0.5,0.5,0.25"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "resnet20_smooth_mcdo.mine: weights, preset, card and checksums in "
        f"{tmp_path / 'ours'}\n"
    )
    assert "Warning: 'model.safetensors' was trained without smooth" in result.stderr
    assert "Traceback" not in result.stderr
    publish.check_published(tmp_path / "ours")
    text = (tmp_path / "ours" / "README.md").read_text(encoding="utf-8")
    assert "zoo-convert --source theirs --output=ours --license=mit" in text
    with pytest.warns(UserWarning, match="'resnet20.mine' by"):  # The plain network.
        loaded = zoo.load("resnet20.mine", weights=tmp_path / "ours")
    source = convert.read(folder, (0.5,) * 3, (0.5, 0.5, 0.25))
    expected = convert.convert(source, "resnet20")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    np.testing.assert_array_equal(
        loaded(images, training=False), expected(images, training=False)
    )


@pytest.mark.slow
def test_the_folder_has_a_saved_model_too(folder, tmp_path):
    result = execute(
        tmp_path,
        *(f"--source={folder}", f"--output={tmp_path / 'ours'}", "--license=mit"),
        "--model=resnet20",
    )
    assert result.returncode == 0, result.stderr
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    expected = tf.nn.softmax(convert.load(folder, "resnet20")(images, training=False))
    served = tf.saved_model.load(tmp_path / "ours" / "saved_model")
    probs = served.signatures["serving_default"](images=images)["probabilities"]
    np.testing.assert_allclose(probs, expected, atol=1e-5)


@pytest.mark.slow
def test_errors_are_one_line(folder, tmp_path):
    arguments = f"--source={folder}", f"--output={tmp_path / 'x'}", "--license=mit"
    result = execute(tmp_path, *arguments, "--model=resnet18")
    assert result.returncode == 1
    line = "Error: The weights of 'model.safetensors' do not fit the model 'resnet18"
    assert line in result.stderr
    assert "'conv1.weight' has shape (16, 3, 3, 3)" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


def write_timm(folder):
    state = torch_states.resnet(depths=(2, 2, 2, 2), deep=True)
    folder.mkdir()
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    config = {"architecture": "resnetaa18d", "pretrained_cfg": {"tag": "bt_in1k"}}
    (folder / "config.json").write_text(json.dumps(config))


def write_keras_hub(folder):
    state = torch_states.resnet(depths=(2, 2, 2, 2))
    keras_hub_files.write_preset(folder, keras_hub_files.renamed(state))


@pytest.mark.slow
@pytest.mark.parametrize(
    "write, model, difference, license",
    [
        (write_timm, "resnet18d_aa_smooth.bt_in1k", "smooth", "apache-2.0"),
        (write_keras_hub, "resnet18_aa.converted", None, "mit"),
        (write_keras_hub, "resnet18_mcdo.converted", "mcdo", "mit"),
    ],
)
def test_every_source_becomes_a_published_folder(
    write, model, difference, license, tmp_path
):
    write(tmp_path / "theirs")
    given = () if license == "apache-2.0" else (f"--license={license}",)
    result = execute(
        tmp_path,
        *("--source=theirs", "--output=ours", f"--model={model.partition('.')[0]}"),
        *("--nosaved_model", *given),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{model}: weights, preset, card and checksums")
    publish.check_published(tmp_path / "ours")
    text = (tmp_path / "ours" / "README.md").read_text(encoding="utf-8")
    assert f'license: "{license}"' in text
    if difference:
        assert f"trained without {difference}: '{model.partition('.')[0]}" in (
            result.stderr
        )
        told = f"**They were trained without {difference}.**"
        assert told in " ".join(text.split())
    else:
        assert "trained without" not in result.stderr + text
    loaded = zoo.load(model, weights=tmp_path / "ours")
    source = convert.read(tmp_path / "theirs")
    network = source.network or model.partition("_")[0]
    plain = convert.convert(source, network, (64, 64, 3))
    weights = variables(loaded)
    for name, variable in variables(plain).items():
        np.testing.assert_array_equal(weights[name], variable)
