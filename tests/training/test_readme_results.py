"""The results in the README are those of the packaged presets."""

import pathlib

import pytest

from training import readme
from zoo import presets

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_readme_holds_the_results_of_the_presets():
    _, middle, _ = readme.split(README)
    assert middle == readme.block(), "run `make results`"


def test_a_stochastic_model_has_a_line_for_each_number_of_passes(monkeypatch):
    def rows(values):
        return [
            {"dataset": "d", "num_samples": n, "metric": m, "value": value}
            for n, value in values.items()
            for m in readme.METRICS
        ]

    class Preset:
        def __init__(self, values):
            self.results = rows(values)

    fake = {"still": Preset({1: 0.5, 2: 0.5}), "random": Preset({1: 0.4, 2: 0.25})}
    monkeypatch.setattr(presets, "read", lambda: fake)
    assert readme.results_table("d").splitlines()[2:] == [
        "| `still` | 1 | 0.5000 | 50.00 | 50.00 |",
        "| `random` | 1 | 0.4000 | 40.00 | 40.00 |",
        "| `random` | 2 | 0.2500 | 25.00 | 25.00 |",
    ]


def test_a_file_without_marks_is_refused(tmp_path):
    (tmp_path / "plain.md").write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        readme.update(tmp_path / "plain.md")
