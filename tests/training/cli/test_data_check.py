"""The command `zoo-data-check`, in processes of its own."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers import processes
from tests.helpers.commands import ROOT, environment


def execute(folder, *arguments):
    command = [sys.executable, "-m", "training.cli.data_check", *map(str, arguments)]
    options = {"cwd": folder, "env": {**environment(), "PYTHONPATH": os.fspath(ROOT)}}
    return processes.run(command, **options)


def test_copies_are_printed_and_written(tmp_path):
    values = {"a/0.png": 10, "a/1.png": 90, "b/0.png": 90, "b/1.png": 20}
    for name, value in values.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 9, 3), value, "uint8")).save(path)
    result = execute(tmp_path, "--dataset=mine", "--distance=-1", "--output=out")
    assert result.returncode == 0, result.stderr
    assert "copies within mine all: 1, 1 under another label" in result.stdout
    lines = (tmp_path / "out/findings.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    (group,) = (f["images"] for f in found if f["kind"] == "copies")
    assert [image["file"] for image in group] == ["mine/a/1.png", "mine/b/0.png"]
    assert not (tmp_path / "out/near_copies.png").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("--dataset=no/folder", "no folder 'no/folder'"),
        ("--dataset=fashion_mnits", "fashion_mnist"),
        ("--dataset=fashion_mnist_c/fog/3", "fashion_mnist_c/fog/3"),
        ("--dataset=mnist,mnist", "mnist,mnist"),
        ("--dataset=mnist --distance=99", "99"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, given, named):
    result = execute(tmp_path, *given.split())
    assert result.returncode
    (line,) = [x for x in result.stderr.splitlines() if "rror" in x or named in x][-1:]
    assert named in line
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_two_folders_of_one_name_are_refused(tmp_path):
    for folder in ("one/mine/a", "two/mine/a"):
        (tmp_path / folder).mkdir(parents=True)
        image = Image.fromarray(np.zeros((9, 9, 3), "uint8"))
        image.save(tmp_path / folder / "0.png")
    result = execute(tmp_path, "--dataset=one/mine,two/mine", "--distance=-1")
    assert result.returncode == 1
    assert "have one name" in result.stderr
    assert "mine all" in result.stderr
    assert not (tmp_path / "runs").exists()
