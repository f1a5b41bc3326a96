"""What a posterior has learned lies beside the weights, and is of these alone."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

import zoo
from tests.helpers.publications import NAME, RECORD, make_rows
from zoo.posterior import Laplace, Temperature
from zoo.presets import index, posterior_file
from zoo.publishing import model_card, packaging, publish, results

SCALED = f"{NAME}@temperature"
FACTS = {"settings": {"num_samples": 3}, "dataset": "toys_validation", "images": 9}


@pytest.fixture(scope="module")
def published(toy_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "it"
    posterior = Temperature.from_models([toy_model], 3)
    posteriors = {"temperature": (posterior, FACTS)}
    options = {"data_license": "mit", "posteriors": posteriors}
    with pytest.raises(ValueError, match="'temperature' has not learned"):
        publish.publish(toy_model, folder, RECORD, **options)
    assert not folder.exists()
    posterior.assign({"temperature": 1.625})
    rows = [*make_rows(), *make_rows(SCALED, 0.5), *make_rows(f"{NAME}@other", 2)]
    preset = publish.publish(toy_model, folder, RECORD, rows, **options)
    return folder, preset


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published[0], tmp_path / "copy")


def test_a_published_posterior_loads_with_what_it_has_learned(published):
    posterior = zoo.load(SCALED, weights=published[0])
    assert posterior.is_adapted
    assert float(posterior.temperature.numpy()) == 1.625
    assert posterior.posterior.num_samples == 3
    assert zoo.load(SCALED, weights=published[0], num_samples=3).is_adapted
    with pytest.raises(ValueError, match="adapted with num_samples=3.*num_samples=9"):
        zoo.load(SCALED, weights=published[0], num_samples=9)
    assert not isinstance(zoo.load(NAME, weights=published[0]), Temperature)


def test_a_name_says_settings_as_arguments_do(published):
    name = "resnet20.fashion_mnist@laplace:predictive=bridge"
    made = zoo.load(f"{name}:subset=all")
    assert (made.subset, made.predictive, made.is_adapted) == ("all", "bridge", False)
    with pytest.raises(ValueError, match="says predictive=bridge.*predictive=probit"):
        zoo.load(name, predictive="probit")
    with pytest.raises(ValueError, match="adapted with num_samples=3.*temperature=3"):
        zoo.load(f"{SCALED}:temperature=3", weights=published[0])


def test_rows_of_a_name_with_settings_are_those_of_the_posterior_that_has_them():
    entries = {"laplace": {"settings": {"subset": "all", "num_samples": 5}}}
    names = ["", ":subset=all", ":subset=last_layer", ":subset=all:num_samples=5"]
    rows = make_rows()
    for value, settings in enumerate(names, 1):
        fields = {"dataset": f"d{value}"}
        rows += make_rows(f"{NAME}@laplace{settings}", value, **fields)
    found = results.choose(rows, NAME, posteriors=entries)["of_posteriors"]
    assert {row["dataset"] for row in found} == {"d1", "d2", "d4"}
    assert {row["model"] for row in found} == {f"{NAME}@laplace"}


def test_the_card_has_the_results_of_a_posterior_and_what_it_was_fitted_to(published):
    folder, preset = published
    assert index.read_published(folder) == preset
    assert {row["model"] for row in preset.of_posteriors} == {SCALED}
    assert [r["value"] for r in preset.of_posteriors if r["num_samples"] == 1] == (
        [0.25, 0.375]
    )
    card = (folder / "README.md").read_text()
    assert f"Of the posterior `{SCALED}`." in card
    text = "fitted to 9 images of `toys_validation`: temperature 1.625, num_samples 3."
    assert text in " ".join(card.split())
    assert f'zoo.load("{SCALED}", weights=folder)' in card
    assert "temperature.safetensors" in (folder / "SHA256SUMS").read_text()


def test_matrices_are_published_too(tmp_path):
    model = zoo.build("resnet20.toys", (16, 16, 1), 4)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1)).astype("uint8")
    posterior = Laplace.from_models([model])
    posterior.adapt(images, np.arange(8) % 4)
    facts = {"settings": {}, "dataset": "toys_train/8", "images": 8}
    options = {"data_license": "mit", "posteriors": {"laplace": (posterior, facts)}}
    record = {**RECORD, "model": "resnet20"}
    preset = publish.publish(model, tmp_path / "it", record, **options)
    values = preset.posteriors["laplace"]["values"]
    assert set(values) == {"prior_precision", "log_likelihood"}
    name = "resnet20.toys@laplace"
    again = zoo.load(name, weights=tmp_path / "it")
    np.testing.assert_allclose(again(images), posterior(images), 1e-6, 1e-6)
    # Another prediction is of the same curvature, and another curvature is not there.
    bridge = zoo.load(f"{name}:predictive=bridge", weights=tmp_path / "it")
    other = Laplace(model, predictive="bridge")
    other.assign(posterior.values())
    np.testing.assert_allclose(bridge(images), other(images), 1e-6, 1e-6)
    drawn = {"predictive": "monte_carlo", "num_samples": 3}
    assert zoo.load(name, weights=tmp_path / "it", **drawn)(images).shape[0] == 3
    message = "others of structure; leave these out .predictive and num_samples may"
    with pytest.raises(ValueError, match=f"{message}.*Received: structure=full$"):
        zoo.load(f"{name}:structure=full:predictive=probit", weights=tmp_path / "it")
    for number, which in enumerate((["head"], 7)):
        settings = {"subset": "subnetwork", "subnetwork": which}
        part = Laplace(model, **settings)
        values = {k: np.ones(v.shape, v.dtype) for k, v in part.values().items()}
        part.assign({**values, "fingerprint": posterior.fingerprint.numpy()})
        options["posteriors"] = {"laplace": (part, {**facts, "settings": settings})}
        publish.publish(model, tmp_path / f"{number}", record, **options)
        again = zoo.load("resnet20.toys@laplace", weights=tmp_path / f"{number}")
        assert again.is_adapted
        assert again.get_config()["subnetwork"] == which
        for name, value in part.values().items():
            np.testing.assert_array_equal(again.values()[name], value)


@pytest.mark.parametrize(
    "settings, told", [({}, "."), ({"num_samples": 3}, ": num_samples 3.")]
)
def test_a_card_tells_numbers_alone_of_what_was_learned(published, settings, told):
    entry = published[1].posteriors["temperature"]
    entry = {**entry, "values": {}, "settings": settings}  # As of an array.
    preset = dataclasses.replace(published[1], posteriors={"prior": entry})
    card = model_card.card(preset, "folder", saved_model=False)
    assert f"fitted to 9 images of `toys_validation`{told}\n" in card


def test_a_posterior_of_other_weights_or_an_altered_one_is_refused(folder):
    posterior = zoo.load(SCALED, weights=folder)
    path = folder / "temperature.safetensors"
    with pytest.raises(ValueError, match="learned with other weights"):
        posterior_file.load(posterior, path, "ab" * 32)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="was altered: expected sha256"):
        zoo.load(SCALED, weights=folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="temperature.safetensors"):
        zoo.load(SCALED, weights=folder)
    zoo.load(NAME, weights=folder)


def test_a_packaged_posterior_lies_beside_its_weights(folder, tmp_path, monkeypatch):
    target = tmp_path / "zoo" / "presets"
    target.mkdir(parents=True)
    packaging.package(folder, target)
    names = {path.name for path in (target / "pretrained").iterdir()}
    assert names == {f"{NAME}.safetensors", f"{SCALED}.safetensors"}
    monkeypatch.setattr(index, "FOLDER", target)
    posterior = zoo.load(SCALED)
    assert float(posterior.temperature.numpy()) == 1.625
    assert "@temperature" in zoo.describe(NAME)
    text = (target / "presets.json").read_text()
    assert "of_posteriors" not in text
    assert len(index.read()[NAME].of_posteriors) == 4
    np.testing.assert_equal(zoo.parse(SCALED).posterior, "temperature")
    presets = json.loads(text)
    entry = presets[NAME]["posteriors"]["temperature"]
    entry |= {"values": {}, "settings": {}}  # As of an array, which is not told.
    (target / "presets.json").write_text(json.dumps(presets))
    told = r"@temperature +of 9 images of toys_validation\n"
    assert re.search(told, zoo.describe(NAME))
