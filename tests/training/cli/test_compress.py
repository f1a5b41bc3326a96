"""The command `zoo-compress` as a user meets it."""

import json
import os
import sys

import pytest

import zoo
from tests.helpers import processes
from tests.helpers.data_sets import stripes, write_idx
from zoo.compressed import compression_of


@pytest.fixture
def data_dir(tmp_path):
    data = stripes(160, 28)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", data.images[..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", data.labels)
    return str(tmp_path)


@pytest.mark.slow
def test_makes_a_network_smaller_and_says_how_small(data_dir, tmp_path):
    workdir = tmp_path / "work"
    command = [
        *(sys.executable, "-m", "training.cli.compress", "--model=resnet20_smooth"),
        *("--weights=resnet20_smooth.fashion_mnist", "--filters=0.75", "--bits=8"),
        *("--recipe=fashion_mnist_compress", f"--workdir={workdir}", "--epochs=2"),
        *(f"--data_dir={data_dir}", "--set=batch_size=40", "--set=holdout=16"),
        *("--teacher=resnet20_mcdo.fashion_mnist@mc:num_samples=2",),
    ]
    result = processes.run(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()[-2:]
    assert "multiply-adds for an image, of" in first
    assert "; weights of 8 bits. It lies in" in first
    assert second.startswith("Test NLL ")
    settings = json.loads((workdir / "recipe.json").read_text())["settings"]
    assert settings["objective"] == "distillation"
    assert settings["teacher"] == "resnet20_mcdo.fashion_mnist@mc:num_samples=2"
    known = compression_of(zoo.load("resnet20_smooth", weights=workdir))
    assert known["weight_bits"] == 8
    assert set(known["filters"].values()) == {4, 8, 16}
