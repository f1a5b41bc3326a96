"""Which rows are taken, which are refused and by which words, and how they are kept."""

import json
import math
import re

import numpy as np
import pytest

from tests.helpers import ranked
from training import report
from training.report import leaderboard
from training.report.leaderboard import admission, data_file, sources


def file(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    report.write_rows(rows, path)
    return path


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model": None}, "model=None"),
        ({"dataset": ""}, "dataset=''"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"num_samples": 2.5}, "num_samples=2.5"),
        ({"value": "0.5"}, "value='0.5'"),
        ({"metric": "accuracy", "value": 92.5}, "value=92.5"),
        ({"metric": "coverage/aps_90", "value": 90}, "value=90"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"num_examples": "all"}, "num_examples='all'"),
        ({"bytes": 0}, "bytes=0"),
        ({"latency_ms": -3.5}, "latency_ms=-3.5"),
        ({"commit": 7}, "commit=7"),
        ({"latency_ms": math.nan}, "latency_ms=nan"),
        ({"seconds": "12"}, "seconds='12'"),
        ({"steps": [10, 20]}, "steps=[10, 20]"),
        ({"selection": {"first": 100}}, "selection={'first': 100}"),
    ],
)
def test_what_means_nothing_is_refused_with_file_and_value(changes, words):
    good = ranked.row()
    assert admission.admit([good], "f.jsonl") == [{"file": "f.jsonl", **good}]
    with pytest.raises(ValueError, match=f"{re.escape(words)}.*f.jsonl"):
        admission.admit([good, {**good, **changes}], "f.jsonl")


def test_rows_need_fields_and_files_need_rows(tmp_path):
    for field in ("model", "dataset", "num_samples", "metric", "value"):
        row = {k: v for k, v in ranked.row().items() if k != field}
        with pytest.raises(ValueError, match=f"'f' has no {field}"):
            admission.admit([row], "f")
    with pytest.raises(ValueError, match="no rows in 'f'"):
        admission.admit([], "f")
    with pytest.raises(ValueError, match="'f' is of a metric.* Received: brier"):
        admission.admit([ranked.row(metric="brier")], "f")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no rows in the folder '.*empty'"):
        leaderboard.read([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="no file or folder 'nowhere'"):
        leaderboard.read(["nowhere"])
    with pytest.raises(ValueError, match="needs rows"):
        leaderboard.read([])
    (tmp_path / "odd.json").write_text('{"leaderboard": 1}')
    with pytest.raises(ValueError, match=r"odd.json' is not the data"):
        leaderboard.read([tmp_path / "odd.json"])
    (tmp_path / "odd.json").write_text('{"leaderboard": 9, "models": []}')
    with pytest.raises(ValueError, match=r"odd.json' was written by another.*=9"):
        leaderboard.read([tmp_path / "odd.json"])


def test_a_value_is_taken_once_and_a_second_one_is_refused(tmp_path):
    row = ranked.row()
    bare = {k: v for k, v in row.items() if k not in ranked.WHOLE or k == "seed"}
    paths = [file(tmp_path, [bare], "a/rows.jsonl"), file(tmp_path, [row], "b.jsonl")]
    (found,) = leaderboard.read([paths[0].parent, paths[1]])
    assert found == {"file": str(paths[1]), **row}  # That which carries more.
    file(tmp_path, [{**row, "value": 0.26, "num_examples": 10}], "b.jsonl")
    words = r"two values of `nll` of 'm.d' on 'd' at 1 passes: 0.25 in '.*a/rows.jsonl'"
    with pytest.raises(
        ValueError, match=rf"{words} and 0.26 of 10 images in '.*b.json"
    ):
        leaderboard.read(paths)
    other = {**row, "value": 0.26, "seed": 1}, {**row, "value": 0.26, "num_samples": 5}
    file(tmp_path, other, "b.jsonl")
    assert len(leaderboard.read(paths)) == 3


def test_different_images_in_one_column_are_refused(tmp_path):
    rows = [ranked.row("a.d"), ranked.row("b.d", data="other")]
    paths = [file(tmp_path, [row], f"{i}.jsonl") for i, row in enumerate(rows)]
    words = r"'0123456789ab' of 'a.d' in '.*0.jsonl' and 'other' of 'b.d' in '.*1.json"
    with pytest.raises(ValueError, match=rf"column of 'd' .*{words}"):
        leaderboard.read(paths)
    file(tmp_path, [{**rows[1], "data": None}], "1.jsonl")  # Which are not known.
    assert len(leaderboard.read(paths)) == 2


def test_what_is_missing_is_told():
    row = ranked.row()
    assert admission.missing([row]) == ()
    words = {"commit": "commit", "seed": "seed", "data": "data fingerprint"}
    words |= {"num_examples": "number of images", "chosen_on": "set of the choices"}
    for field, text in words.items():
        less = {k: v for k, v in row.items() if k != field}
        assert admission.missing([row, less]) == (text,)
        assert admission.missing([{**row, field: None}]) == (text,)
    assert [
        admission.is_chosen_on_test({"chosen_on": text})
        for text in ("test", "Test: 100 images", "latest epoch", "validation", None)
    ] == [True, True, False, False, False]


def place(row):
    return row["model"], row["dataset"], row["num_samples"], row["metric"]


def test_the_data_are_written_and_read_again(tmp_path):
    rows, _ = ranked.rows(("a.d", "b.d_seed1"), ("d", "d_c/fog/1"), sizes=(1, 5))
    rows += [ranked.row("c.d", "d vs e", "auroc/entropy", 2 / 3, bytes=12, card="x")]
    rows += [ranked.row("é<b>", "f", value=1e-9, commit=None, source="/home/me")]
    data_file.write(rows, tmp_path / "leaderboard.json")
    text = (tmp_path / "leaderboard.json").read_text()
    assert "/home/me" not in text
    assert json.loads(text)["models"][0]["commit"] == "1a2b3c"  # Of all of its rows.
    assert text.count("1a2b3c") == 3
    found = sorted(leaderboard.read([tmp_path]), key=place)
    for new, old in zip(found, sorted(rows, key=place), strict=True):
        kept = {k: v for k, v in old.items() if v is not None and k != "source"}
        assert math.isclose(new.pop("value"), kept.pop("value"), rel_tol=1e-8)
        assert new.pop("file") == str(tmp_path / "leaderboard.json")
        assert new == kept


def test_rows_that_differ_in_the_settings_of_an_attack_are_kept_apart(tmp_path):
    attack = {"dataset": "d_pgd/linf/8", "metric": "accuracy", "step_size": 0.5}
    rows = [
        ranked.row(value=value, steps=steps, **attack)
        for steps, value in ((10, 0.5), (20, 0.25))
    ]
    data_file.write(admission.joined([rows]), tmp_path / "leaderboard.json")
    assert data_file.read(tmp_path / "leaderboard.json") == rows


def test_rows_are_selected_by_names_and_patterns():
    names = ("resnet20.d", "resnet20_mcdo.d", "vgg16.d")
    rows, _ = ranked.rows(names, ("d", "d_c/fog/1_size/64", "e vs d"), ("nll",))
    rows = [{"file": "a.jsonl", **row} for row in rows]

    def models(*patterns):
        return list(dict.fromkeys(r["model"] for r in sources.select(rows, patterns)))

    assert models() == list(names)
    assert models("resnet20*") == list(names[:2])
    assert models("vgg16.d", "resnet20.d") == [names[0], names[2]]
    chosen = sources.select(rows, datasets=["d"])
    assert {row["dataset"] for row in chosen} == {"d", "d_c/fog/1_size/64"}
    words = r"no model 'resnet21.d' in 'a.jsonl'. Did you mean 'resnet20.d'\?"
    with pytest.raises(ValueError, match=words):
        sources.select(rows, ["vgg16.d", "resnet21.d"])
    with pytest.raises(ValueError, match="no dataset 'f' in 'a.jsonl'. Known: d, e"):
        sources.select(rows, datasets=["f"])


def test_what_is_published_is_taken_whole():
    rows = leaderboard.read([], ours=True)
    assert {row["file"] for row in rows} == {"published"}
    (one,) = (
        row
        for row in rows
        if (row["model"], row["dataset"], row["metric"], row["num_samples"])
        == ("resnet20_smooth_mcdo.cifar10", "cifar10", "accuracy", 1)
    )
    assert one["value"] == 0.8731
    assert one["chosen_on"] == "validation: 5,000 held-out training images"
    assert one["card"] == "zoo:resnet20_smooth_mcdo.cifar10"
    assert one["bytes"] > 500_000
    assert re.fullmatch("[0-9a-f]{40}", one["commit"])
    assert admission.missing([one]) == ("data fingerprint",)
    # A training that is on the card of another one alone.
    other = next(r for r in rows if r["model"] == "resnet18_mcdo.fashion_mnist_seed2")
    assert "commit" in admission.missing([other])
    assert np.isfinite([row["value"] for row in rows]).all()
