"""Servers that are slow, gone, of another kind, or answer something else."""

import json
import sys
import time

import numpy as np
import pytest

from tests.helpers import rest_server
from tests.helpers.data_sets import Data
from tests.helpers.rest_server import Answers, metadata, predictions, probabilities
from training.evaluation import external_models
from training.evaluation import predictions as stored
from training.evaluation.evaluate import evaluate
from training.evaluation.sampling import Passes
from training.runtimes import places, servers

IMAGES = Data().images


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(servers, "PAUSE", 0.001)


def rows_of(probs):
    return [{"probabilities": p.tolist(), "label": 0} for p in probs]


def test_rows_are_asked_of_the_version_that_was_found():
    answers = Answers(version="7")
    with rest_server.serving(answers) as place:
        network = places.open_network(place)
        found = network.run(IMAGES.astype("float32"), 0)["probabilities"]
        pinned = places.open_network(f"{place}/versions/3")
        assert pinned.content() == network.content()  # It is what the server says.
    np.testing.assert_allclose(found, probabilities(IMAGES), atol=1e-6)
    assert network.outputs == ("probabilities",)  # Labels are no predictions.
    assert network.image_shape == (8, 8, 1)
    assert answers.asked == [
        "/v1/models/mine/metadata",
        "/v1/models/mine/versions/7:predict",
        "/v1/models/mine/versions/3/metadata",
    ]


def test_other_versions_and_signatures_are_other_models():
    prints = []
    for given in ({}, {}, {"version": "2"}, {"num_classes": 4}):
        with rest_server.serving(Answers(**given)) as place:
            prints.append(places.open_network(place).content())
    assert prints[0] == prints[1]  # At another port.
    assert len({*prints}) == 3


def test_a_request_without_an_answer_is_sent_again():
    def answer(number, body):
        if number in (2, 4):
            return 503, {"error": "The model is loaded"}
        if number == 5:
            return 500, b"<html>"
        return 200, {"predictions": predictions(body)}

    answers = Answers(answer)
    with rest_server.serving(answers) as place:
        posterior = external_models.load(place, 1)
        rows = evaluate(posterior, Data(), (1,), batch_size=3, progress=False)
    labels, probs = Data().labels, probabilities(IMAGES)
    (nll,) = [row["value"] for row in rows if row["metric"] == "nll"]
    expected = -np.log(probs[np.arange(len(labels)), labels]).mean()
    assert nll == pytest.approx(expected, abs=1e-5)
    # Two to see what it gives, three batches, and what was sent again.
    assert len(answers.asked) == 1 + 2 + 3 + 3


@pytest.mark.parametrize("kind", ["gone", "slow", "busy"])
def test_a_server_without_answers_is_named_after_some_attempts(kind, monkeypatch):
    def answer(number, body):
        if kind == "slow":
            time.sleep(0.3)
        return 503, {"error": "Too busy"}

    answers = Answers(answer)
    with rest_server.serving(answers) as place:
        network = places.open_network(place)
        if kind == "slow":
            monkeypatch.setattr(servers, "TIMEOUT", 0.05)
        if kind != "gone":
            with pytest.raises(
                ConnectionError, match=f"{place}.*after 4 attempts.*goes on"
            ):
                network.run(IMAGES, 0)
            assert len(answers.asked) == 1 + servers.ATTEMPTS
    if kind == "gone":
        with pytest.raises(ConnectionError, match=f"{place}.*refused"):
            network.run(IMAGES, 0)
        with pytest.raises(ConnectionError, match=f"{place}.*refused"):
            places.open_network(place)


def test_an_evaluation_goes_on_when_the_server_is_back(tmp_path):
    broken = [True]

    def answer(number, body):
        if broken[0] and number >= 5:
            return 503, {"error": "Stopped"}
        return 200, {"predictions": predictions(body)}

    def store(place):
        posterior = external_models.load(place, 1)
        passes = Passes(posterior, (1,), batch_size=2, name=posterior.own_name)
        return stored.store(passes, Data(), tmp_path / "stored", period=0.0)

    answers = Answers(answer)
    with (
        rest_server.serving(answers) as place,
        pytest.raises(ConnectionError, match="Stopped"),
    ):
        store(place)
    done = json.loads((tmp_path / "stored" / "meta.json").read_text())["done"]
    assert 2 <= done < 7
    broken[0], before = False, len(answers.asked)
    with rest_server.serving(answers) as place:  # At another port.
        found = store(place)
    np.testing.assert_allclose(found.probs[0], probabilities(IMAGES), atol=1e-6)
    batches = -(-(7 - done) // 2)
    assert len(answers.asked) - before == 1 + 2 + batches


def test_a_model_that_changes_on_the_way_is_seen():
    def answer(number, body):
        count = 3 if number < 2 else 5
        return 200, {"predictions": rows_of(probabilities(body["instances"], count))}

    with rest_server.serving(Answers(answer)) as place:
        posterior = external_models.load(place, 1)
        with pytest.raises(ValueError, match=r"mine.*\(5,\).*\(3,\)"):
            evaluate(posterior, Data(), (1,), progress=False)


def test_other_numbers_of_classes_are_told_with_the_name():
    def answer(number, body):
        return 200, {"predictions": rows_of(probabilities(body["instances"], 2))}

    with rest_server.serving(Answers(answer, num_classes=2)) as place:
        posterior = external_models.load(place, 1)
        with pytest.raises(ValueError, match="mine.http' knows 2 classes.*with 3"):
            evaluate(posterior, Data(), (1,), progress=False)
        with pytest.raises(ValueError, match="2 classes. Received: 3 names of classes"):
            external_models.load(place, 1, classes="abc")


@pytest.mark.parametrize(
    "answer, message",
    [
        ((404, {"error": "Servable not found"}), "refuses the request.*not found"),
        ((200, b"<html>"), "must answer in JSON. Received: b'<html>'"),
        ((200, {"outputs": []}), "must give probabilities in the predictions"),
        ((200, {"predictions": [{"label": 1}]}), "must give probabilities in the"),
    ],
)
def test_answers_of_another_kind_are_errors(answer, message):
    answers = Answers(lambda *_: answer)
    with (
        rest_server.serving(answers) as place,
        pytest.raises(ValueError, match=message),
    ):
        places.open_network(place).run(IMAGES, 0)
    assert len(answers.asked) == 2


def test_a_single_output_has_no_name_in_the_answer():
    answers = Answers(
        lambda _, body: (
            200,
            {"predictions": probabilities(body["instances"]).tolist()},
        )
    )
    with rest_server.serving(answers) as place:
        found = places.open_network(place).run(IMAGES, 0)["probabilities"]
    np.testing.assert_allclose(found, probabilities(IMAGES), atol=1e-6)


def test_what_a_server_does_not_say_is_an_error():
    other = metadata()
    signatures = other["metadata"]["signature_def"]["signature_def"]
    signatures["mine"] = signatures.pop("serving_default")
    for said, message in (
        ({}, "does not say what the model takes.*'metadata'"),
        (other, "needs a signature serving_default. Received: mine"),
        (metadata(dtype="DT_INT64"), "pixels or image files.*DT_INT64"),
        (metadata(sides=(-1, 64)), r"\(batch, height, width, channels\).*\(None, 64\)"),
    ):
        answers = Answers()
        answers.metadata = said
        with (
            rest_server.serving(answers) as place,
            pytest.raises(ValueError, match=message),
        ):
            places.open_network(place)


def test_the_line_that_installs_the_client_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ImportError, match=r"pip install smoothzoo\[serving\]"):
        places.open_network("grpc://localhost:1/mine")
