"""Commands look at names, and answer, before they import Keras and TensorFlow."""

import subprocess
import sys

import pytest

from tests.helpers.commands import environment
from training.cli import names, tables
from zoo.models.methods import METHODS
from zoo.posterior import POSTERIORS
from zoo.registry import ARCHITECTURES

COMMANDS = (
    "train",
    "sample",
    "evaluate",
    "analyze",
    "export",
    "publish",
    "convert",
    "data_check",
    "demo",
)
# Runs a command, and says at the end what it has imported.
CODE = """
import atexit, importlib, sys
atexit.register(lambda: print(sorted({"keras", "tensorflow"} & sys.modules.keys())))
importlib.import_module(f"training.cli.{sys.argv[0]}").run()
"""


def run(command, *flags):
    """Returns the status of a command, its output and its errors."""
    code = CODE.replace("sys.argv[0]", repr(command))
    done = subprocess.run(
        [sys.executable, "-c", code, *flags],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    *output, imported = done.stdout.splitlines()
    assert imported == "[]", done.stderr
    return done.returncode, "\n".join(output), done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_keras(command):
    status, output, errors = run(command, "--help")
    assert (status, errors) == (0, "")
    assert "--output" in output or "--workdir" in output


TRAIN = ("--recipe=fashion_mnist", "--workdir=runs/none")
OUTPUT = "--output=runs/none"


@pytest.mark.parametrize(
    "command, flags, message",
    [
        ("train", ("--modl=resnet20",), "Did you mean: model"),
        ("train", ("--model=resnet20_smoth", *TRAIN), "Did you mean 'smooth'"),
        (
            "train",
            ("--model=resnet20", "--recipe=fashion_minst", TRAIN[1]),
            "Did you mean 'fashion_mnist'",
        ),
        (
            "train",
            ("--model=resnet20", "--dataset=no/folder", *TRAIN),
            "There is no folder 'no/folder'",
        ),
        (
            "evaluate",
            ("--model=resnet20,resnet18+resnt20@mc", OUTPUT),
            "Did you mean 'resnet20'",
        ),
        (
            "evaluate",
            ("--model=resnet20", "--dataset=fashion_mnist_c/fogg/*", OUTPUT),
            "No data set matches",
        ),
        (
            "evaluate",
            ("--model=resnet20", "--ood=fashion_mnits_c/fog/3_size/64", OUTPUT),
            "Did you mean 'fashion_mnist'",
        ),
        (
            "export",
            ("--model=resnet20@temperatur", "--format=tflite", OUTPUT),
            "Did you mean 'temperature'",
        ),
        (
            "publish",
            ("--model=vg16", "--weights=runs/none", OUTPUT),
            "Did you mean 'vgg16'",
        ),
        ("convert", ("--source=timm:x", "--model=resnt50", OUTPUT), "'resnet50'"),
        ("data_check", ("--dataset=cifr10",), "Did you mean 'cifar10'"),
        ("analyze", ("--what=lesion", OUTPUT), "Did you mean 'lesions'"),
    ],
)
def test_a_typo_needs_no_keras(command, flags, message):
    status, output, errors = run(command, *flags)
    assert (status != 0, output) == (True, "")
    assert message in errors
    assert errors.count("\n") == 1


def test_the_sources_have_the_words_of_the_tables():
    words = tables.words()
    assert list(words.architectures) == list(ARCHITECTURES)
    assert list(words.methods) == list(METHODS)
    assert list(words.posteriors) == list(POSTERIORS)


def test_where_the_sources_do_not_say_names_are_left_to_what_takes_them(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(tables, "_ROOT", tmp_path)
    assert tables.words() is None
    names.check(["resnet21"])


def test_files_and_elsewhere_are_left_to_what_takes_them(tmp_path):
    (tmp_path / "saved").mkdir()
    names.check(
        [f"{tmp_path}/saved@mc", f"{tmp_path}/saved", "my.keras+resnet20"]
        + ["hf://owner/name@mc", "resnet20_smooth.mine+resnet20@ensemble"],
        [None, "digits", "cifar10_corrupted/fog_3", "mnist_corrupted", str(tmp_path)],
    )


def test_what_lies_beside_the_prepared_sets_may_be_one(tmp_path):
    with pytest.raises(ValueError, match="Unknown data set 'mnist2'"):
        names.check([], ["mnist2"], str(tmp_path))
    (tmp_path / "mnist2").mkdir()
    names.check([], ["mnist2"], str(tmp_path))
