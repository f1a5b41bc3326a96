import pytest

from zoo.publishing import results

ROW = {"dataset": "d", "num_samples": 1, "num_examples": 9, "seed": 0}


def rows(*values):
    return [
        {**ROW, "num_samples": n, "metric": metric, "value": value, "seed": seed}
        for n, metric, value, seed in values
    ]


def test_a_line_is_a_number_of_passes_and_a_column_is_a_metric():
    table = results.table(rows((1, "nll", 2, 0), (1, "ece", 0.5, 0), (5, "nll", 1, 0)))
    assert table == [
        ["dataset", "passes", "nll", "ece"],
        ["d", "1", "2.0000", "0.5000"],
        ["d", "5", "1.0000", "-"],
    ]


def test_several_seeds_have_a_mean_and_a_deviation():
    table = results.table(rows((1, "nll", 1, 0), (1, "nll", 2, 1), (1, "nll", 3, 2)))
    assert table[1] == ["d", "1", "2.0000 ± 1.0000 (3)"]


def test_passes_that_agree_are_one_line():
    table = results.table(rows((1, "nll", 1, 0), (5, "nll", 1, 0), (9, "nll", 2, 0)))
    assert [line[1] for line in table[1:]] == ["1", "9"]


def test_rows_keep_the_documented_fields_and_defined_values():
    (row,) = rows((1, "nll", 1, 0))
    nan = {**row, "value": float("nan")}
    assert results.check_rows([{**row, "seconds": 3}, nan]) == [row]
    with pytest.raises(ValueError, match="row of results has no seed"):
        results.check_rows([{key: row[key] for key in row if key != "seed"}])
