"""The commands with a label for each pixel: train, publish, evaluate, export."""

import functools
import json

import numpy as np
import pytest

import zoo
from tests.helpers import scenes
from training import report
from training.evaluation import command
from training.export import export_saved_model, export_tflite
from training.publishing.publish_training import publish_training
from training.run import run_training
from zoo import registry
from zoo.models import segmentation

pytestmark = pytest.mark.slow
# A method of the name puts the dropout in; the stages are those of the tests.
NAME = "unet16_mcdo50"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of a data set in the layout of SegNet and of a training on it."""
    root = tmp_path_factory.mktemp("scenes")
    whole = scenes.scenes(20)
    masks = np.where(whole.labels < 0, 3, whole.labels)
    parts = {"train": slice(12), "val": slice(12, 16), "test": slice(16, 20)}
    for split, rows in parts.items():
        scenes.write(root / "data", split, whole.images[rows], masks[rows])
    (root / "data" / "classes.txt").write_text("dark\nmiddle\nbright\n")
    row = functools.partial(segmentation.unet, encoder=scenes.ENCODER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ARCHITECTURES, "unet16", row)
        run_training(
            NAME,
            "camvid",
            str(root / "run"),
            dataset=str(root / "data"),
            epochs=2,
            changes=['augmentations=["flip", "crop2"]', "batch_size=4"],
        )
        yield root


def test_a_training_of_a_folder_says_what_it_was(trained):
    record = json.loads((trained / "run" / "recipe.json").read_text())
    assert record["classes"] == ["dark", "middle", "bright"]
    assert record["input_shape"] == [*scenes.SHAPE, 3]
    assert record["settings"]["class_weights"] == "median_frequency"
    assert record["seen"]["images"] == 12
    rows = (trained / "run" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(rows[-1])
    assert {"val_nll", "val_accuracy", "test_nll"} <= last.keys()


def test_an_evaluation_has_the_metrics_and_pictures_of_pixels(trained, tmp_path):
    settings = command.Settings(
        model=[NAME],
        weights=[str(trained / "run")],
        dataset=[str(trained / "data"), f"{trained / 'data'}_c/fog/3"],
        num_samples=(1, 3),
        output=str(tmp_path / "out"),
        batch_size=4,
    )
    outcome = command.run(settings)
    rows = [row for row in outcome.rows if row["dataset"] == "data"]
    assert {row["model"] for row in rows} == {NAME}
    found = {row["metric"]: row["value"] for row in rows if row["num_samples"] == 3}
    assert 0 <= found["mean_iou"] <= 1
    assert "iou/bright" in found
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="maps"' in page
    assert 'id="mistakes"' not in page
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| data | " in table
    assert " bright | " in table
    assert "Mean IoU (%)" in table
    again = command.run(settings)
    assert [row["value"] for row in again.rows] == pytest.approx(
        [row["value"] for row in outcome.rows], nan_ok=True
    )


def test_published_weights_load_and_their_card_is_of_a_segmentation(trained, tmp_path):
    rows = tmp_path / "rows.jsonl"
    values = {"mean_iou": 0.5, "nll": 1.0, "iou/dark": 0.25}
    common = {"model": f"{NAME}.scenes", "dataset": "data", "num_samples": 3, "seed": 0}
    report.write_rows(
        [
            {**common, "metric": name, "value": value, "num_examples": 4}
            for name, value in values.items()
        ],
        rows,
    )
    publish_training(
        f"{NAME}.scenes",
        trained / "run",
        tmp_path / "published",
        [rows],
        saved_model=False,
        data_license="cc0-1.0",
    )
    card = (tmp_path / "published" / "README.md").read_text()
    assert 'pipeline_tag: "image-segmentation"' in card
    assert f"# (batch, {scenes.SHAPE[0]}, {scenes.SHAPE[1]}, 3)" in card
    assert "| mean_iou |" in card
    model = zoo.load(f"{NAME}.scenes", weights=tmp_path / "published")
    theirs = zoo.load(NAME, weights=trained / "run")
    images = np.random.default_rng(0).integers(0, 256, (1, *scenes.SHAPE, 3), "uint8")
    run, other = (zoo.posterior.MonteCarlo(m, 2) for m in (model, theirs))
    # Rounded to float16.
    np.testing.assert_allclose(
        run.predict(images, seed=1), other.predict(images, seed=1), atol=0.05
    )
    assert model.classes == scenes.CLASSES


def test_exports_give_the_probabilities_of_every_pixel(trained, tmp_path):
    import tensorflow as tf

    model = zoo.load(NAME, weights=trained / "run")
    export_saved_model(model, tmp_path / "model", num_samples=3)
    served = tf.saved_model.load(tmp_path / "model")
    images = np.random.default_rng(0).integers(0, 256, (2, *scenes.SHAPE, 3), "uint8")
    classify = served.signatures["serving_default"]
    found = classify(images=tf.cast(images, tf.float32))["probabilities"]
    assert tuple(found.shape) == (2, *scenes.SHAPE, 3)
    np.testing.assert_allclose(tf.reduce_sum(found, axis=-1), 1, atol=1e-5)
    # It compares what the file gives with Keras before it keeps it.
    export_tflite(model, tmp_path / "model.tflite", num_samples=2)
    settings = command.Settings(
        model=[str(tmp_path / "model"), str(tmp_path / "model.tflite")],
        dataset=[str(trained / "data")],
        num_samples=(6,),
        output=str(tmp_path / "out"),
        outputs="probs",
        batch_size=4,
    )
    rows = [row for row in command.run(settings).rows if row["metric"] == "mean_iou"]
    assert len(rows) == 2
    assert all(0 <= row["value"] <= 1 for row in rows)
