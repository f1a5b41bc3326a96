"""Tables of all scores of detection, on rows worked by hand."""

import pytest

from benchmarks.results import detection_scores


def row(model, metric, value, num_samples=1, other="e"):
    return {
        "model": model,
        "dataset": f"d vs {other}",
        "num_samples": num_samples,
        "metric": metric,
        "value": value,
    }


def test_each_pair_has_a_table_with_the_largest_number_of_passes_and_the_spread():
    found = detection_scores.markdown(
        [
            row("resnet20.d", "auroc/entropy", 0.9),
            row("resnet20.d", "auroc/entropy", 0.5, 5),
            row("resnet20.d_seed1", "auroc/entropy", 0.7, 5),
            row("resnet20.d_seed1", "auroc/entropy", 0.1),
            row("resnet20.d", "fpr_95/entropy", 0.25, 5),
            row("resnet20.d", "auroc/energy", 0.8),
            row("resnet20.d", "auroc/entropy", 0.6, other="f"),
            row("resnet20.d", "nll", 9.0),
            {**row("resnet20.d", "nll", 9.0), "dataset": "d"},
        ]
    )
    first, second = found.split("`d vs f`:")
    assert first.splitlines() == [
        "`d vs e`:",
        "",
        "| network | passes | score | AUROC (%) | AUPR, known (%) | AUPR, unknown (%) "
        "| FPR95 (%) |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
        "| `resnet20.d` | 5 | entropy | 60.0 ± 14.1 (2) | - | - | 25.0 |",
        "| `resnet20.d` | 1 | energy | 80.0 | - | - | - |",
        "",
    ]
    assert (
        second.splitlines()[-1] == "| `resnet20.d` | 1 | entropy | 60.0 | - | - | - |"
    )


def test_rows_without_a_pair_are_refused():
    clean = {**row("resnet20.d", "auroc/entropy", 0.5), "dataset": "d"}
    with pytest.raises(ValueError, match="zoo-evaluate --ood"):
        detection_scores.markdown([clean])
