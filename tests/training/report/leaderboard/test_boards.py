"""The tables: means and deviations by NumPy, which rows make which line and column."""

import numpy as np
import pytest

from tests.helpers import ranked
from training import corruptions
from training.report import leaderboard
from training.report.leaderboard import by_set

CORRUPTED = "mean of 95 corrupted sets"


def board(rows, **options):
    (found,) = leaderboard.build(rows, **options)
    return found


def value(found, model, group, metric, passes=1):
    (line,) = (x for x in found.lines if (x.model, x.passes) == (model, passes))
    (column,) = (c for c in found.columns if (c.group, c.metric) == (group, metric))
    return line.values[column]


def test_values_are_means_and_deviations_over_trainings_of_means_over_seeds():
    names = ("m.d", "m.d_seed1", "m.d_seed7")
    rows, values = ranked.rows(names, sizes=(1, 5), seeds=(0, 1))
    single, of_seeds = ranked.rows(("n.d",), seeds=(3, 4, 5, 6), rng=1)
    lone, alone = ranked.rows(("o.d",), rng=2)
    found = board([*rows, *single, *lone])
    assert len(found.lines) == 4
    for place, metric in enumerate(ranked.METRICS):
        for number, passes in enumerate((1, 5)):
            own = value(found, "m.d", "d", metric, passes)
            means = values[:, 0, place, number].mean(axis=1)
            assert own.mean == pytest.approx(means.mean(), rel=1e-12)
            assert own.deviation == pytest.approx(means.std(ddof=1), rel=1e-9)
            assert (own.count, own.images) == (3, 1000)
        own = value(found, "n.d", "d", metric)
        expected = of_seeds[0, 0, place, 0]
        assert own.mean == pytest.approx(expected.mean(), rel=1e-12)
        assert own.deviation == pytest.approx(expected.std(ddof=1), rel=1e-9)
        own = value(found, "o.d", "d", metric)
        assert (own.mean, own.deviation) == (alone[0, 0, place, 0, 0], None)
    lines = {(line.model, line.passes): line for line in found.lines}
    assert lines["m.d", 1].trainings == names
    assert lines["n.d", 1].seeds == 4
    assert [lines["m.d", n].is_largest for n in (1, 5)] == [False, True]
    nlls = [value(found, x.model, "d", "nll", x.passes).mean for x in found.lines]
    assert nlls == sorted(nlls)


def test_means_over_corrupted_sets_are_over_those_that_all_trainings_have():
    names = ("m.d", "m.d_seed1", "n.d", "o.d")
    rows, values = ranked.rows(names, ranked.SETS)
    assert len(ranked.SETS) == 123
    gone = {("n.d", "d_c/fog/3")}
    rows = [row for row in rows if (row["model"], row["dataset"]) not in gone]
    published = ranked.row("p.d", "d_c/*/* (95 sets)", value=0.7, num_examples=95000)
    found = board([*rows, {**published, "data": None}])
    places = [ranked.SETS.index(name) for name in ranked.GRID]
    for place, metric in enumerate(ranked.METRICS):
        means = values[:2, places, place, 0, 0].mean(axis=1)
        own = value(found, "m.d", CORRUPTED, metric)
        assert own.mean == pytest.approx(means.mean(), rel=1e-12)
        assert own.deviation == pytest.approx(means.std(ddof=1), rel=1e-9)
        assert own.images == 95000
        fewer = [p for p in places if ranked.SETS[p] != "d_c/fog/3"]
        own = value(found, "n.d", "mean of 94 corrupted sets", metric)
        assert own.mean == pytest.approx(values[2, fewer, place].mean(), rel=1e-12)
    assert value(found, "p.d", CORRUPTED, "nll").mean == 0.7


def mce(errors, reference):
    """By the formula, in a loop over the corruptions."""
    ratios = []
    for corruption in corruptions.BENCHMARK:
        names = [f"d_c/{corruption}/{s}" for s in corruptions.SEVERITIES]
        ratios.append(sum(errors[n] for n in names) / sum(reference[n] for n in names))
    return 100 * sum(ratios) / len(ratios)


def test_the_mce_is_against_one_deterministic_model():
    names = ("m.d", "m.d_seed1", "n.d", "o.d")
    rows, values = ranked.rows(names, ranked.SETS, ("accuracy",))
    errors = 1 - values[:, :, 0, 0, 0]
    by_name = [dict(zip(ranked.SETS, own, strict=True)) for own in errors]
    # The last one has means over the severities in place of single sets.
    kept = [row for row in rows if row["model"] != "o.d"]
    for corruption in corruptions.CORRUPTIONS:
        places = [f"d_c/{corruption}/{s}" for s in corruptions.SEVERITIES]
        mean = 1 - np.mean([by_name[3][name] for name in places])
        name = f"d_c/{corruption}/* (5 sets)"
        kept.append(ranked.row("o.d", name, "accuracy", float(mean), num_examples=5000))
    for reference, place in (("m.d", 0), ("n.d", 2)):
        found = board(kept, references=[reference])
        group = f"corrupted, {reference} is 100"
        trained = [mce(by_name[i], by_name[place]) for i in (0, 1)]
        own = value(found, "m.d", group, "mce")
        assert own.mean == pytest.approx(np.mean(trained), rel=1e-9)
        assert own.deviation == pytest.approx(np.std(trained, ddof=1), rel=1e-9)
        own = value(found, "o.d", group, "mce")
        assert own.mean == pytest.approx(mce(by_name[3], by_name[place]), rel=1e-9)
        assert own.images == 75 * 1000
    assert "corrupted, m.d is 100" in [c.group for c in board(kept).columns]
    with pytest.raises(ValueError, match=r"reference=nobody; .*: m.d, m.d_seed1, n.d"):
        leaderboard.build(kept, ["nobody"])


def test_models_that_do_not_draw_have_one_line_and_others_one_for_each_size():
    rows = []
    for passes in (1, 2, 10):
        times = {"seconds": 20.0, "num_samples": passes}
        rows += [ranked.row("still.d", value=0.5, **times)]
        rows += [ranked.row("random.d", value=1 / passes, **times)]
    found = board(rows)
    lines = [(line.model, line.passes) for line in found.lines]
    assert lines == [("random.d", 10), ("random.d", 2), ("still.d", 1), ("random.d", 1)]
    # One pass of 1,000 images in 20 seconds, and one of ten in all.
    time = {n: value(found, m, "cost", "time_ms", n).mean for m, n in lines[:3]}
    assert time == {10: 20.0, 2: 4.0, 1: 20.0}
    nll = next(column for column in found.columns if column.metric == "nll")
    front = [(line.model, line.passes) for line in found.front(nll, None)]
    assert front == [("still.d", 1), ("random.d", 10)]


def test_scores_are_those_that_a_model_ranks_by():
    rows = [ranked.row(model=model) for model in ("a.cifar10", "b.cifar10")]
    rows += [
        ranked.row("a.cifar10", "cifar10", "raulc", 0.1),
        ranked.row("a.cifar10", "cifar10", "raulc/density", 0.2),
        ranked.row("b.cifar10", "cifar10", "raulc", 0.3),
    ]
    rows = [{**row, "dataset": "cifar10"} for row in rows]
    for model in ("a.cifar10", "b.cifar10"):
        for place, score in enumerate(("density", "max_logit", "entropy")):
            for other in ("cifar100", "digits"):
                pair = f"cifar10 vs {other}"
                value_of = 0.5 + place / 10
                rows.append(ranked.row(model, pair, f"auroc/{score}", value_of))
    rows.append(ranked.row("b.cifar10", "cifar10 vs digits", "fpr_95/entropy", 0.5))
    found = board(rows)
    assert value(found, "a.cifar10", "cifar10", "raulc").mean == 0.2
    assert value(found, "b.cifar10", "cifar10", "raulc").mean == 0.3
    groups = [column.group for column in found.columns]
    assert groups[-2:] == ["against cifar100 (near)", "against digits (far)"]
    for group in groups[-2:]:
        assert value(found, "a.cifar10", group, "auroc").mean == 0.5
        assert value(found, "b.cifar10", group, "auroc").mean == 0.7


def test_what_is_of_fewer_images_or_chosen_on_test_images_is_not_compared():
    rows = [
        ranked.row("a.d", value=0.1, num_examples=500, data=None),
        ranked.row("b.d", value=0.2, chosen_on="test: all images"),
        ranked.row("c.d", value=0.3, num_samples=2),
        ranked.row("e.d", value=0.4, num_examples=None),
    ]
    found = board(rows)
    assert [line.model for line in found.lines] == ["a.d", "b.d", "c.d", "e.d"]
    (nll,) = found.columns
    assert [line.values[nll].is_comparable for line in found.lines] == [
        *(False, False, True, True)
    ]
    assert [line.model for line in found.front(nll, None)] == ["e.d", "c.d"]
    assert [line.missing for line in found.lines] == [
        *(("data fingerprint",), (), (), ("number of images",))
    ]


def test_costs_images_of_other_sizes_and_decisions():
    costs = {"bytes": 2_000_000, "latency_ms": 3.5, "multiply_adds": 4e7}
    rows = [
        ranked.row("a.d", **costs),
        ranked.row("a.d_seed1", value=0.3, **{**costs, "bytes": 4_000_000}),
        ranked.row("a.d", metric="coverage/aps_90", value=0.91),
        ranked.row("a.d", metric="set_size/aps_90", value=1.5),
        ranked.row("b.d", "d_size/64", value=0.2, precision="bfloat16"),
        ranked.row("b.d", "d_pgd/linf/8", value=9.0),  # Of one model alone.
        ranked.row("c.d@temperature", metric="accuracy", value=0.5),
    ]
    found = board(rows)
    columns = [(column.group, column.shown.heading) for column in found.columns]
    assert columns == [
        ("d", "NLL (nats)"),
        ("d", "Accuracy (%)"),
        ("d", "Coverage of aps_90 (%)"),
        ("d", "Set size of aps_90"),
        ("cost", "Size (MB)"),
        ("cost", "Latency (ms)"),
        ("cost", "Multiply-adds (M)"),
    ]
    lines = [(line.model, line.variant) for line in found.lines]
    assert lines == [
        ("b.d", "images of 64 pixels, bfloat16"),
        ("a.d", ""),
        ("c.d@temperature", ""),
    ]
    assert value(found, "a.d", "cost", "bytes").mean == 3_000_000
    with pytest.raises(ValueError, match="None of the rows has a metric.* brier"):
        leaderboard.build([ranked.row(metric="brier")])
    with pytest.raises(ValueError, match="A leaderboard needs values of clean images"):
        leaderboard.build([ranked.row(dataset="d_rotation/15")])


def test_values_of_single_sets_are_integers_of_the_shown_digits():
    names = ("m.d", "m.d_seed1", "n.d")
    rows, values = ranked.rows(names, ranked.SETS, sizes=(1, 5))
    rows = [
        row
        for row in rows
        if row["model"] != "n.d" or row["dataset"] != "d_rotation/15"
    ]
    found = board(rows)
    data = by_set.values(found)
    assert sorted(data["sets"]) == sorted(ranked.SETS)
    assert [m["heading"] for m in data["metrics"]] == [
        *("NLL (nats)", "Accuracy (%)", "ECE (%)")
    ]
    assert len(data["means"]) == 2  # At five passes alone.
    assert len(data["deviations"]) == 1
    for number, means in data["means"].items():
        line = found.lines[number]
        assert line.passes == 5
        trained = values[:2] if line.model == "m.d" else values[2:]
        for place, (metric, of_metric) in enumerate(
            zip(data["metrics"], means, strict=True)
        ):
            assert metric["digits"] == (4 if place == 0 else 2)
            shown = of_metric[data["sets"].index("d_rotation/15")]
            assert (shown is None) == (line.model == "n.d")
            for name, integer in zip(data["sets"], of_metric, strict=True):
                if integer is None:
                    continue
                own = trained[:, ranked.SETS.index(name), place, 1, 0]
                assert abs(integer - 1e4 * own.mean()) <= 0.5 + 1e-6
                if line.model == "m.d":
                    spread = data["deviations"][number][place]
                    spread = spread[data["sets"].index(name)]
                    assert abs(spread - 1e4 * own.std(ddof=1)) <= 0.5 + 1e-6
    assert by_set.values(board([ranked.row()])) is None


def test_means_over_other_sets_are_other_columns():
    choices = {"a.d": ("fog/1", "fog/2"), "b.d": ("fog/1", "snow/1"), "c.d": ("fog/1",)}
    rows = [
        ranked.row(model, f"d_c/{place}", value=int(place[-1]))
        for model, places in choices.items()
        for place in places
    ]
    found = board(rows)
    two = "mean of 2 corrupted sets"
    assert value(found, "a.d", two, "nll").mean == 1.5
    assert value(found, "b.d", f"{two}, choice 2", "nll").mean == 1.0
    assert value(found, "c.d", "mean of 1 corrupted sets", "nll").mean == 1.0
