"""Commands: what is malformed ends in one line that names it, and writes nothing."""

import pathlib
import sys

import pytest

from tests.helpers import processes
from tests.helpers.commands import environment

ROOT = pathlib.Path(__file__).parents[2]
NAME = "--model=resnet20"
EVALUATE = (NAME, "--dataset=fashion_mnist", "--limit=8", "--num_samples=1")
EXPORT = (NAME, "--format=tflite")
TRAIN = (NAME, "--recipe=fashion_mnist", "--workdir=out")
CASES = {
    "evaluate": [
        ((), "--model"),
        ((NAME,), "--output"),
        ((*EVALUATE, "--num_samples=0"), "--num_samples"),
        ((*EVALUATE, "--num_samples=1.5"), "--num_samples"),
        ((*EVALUATE, "--limit=0"), "--limit"),
        ((*EVALUATE, "--batch_size=0"), "--batch_size"),
        ((*EVALUATE, "--model=resnet2"), "resnet2"),
        ((*EVALUATE, "--model=missing.keras"), "missing.keras"),
        ((*EVALUATE, "--dataset=fashion_mist"), "fashion_mist"),
        ((*EVALUATE, "--dataset="), "dataset"),
        ((*EVALUATE, "--dataset=missing/folder"), "missing/folder"),
        ((*EVALUATE, "--dataset=fashion_mnist_c/fog/6"), "fog/6"),
        ((*EVALUATE, "--weights=a,b"), "--weights"),
        ((*EVALUATE, "--weights=missing"), "missing"),
        ((*EVALUATE, "--reference=nobody"), "nobody"),
        ((*EVALUATE, "--seeds=1"), "seeds"),
    ],
    "export": [
        ((), "--"),
        ((NAME, "--format=pickle"), "--format"),
        ((*EXPORT, "--num_samples=0"), "--num_samples"),
        ((*EXPORT, "--quantization=int4"), "--quantization"),
        ((*EXPORT, "--quantization=int8"), "calibration"),
        ((*EXPORT, "--calibration_count=2"), "--calibration"),
        ((*EXPORT, "--input_range=0", "--model=x.keras"), "input_range"),
        ((*EXPORT, "--input_range=a,b", "--model=x.keras"), "input_range"),
        ((*EXPORT, "--model=resnet20_"), "resnet20_"),
    ],
    "train": [
        ((NAME,), "--"),
        ((*TRAIN, "--recipe=cifar11"), "cifar11"),
        ((*TRAIN, "--set=batch_sizes=3"), "batch_sizes"),
        ((*TRAIN, "--set=batch_size"), "batch_size"),
        ((*TRAIN, "--dataset=missing/folder"), "missing/folder"),
        ((*TRAIN, "--seed=-1"), "--seed"),
        ((*TRAIN, "--weights=missing"), "missing"),
    ],
    "compress": [
        ((*TRAIN[:1], "--workdir=out"), "--recipe"),
        (TRAIN, "Nothing"),
        ((*TRAIN, "--bits=2"), "--bits"),
        ((*TRAIN, "--sparsity=1.5"), "sparsity"),
        ((*TRAIN, "--filters=0.5"), "weights"),
        ((*TRAIN, "--filters=0.5", "--sparsity=0.5"), "filters"),
        ((*TRAIN, "--teacher=resnet2"), "resnet2"),
        ((*TRAIN, "--bits=8", "--frozen_epochs=12"), "frozen_epochs"),
    ],
    "publish": [
        ((), "--model"),
        ((NAME, "--weights=missing", "--output=out"), "missing"),
        (("--package=missing",), "missing"),
        ((NAME, "--weights=w", "--output=out", "--dtype=int8"), "--dtype"),
    ],
    "leaderboard": [
        ((), "published"),
        (("missing.jsonl",), "missing.jsonl"),
        (("--published", "--model=resnet2"), "resnet2"),
        (("--published", "--dataset=cifar1"), "cifar1"),
        (("--published", "--reference=nobody"), "nobody"),
    ],
    "convert": [
        ((), "--"),
        (("--source=missing.safetensors", NAME, "--output=out"), "missing"),
        (("--source=x", NAME, "--output=out", "--mean=1,2,3"), "--std"),
    ],
}

WITH_OUTPUT = ("evaluate", "export", "leaderboard")


@pytest.mark.slow
@pytest.mark.parametrize("command", CASES)
def test_a_mistake_is_one_line_that_names_it(command, tmp_path):
    for number, (given, named) in enumerate(CASES[command]):
        args = [f"--output=out{number}"] if command in WITH_OUTPUT else []
        args = [] if named in ("--model", "--output") and number < 2 else args
        result = processes.run(
            [sys.executable, "-m", f"training.cli.{command}", *args, *given],
            cwd=tmp_path,
            env=environment() | {"PYTHONPATH": str(ROOT)},
        )
        line = result.stderr.splitlines()[-1:]
        assert result.returncode in (1, 2), (given, result)
        assert result.stderr.count("\n") == 1, (given, result.stderr)
        assert line[0].startswith("Error: "), (given, line)
        assert named in line[0] or named.strip("-") in line[0], (given, line)
        assert "Traceback" not in result.stderr
    kept = [path.name for path in tmp_path.iterdir()]
    assert not [name for name in kept if name.endswith((".tflite", ".safetensors"))]
