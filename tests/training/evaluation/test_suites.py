import pytest

from training import data
from training.evaluation import command, suites
from training.report import terminal
from zoo.presets import index

PLAIN = "resnet20.fashion_mnist"


def test_the_shift_benchmark_has_all_its_models_and_data_sets():
    suite = suites.ovadia(PLAIN, None, "fashion_mnist", [PLAIN])
    assert list(suite.models) == [
        "resnet20_lldo.fashion_mnist",
        "resnet20_mcdo.fashion_mnist",
    ]
    assert {model.classes for model in suite.models.values()} == {
        index.read()[PLAIN].classes
    }
    assert suite.datasets[0] == "fashion_mnist"
    assert len(set(suite.datasets)) == 1 + 19 * 5 + 12 + 13
    assert list(suite.ood) == ["mnist", "digits", "noise"]
    assert len(suite.missing) == 1
    assert "ensemble" in suite.missing[0]


def test_what_was_named_is_not_added_and_what_is_missing_is_said():
    named = [PLAIN, "resnet20_mcdo.mine", "2xresnet20"]
    suite = suites.ovadia(PLAIN, None, "fashion_mnist", named, has_ensemble=True)
    assert list(suite.models) == ["resnet20_lldo.fashion_mnist"]
    assert not suite.missing
    weights = str(index.locate(index.read()[PLAIN]))
    suite = suites.ovadia("resnet20", weights, "fashion_mnist")
    assert list(suite.models) == ["resnet20_lldo"]
    assert "resnet20_mcdo and its weights" in suite.missing[0]


def row(model, size, dataset, metric, value):
    names = "model", "num_samples", "dataset", "metric", "value"
    return dict(zip(names, (model, size, dataset, metric, value), strict=True))


def test_the_table_has_medians_over_corruptions_of_the_largest_ensemble():
    metrics = ("accuracy", "nll", "brier", "ece")
    rows = [
        row("a", size, dataset, metric, value * size)
        for size in (1, 2)
        for dataset, value in [
            ("x", 0.1),
            ("x_c/fog/3", 0.2),
            ("x_c/snow/3", 0.5),
            ("x_c/frost/3", 0.3),
            ("x_c/fog/1", 0.4),
            ("x_rotation/15", 0.9),
            ("x_c", 0.9),
            ("x vs y", 0.9),
        ]
        for metric in (
            metrics if dataset not in ("x_c", "x vs y") else ["auroc/energy"]
        )
    ]
    heading, *lines = terminal.by_severity(rows)
    assert heading == ["Model", "N", "Severity", *metrics]
    assert lines == [
        ["a", "2", "0", *["0.2000"] * 4],
        ["a", "2", "1", *["0.8000"] * 4],
        ["a", "2", "3", *["0.6000"] * 4],
    ]
    assert terminal.by_severity(rows[:1])[1:] == []


def test_means_over_corruptions_need_all_of_them():
    def rows(names):
        return [
            {**row("m", 1, name, "accuracy", 0.75), "seed": 0, "num_examples": 1}
            for name in names
        ]

    grid = data.grid("x", "benchmark")
    assert command.aggregates(rows(["x", *grid[1:]]), None) == []
    (mean,) = command.aggregates(rows(["x", *grid]), None)
    assert (mean["dataset"], mean["metric"]) == ("x_c", "mean_error")
    assert mean["value"] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="all 15 corruptions.*reference=m"):
        command.aggregates(rows(grid[1:]), "m")
    # Another data set that has not all of them does not matter.
    found = command.aggregates(rows([*grid, "y_c/fog/1"]), "m")
    assert {r["metric"] for r in found} == {"mean_error", "mce/m"}
