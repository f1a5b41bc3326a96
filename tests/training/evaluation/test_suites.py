import pytest

from tests.helpers import networks, reports
from training import corruptions, data
from training.evaluation import command, suites
from zoo import finding
from zoo.posterior import DeepEnsemble
from zoo.presets import index

PLAIN = "resnet20.fashion_mnist"


def given(name, weights=None, **others):
    """What a user names: a plain model, and what others were loaded."""
    models = {name: networks.network(), **others}
    return suites.Given([name], [weights], models, "fashion_mnist")


def test_the_shift_benchmark_has_all_its_models_and_data_sets():
    suite = suites.ovadia(given(PLAIN))
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
    model = networks.network()
    others = {"resnet20_mcdo.mine": model, "2xresnet20": DeepEnsemble([model, model])}
    suite = suites.ovadia(given(PLAIN, **others))
    assert list(suite.models) == ["resnet20_lldo.fashion_mnist"]
    assert not suite.missing
    weights = str(finding.locate(index.read()[PLAIN]))
    suite = suites.ovadia(given("resnet20", weights))
    assert list(suite.models) == ["resnet20_lldo"]
    assert "resnet20_mcdo and its weights" in suite.missing[0]


def row(model, size, dataset, metric, value):
    names = "model", "num_samples", "dataset", "metric", "value"
    return dict(zip(names, (model, size, dataset, metric, value), strict=True))


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


def test_each_size_has_means_of_its_own():
    rows = reports.benchmark(corruptions=corruptions.BENCHMARK)
    both = [*rows, *reports.resized(rows, 0.25)]
    found = command.aggregates(both, None)
    size = len(found) // 2
    assert found[:size] == command.aggregates(rows, None)
    for ours, theirs in zip(found[:size], found[size:], strict=True):
        shift = -0.25 if ours["metric"] == "mean_error" else 0.25
        value = pytest.approx(ours["value"] + shift)
        assert theirs == {**ours, "dataset": "fashion_mnist_c_size/64", "value": value}
    few = [r for r in both if r["dataset"] != "fashion_mnist_c/fog/3_size/64"]
    assert command.aggregates(few, None) == found[:size]
