"""Trainings with several seeds: their names, and which rows are whose."""

import pytest

from tests.helpers.publications import NAME, make_rows
from training import metrics
from zoo import registry
from zoo.publishing import results


@pytest.mark.parametrize(
    "name, expected",
    [
        ("resnet20.fashion_mnist_seed12", ("resnet20.fashion_mnist", 12)),
        ("resnet20.fashion_mnist", ("resnet20.fashion_mnist", 0)),
        ("resnet20_seed1", ("resnet20_seed1", 0)),  # No tag: it is a method.
        ("resnet20.a_seed1_b", ("resnet20.a_seed1_b", 0)),
    ],
)
def test_the_end_of_a_tag_is_the_seed(name, expected):
    assert registry.split_seed(name) == expected
    if "." in name:
        assert registry.join_seed(*expected) == name


def test_the_rows_of_a_training_are_under_its_name_or_without_a_tag():
    first, second = f"{NAME}_seed1", f"{NAME}_seed2"
    rows = make_rows(first) + make_rows(NAME, 2) + make_rows(second, 3)
    rows += make_rows("resnet20_smooth_mcdo.others") + make_rows("vgg11.toys")
    chosen = results.choose(rows, second)
    assert [row["value"] for row in chosen["results"]] == [1.5, 2.25, 0.15, 0.225]
    assert all("model" not in row for row in chosen["results"])
    assert [row["model"] for row in chosen["others"]] == [first] * 4 + [NAME] * 4
    bare = results.choose(make_rows("resnet20_smooth_mcdo", 3), second)
    empty = {"others": (), "of_posteriors": ()}
    assert bare == {"results": chosen["results"], **empty}


def test_equal_values_may_come_twice_and_different_ones_not():
    rows = make_rows() + make_rows()
    assert len(results.choose(make_rows(), NAME)["results"]) == 4
    results.choose(rows, NAME)
    other = f"{NAME}_seed1"
    rows = make_rows() + make_rows(other) + make_rows(other, 2)
    with pytest.raises(ValueError, match=f"two values of `nll` of '{other}'"):
        results.choose(rows, NAME)


def grid(metric="nll", base="d", end="", size=1):
    return [
        {
            "dataset": f"{base}_c/{name}/{severity}{end}",
            "num_samples": size,
            "metric": metric,
            "value": value * severity,
            "num_examples": 10,
            "seed": 0,
        }
        for name, value in (("fog", 1.0), ("snow", 3.0))
        for severity in (1, 3)
    ]


def short(rows):
    return [(r["dataset"], r["num_samples"], r["metric"], r["value"]) for r in rows]


def test_of_made_sets_the_means_are_kept():
    rows = grid(size=1) + grid(size=5) + grid("top_5") + grid("brier")
    # (1 + 3 + 3 + 9) / 4; (1 + 3) / 2; (3 + 9) / 2.
    expected = [
        ("d_c/*/* (4 sets)", 1, "nll", 4.0),
        ("d_c/*/* (4 sets)", 5, "nll", 4.0),
        ("d_c/fog/* (2 sets)", 5, "nll", 2.0),
        ("d_c/snow/* (2 sets)", 5, "nll", 6.0),
    ]
    found = results.select(rows, metrics.CARD)
    assert short(found) == expected
    assert [row["num_examples"] for row in found] == [40, 40, 20, 20]
    assert results.select(found, metrics.CARD) == found
    assert all(map(results.is_mean, found))


@pytest.mark.parametrize(
    "base, end, name",
    [
        ("d_size/64", "", "d_size/64_c/*/* (4 sets)"),
        ("d", "_size/64", "d_c/*/*_size/64 (4 sets)"),
    ],
)
def test_sets_in_another_size_are_a_group_of_their_own(base, end, name):
    rows = grid() + grid(base=base, end=end)
    assert [row["dataset"] for row in results.means(rows)][:2] == [
        "d_c/*/* (4 sets)",
        name,
    ]
    clean = {**rows[0], "dataset": "d_size/64"}
    assert results.select([clean]) == [clean]


def test_of_clean_sets_the_headlines_are_kept():
    row = grid()[0]
    names = ["nll", "accuracy", "top_5", "raulc", "auroc/entropy", "auroc/energy"]
    names += ["mce/plain", "relative_mce/plain", "mean_nll"]
    rows = [{**row, "dataset": "d", "metric": name} for name in names]
    assert [row["metric"] for row in results.select(rows, metrics.CARD)] == [
        *("nll", "accuracy", "auroc/entropy", "mce/plain"),
    ]
    rotated = [{**row, "dataset": f"d_rotation/{angle}"} for angle in (15, 30)]
    assert short(results.select(rotated)) == [("d_rotation/* (2 sets)", 1, "nll", 1.0)]
