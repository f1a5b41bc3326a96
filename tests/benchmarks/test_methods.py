"""The entries of `benchmarks.methods`: known names, settings that a training takes."""

import argparse
import json
import pathlib

import pytest

from benchmarks import method_tables, methods
from training import run
from zoo import registry

ENTRIES = [
    (name, x) for name, make in method_tables.TABLES.items() for x in make().entries
]


@pytest.mark.parametrize(
    ("table", "entry"), ENTRIES, ids=[f"{name}-{x.label}" for name, x in ENTRIES]
)
def test_trainings_are_what_the_command_takes(table, entry):
    made = method_tables.TABLES[table]()
    flags = argparse.Namespace(runs=pathlib.Path("r"), epochs=3, data_dir="data")
    parts = dict(x.split("=", 1) for x in methods.training(flags, made, entry)[3:-1])
    assert parts["--model"] == entry.model
    assert parts["--workdir"] == f"r/{entry.label}"
    registry.parse(entry.model)
    changes = [x[len("--set=") :] for x in entry.flags if x.startswith("--set=")]
    recipe = run.change_recipe(run.load_recipe(parts["--recipe"]), changes, 3)
    assert recipe.dataset == "cifar10"
    assert recipe.epochs == 3


def test_the_recipe_of_an_entry_counts():
    table = method_tables.TABLES["bayesian"]()
    entry = next(x for x in table.entries if x.label == "stf")
    flags = argparse.Namespace(runs=pathlib.Path("r"), epochs=None, data_dir=None)
    command = methods.training(flags, table, entry)
    assert [x for x in command if "recipe" in x] == ["--recipe=stf_finetune"]
    assert "--weights=r/plain" in command
    assert f"--epochs={table.epochs}" in command


def test_what_is_finished(tmp_path):
    table = method_tables.TABLES["bayesian"]()
    flags = argparse.Namespace(runs=tmp_path)
    ensemble = next(x for x in table.entries if x.members)
    for label in ensemble.trainings:
        assert not methods.is_finished(flags, ensemble)
        (tmp_path / label).mkdir()
        (tmp_path / label / methods.USAGE).write_text(json.dumps({"seconds": 60}))
    assert methods.is_finished(flags, ensemble)


def test_a_line():
    table = method_tables.TABLES["robust"]()
    known = {
        "weights": 1234,
        "minutes": 1.5,
        "gigabytes": 1.23,
        "prediction": 1.5,
        "values": [
            ("cifar10", "accuracy", 0.5),
            (methods.MEAN, "accuracy", 0.25),
            (methods.MCE, "mean_error", 0.5),
            (methods.MCE, "mce/resnet20.plain", 98.76),
            ("cifar10_pgd/linf/8", "accuracy", 0.125),
        ],
    }
    cells = methods.line(table, table.entries[0], known)
    found = dict(zip(methods.heading(table), cells, strict=True))
    assert {k: v for k, v in found.items() if v} == {
        "method": "`plain`",
        "weights": "1,234",
        "training (min)": "2",
        "memory (GB)": "1.2",
        "prediction": "1.50",
        "accuracy (%)": "50.00",
        "accuracy (%), corrupted": "25.00",
        "mCE": "98.76",
        "accuracy, PGD 8/255 (%)": "12.50",
    }


def test_means_are_those_over_the_corrupted_sets():
    values = {
        ("a", "cifar10_c/fog/1", "nll"): 1.0,
        ("a", "cifar10_c/frost/5", "nll"): 2.0,
        ("b", "cifar10_c/fog/1", "nll"): 4.0,
        ("a", "cifar10_c", "mce/resnet20.plain"): 100.0,
        ("a", "cifar10", "nll"): 0.5,
    }
    found = methods.corrupted_means(values)
    assert found == {("a", methods.MEAN, "nll"): 1.5, ("b", methods.MEAN, "nll"): 4.0}
    values["a", "cifar100_c/fog/1", "nll"] = 8.0
    found = methods.corrupted_means(values, "cifar100_c")
    assert found == {("a", methods.MEAN, "nll"): 8.0}
