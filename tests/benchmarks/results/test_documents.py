"""The results in the documents are those of the packaged presets."""

import pathlib

import pytest

from benchmarks.results import documents
from zoo.presets import index

ROOT = pathlib.Path(__file__).parents[3]


def test_the_documents_hold_the_results_of_the_presets():
    for name, texts in documents.blocks().items():
        for marks, text in texts.items():
            _, middle, _ = documents.split(ROOT / name, marks)
            assert middle == text, "run `make results`"
    data = (ROOT / documents.DATA).read_text(encoding="utf-8")
    assert data == documents.leaderboard_data(), "run `make results`"


def test_the_first_screen_has_four_lines_of_the_results():
    heading, *lines = documents.few_results().splitlines()
    assert len(lines) == 1 + 4
    assert {*lines} <= {*documents.results_table("cifar100").splitlines()}
    assert heading == (
        "| CIFAR-100, 10,000 test images | passes "
        "| NLL (nats) ↓ | Accuracy (%) ↑ | ECE (%) ↓ |"
    )


def test_a_stochastic_model_has_a_line_for_each_number_of_passes(monkeypatch):
    def rows(values):
        return [
            {"dataset": "d", "num_samples": n, "metric": m, "value": value}
            for n, value in values.items()
            for m in documents.METRICS
        ]

    class Preset:
        others = ()

        def __init__(self, values):
            self.results = rows(values)

    fake = {"still": Preset({1: 0.5, 2: 0.5}), "random": Preset({1: 0.4, 2: 0.25})}
    monkeypatch.setattr(index, "read", lambda: fake)
    assert documents.results_table("d").splitlines()[2:] == [
        "| `still` | 1 | 0.5000 | 50.00 | 50.00 |",
        "| `random` | 1 | 0.4000 | 40.00 | 40.00 |",
        "| `random` | 2 | 0.2500 | 25.00 | 25.00 |",
    ]


def test_trainings_with_several_seeds_are_one_line(monkeypatch):
    def rows(value, **fields):
        row = {"dataset": "d_size/64", "num_samples": 2, "value": value, **fields}
        return tuple({**row, "metric": metric} for metric in documents.METRICS)

    class Preset:
        def __init__(self, results, others=()):
            self.results, self.others = results, others

    # The second training is a preset of its own, the third is on a card alone.
    others = rows(0.5, model="m.d_seed1") + rows(0.9, model="m.d_seed2")
    corrupted = rows(7.0, dataset="d_c/*/* (95 sets)")
    fake = {
        "m.d": Preset(rows(0.1) + corrupted, others),
        "m.d_seed1": Preset(rows(0.5)),
    }
    monkeypatch.setattr(index, "read", lambda: fake)
    assert documents.results_table("d").splitlines()[2:] == [
        "| `m.d` | 2 | 0.5000 ± 0.4000 (3) | 50.00 ± 40.00 (3) | 50.00 ± 40.00 (3) |",
    ]


def test_corrupted_sets_are_a_table_of_two_numbers_of_passes(monkeypatch):
    def rows(model, values):
        row = {"model": model, "dataset": "d_c/*/* (95 sets)"}
        return tuple(
            {**row, "num_samples": n, "metric": m, "value": value}
            for n, value in values.items()
            for m in documents.METRICS
        )

    class Preset:
        def __init__(self, results, others=()):
            self.results, self.others = results, others

    part = {**rows("a", {10: 9.0})[0], "dataset": "d_c/fog/* (5 sets)"}
    clean = {**part, "dataset": "d"}
    fake = {
        "still.d": Preset(rows("still.d", {1: 0.5, 10: 0.5})),
        "random.d": Preset(
            (*rows("random.d", {1: 0.1, 2: 0.25, 5: 0.3, 10: 0.2}), part, clean),
            rows("random.d_seed1", {2: 0.75}),
        ),
    }
    monkeypatch.setattr(index, "read", lambda: fake)
    assert documents.corrupted_table("d").splitlines()[2:] == [
        "| `still.d` | 1 | 0.5000 | 50.00 | 50.00 |",
        "| `random.d` | 2 | 0.5000 ± 0.3536 (2) | 50.00 ± 35.36 (2) "
        "| 50.00 ± 35.36 (2) |",
        "| `random.d` | 10 | 0.2000 | 20.00 | 20.00 |",
    ]


def test_a_file_without_marks_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        documents.update(tmp_path)
