"""The command `zoo-evaluate` as a user meets it."""

import json
import re
import signal
import sys
import time

import keras
import pytest

import layers
import zoo
from tests.helpers import processes
from tests.helpers.commands import environment
from tests.helpers.data_sets import stripes, write_idx
from training import data, report
from training.evaluation import evaluate
from training.versions import current_commit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a test set of 45 images and two models for it."""
    folder = tmp_path_factory.mktemp("evaluate")
    test = stripes(45, 28)
    write_idx(folder / "t10k-images-idx3-ubyte.gz", test.images[..., 0])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", test.labels)
    plain = zoo.build("resnet20", (28, 28, 1), 10)
    shape = {"input_shape": plain.input_shape[1:]}
    zoo.presets.weight_file.save_weights(plain, folder / "plain.safetensors", shape)
    images = keras.Input((28, 28, 1))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(x))
    x = keras.layers.Dense(10)(layers.MCDropout(0.5, name="dropout")(x))
    keras.Model(images, x, name="random").save(folder / "random.keras")
    return folder


def command(folder, *flags):
    models = [f"--model={folder}/random.keras,resnet20"]
    models += [f"--weights=,{folder}/plain.safetensors"]
    flags = [*models, f"--data_dir={folder}", f"--output={folder}/out", *flags]
    return [sys.executable, "-m", "training.cli.evaluate", *flags]


def start(folder, *flags):
    return processes.start(command(folder, *flags), env=environment())


def execute(folder, *flags):
    process = start(folder, *flags)
    return process, *process.communicate()


def are_notes(lines):
    """Returns whether lines are what a command says of its data, and no warning."""
    return all(re.match(r"I\d{4} ", x) for x in lines)


def test_the_command_prints_a_table_and_writes_rows_table_and_figure(folder):
    flags = ["--num_samples=4,1", "--batch_size=8", "--limit=41", "--seed=7"]
    process, stdout, stderr = execute(folder, *flags)
    assert process.returncode == 0, stderr
    assert are_notes(stderr.splitlines())
    assert stderr.count("Test set fashion_mnist: 41 images") == 1
    assert "names of the classes of 'random' are not known" in stderr
    *_, last = stdout.splitlines()
    assert last.split() == [
        f"{folder}/out/{name}"
        for name in ("rows.jsonl", "table.md", "ensemble_size.png", "report.html")
    ]
    assert "random on fashion_mnist" in stdout

    rows = report.read_rows(folder / "out" / "rows.jsonl")
    test = data.load("fashion_mnist", "test", str(folder)).sample(41)
    model = keras.saving.load_model(folder / "random.keras")
    expected = evaluate.evaluate(model, test, (1, 4), seed=7, progress=False)
    found = [row for row in rows if row["model"] == "random"]
    assert len(rows) == 2 * len(found) == 2 * len(expected)
    for row, other in zip(found, expected, strict=True):
        assert row.pop("seconds") > 0
        assert row.pop("commit") == current_commit()
        assert row.pop("bytes") == (folder / "random.keras").stat().st_size
        assert len(row.pop("data")) == 12
        del other["seconds"]
        exact = pytest.approx(other.pop("value"), abs=1e-5, nan_ok=True)
        assert row.pop("value") == exact
        assert row == other
    assert (folder / "out" / "table.md").read_text().count("\n| random | ") == 2
    assert (folder / "out" / "ensemble_size.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "flag, code, message",
    [
        ("--model=resnet20_smoth,resnet20", 1, "Did you mean 'smooth'?"),
        ("--num_samples=1,two", 2, "must be positive integers, for example"),
        ("--weights=a,b,c", 1, "`--weights` needs as many entries as `--model`"),
        ("--dataset=no/folder", 1, "There is no folder 'no/folder'"),
        ("--ood=minst", 1, "Did you mean 'mnist'?"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(folder, flag, code, message):
    flags = flag, f"--output={folder}/never"
    process, _, stderr = execute(folder, *flags)
    assert process.returncode == code
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not (folder / "never").exists()


def test_an_interrupted_command_goes_on_where_it_was(folder):
    output = folder / "interrupted"
    flags = ["--num_samples=3000", "--batch_size=1", f"--output={output}"]
    process = start(folder, *flags)
    meta = output / "predictions" / "random" / "fashion_mnist" / "meta.json"
    while not (meta.exists() and json.loads(meta.read_text())["done"]):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    if process.returncode == 0:
        pytest.skip("It was too fast to be interrupted.")
    *notes, last = stderr.splitlines()
    assert (process.returncode, last) == (130, "Error: interrupted")
    assert are_notes(notes)
    assert [path.name for path in output.iterdir()] == ["predictions"]
    process, _, stderr = execute(folder, *flags, "--limit=45")
    assert process.returncode == 0, stderr
    assert json.loads(meta.read_text())["done"] == 45
