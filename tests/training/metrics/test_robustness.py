import math

import numpy as np
import pytest

from training import metrics
from training.corruptions import BENCHMARK, CORRUPTIONS, SEVERITIES
from training.evaluation import command

ALEXNET = dict(
    zip(
        BENCHMARK,
        (0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816)
        + (0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
        strict=True,
    )
)


def row(model, dataset, metric, value, num_samples=1, **more):
    numbers = {"num_examples": 10, "seed": 0, "seconds": 0.5, **more}
    names = {"model": model, "dataset": dataset, "metric": metric}
    return {**names, "num_samples": num_samples, "value": value, **numbers}


def grid(model, metric, value, dataset="images_c", names=CORRUPTIONS, **more):
    """Rows of `value(corruption, severity)` over all corruptions."""
    return [
        row(
            model, f"{dataset}/{name}/{severity}", metric, value(name, severity), **more
        )
        for name in names
        for severity in SEVERITIES
    ]


def values(rows, model):
    return {r["metric"]: r["value"] for r in rows if r["model"] == model}


@pytest.fixture
def rows():
    """Two models whose errors are random, and those of clean data."""
    rng = np.random.default_rng(0)
    result = []
    for model in ("plain", "smooth"):
        for metric in ("accuracy", "nll", "ece"):
            result += grid(model, metric, lambda c, s: rng.uniform(0.1, 0.8))
            result.append(row(model, "images", metric, 0.95))
    return result


def test_means_and_quotients_match_loops(rows):
    table = {(r["model"], r["dataset"], r["metric"]): r["value"] for r in rows}

    def bad(model, name, severity, metric):
        value = table[model, f"images_c/{name}/{severity}", metric]
        return 1 - value if metric == "accuracy" else value

    expected = {}
    for metric, mean, quotient in [
        ("accuracy", "mean_error", "mce/plain"),
        ("nll", "mean_nll", "mcnll/plain"),
        ("ece", "mean_ece", "mcece/plain"),
    ]:
        total, ratios, relative = 0.0, [], []
        for name in BENCHMARK:
            own = sum(bad("smooth", name, s, metric) for s in range(1, 6))
            other = sum(bad("plain", name, s, metric) for s in range(1, 6))
            total += own / 75
            ratios.append(own / other)
            relative.append((own - 5 * 0.05) / (other - 5 * 0.05))
        expected |= {mean: total, quotient: 100 * np.mean(ratios)}
        if metric == "accuracy":
            expected["relative_mce/plain"] = 100 * np.mean(relative)
    result = metrics.aggregate(rows, reference="plain")
    assert values(result, "smooth") == pytest.approx(expected)
    for name, value in values(result, "plain").items():
        if "/" in name:
            assert value == pytest.approx(100)


def test_a_model_with_half_the_errors_of_the_published_alexnet_has_50():
    rows = grid(
        "half", "accuracy", lambda c, s: 1 - ALEXNET.get(c, 1) / 2, "imagenet2012_c"
    )
    rows += grid("half", "nll", lambda c, s: 1.0, "imagenet2012_c")
    result = values(metrics.aggregate(rows, "alexnet_published"), "half")
    assert result == pytest.approx(
        {"mean_error": 0.78899 / 2, "mce/alexnet_published": 50, "mean_nll": 1},
        rel=1e-5,
    )


def test_the_published_errors_hold_for_imagenet_c_alone(rows):
    with pytest.raises(ValueError, match="ImageNet-C;.*dataset=images_c"):
        metrics.aggregate(rows, "alexnet_published")


def test_without_a_reference_nothing_is_normalized(rows):
    names = {r["metric"] for r in metrics.aggregate(rows)}
    assert names == {"mean_error", "mean_nll", "mean_ece"}


def test_aggregate_rows_are_rows_of_the_whole_data_set(rows):
    result = metrics.aggregate(rows)
    assert len(result) == 6
    for made in result:
        assert set(made) == set(rows[0])
        assert made["dataset"] == "images_c"
        assert made["num_examples"] == 750
        assert made["seconds"] == pytest.approx(37.5)
        assert made["seed"] == 0
        assert type(made["value"]) is float


def test_sizes_and_seeds_are_kept_apart(rows):
    more = grid("plain", "accuracy", lambda c, s: 0.5, num_samples=30)
    more += grid("plain", "accuracy", lambda c, s: 0.25, seed=1)
    result = metrics.aggregate(rows + more)
    found = {
        (r["num_samples"], r["seed"]): r["value"]
        for r in result
        if r["model"] == "plain" and r["metric"] == "mean_error"
    }
    assert len(found) == 3
    assert found[30, 0] == 0.5
    assert found[1, 1] == 0.75


def test_what_is_missing_is_named(rows):
    gone = {"images_c/fog/3", "images_c/snow/5"}
    some = [r for r in rows if r["dataset"] not in gone or r["metric"] != "nll"]
    with pytest.raises(
        ValueError, match="`nll` of model=plain.*without snow/5, fog/3$"
    ):
        metrics.aggregate(some)


def test_the_four_corruptions_for_validation_take_no_part(rows):
    extra = set(CORRUPTIONS) - set(BENCHMARK)
    some = [r for r in rows if not extra & set(r["dataset"].split("/"))]
    assert len(some) < len(rows)
    assert metrics.aggregate(some, "plain") == metrics.aggregate(rows, "plain")


@pytest.mark.parametrize(
    "reference, more, message",
    [
        ("alexnet", [], "'alexnet' is not among the rows.*'plain', 'smooth'"),
        (
            "plain",
            grid("plain", "accuracy", lambda c, s: 0.5, num_samples=2),
            "deterministic.*'plain' is stochastic",
        ),
    ],
)
def test_a_reference_must_be_there_once(rows, reference, more, message):
    with pytest.raises(ValueError, match=message):
        metrics.aggregate(rows + more, reference)


def test_a_deterministic_reference_may_repeat_its_values(rows):
    repeated = [{**r, "num_samples": 30} for r in rows if r["model"] == "plain"]
    result = metrics.aggregate(rows + repeated, "plain")
    assert [r["value"] for r in result if r["metric"] == "mce/plain"] == pytest.approx(
        [100, values(result, "smooth")["mce/plain"], 100]
    )


def test_rows_that_contradict_each_other_are_refused(rows):
    with pytest.raises(
        ValueError, match="two values of `accuracy` on 'images_c/fog/1'"
    ):
        metrics.aggregate([*rows, row("plain", "images_c/fog/1", "accuracy", 0.0)])


def test_a_quotient_by_a_perfect_reference_is_nan():
    rows = grid("perfect", "accuracy", lambda c, s: 1.0)
    rows.append(row("perfect", "images", "accuracy", 1.0))
    result = values(metrics.aggregate(rows, "perfect"), "perfect")
    assert result["mean_error"] == 0
    assert math.isnan(result["mce/perfect"])
    assert math.isnan(result["relative_mce/perfect"])


def test_rows_without_corruptions_make_none(rows):
    assert metrics.aggregate([row("plain", "images", "accuracy", 0.9)]) == []
    assert metrics.aggregate([row("plain", "images_rotation/45", "nll", 0.9)]) == []


def sourced(source, dataset="images_c", **more):
    """Rows of a model whose corrupted images have a source each."""
    rows = grid("plain", "accuracy", lambda c, s: 0.5, dataset, **more)
    for row in rows:
        row["source"] = source(*row["dataset"].split("/")[1:])
    return rows


def test_images_of_several_makers_are_not_averaged():
    one = sourced(lambda name, severity: f"published {name}.npy")
    assert not metrics.mixed(one)
    assert values(metrics.aggregate(one), "plain")["mean_error"] == 0.5
    # One set was prepared by TensorFlow Datasets, and the others were made.
    rows = sourced(
        lambda name, severity: (
            "TensorFlow Datasets cifar10_corrupted/fog_3:1.0.0"
            if (name, severity) == ("fog", "3")
            else f"{name} made here"
        )
    )
    with pytest.raises(ValueError, match=r"74 sets made here.*1 sets Tensor.*fog/3"):
        metrics.aggregate(rows)
    assert list(metrics.mixed(rows)) == ["images_c"]
    others = sourced(lambda *_: "fog made here", "others_c")
    assert list(metrics.mixed(rows + others)) == ["images_c"]
    # The same set by both names.
    both = [*one, row("plain", "images_corrupted/fog_3", "accuracy", 0.7)]
    both[-1]["source"] = "TensorFlow Datasets images_corrupted/fog_3:1.0.0"
    (text,) = metrics.mixed(both).values()
    assert text.startswith("75 sets published (images_c/gaussian_noise/1) and 1 sets T")
    assert not command.aggregates(both, None)
    assert command.aggregates(one, None)
    with pytest.raises(ValueError, match="two values of `accuracy`"):
        metrics.aggregate(both)


@pytest.mark.parametrize("selection", ["", "stratified sample of 10"])
@pytest.mark.parametrize("order", ["in another order than", "in the order of"])
def test_a_relative_error_is_that_of_the_same_images(order, selection):
    more = {"selection": selection} if selection else {}
    source = f"published fog.npy, {order} the clean images"
    rows = sourced(lambda *_: source, **more)
    rows.append(row("plain", "images", "accuracy", 0.9, **more))
    found = values(metrics.aggregate(rows, "plain"), "plain")
    same = not (selection and "another" in order)
    assert ("relative_mce/plain" in found) == same
    rows[-1]["num_examples"] += 1
    assert "relative_mce/plain" not in values(metrics.aggregate(rows, "plain"), "plain")


def resized(rows):
    return [{**r, "dataset": f"{r['dataset']}_size/64"} for r in rows]


def test_another_size_has_an_mce_of_its_own(rows):
    others = [{**r, "value": r["value"] / 2} for r in resized(rows)]
    found = metrics.aggregate([*rows, *others], "plain")
    sets = {r["dataset"] for r in found}
    assert sets == {"images_c", "images_c_size/64"}
    for dataset, alone in (("images_c", rows), ("images_c_size/64", others)):
        own = [r for r in found if r["dataset"] == dataset]
        assert own == metrics.aggregate(alone, "plain")
        assert {"mce/plain", "relative_mce/plain"} <= {r["metric"] for r in own}
    assert resized(metrics.aggregate(rows, "plain")) == metrics.aggregate(
        resized(rows), "plain"
    )
    gone = [r for r in others if r["dataset"] != "images_c/fog/3_size/64"]
    message = "mean over 'images_c_size/64' needs all .* without fog/3$"
    with pytest.raises(ValueError, match=message):
        metrics.aggregate([*rows, *gone])
