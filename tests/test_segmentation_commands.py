"""The commands with a label for each pixel: train, publish, evaluate, export."""

import functools
import importlib
import json

import numpy as np
import pytest

import zoo
from tests.helpers import scenes
from training import data as training_data
from training import report
from training.evaluation import command
from training.export import export_saved_model, export_tflite
from training.export.onnx import export_onnx
from training.publishing.publish_training import publish_training
from training.run import run_training
from zoo import registry
from zoo.models import segmentation

pytestmark = pytest.mark.slow
# A method of the name puts the dropout in; the stages are those of the tests.
NAME, PLAIN = "unet16_mcdo50", "unet16"


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
        for name, folder in ((NAME, "run"), (PLAIN, "plain")):
            run_training(
                name,
                "camvid",
                str(root / folder),
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


def settings_of(trained, output, models, **changes):
    """What evaluates models on the test images; weights by the name of a model."""
    runs = {NAME: str(trained / "run"), PLAIN: str(trained / "plain")}
    runs[f"{PLAIN}+{PLAIN}"] = "+".join([runs[PLAIN]] * 2)
    given = {
        "model": models,
        "weights": [runs.get(name.partition("@")[0]) for name in models],
        "dataset": [str(trained / "data")],
        "num_samples": (3,),
        "output": str(output),
        "batch_size": 4,
        "outputs": "probs",
    }
    return command.Settings(**{**given, **changes})


def by_model(rows):
    """Values by the name of the data set and of the metric, for each model."""
    found = {}
    for row in rows:
        of_model = found.setdefault(row["model"], {})
        of_model[row["dataset"], row["metric"]] = row["value"]
    return found


def test_every_posterior_of_pixels_is_evaluated_with_its_uncertainties(
    trained, tmp_path
):
    kinds = "density", "laplace", "temperature", "laplace:predictive=monte_carlo"
    names = [PLAIN, NAME, f"{NAME}@temperature", f"{PLAIN}+{PLAIN}"]
    names += [f"{PLAIN}@{kind}" for kind in kinds]
    shifts = ("c/fog/3", "c/elastic_transform/3")
    data = [f"{trained / 'data'}{part}" for part in ("", *(f"_{x}" for x in shifts))]
    given = {"dataset": data, "decision": ["lac_50", "class_lac_40"]}
    settings = settings_of(trained, tmp_path, names, **given)
    outcome = command.run(settings)
    # After two epochs the best temperature may be one without end.
    assert all("@temperature: No temp" in line for line in outcome.missing)
    found = by_model(outcome.rows)
    assert len(found) + len(outcome.missing) == len(names)
    own = {"density": "density", "temperature": "entropy", "laplace": "entropy"}
    for name, values in found.items():
        kind = name.partition("@")[2].partition(":")[0]
        score = own.get(kind, "entropy")
        for dataset in ("data", *(f"data_{part}" for part in shifts)):
            assert np.isfinite(values[dataset, f"raulc/{score}"])
            for metric in ("error_auroc", "void_auroc"):
                assert 0 <= values[dataset, f"{metric}/{score}"] <= 1
            assert 0 <= values[dataset, "image_coverage/lac_50"] <= 1
        if kind in ("density", "temperature") or "monte_carlo" in name or name == NAME:
            has_spread = ("data", "error_auroc/mutual_information") in values
            assert has_spread == (kind not in own or "monte_carlo" in name), name
    page = (tmp_path / "report.html").read_text()
    assert "AUROC of unlabeled pixels by density" in page
    again = by_model(command.run(settings).rows)
    for name, values in again.items():
        assert values == pytest.approx(found[name], nan_ok=True)


@pytest.mark.parametrize("kind", ["saved_model", "tflite", "onnx"])
def test_artifacts_have_the_rows_of_their_networks(trained, tmp_path, kind):
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    write, end = {
        "saved_model": (export_saved_model, ""),
        "tflite": (export_tflite, ".tflite"),
        "onnx": (export_onnx, ".onnx"),
    }[kind]
    runs = {PLAIN: trained / "plain", NAME: trained / "run"}
    for name, folder in runs.items():
        model = zoo.load(name, weights=folder)
        write(model, tmp_path / f"{name}{end}", num_samples=3)
    places = [str(tmp_path / f"{name}{end}") for name in runs]
    outcome = command.run(settings_of(trained, tmp_path / "out", [*runs, *places]))
    found = list(by_model(outcome.rows).values())
    assert len(found) == 4
    for network, artifact in zip(found[:2], found[2:], strict=True):
        keys = artifact.keys() & network.keys()
        assert ("data", "mean_iou") in keys
        assert ("data", "void_auroc/entropy") in keys
        for key in keys:
            # A bin, or a pixel that two classes share, may change by rounding.
            assert artifact[key] == pytest.approx(network[key], abs=0.02, nan_ok=True)
        nll = "data", "nll"
        assert artifact[nll] == pytest.approx(network[nll], rel=1e-3)


@pytest.mark.parametrize("kind", ["density", "laplace"])
def test_what_learns_from_pixels_is_published_and_exported(trained, tmp_path, kind):
    import tensorflow as tf

    publish_training(
        f"{PLAIN}.scenes@{kind}",
        trained / "plain",
        tmp_path / "published",
        (),
        saved_model=False,
        data_license="cc0-1.0",
    )
    name = f"{PLAIN}.scenes@{kind}"
    posterior = zoo.load(name, weights=tmp_path / "published")
    assert posterior.is_adapted
    train = training_data.load(str(trained / "data"), "train")
    mine = zoo.load(f"{PLAIN}@{kind}", weights=trained / "plain")
    mine.adapt(train)
    images = train.images[:3]
    samples, scores = posterior.scored(images)
    expected, own = mine.scored(images)
    np.testing.assert_allclose(samples, expected, atol=0.1)  # Of float16 weights.
    export_saved_model(posterior, tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    found = served(images=tf.cast(images, tf.float32))
    for score, values in scores.items():
        assert values.shape == (3, *scenes.SHAPE)
        spread = np.std(own[score])
        np.testing.assert_allclose(values, own[score], atol=0.2 * spread)
        np.testing.assert_allclose(found[score], values, 1e-3, 1e-2 * spread)
    # They compare what the file gives with Keras before they keep it.
    export_tflite(posterior, tmp_path / "model.tflite")
    if importlib.util.find_spec("tf2onnx"):
        export_onnx(posterior, tmp_path / "model.onnx")


def test_a_decision_is_exported_with_the_sets_of_pixels(trained, tmp_path):
    import tensorflow as tf

    model = zoo.load(PLAIN, weights=trained / "plain")
    held_out = training_data.load(str(trained / "data"), "validation")
    decision = zoo.conformal.named("aps_60")
    probs = zoo.predictive.probs(model(held_out.images)[None])
    decision.adapt(np.asarray(probs), held_out.labels)
    for write, end in ((export_saved_model, ""), (export_tflite, ".tflite")):
        write(model, tmp_path / f"model{end}", decision=decision)
    served = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    found = served(images=tf.cast(held_out.images, tf.float32))
    sets = np.asarray(decision(probs))
    assert np.mean(found["prediction_set"] == sets) > 0.999  # At most by rounding.
    assert found["set_size"].shape == sets.shape[:-1]
    np.testing.assert_allclose(found["coverage"], 0.6)
