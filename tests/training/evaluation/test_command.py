"""An evaluation as one call, on a folder of images."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from training import corruptions, data, metrics, report
from training.data import corrupted
from training.data.image_data import ImageData
from training.data.readers import folders
from training.evaluation import command, evaluate, sweep
from zoo.posterior import Temperature


def test_images_of_a_folder_have_the_size_that_the_model_takes(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for split in ("train", "test"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
            path = tmp_path / "photos" / "test" / label / f"{i}.png"
            Image.fromarray(pixels).save(path)
    images = keras.Input((12, 20, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(2)(x), name="theirs")
    model.save(tmp_path / "theirs.keras")
    settings = command.Settings(
        model=[str(tmp_path / "theirs.keras")],
        dataset=[str(tmp_path / "photos")],
        num_samples=(1,),
        output=str(tmp_path / "out"),
    )
    rows = command.run(settings).rows
    sized = folders.load_folder(tmp_path / "photos", "test", (12, 20))
    probs = keras.ops.softmax(model(sized[0][:]))
    expected = metrics.nll(np.array(probs), sized[1])
    (found,) = [row["value"] for row in rows if row["metric"] == "nll"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (tmp_path / "out" / "report.html").exists()
    assert len(report.read_rows(tmp_path / "out" / "rows.jsonl")) == len(rows)


def test_rows_of_corrupted_images_say_where_these_come_from(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    images = np.zeros((4, 16, 16, 1), "uint8")
    clean = ImageData("d", images, np.array([0, 1, 0, 1]), ("a", "b"))
    frost = corrupted.load("d_c/frost/1", "test", None, lambda: clean)
    inputs = keras.Input((16, 16, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    rows = evaluate.evaluate(model, frost, (1,), progress=False)
    expected = f"frost made here of {corruptions.frost_source()} textures"
    assert {row["source"] for row in rows} == {expected}


@pytest.mark.parametrize("names", [{"dataset": ["fashion_mnis"]}, {"ood": ["minst"]}])
def test_misspelled_data_sets_are_told_before_models_are_loaded(tmp_path, names):
    settings = {"model": ["missing.keras"], "output": str(tmp_path / "out"), **names}
    with pytest.raises(ValueError, match="Did you mean"):
        command.run(command.Settings(**settings))
    assert not (tmp_path / "out").exists()


def test_posteriors_adapt_to_what_a_flag_names(tmp_path, monkeypatch):
    found, told = [], []
    monkeypatch.setattr(command, "write", lambda *_: [])
    monkeypatch.setattr(command.logging, "info", lambda text, *x: told.append(text % x))
    monkeypatch.setattr(
        sweep,
        "evaluate_all",
        lambda models, *_, calibration, train, **__: (
            found.append((models, calibration, train)) or []
        ),
    )
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    path = f"{tmp_path}/a.keras"
    keras.Model(inputs, keras.layers.Dense(10)(x), name="a").save(path)

    def run(*models, **given):
        command.run(command.Settings(models, f"{tmp_path}/out", **settings, **given))
        return found.pop()

    settings = {"dataset": ["digits"], "num_samples": [1, 3]}
    scaled, turned = f"{path}@temperature", "digits_rotation/90"
    assert run(path)[1] is None
    for given, name in (({}, "digits"), ({"adapt": turned}, turned)):
        models, images, _ = run(scaled, **given)
        assert list(models) == ["a@temperature"]
        expected = data.load(name, "validation")
        np.testing.assert_array_equal(images.images[:], expected.images[:])
    models, images, _ = run(path, calibrate="7")
    assert list(models) == ["a", "a@temperature"]
    assert list(run(path, scaled, calibrate="7")[0]) == ["a", "a@temperature"]
    assert isinstance(models["a@temperature"], Temperature)
    assert len(images) == 7
    told.clear()
    _, images, train = run(scaled, f"{path}@laplace", adapt_limit=30)
    for part, split in ((images, "validation"), (train, "train")):
        whole = data.load("digits", split)
        np.testing.assert_array_equal(part.images[:], whole.sample(30).images[:])
    starts = [text.partition(" of 8 x 8")[0] for text in told]
    assert starts == [
        "Test set digits: 359 images",
        "Adapting to digits_validation: 30 images",
        "Adapting to digits_train/1295: 30 images",
    ]
    with pytest.raises(ValueError, match="give one. Received: adapt=digits, cal"):
        run(path, adapt="digits", calibrate="7")


def test_a_reference_that_is_no_model_is_told_before_predictions(tmp_path):
    settings = command.Settings(
        model=["resnet20.fashion_mnist"],
        dataset=["fashion_mnist_c/*/*"],
        reference="resnet20.fashion_mnit",
        output=str(tmp_path / "out"),
    )
    with pytest.raises(ValueError, match="Did you mean 'resnet20.*reference=resnet20"):
        command.run(settings)
    assert not (tmp_path / "out" / "predictions").exists()


def test_an_empty_list_of_data_sets_is_told_with_a_suite_too(tmp_path):
    settings = command.Settings(["missing.keras"], str(tmp_path), suite="ovadia")
    with pytest.raises(ValueError, match=r"No data set is named.*dataset=\[\]"):
        command.run(dataclasses.replace(settings, dataset=[]))
