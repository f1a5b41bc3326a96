"""Names of classes travel with models, and are matched."""

import copy
import pickle
import warnings

import keras
import numpy as np
import pytest

import zoo
from zoo.classifier import classes_of, match, named
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature
from zoo.presets import index
from zoo.presets.weight_file import save_weights

CLASSES = ("cat", "dog", "cow")


def small(classes=CLASSES, name="small"):
    images = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(3, name="head")(keras.layers.Flatten()(images))
    return named(keras.Model(images, logits, name=name), classes)


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


@pytest.mark.parametrize(
    "again",
    [
        saved,
        lambda model, _: copy.deepcopy(model),
        lambda model, _: pickle.loads(pickle.dumps(model)),
        lambda model, _: keras.models.clone_model(model),
    ],
    ids=["load", "deepcopy", "pickle", "clone"],
)
def test_a_model_keeps_its_classes(again, tmp_path):
    model = again(small(), tmp_path)
    assert (model.classes, model.name) == (CLASSES, "small")


def test_posteriors_have_the_classes_of_their_models(tmp_path):
    model = small()
    for posterior in (MonteCarlo(model, 2), Temperature(model), DeepEnsemble([model])):
        assert posterior.classes == CLASSES
        config = keras.saving.serialize_keras_object(posterior)
        assert keras.saving.deserialize_keras_object(config).classes == CLASSES


def test_an_ensemble_has_one_order_of_classes():
    unknown, own = small(()), small()
    assert DeepEnsemble([unknown, own]).classes == CLASSES
    with pytest.raises(ValueError, match="in one order"):
        DeepEnsemble([own, small(CLASSES[::-1])])
    with pytest.raises(ValueError, match="first has 'wolf', only the second 'dog'"):
        DeepEnsemble([own, small(("cat", "wolf", "cow"))])


@pytest.mark.parametrize("classes", [("cat", "dog"), ("cat", "cat", "dog")])
def test_classes_are_as_many_different_names_as_logits(classes):
    with pytest.raises(ValueError, match="must be 3 different names.*'cat'"):
        small(classes)


def test_names_are_matched_whatever_their_order_and_spelling():
    others = ["T-shirt/top", "Ankle boot", "caf\u00e9", "Bag"]
    given = ["bag", "cafe\u0301", "t_shirt-TOP", "Ankle  boot"]
    assert match(given, others, "a", "b") == (3, 2, 0, 1)
    assert match(["Bag"], others, "a", "b") == (3,)
    # Where spelling alone tells names apart, it counts.
    assert match(["a-b", "A b"], ["A b", "a-b"], "a", "b") == (1, 0)


def test_names_that_only_one_has_are_listed():
    with pytest.raises(
        ValueError,
        match="classes of data 'd' are not those of model 'm': only the first has "
        "'blue', only the second 'red', 'violet'",
    ):
        match(["green", "blue"], ["green", "red", "violet"], "data 'd'", "model 'm'")
    with pytest.raises(ValueError, match="only the first has none, only the second 'a"):
        match(["a b", "a  b"], ["a b", "a"], "x", "y")


def test_weight_files_have_the_classes(tmp_path):
    model = zoo.build("resnet20", (16, 16, 1), 3, classes=CLASSES)
    save_weights(model, tmp_path / "model.safetensors")
    assert zoo.load("resnet20", weights=tmp_path).classes == CLASSES
    new = zoo.load("resnet20", weights=tmp_path, num_classes=4)
    assert new.classes == ()


def test_packaged_models_know_their_classes():
    names = "resnet20.fashion_mnist"
    assert zoo.load(names).classes == index.read()[names].classes
    assert len(index.read()[names].classes) == 10


def test_a_model_of_keras_has_none():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert classes_of(model) == ()
    np.testing.assert_array_equal(classes_of(MonteCarlo(model, 1)), ())


@pytest.mark.parametrize("name", ["resnet20_blurpool", "resnet20_mcdo", "vgg11_mlp"])
def test_no_image_has_no_logits(short, name):
    model = zoo.build(name, (32, 32, 3), num_classes=5)
    for dtype in ("uint8", "float32"):
        images = np.zeros((0, 32, 32, 3), dtype)
        assert tuple(model(images).shape) == (0, 5)
        assert model.predict(images, verbose=0).shape == (0, 5)
    assert tuple(MonteCarlo(model, 2)(images, seed=0).shape) == (2, 0, 5)
    one = np.full((1, 32, 32, 3), 99, "uint8")
    if "mcdo" not in name:
        expected = model(one)
        np.testing.assert_allclose(model.predict(one, verbose=0), expected, 1e-4, 1e-5)
