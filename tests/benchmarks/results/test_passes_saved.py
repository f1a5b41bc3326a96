"""The question of the smoothing paper, on rows worked by hand."""

import pytest

from benchmarks.results import passes_saved

BASE = "d"


def rows(model, values, dataset=BASE):
    """Rows of the NLL by number of passes."""
    return [
        {
            "model": model,
            "dataset": dataset,
            "num_samples": n,
            "metric": "nll",
            "value": v,
        }
        for n, v in values.items()
    ]


def networks(dataset=BASE, shift=0.0):
    """Two seeds; the first reaches 0.3 at 5, the second never reaches 0.1."""
    found = rows("net_mcdo.d", {1: 0.5, 2: 0.4, 5: 0.3, 50: 0.2}, dataset)
    found += rows("net_smooth_mcdo.d", {1: 0.9, 2: 0.3, 5: 0.1}, dataset)
    found += rows("net_mcdo.d_seed1", {1: 0.6, 2: 0.2, 5: 0.15, 50: 0.15}, dataset)
    found += rows("net_smooth_mcdo.d_seed1", {1: 0.9, 2: 0.1, 5: 0.0}, dataset)
    return [
        {
            **r,
            "model": r["model"].replace("net", "resnet20"),
            "value": r["value"] + shift,
        }
        for r in found
    ]


def test_the_smallest_number_of_passes_is_found_for_each_seed_and_for_the_means():
    (answer,) = passes_saved.answers(networks(), BASE)
    assert (answer["backbone"], answer["group"]) == ("resnet20", "clean")
    assert answer["seeds"] == [0, 1]
    assert answer["reference"] == [0.3, 0.1]
    assert answer["plain"][5] == [0.3, 0.15]
    assert answer["sizes"] == [5, None]
    # Means of 0.55, 0.3, 0.225, 0.175 against 0.2.
    assert answer["mean_size"] == 50


def test_the_table_has_a_line_for_each_seed_and_their_spread():
    heading, rule, *lines = passes_saved.markdown(
        passes_saved.answers(networks(), BASE)
    ).splitlines()
    assert heading.count("|") == rule.count("|")
    assert "NLL of `smooth_mcdo`, N = 2 | `mcdo` reaches it at N |" in heading
    assert lines == [
        "| `resnet20` | clean | 0 | 0.3000 | 5 | 0.5000 | 0.4000 | 0.3000 | 0.2000 |",
        "| `resnet20` | clean | 1 | 0.1000 | never up to 50 "
        "| 0.6000 | 0.2000 | 0.1500 | 0.1500 |",
        "| `resnet20` | clean | mean ± sd (n) | 0.2000 ± 0.1414 (2) | 50 "
        "| 0.5500 ± 0.0707 (2) | 0.3000 ± 0.1414 (2) | 0.2250 ± 0.1061 (2) "
        "| 0.1750 ± 0.0354 (2) |",
    ]


@pytest.mark.parametrize(
    "base, dataset",
    [
        (BASE, "d_c/{}"),
        ("d_size/64", "d_size/64_c/{}"),
        ("d_size/64", "d_c/{}_size/64"),
    ],
)
def test_under_corruption_the_means_over_common_sets_are_compared(base, dataset):
    found = networks(dataset.format("fog/1")) + networks(dataset.format("fog/2"), 1.0)
    # A set that one of them lacks takes no part.
    found += rows("resnet20_mcdo.d", {1: 99.0, 2: 99.0}, dataset.format("snow/1"))
    found += [{**row, "metric": "ece"} for row in networks("d_c/jpeg/1", 5.0)]
    found += networks("d_rotation/15", 7.0)
    (answer,) = passes_saved.answers(found, base)
    assert answer["group"] == "corrupted"
    assert answer["num_sets"] == 2
    assert answer["reference"] == pytest.approx([0.8, 0.6])
    assert answer["sizes"] == [5, None]


def test_each_method_has_answers_and_a_table_of_its_own():
    renamed = [
        {**row, "model": row["model"].replace("mcdo", "mcdo10")} for row in networks()
    ]
    found = passes_saved.answers(renamed + networks(), BASE)
    assert [answer["method"] for answer in found] == ["mcdo", "mcdo10"]
    alone = passes_saved.answers(networks(), BASE)
    assert found[:1] == alone
    assert {**found[1], "method": "mcdo"} == alone[0]
    first, second = passes_saved.markdown(found).split("\n\n")
    assert first + "\n" == passes_saved.markdown(alone)
    assert second == passes_saved.markdown(found[1:])
    assert "NLL of `smooth_mcdo10`, N = 2 | `mcdo10` reaches it at N |" in second


def test_seeds_that_only_one_network_has_and_other_models_take_no_part():
    found = networks() + rows("resnet20_mcdo.d_seed2", {2: 0.0})
    found += rows("resnet20_smooth_mcdo.d_seed3", {2: 9.0})
    found += rows("mine.keras", {2: 0.0}) + rows("2xresnet20_mcdo.d", {2: 0.0})
    found += rows("resnet20_mcdo.d+resnet20_mcdo.d", {2: 0.0})
    found += rows("resnet20_smooth_mcdo.d#2", {2: 0.0})
    assert passes_saved.answers(found, BASE) == passes_saved.answers(networks(), BASE)


def test_two_values_of_one_training_and_missing_networks_are_refused():
    with pytest.raises(
        ValueError, match="two values on 'd', 0.4 and 0.5.*mcdo.d_seed1"
    ):
        passes_saved.answers(networks() + rows("resnet20_mcdo.d", {2: 0.5}), BASE)
    with pytest.raises(ValueError, match="same seed, on 'e'.*Received: rows of none"):
        passes_saved.answers(networks(), "e")
    with pytest.raises(ValueError, match="rows of .*resnet20 .clean"):
        passes_saved.answers(rows("resnet20_mcdo.d", {2: 0.5}), BASE)
