"""Training resumes exactly, on every backend and distribution."""

import dataclasses
import json
import os
import shutil
import signal
import sys
import time
import tracemalloc

import keras
import numpy as np
import pytest
import safetensors.numpy
import scipy.special
from PIL import Image

import layers
from tests.helpers import marks, processes
from tests.helpers.commands import TWO_DEVICES, WITHOUT_TENSORFLOW, quick
from tests.helpers.data_sets import stripes, write_idx
from tests.helpers.trainings import (
    AVERAGED,
    RECIPE,
    dense_model,
    small_model,
    without_time,
)
from training import batches, checkpoint, objective, task, trainer
from training.data.image_data import ImageData
from training.data.readers import folders
from zoo.presets import weight_file


def fit(workdir, model=None, recipe=RECIPE, validation=40, **kwargs):
    model = model or small_model()
    validation = stripes(validation)
    rows = trainer.train(model, recipe, stripes(), workdir, validation, **kwargs)
    return model, rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished training; tests leave it as it is."""
    return tmp_path_factory.mktemp("finished")


@pytest.fixture(scope="module")
def uninterrupted(finished):
    """The model and the rows of that training."""
    return fit(finished)


@pytest.fixture
def copied(finished, uninterrupted, tmp_path):
    """A folder like that one."""
    return shutil.copytree(finished, tmp_path / "copied")


def test_learns_and_writes_a_row_for_each_epoch(uninterrupted):
    _, rows = uninterrupted
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["accuracy"] > 0.7


def kept(folder):
    """The weights that lie in a folder, by the name of the file."""
    paths = sorted((folder / "snapshots").iterdir())
    return {path.name: safetensors.numpy.load_file(path) for path in paths}


def test_the_weights_after_the_last_epochs_are_kept(finished, uninterrupted):
    found = kept(finished)
    assert [*found] == ["epoch_00002.safetensors", "epoch_00003.safetensors"]
    before, last = found.values()
    weights = weight_file.variables(uninterrupted[0])
    assert weights.keys() == last.keys()
    for name, variable in weights.items():
        np.testing.assert_array_equal(last[name], variable)
    assert np.abs(last["conv1/kernel"] - before["conv1/kernel"]).max() > 1e-4


def test_goes_on_bit_for_bit_after_each_stop(
    finished, uninterrupted, tmp_path, monkeypatch
):
    model, rows = uninterrupted
    original, steps = trainer._Keeper.on_train_batch_end, iter(range(1, 1000))

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        if next(steps) in (3, 5, 9, 15):  # Inside of an epoch, at its end and the last.
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
        for _ in range(4):
            with pytest.raises(KeyboardInterrupt):
                fit(tmp_path, checkpoint_seconds=0)
    assert next(steps) == 16  # No step was done twice.
    resumed, resumed_rows = fit(tmp_path)
    assert without_time(resumed_rows) == without_time(rows)
    np.testing.assert_equal(kept(tmp_path), kept(finished))
    for one, other in zip(model.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_a_finished_training_is_left_as_it_is(uninterrupted, copied):
    _, rows = uninterrupted
    names = {path.name for path in copied.iterdir()}
    kill = (
        "import os, sys; from zoo.storage import files\n"
        "with files.replacing(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), 9)"
    )
    path = str(copied / "checkpoint.safetensors")
    processes.run([sys.executable, "-c", kill, path])
    assert len([*copied.iterdir()]) > len(names)
    model, again = fit(copied)
    assert {path.name for path in copied.iterdir()} == names
    assert again == rows
    assert not np.array_equal(model.get_weights()[0], small_model().get_weights()[0])


def test_a_finished_training_without_its_rows_is_measured_again(tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=1, warmup_epochs=0, augmentations=())
    settings = {"recipe": recipe, "validation": 40, "test": stripes(40)}
    _, (before,) = fit(tmp_path, dense_model(), **settings)
    (tmp_path / "metrics.jsonl").unlink()
    _, (row,) = fit(tmp_path, dense_model(), **settings)
    tested = {k: v for k, v in before.items() if k.startswith("test_")}
    assert row == {"epoch": 1, **tested}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == row


def test_a_checkpoint_holds_the_random_counters_and_the_momentum(copied):
    arrays = safetensors.numpy.load_file(copied / "checkpoint.safetensors")
    counters = [v for k, v in arrays.items() if k.endswith("random_state")]
    assert [int(c[1]) for c in counters] == [3 * (5 + 4)] * 2  # Steps and validation.
    assert any("momentum" in name and np.abs(v).max() > 0 for name, v in arrays.items())


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    """A folder, its model and rows, and the weights after each update."""
    after_updates, original = [], trainer._Keeper.on_train_batch_end
    folder = tmp_path_factory.mktemp("averaged")

    def record(self, batch, logs=None):
        original(self, batch, logs)
        after_updates.append([v.numpy() for v in self.model.trainable_variables])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", record)
        return folder, *fit(folder, recipe=AVERAGED), after_updates


def test_ends_with_the_moving_averages_of_the_weights(averaged):
    _, model, rows, after_updates = averaged
    averages = after_updates[0]
    for weights in after_updates[1:]:
        averages = [0.8 * a + 0.2 * w for a, w in zip(averages, weights, strict=True)]
    assert len(after_updates) == 15
    for own, expected in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)
    # The first normalization is of fixed features, so its statistics are exact.
    features = model.get_layer("conv1")(stripes().images / 64.0 - 2)
    norm = model.get_layer("norm1")
    np.testing.assert_allclose(norm.moving_mean, np.mean(features, (0, 1, 2)), 1e-4)
    np.testing.assert_allclose(norm.moving_variance, np.var(features, (0, 1, 2)), 1e-4)
    assert [row for row in rows if "averaged_val_loss" in row] == rows[2:]
    assert rows[2]["averaged_val_loss"] != rows[2]["val_loss"]


def test_the_current_weights_go_on_behind_the_averages(uninterrupted, averaged):
    folder, first, rows, _ = averaged
    for row, expected in zip(without_time(rows), uninterrupted[1], strict=True):
        assert {k: row[k] for k in ("loss", "val_loss")} == {
            k: expected[k] for k in ("loss", "val_loss")
        }
    again, rows_again = fit(folder, recipe=AVERAGED)
    assert rows_again == rows
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_the_nll_is_beside_the_objective(tmp_path):
    """The objective has label smoothing and a divergence, the NLL has neither."""
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255, name="scale")(images))
    head = layers.DenseFlipout(2, initial_scale=1e-4, name="head")
    model = keras.Model(images, head(x), name="flat")
    recipe = dataclasses.replace(
        RECIPE, epochs=1, warmup_epochs=0, label_smoothing=0.2, augmentations=()
    )
    held_out = stripes(40)
    (row,) = trainer.train(model, recipe, stripes(), tmp_path, held_out)
    logits = keras.ops.convert_to_numpy(model(held_out.images)).astype("float64")
    divergence = float(sum(model.losses)) / 80
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    nll = -logs[np.arange(40), held_out.labels].mean()
    smoothed = -(logs * (0.8 * np.eye(2)[held_out.labels] + 0.1)).sum(1).mean()
    np.testing.assert_allclose(row["val_nll"], nll, rtol=1e-2)
    np.testing.assert_allclose(row["val_loss"], smoothed + divergence, rtol=1e-2)
    assert row["val_loss"] > 2 * row["val_nll"]
    assert {"nll", "accuracy", "loss"} < row.keys()


def test_refuses_the_checkpoint_of_other_settings(copied):
    with pytest.raises(ValueError, match=r"another training: seed was 0 and is now 1"):
        fit(copied, seed=1)


def test_settings_that_are_newer_than_a_checkpoint_had_their_defaults(
    uninterrupted, copied
):
    path = copied / "checkpoint.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = safetensors.numpy.load_file(path)
    settings = json.loads(metadata["settings"])
    del settings["recipe"]["objective"]
    metadata["settings"] = json.dumps(settings)
    safetensors.numpy.save_file(arrays, path, metadata)
    assert fit(copied)[1] == uninterrupted[1]
    other = dataclasses.replace(RECIPE, objective="augmix")
    with pytest.raises(ValueError, match="objective was 'cross_entropy' and is now"):
        fit(copied, recipe=other)


def test_refuses_the_checkpoint_of_other_initial_weights(tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=1, warmup_epochs=0)
    fit(tmp_path, recipe=recipe, initial_weights={"sha256": "12"})
    with pytest.raises(
        ValueError, match=r"initial_weights.sha256 was '12' and is not set now"
    ):
        fit(tmp_path, recipe=recipe)


def inverted(data, field):
    values = getattr(data, field)
    return dataclasses.replace(data, **{field: values.max() - values})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"recipe": {"batch_size": 8}}, "recipe.batch_size was 16 and is now 8. Use"),
        (
            {"recipe": {"optimizer": "adamw", "objective": "augmix"}},
            "recipe.optimizer was 'sgd' and is now 'adamw'; recipe.objective was "
            "'cross_entropy' and is now 'augmix'",
        ),
        (
            {"recipe": {"epochs": 4, "decay": 0.2}},
            "recipe.epochs was 3 and is now 4; recipe.decay was 0.1 and is now 0.2",
        ),
        (
            {"data": {"classes": ("rows", "wolf")}},
            r"classes\[1\] was 'columns' and is now 'wolf'. Use",
        ),
        (
            {"changed": "images"},
            r"training: training data was '\w+' and is now '\w+'",
        ),
        (
            {"changed": "labels"},
            r"training: training data was '\w+' and is now '\w+'",
        ),
        ({"validation": stripes(42)}, "training: validation data was"),
        ({"policy": "mixed_bfloat16"}, "precision was 'float32' and is now 'mixed_bfl"),
    ],
)
def test_a_training_knows_its_settings_its_data_and_its_precision(
    copied, change, message
):
    before = (copied / "checkpoint.safetensors").read_bytes()
    recipe = dataclasses.replace(RECIPE, **change.get("recipe", {}))
    data = dataclasses.replace(stripes(), **change.get("data", {}))
    data = inverted(data, change["changed"]) if "changed" in change else data
    model = small_model()
    if "policy" in change:
        model.dtype_policy = change["policy"]
    validation = change.get("validation", stripes(40))
    validation = dataclasses.replace(validation, classes=data.classes)
    with pytest.raises(ValueError, match=message):
        trainer.train(model, recipe, data, copied, validation)
    assert (copied / "checkpoint.safetensors").read_bytes() == before


def test_refuses_a_damaged_checkpoint(copied):
    path = copied / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="Cannot read the checkpoint"):
        fit(copied)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    copied, tmp_path
):
    path = copied / "checkpoint.safetensors"
    before = path.read_bytes()
    wild = stripes()
    model = small_model()
    settings = {"model": "small", "seed": 0, "examples": 80}
    settings["recipe"] = dataclasses.asdict(RECIPE)
    trained = trainer.compile_model(model, RECIPE, 80)
    trained.train_on_batch(wild.images[:16], wild.labels[:16])
    model.get_layer("head").kernel.assign(np.full((8, 2), np.inf, "float32"))
    message = r"head/kernel' is not finite. The last good checkpoint .* lower learning"
    with pytest.raises(FloatingPointError, match=message):
        checkpoint.save(trained, path, checkpoint.Position(), settings)
    assert path.read_bytes() == before
    diverging = dataclasses.replace(RECIPE, learning_rate=1e12, weight_decay=0)
    with pytest.raises(FloatingPointError, match="There is no checkpoint yet. Try a"):
        fit(tmp_path / "other", recipe=diverging)


def test_an_image_that_is_damaged_is_named(tmp_path):
    rng, paths = np.random.default_rng(0), [tmp_path / f"{i}.jpg" for i in range(32)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 40), "uint8")).save(path)
    content = paths[20].read_bytes()
    images = folders.FolderImages(paths, (12, 12))
    data = ImageData("photos", images, np.arange(32) % 2, ("a", "b"))
    recipe = dataclasses.replace(RECIPE, augmentations=())
    inputs = keras.Input((12, 12, 3))
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, logits)
    paths[20].write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"^Cannot read the image '.*20.jpg': image f"):
        trainer.train(model, recipe, data, tmp_path / "train")
    with pytest.raises(ValueError, match=r"^Cannot read the image '.*20.jpg': image f"):
        trainer.train(model, recipe, data.take(16), tmp_path / "val", validation=data)


def test_refuses_images_of_another_shape(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(12, 12, 1\).*has \(14, 14, 1\)"):
        trainer.train(small_model(), RECIPE, stripes(size=14), tmp_path)


def test_refuses_a_batch_larger_than_the_data(tmp_path):
    with pytest.raises(ValueError, match="batch_size=160, 80 images"):
        fit(tmp_path, recipe=dataclasses.replace(RECIPE, batch_size=160))


def test_the_divergence_is_divided_by_the_number_of_examples():
    images = keras.Input((4,))
    head = layers.DenseFlipout(2, initial_scale=0.1, seed=0)
    model = keras.Model(images, head(images))
    x, y = np.ones((6, 4), "float32"), np.zeros(6, "int32")
    trained = objective.elbo(model, num_examples=1000)
    trained.compile("sgd", objective.cross_entropy())
    with layers.stream(0):
        nll = float(objective.cross_entropy()(y, model(x)))
    divergence = float(sum(model.losses))
    with layers.stream(0):
        total = float(trained.compute_loss(x, y, trained(x)))
    assert divergence > 1
    np.testing.assert_allclose(total, nll + divergence / 1000, rtol=1e-5)


def test_gaussian_weights_do_not_decay(tmp_path):
    images = x = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, layers.DenseFlipout(2, name="head")(x))
    optimizer = trainer.compile_model(model, RECIPE, 80).optimizer
    decays = {v.path: optimizer._use_weight_decay(v) for v in model.trainable_weights}
    assert decays["conv/kernel"]
    assert not decays["head/kernel_rho"]
    assert not decays["head/kernel"]


SCRIPT = """
import dataclasses, json, sys
import numpy as np
sys.path.insert(0, {root!r})
{setup}
import keras
from tests.helpers import trainings as t
from training import distribution, trainer
with distribution.scope({scope!r}):
    model = t.small_model(rate={rate}, smooth=True)
    recipe = dataclasses.replace(t.AVERAGED, **{changes!r})
    rows = trainer.train(model, recipe, t.stripes(), {workdir!r}, t.stripes(37))
print(json.dumps(t.without_time(rows)))
print("tensorflow" in sys.modules)
"""


TWO_JAX_DEVICES = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax
assert len(jax.devices()) == 2
"""


def run_script(
    workdir, setup="", scope="one", backend="tensorflow", rate=0.0, **changes
):
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    settings = {"root": root, "setup": setup, "scope": scope, "rate": rate}
    settings["changes"] = changes
    script = SCRIPT.format(**settings, workdir=str(workdir))
    environment = quick(backend)
    result = processes.run(
        [sys.executable, "-c", script],
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "ran out of data" not in result.stderr
    *_, rows, has_tensorflow = result.stdout.splitlines()
    return json.loads(rows), has_tensorflow == "True"


def assert_rows_close(rows, expected, tolerance):
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for name in {"loss", "val_loss", "averaged_val_loss"} & other.keys():
            np.testing.assert_allclose(row[name], other[name], rtol=tolerance)


@pytest.mark.slow  # Without averages, `test_mirrored` has more sizes.
def test_two_devices_have_the_losses_of_one(tmp_path):
    model = small_model(rate=0.0, smooth=True)
    recipe = dataclasses.replace(AVERAGED, epochs=2)
    expected = without_time(fit(tmp_path / "one", model, recipe, 37)[1])
    assert "averaged_val_loss" in expected[-1]
    rows, _ = run_script(tmp_path / "two", TWO_DEVICES, "mirrored", epochs=2)
    assert_rows_close(rows, expected, 1e-4)


@pytest.mark.slow
def test_two_devices_of_jax_have_the_losses_and_masks_of_one(tmp_path):
    pytest.importorskip("jax")
    settings = {"backend": "jax", "rate": 0.2}
    one, _ = run_script(tmp_path / "one", **settings)
    two, _ = run_script(tmp_path / "two", TWO_JAX_DEVICES, "data_parallel", **settings)
    assert_rows_close(two, one, 1e-4)


@pytest.mark.slow
def test_two_devices_of_jax_share_images_with_and_without_labels(tmp_path):
    pytest.importorskip("jax")
    changes = {"objective": "vat:epsilon=0.5:entropy=1", "labels": 32, "epochs": 2}
    settings = {"backend": "jax", "rate": 0.2, "unlabeled_batch_size": 16, **changes}
    one, _ = run_script(tmp_path / "one", **settings)
    two, _ = run_script(tmp_path / "two", TWO_JAX_DEVICES, "data_parallel", **settings)
    assert_rows_close(two, one, 1e-3)


@pytest.mark.parametrize("backend", marks.OTHERS)
def test_others_train_from_arrays_without_tensorflow(backend, tmp_path):
    pytest.importorskip(backend)
    rows, has_tensorflow = run_script(
        tmp_path / "other", WITHOUT_TENSORFLOW, "one", backend
    )
    assert not has_tensorflow
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["averaged_val_loss"] != rows[-1]["val_loss"]


@marks.on_others
def test_others_train_with_three_views_and_adamw(backend, tmp_path):
    pytest.importorskip(backend)
    changes = {"objective": "augmix", "optimizer": "adamw", "learning_rate": 0.01}
    rows, _ = run_script(tmp_path, WITHOUT_TENSORFLOW, "one", backend, **changes)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["averaged_val_loss"] != rows[-1]["val_loss"]


@marks.on_others
def test_others_train_with_noise_and_mixtures_of_pairs(backend, tmp_path):
    pytest.importorskip(backend)
    changes = {"objective": "dign", "augmentations": ("randaugment", "mixup")}
    rows, _ = run_script(tmp_path, WITHOUT_TENSORFLOW, "one", backend, **changes)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert np.isfinite(rows[-1]["val_loss"])


@pytest.mark.parametrize(
    "attacked", ["fgsm:epsilon=16", "pgd:epsilon=16:steps=2", "ar_adals:bins=3:rate=1"]
)
@marks.on_others
def test_others_train_with_attacks(backend, attacked, tmp_path):
    pytest.importorskip(backend)
    changes = {"objective": attacked, "rate": 0.1}
    rows, _ = run_script(tmp_path, WITHOUT_TENSORFLOW, "one", backend, **changes)
    assert rows[-1]["loss"] < rows[0]["loss"]
    measured = {"val_pgd_accuracy", "label_smoothing_2"} & rows[-1].keys()
    assert len(measured) == 1


def zoo_train(workdir):
    command = [sys.executable, "-m", "training.cli.train", "--model=resnet20_mcdo"]
    command += ["--recipe=fashion_mnist", f"--data_dir={workdir.parent}"]
    command += ["--epochs=2", f"--workdir={workdir}", "--checkpoint_seconds=0"]
    return processes.start(command)


@pytest.mark.slow
def test_the_command_goes_on_after_sigkill(tmp_path):
    data = stripes(640, 28)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", data.images[..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", data.labels)
    whole = zoo_train(tmp_path / "whole")
    assert whole.wait() == 0
    killed = zoo_train(tmp_path / "killed")
    checkpoint_path = tmp_path / "killed" / "checkpoint.safetensors"
    while not checkpoint_path.exists():
        time.sleep(0.05)
        assert killed.poll() is None
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    again = zoo_train(tmp_path / "killed")
    assert again.wait() == 0

    def rows(name):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return without_time(json.loads(line) for line in lines)

    assert rows("killed") == rows("whole")


def test_epochs_leave_nothing_of_their_order_in_memory():
    """TensorFlow keeps what makes batches for good."""
    count = 200_000
    zeros = np.zeros((count, 1, 1, 1), "uint8")
    data = ImageData("many", zeros, np.arange(count) % 2, ("a", "b"))

    def pass_some(epoch):
        next(iter(batches.train_batches(data, 100, epoch=epoch)))
        next(iter(batches.test_batches(data, 100)))

    pass_some(0)
    tracemalloc.start()
    try:
        for epoch in range(1, 9):
            pass_some(epoch)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 5 * 8 * count


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_nll_of_a_training_is_the_cross_entropy(shape):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=20, size=(*shape, 7)).astype("float32")
    logits[..., 6] = -np.inf  # Of a class that is ruled out.
    labels, weights = rng.integers(0, 6, shape), rng.uniform(size=shape)
    metric = {m.name: m for m in task.TASKS["segmentation"].training_metrics()}["nll"]
    metric.update_state(labels, logits, weights)
    logs = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    nll = -np.take_along_axis(logs, labels[..., None], -1)[..., 0]
    np.testing.assert_allclose(metric.result(), np.average(nll, weights=weights), 1e-5)
