"""Predictions of other frameworks: their rows by the formulas, and what is refused."""

import re

import numpy as np
import pytest

from training import metrics
from training.evaluation import prediction_files
from training.report import leaderboard

CLASSES, COUNT, PASSES = 5, 60, 7
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, COUNT)
FACTS = {
    "commit": "1a2b3c",
    "chosen_on": "validation: 60 images",
    "data": "0123456789ab",
    "seed": 3,
    "bytes": 1000,
}


def probabilities(*shape):
    return RNG.dirichlet(np.ones(CLASSES), size=shape).astype("float32")


def save(folder, dataset="cifar10", name=None, **arrays):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name or dataset}.npz".replace("/", "-")
    given = {"model": "theirs", "dataset": dataset, **arrays}
    np.savez(path, **{k: v for k, v in given.items() if v is not None})
    return path


def test_rows_are_those_of_the_mean_of_the_first_passes(tmp_path):
    probs, other = probabilities(PASSES, COUNT), probabilities(PASSES, 40)
    save(tmp_path, probs=probs, labels=LABELS, latency_ms=14.0, seconds=2.5, **FACTS)
    save(tmp_path, "digits", probs=other, **{**FACTS, "data": "ba9876543210"})
    rows = prediction_files.rows(sorted(tmp_path.glob("*.npz")))
    by_key = {(r["dataset"], r["metric"], r["num_samples"]): r for r in rows}
    for size in (1, 2, 5, 7):
        mean = probs[:size].mean(axis=0)
        row = by_key["cifar10", "nll", size]
        expected = -np.log(mean[np.arange(COUNT), LABELS]).mean()
        assert row.pop("value") == pytest.approx(expected, rel=1e-5)
        assert row == {
            **{"model": "theirs", "dataset": "cifar10", "metric": "nll"},
            **{"num_samples": size, "num_examples": COUNT, "seconds": 2.5, **FACTS},
            "latency_ms": 14.0 * size / PASSES,
            "file": str(tmp_path / "cifar10.npz"),
        }
        accuracy = (mean.argmax(axis=1) == LABELS).mean()
        assert by_key["cifar10", "accuracy", size]["value"] == pytest.approx(accuracy)

        def scores(own, size=size):
            mean = own[:size].astype("float64").mean(axis=0)
            entropy = -(mean * np.log(mean)).sum(axis=1)
            single = own[:size].astype("float64")
            return entropy, entropy + (single * np.log(single)).sum(axis=2).mean(axis=0)

        for place, score in enumerate(("entropy", "mutual_information")):
            key = "cifar10 vs digits", f"auroc/{score}", size
            if (size, score) == (1, "mutual_information"):
                assert key not in by_key
                continue
            row = by_key[key]
            inside, outside = scores(probs)[place], scores(other)[place]
            expected = (outside[:, None] > inside).mean()
            assert row["value"] == pytest.approx(expected, abs=1e-3)
            assert row["data"] == "0123456789ab vs ba9876543210"
            assert "seconds" not in row
            assert row["file"] == str(tmp_path / "digits.npz")
    assert {r["num_samples"] for r in rows} == {1, 2, 5, 7}


def test_what_a_file_does_not_say_is_marked_as_missing(tmp_path):
    path = save(tmp_path, probs=probabilities(COUNT), labels=LABELS, num_samples=30)
    rows = leaderboard.read([path])
    assert {row["num_samples"] for row in rows} == {30}
    assert not {"seed", "seconds", "commit", "data"} & {k for row in rows for k in row}
    (board,) = leaderboard.build(rows)
    assert board.lines[0].missing == (
        *("commit", "seed", "data fingerprint", "set of the choices"),
    )


def test_conformal_sets_are_fitted_to_a_validation_file(tmp_path):
    held_out, labels = probabilities(200), RNG.integers(0, CLASSES, 200)
    probs = probabilities(COUNT)
    save(tmp_path, "cifar10_validation", probs=held_out, labels=labels)
    save(tmp_path, "cifar10", probs=probs, labels=LABELS)
    save(tmp_path, "cifar10_c/fog/3", probs=probs, labels=LABELS)
    rows = prediction_files.rows(sorted(tmp_path.glob("*.npz")))
    found = {(r["dataset"], r["metric"]): r["value"] for r in rows}
    assert {dataset for dataset, _ in found} == {"cifar10", "cifar10_c/fog/3"}
    # Split conformal sets: the k-th smallest of one less the probability of the label.
    scores = np.sort(1 - held_out[np.arange(200), labels])
    threshold = scores[int(np.ceil(201 * 0.9)) - 1]
    sets = 1 - probs <= threshold
    for dataset in ("cifar10", "cifar10_c/fog/3"):
        covered = sets[np.arange(COUNT), LABELS].mean()
        assert found[dataset, "coverage/lac_90"] == pytest.approx(covered)
        size = found[dataset, "set_size/lac_90"]
        assert size == pytest.approx(sets.sum(axis=1).mean())
        assert 0 < found[dataset, "set_size/aps_90"] <= CLASSES


def test_too_few_validation_images_leave_out_the_sets_alone(tmp_path, caplog):
    save(tmp_path, "cifar10_validation", probs=probabilities(12), labels=LABELS[:12])
    path = save(tmp_path, "cifar10", probs=probabilities(COUNT), labels=LABELS)
    paths = sorted(tmp_path.glob("*.npz"))
    rows = prediction_files.rows(paths, ["lac_90", "lac_95"])
    sets = {row["metric"] for row in rows if "/" in row["metric"]}
    assert "coverage/lac_90" in sets
    assert not any(metric.endswith("lac_95") for metric in sets)
    said = "No lac_95 of theirs by cifar10_validation: A coverage of 0.95"
    assert said in caplog.text
    others = [row for row in rows if "/" not in row["metric"]]
    assert str(others) == str(prediction_files.rows([path]))  # NaN is not NaN.
    with pytest.raises(ValueError, match="lac"):
        prediction_files.rows(paths, ["lca_90"])


def test_files_of_several_models_and_seeds_are_taken_together(tmp_path):
    for seed in (0, 1):
        for model in ("a", "b"):
            own = {"model": model, "seed": seed, "labels": LABELS}
            save(tmp_path, name=f"{model}{seed}", probs=probabilities(COUNT), **own)
            own = {"model": model, "seed": seed, "probs": probabilities(9)}
            save(tmp_path, "digits", f"{model}{seed}-digits", **own)
    rows = leaderboard.read([tmp_path])
    (board,) = leaderboard.build(rows)
    assert {(line.model, line.seeds) for line in board.lines} == {("a", 2), ("b", 2)}
    assert [c.group for c in board.columns][-1] == "against digits (far)"
    save(tmp_path, "svhn", name="svhn", probs=probabilities(9), model="c")
    with pytest.raises(ValueError, match=r"svhn.npz' has no labels.*there are: none"):
        leaderboard.read([tmp_path])


BAD = probabilities(2, COUNT)
BAD[1, 17] *= 0.5


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"probs": BAD}, "row 17 of pass 1 of `probs` is no distribution.* sum to 0.5"),
        ({"probs": BAD[1]}, "row 17 of `probs` is no distribution.* sum to 0.5"),
        ({"probs": np.full((COUNT, 2), [1.5, -0.5])}, "row 0 .* -0.5 to 1.5 and sum"),
        ({"probs": np.full((COUNT, 2), np.nan)}, "row 0 .* sum to nan"),
        ({"probs": np.eye(COUNT, 5, dtype=int)}, "`probs` must be floats.*int64"),
        ({"probs": np.ones(COUNT)}, r"`probs` must be floats of shape.*\(60,\)"),
        ({"probs": np.ones((COUNT, 1))}, r"two classes.* probs.shape=\(60, 1\)"),
        ({"probs": BAD[:1], "num_samples": 5}, "1 passes. Received: num_samples=5"),
        ({"labels": LABELS[1:]}, r"`labels` must be integers.*\(59,\)"),
        ({"labels": LABELS * 1.0}, "`labels` must be integers.*float64"),
        ({"labels": LABELS + 1}, "`labels` must be from 0 to 4. Received: 5"),
        ({"model": None}, "has no `model`"),
        (
            {"dataset": "cifar10_validation", "labels": None},
            "has no `labels`, and decisions .* dataset=cifar10_validation",
        ),
        ({"model": 5}, "`model` must be text. Received: model=5"),
        ({"dataset": " "}, "`dataset` must be text. Received: dataset=' '"),
        ({"seed": 0.5}, "`seed` must be an integer.* seed=0.5"),
        ({"latency_ms": np.inf}, "`latency_ms` must be a number above 0.* latency_ms"),
        ({"num_samples": 0}, "`num_samples` must be an integer above 0"),
        ({"probabilities": 1}, "Did you mean 'probs'|Known: probs"),
        ({"model": np.array({}, object)}, "`model` cannot be read"),
    ],
)
def test_a_file_that_is_no_such_one_is_refused_by_its_name(tmp_path, changes, words):
    given = {"probs": probabilities(COUNT), "labels": LABELS, **changes}
    path = save(tmp_path, **given)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*(?:{words})"):
        prediction_files.rows([path])


def test_sums_may_be_rounded_to_half_precision(tmp_path):
    probs = probabilities(COUNT).astype("float16")
    rows = prediction_files.rows([save(tmp_path, probs=probs, labels=LABELS)])
    accuracy = metrics.accuracy(probs.astype("float32"), LABELS)
    found = next(row["value"] for row in rows if row["metric"] == "accuracy")
    assert found == pytest.approx(accuracy)


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        prediction_files.rows([tmp_path / "none.npz"])
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match=r"text.npz' is not an .npz file"):
        prediction_files.rows([tmp_path / "text.npz"])
    path = save(tmp_path, probs=probabilities(COUNT), labels=LABELS)
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\x00\x00"))
    with pytest.raises(ValueError, match="cifar10.npz' cannot be read: Bad magic"):
        prediction_files.rows([path])
