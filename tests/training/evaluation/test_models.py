import dataclasses

import numpy as np
import pytest

import zoo
from tests.helpers import calls
from tests.helpers.networks import as_numpy
from training.evaluation import models
from zoo import finding
from zoo.posterior import DeepEnsemble
from zoo.presets import index

PLAIN, SMOOTH = "resnet20.fashion_mnist", "resnet20_smooth.fashion_mnist"


def weights_of(name):
    return str(finding.locate(index.read()[name]))


def test_names_joined_by_a_plus_are_an_ensemble():
    (name, model), (_, alone) = models.load([f"{PLAIN}+{SMOOTH}", PLAIN]).items()
    assert name == f"{PLAIN}+{SMOOTH}"
    assert isinstance(model, DeepEnsemble)
    images = np.zeros((2, 28, 28, 1), "uint8")
    samples = as_numpy(model(images, seed=0))
    assert samples.shape == (2, 2, 10)
    np.testing.assert_allclose(samples[0], as_numpy(alone(images)), atol=1e-5)


def test_weights_joined_by_a_plus_are_an_ensemble_of_one_name():
    paths = f"{weights_of(PLAIN)}+{weights_of(PLAIN)}"
    (name,) = models.load(["resnet20"], [paths])
    assert name == "2xresnet20"


def test_models_of_one_name_are_numbered():
    path = weights_of(PLAIN)
    names = list(models.load(["resnet20"] * 3, [path] * 3))
    assert names == ["resnet20", "resnet20#2", "resnet20#3"]


def test_members_are_names_or_weights_of_the_first_model():
    members = models.members([weights_of(PLAIN), SMOOTH], "resnet20.seeds")
    assert [member.name for member in members] == ["resnet20.seeds", SMOOTH]


def test_a_sibling_has_the_weights_and_a_further_method():
    model = models.sibling(finding.find(PLAIN), "lldo")
    assert model.name == "resnet20_lldo.fashion_mnist"
    assert model.get_layer("head_dropout").rate == 0.32
    plain = zoo.load(PLAIN)
    for ours, theirs in zip(
        model.trainable_weights, plain.trainable_weights, strict=True
    ):
        np.testing.assert_array_equal(as_numpy(ours), as_numpy(theirs))
    named = models.sibling(finding.find("resnet20", weights_of(PLAIN)), "lldo")
    assert named.name == "resnet20_lldo"


@pytest.mark.parametrize("end", ["", "@temperature", "@mc"])
def test_a_name_is_parsed_once_and_its_weights_are_found_once(end):
    with calls.recorded() as found:
        (name,) = models.load([f"{PLAIN}{end}"])
    assert name == f"{PLAIN}{end}"
    assert calls.texts(found, "parse") == [PLAIN]
    assert calls.texts(found, "find") == [PLAIN]


def test_settings_of_posteriors_are_part_of_their_names():
    texts = "laplace", "laplace:subset=all:structure=diagonal", "laplace:num_samples=3"
    found = models.load([f"{PLAIN}@{text}" for text in texts], num_samples=7)
    assert list(found) == [f"{PLAIN}@{text}" for text in texts]
    assert [model.subset for model in found.values()] == [
        "last_layer",
        "all",
        "last_layer",
    ]
    assert [model.structure for model in found.values()][1] == "diagonal"
    assert [model.num_draws for model in found.values()] == [7, 7, 3]
    name = f"{PLAIN}+{SMOOTH}@mixture:predictive=bridge"
    (mixture,) = models.load([name]).values()
    assert [member.predictive for member in mixture.members] == ["bridge"] * 2
    with pytest.raises(ValueError, match="no setting 'subst'.*Known: .*subset"):
        models.load([f"{PLAIN}+{SMOOTH}@mixture:subst=all"])


def test_a_published_posterior_of_other_settings_is_made_anew(monkeypatch):
    entry = {"settings": {"subset": "all"}, "file": "x"}
    preset = dataclasses.replace(
        finding.find(PLAIN).preset, posteriors={"laplace": entry}
    )
    found = finding.Found(zoo.parse(PLAIN), preset, finding.locate(preset))
    plain, loaded = zoo.load(PLAIN), []

    def load_found(found, **settings):
        loaded.append(found.spec.posterior)
        return plain

    monkeypatch.setattr(finding, "find", lambda name, weights=None: found)
    monkeypatch.setattr(models.loading, "load_found", load_found)
    texts = "", ":subset=all", ":subset=last_layer", ":predictive=bridge"
    for text in texts:
        models.load([f"{PLAIN}@laplace{text}"])
    assert loaded == ["laplace", "laplace", None, "laplace"]
    entry["settings"]["prior_precision"] = "validation"  # For these predictions.
    models.load([f"{PLAIN}@laplace:predictive=bridge"])
    assert loaded[4:] == [None]


@pytest.mark.parametrize(
    "names, weights, message",
    [
        (["resnet20"], ["a", "b"], "as many entries as `--model`.*2 weights, 1 models"),
        ([f"{PLAIN}+{SMOOTH}"], ["a"], "as many weights as models"),
        ([f"{PLAIN}+resnet20_smoth"], [], "Did you mean 'smooth'"),
        (["theirs.keras"], ["a"], "'theirs.keras' has its own weights"),
    ],
)
def test_what_does_not_fit_together_is_refused(names, weights, message):
    with pytest.raises(ValueError, match=message):
        models.load(names, weights)
