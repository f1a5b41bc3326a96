import dataclasses

import pytest

from tests.helpers import networks, reports
from training import corruptions, data
from training.evaluation import command, suites
from zoo import finding
from zoo.posterior import SWAG, DeepEnsemble
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


@pytest.fixture
def _asked(monkeypatch):
    """Has weights in place of models that are loaded; some things are not there."""

    def load(names, weights, num_samples):
        if names[0].endswith("@swag"):
            raise FileNotFoundError
        return {names[0]: weights[0]}

    def load_ood(name, shape, data_dir):
        if name == "digits":
            raise ImportError("pip install it.")

    monkeypatch.setattr(suites.data, "load_ood", load_ood)
    monkeypatch.setattr(suites.zoo, "load", str)
    monkeypatch.setattr(suites.candidates, "load", load)


WEIGHTS = str(finding.locate(index.read()[PLAIN]))


@pytest.mark.usefixtures("_asked")
def test_the_comparison_adds_what_can_be_made_of_the_models():
    duq = networks.network()
    trained = {"resnet20_ddu": duq, "resnet20_duq": duq, "resnet20@swag": SWAG(duq)}
    suite = suites.single_pass(
        suites.Given(
            [PLAIN, "resnet20_ddu", "resnet20_duq", "resnet20@swag"],
            [None, "runs/ddu", "runs/duq", "runs/swag"],
            {PLAIN: networks.network(), **trained},
            "fashion_mnist",
        )
    )
    assert suite.models == {
        "resnet20_mcdo.fashion_mnist": "resnet20_mcdo.fashion_mnist",
        f"{PLAIN}@temperature": None,
        f"{PLAIN}@laplace": None,
        "resnet20_ddu@density": "runs/ddu",
        f"3x{PLAIN}@ensemble": None,
        f"3x{PLAIN}@mixture": None,
    }
    assert len(suite.datasets) == len(set(suite.datasets)) == 1 + 19 * 5
    assert list(suite.ood) == ["mnist", "noise"]
    assert suite.ranked
    assert not suite.posteriors
    first, second = suite.missing
    assert first.startswith("SNGP: name resnet20_sngp and its weights")
    assert second == "digits: pip install it"


@pytest.mark.usefixtures("_asked")
def test_the_comparison_says_what_is_missing_and_how_to_give_it():
    named = dataclasses.replace(given("resnet20", WEIGHTS), ood=["noise"])
    suite = suites.single_pass(named)
    assert suite.models == {
        "resnet20@temperature": WEIGHTS,
        "resnet20@laplace": WEIGHTS,
    }
    assert list(suite.ood) == ["noise"]
    said = [line.partition(":")[0] for line in suite.missing]
    assert said == ["MC dropout", "SNGP", "DUQ", "DDU", "ensemble, mixture", "swag"]
    assert "zoo-train --model=resnet20_duq --set=objective=duq" in suite.missing[2]
    assert "--ensemble" in suite.missing[4]
    assert "--set=snapshots=20" in suite.missing[5]


@pytest.mark.usefixtures("_asked")
def test_members_of_an_ensemble_are_those_of_a_mixture():
    member = networks.network()
    named = given("resnet20", WEIGHTS, **{"2x": DeepEnsemble([member, member])})
    named = dataclasses.replace(named, members=[WEIGHTS, PLAIN], ood=["noise"])
    made = suites.single_pass(named).models
    assert made[f"resnet20+{PLAIN}@mixture"] == f"{WEIGHTS}+"
    assert not any(name.endswith("@ensemble") for name in made)
    named = dataclasses.replace(
        named,
        names=["resnet20", "resnet20"],
        weights=[WEIGHTS, "a+b"],
        members=(),
        models={**named.models, "resnet20@laplace:structure=full#2": member},
    )
    assert suites.single_pass(named).models == {
        "resnet20@temperature": WEIGHTS,
        "resnet20@mixture": "a+b",
    }


@pytest.mark.usefixtures("_asked")
@pytest.mark.parametrize("kind", ["swa", "swag", "swag:rank=0"])
def test_weights_along_a_training_are_no_seeds(kind):
    weights = str(finding.locate(index.read()[PLAIN]))
    entry, snapshots = f"resnet20@{kind}", "runs/1+runs/2+runs/3"
    asked = given("resnet20", weights, **{entry: SWAG(networks.network())})
    named = dataclasses.replace(
        asked, names=["resnet20", entry], weights=[weights, snapshots]
    )
    suite = suites.single_pass(named)
    assert snapshots not in suite.models.values()
    assert any(line.startswith("ensemble, mixture") for line in suite.missing)
    # It is there, whatever its settings.
    told = [line for line in suite.missing if line.startswith("swag:")]
    assert len(told) == (kind == "swa")


@pytest.mark.usefixtures("_asked")
def test_layers_joined_in_a_setting_are_no_seeds():
    entry = "resnet20@laplace:subset=subnetwork:subnetwork=stem_conv+head"
    asked = given("resnet20", WEIGHTS, **{entry: networks.network()})
    named = dataclasses.replace(
        asked, names=["resnet20", entry], weights=[WEIGHTS, WEIGHTS], ood=["noise"]
    )
    assert suites.single_pass(named).models == {"resnet20@temperature": WEIGHTS}


def test_the_comparison_needs_a_plain_model():
    stochastic = {"resnet20_mcdo": networks.mc_network()}
    names = suites.Given(["resnet20_mcdo"], [None], stochastic, "fashion_mnist")
    with pytest.raises(ValueError, match="plain model.*model=resnet20_mcdo"):
        suites.single_pass(names)


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
