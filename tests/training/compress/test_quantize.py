"""What a training of integers freezes, and that one from the command resumes."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers import narrow
from tests.helpers.data_sets import stripes, write_idx
from tests.helpers.networks import as_numpy
from tests.helpers.trainings import RECIPE, without_time
from training import run, trainer
from training.compress import command, quantize
from training.run import change_recipe, load_recipe
from zoo.compressed import compression_of
from zoo.presets import weight_file
from zoo.quantization import is_quantized


def test_statistics_and_ranges_stay_when_they_are_frozen():
    images = keras.Input((4, 4, 2))
    x = layers.BatchNormalization(name="norm")(images)
    model = keras.Model(images, layers.FakeQuantization(name="range")(x))
    x = np.random.default_rng(0).normal(3, 2, size=(8, 4, 4, 2)).astype("float32")
    model(x, training=True)
    before = model.get_weights()
    expected = as_numpy(model(x, training=False))
    quantize.freeze_statistics(model)
    np.testing.assert_allclose(model(x, training=True), expected, atol=1e-6)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(model.trainable_weights) == 2


def test_what_cannot_be_frozen_is_an_error():
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.BatchNormalization(name="own")(images))
    with pytest.raises(ValueError, match="`frozen_epochs` is for.*layer=own"):
        quantize.freeze_statistics(model)
    model = keras.Model(images, keras.layers.Dense(2)(images))
    with pytest.raises(ValueError, match="model has neither"):
        quantize.freeze_statistics(model)
    made = quantize.with_integers(model, 8)
    assert quantize.with_integers(made, 8) is made
    with pytest.raises(ValueError, match="those of 8 bits.*weight_bits=4"):
        quantize.with_integers(made, 4)


def test_what_cannot_be_frozen_is_an_error_before_the_training(tmp_path):
    images = keras.Input((12, 12, 1))
    x = keras.layers.Dense(2, name="head")(keras.layers.Flatten()(images))
    model = keras.Model(images, x, name="bare")
    recipe = dataclasses.replace(RECIPE, frozen_epochs=1)
    with pytest.raises(ValueError, match="neither: set frozen_epochs=0.*model=bare"):
        trainer.train(model, recipe, stripes(), tmp_path)
    assert not (tmp_path / trainer.ROWS_FILE).exists()


def test_fewer_epochs_have_fewer_that_are_frozen():
    recipe = load_recipe("cifar10_compress")
    assert (recipe.epochs, recipe.frozen_epochs) == (10, 3)
    assert change_recipe(recipe, [], epochs=2).frozen_epochs == 1
    assert change_recipe(recipe, [], epochs=5).frozen_epochs == 3
    with pytest.raises(ValueError, match="`frozen_epochs` are the last ones"):
        change_recipe(recipe, ["frozen_epochs=4"], epochs=4)


@pytest.mark.parametrize(
    "given, expected",
    [
        (
            {"bits": 4, "sparsity": 0.5},
            ["weight_bits=4", "pruning=magnitude:sparsity=0.5"],
        ),
        ({"filters": 0.5, "score": "scale"}, ["pruning=slimming:sparsity=0.5"]),
        (
            {"teacher": "a", "teacher_weights": "b", "temperature": 2.0, "weight": 0.5},
            [
                *("objective=distillation:temperature=2.0:weight=0.5", "teacher=a"),
                "teacher_weights=b",
            ],
        ),
        (
            {"teacher": "a", "spread": True, "filters": 0.2},
            [
                "pruning=filters:sparsity=0.2",
                *("objective=distribution_distillation", "teacher=a"),
            ],
        ),
    ],
)
def test_flags_are_settings_of_a_recipe(given, expected):
    assert command.settings_of(**given) == expected
    recipe = vars(change_recipe(load_recipe("fashion_mnist_compress"), expected))
    for setting in expected:
        name, _, value = setting.partition("=")
        assert str(recipe[name]) == value


def test_flags_that_do_not_go_together_are_errors():
    for given, said in (
        ({}, "Nothing makes the network smaller"),
        ({"sparsity": 0.5, "filters": 0.5}, "one after the other"),
        ({"bits": 8, "score": "l1"}, "`score` is for `filters`"),
        ({"bits": 8, "spread": True}, "`spread` is for `teacher`"),
        ({"teacher": "a", "spread": True, "weight": 0.5}, "there is no `weight`"),
        ({"filters": 0.5, "score": "l2"}, "`score` must be one of l1, scale"),
    ):
        with pytest.raises(ValueError, match=said):
            command.settings_of(**given)


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Arguments of a short compression of a narrow network."""
    narrow.shortened(monkeypatch)
    data = stripes(160, 28)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", data.images[..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", data.labels)
    keras.utils.set_random_seed(0)
    model = zoo.build("resnet20_smooth", (28, 28, 1), 10)
    weight_file.save_weights(model, tmp_path / "start.safetensors")
    changes = ["batch_size=40", "holdout=16", "learning_rate=0.02"]
    return {
        "model": "resnet20_smooth",
        "recipe": "fashion_mnist_compress",
        "data_dir": str(tmp_path),
        "weights": str(tmp_path / "start.safetensors"),
        "epochs": 2,
        "changes": changes,
        "checkpoint_seconds": 0,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "smaller, compression",
    [
        (["weight_bits=8"], {"weight_bits": 8}),
        (["pruning=magnitude:sparsity=0.5"], {}),
        (["pruning=filters:sparsity=0.5", "weight_bits=4"], None),
    ],
)
def test_a_compression_is_resumed_loaded_and_counted(
    smaller, compression, start, tmp_path, monkeypatch
):
    def compress(folder):
        return command.run_compression(
            workdir=str(tmp_path / folder), smaller=smaller, **start
        )

    report = compress("whole")
    made = zoo.load("resnet20_smooth", weights=tmp_path / "whole")
    assert report == json.loads((tmp_path / "whole" / command.FILE).read_text())
    known = compression_of(made)
    assert known == report["compression"]
    assert compression is None or known == compression
    whole = report["whole"]
    if compression is None:
        assert set(known["filters"].values()) == {4, 8, 16}
        assert report["multiply_adds"] < 0.35 * whole["multiply_adds"]
        assert is_quantized(made)
    elif not compression:
        assert report["not_zero"] == whole["weights"] - np.ceil(whole["weights"] / 2)
    original, steps = trainer._Keeper.on_train_batch_end, iter(range(1, 1000))

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        if next(steps) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compress("stopped")
    again = compress("stopped")
    rows = [without_time([one["metrics"]]) for one in (report, again)]
    assert rows[0] == rows[1]
    other = zoo.load("resnet20_smooth", weights=tmp_path / "stopped")
    for one, two in zip(made.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=one.path)


def test_a_posterior_behind_the_name_is_not_counted(start, tmp_path):
    start["model"] = "resnet20_smooth@mc"
    report = command.run_compression(
        workdir=str(tmp_path / "run"),
        smaller=["pruning=magnitude:sparsity=0.5"],
        **start,
    )
    assert report["weights"] == report["whole"]["weights"]
    assert (tmp_path / "run" / command.FILE).exists()


def test_filters_are_not_removed_from_a_network_without_weights(start, tmp_path):
    start["weights"] = None
    with pytest.raises(ValueError, match="`pruning` needs `weights` here"):
        run.run_training(
            workdir=str(tmp_path / "run"),
            **{**start, "changes": ["pruning=filters:sparsity=0.5"]},
        )
