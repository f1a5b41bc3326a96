"""What posteriors learn in an evaluation is learned once, and of what rows say."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.data_sets import Interrupting
from tests.helpers.networks import network
from training.data.image_data import ImageData
from training.evaluation import adaptation, predictions, sweep
from training.evaluation.adapted_posteriors import FILE, Adapted
from zoo.posterior import POSTERIORS

CLASSES = "ant", "bee", "cat"
RNG = np.random.default_rng(0)


def data_set(name, count):
    images = RNG.integers(0, 256, (count, 8, 8, 1)).astype("uint8")
    labels = np.arange(count) % 3
    return ImageData(name, Interrupting(images, 10**6), labels, CLASSES)


TEST, TRAIN = data_set("made_up", 9), data_set("made_up", 60)
WHOLE = dataclasses.replace(TRAIN, images=TRAIN.images.stored)


def cut(dataset, reads):
    """The same images, which interrupt after some reads."""
    images = Interrupting(dataset.images.stored, reads)
    return dataclasses.replace(dataset, images=images)


def made(kind, seed=0, **settings):
    cls = POSTERIORS[kind]
    count = 1 if kind in ("laplace", "density") else 2
    networks = [network(seed=seed + n) for n in range(count)]
    return cls.from_models(networks, 2, **settings)


def test_an_evaluation_that_goes_on_has_what_was_learned_before(tmp_path):
    kinds = "laplace", "swag"

    def run(folder, test=TEST, train=TRAIN):
        models = {f"m@{kind}:x=1": made(kind) for kind in kinds}
        return sweep.evaluate_all(models, [test], folder, (1,), 0, 5, train=train)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "it", test=cut(TEST, 3))
    rows = run(tmp_path / "it", train=cut(TRAIN, 0))
    expected = run(tmp_path / "other")
    for row in (*rows, *expected):
        row.pop("seconds")
    assert str(rows) == str(expected)
    # The snapshots lie elsewhere; of a large network they would take long to write.
    path = predictions.folder_of(tmp_path / "it", "m@swag:x=1", FILE)
    assert path.stat().st_size < 4 * 2 * made("swag").num_weights


def test_what_is_of_anything_else_is_learned_anew(tmp_path, monkeypatch):
    learned, fit = [], adaptation.fit

    def counted(posterior, *args, name):
        learned.append(name)
        fit(posterior, *args)

    monkeypatch.setattr(adaptation, "fit", counted)

    def run(posterior=None, train=TRAIN, seed=0, batch_size=20):
        posterior = made("density") if posterior is None else posterior
        given = {"train": train, "validation": None}
        Adapted(tmp_path, given, batch_size, seed).adapt("m", posterior)
        assert posterior.is_adapted
        return len(learned)

    path = predictions.folder_of(tmp_path, "m", FILE)
    assert [run(), run()] == [1, 1]
    others = [
        {"posterior": made("density", seed=1)},
        {"posterior": made("density", scores=["mahalanobis", "density"])},
        {"posterior": made("laplace")},
        {"posterior": made("laplace", prior_precision=2.0)},
        {"train": dataclasses.replace(TRAIN, labels=TRAIN.labels[::-1])},
        {"train": WHOLE.sample(30)},
        {"seed": 1},
        {"batch_size": 30},
    ]
    for number, other in enumerate(others, 2):
        assert run(**other) == number
    path.write_bytes(path.read_bytes()[:-1])
    count = len(others) + 2
    assert [run(batch_size=30), run(batch_size=30)] == [count, count]


def test_rows_say_what_was_a_sample_of_more(tmp_path):
    part = dataclasses.replace(WHOLE, name="made_up_validation").sample(40)
    models = {"m": network(), "m@laplace": made("laplace")}
    rows = sweep.evaluate_all(
        models,
        [TEST],
        tmp_path,
        (1,),
        ood=[dataclasses.replace(TEST, name="others")],
        train=WHOLE.sample(12),
        calibration=part,
        decide=["lac_80"],
    )
    of_train = "12 images of made_up, stratified, seed 0"
    of_decision = "40 images of made_up_validation, stratified, seed 0"
    expected = {("m", False): None, ("m@laplace", False): of_train}
    expected |= {("m", True): of_decision}
    expected |= {("m@laplace", True): f"{of_train}; {of_decision}"}
    found = {
        (row["model"], row["metric"].endswith("/lac_80")): row.get("adapted_to")
        for row in rows
    }
    assert found == expected
    assert {row.get("adapted_to") for row in rows if " vs " in row["dataset"]} == {
        None,
        of_train,
    }
