import os
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from tests.helpers.exports import IMAGES, dropout_model, tiny
from training import export
from training.export import checked, parity


@pytest.fixture(scope="module")
def posterior():
    """Two samples of a network with dropout, traced once."""
    return zoo.posterior.MonteCarlo(dropout_model(), 2)


@pytest.fixture(scope="module")
def plain():
    return tiny()


def write_logits(monkeypatch):
    """Lets exports have logits in the place of probabilities."""
    monkeypatch.setattr(zoo.predictive, "probs", lambda x: keras.ops.mean(x, axis=0))
    right = checked.scored
    monkeypatch.setattr(checked, "scored", lambda *args: right(*args[:3], lambda x: x))


def test_an_export_that_differs_leaves_nothing(posterior, plain, tmp_path):
    with pytest.MonkeyPatch.context() as wrong:
        write_logits(wrong)
        for function in (export.export_saved_model, export.export_tflite):
            with pytest.raises(ValueError, match="differs from Keras.*max_difference"):
                function(posterior, tmp_path / "output")
    assert list(tmp_path.iterdir()) == []
    export.export_tflite(plain, tmp_path / "output")
    kept = (tmp_path / "output").read_bytes()
    with pytest.MonkeyPatch.context() as wrong:
        write_logits(wrong)
        with pytest.raises(ValueError, match="differs"):
            export.export_tflite(posterior, tmp_path / "output", overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["output"]
    assert (tmp_path / "output").read_bytes() == kept


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda probs, seed: probs + np.where(seed == 2, 2e-4, 0), "differs.*batch"),
        (lambda probs, seed: probs * np.nan, "differs.*max_difference=nan"),
        (lambda probs, seed: probs if len(probs) > 1 else probs[:, ::-1], "size=1"),
        (lambda probs, seed: probs if len(probs) < 2 else probs[::-1], "size=5"),
    ],
)
def test_parity_finds_what_differs(posterior, change, message):
    def run(images, seed):
        probs = parity.expected(posterior, images, seed)
        return {"probabilities": change(probs, seed)}

    with pytest.raises(ValueError, match=message):
        parity.check(posterior, run, IMAGES, 1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")  # It is deprecated.
def test_the_interpreter_of_tensorflow_serves_as_well(posterior, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    export.export_tflite(posterior, tmp_path / "lite")


def test_parity_finds_a_seed_that_is_ignored_within_a_loose_tolerance(
    posterior,
):
    with pytest.raises(ValueError, match="ignores its seed"):
        parity.check(
            posterior,
            lambda images, _: {"probabilities": parity.expected(posterior, images, 1)},
            IMAGES,
            tolerance=1.0,
        )


def test_what_exists_is_replaced_on_request_only(posterior, plain, tmp_path):
    path = tmp_path / "served" / "1"
    export.export_saved_model(plain, path)
    with pytest.raises(FileExistsError, match="1 exists; `overwrite` replaces it"):
        export.export_saved_model(plain, path)
    export.export_saved_model(posterior, path, overwrite=True)
    assert "sample" in tf.saved_model.load(path).signatures
    assert [file.name for file in path.parent.iterdir()] == ["1"]
    with pytest.raises(FileExistsError, match="served is a folder that holds no"):
        export.export_saved_model(plain, path.parent, overwrite=True)
    assert path.exists()


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_interrupt_of_the_replacement_leaves_what_was_there(
    is_folder, tmp_path, monkeypatch
):
    path, move = tmp_path / "output", os.replace
    path.mkdir()
    (path / "model.tflite").write_text("older")

    def interrupted(source, target):
        if pathlib.Path(source).name == "new":
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), checked.replacing(path, True) as target:
        target.mkdir() if is_folder else target.write_text("newer")
    assert [file.name for file in tmp_path.iterdir()] == ["output"]
    assert (path / "model.tflite").read_text() == "older"


def test_a_file_is_there_all_the_time_that_it_is_replaced(tmp_path, monkeypatch):
    path, moves, move = tmp_path / "model.tflite", [], os.replace
    path.write_text("older")

    def watched(source, target):
        move(source, target)
        moves.append(path.exists())

    monkeypatch.setattr(os, "replace", watched)
    with checked.replacing(path, True) as target:
        target.write_text("newer")
    assert moves == [True]
    assert path.read_text() == "newer"


def custom(function):
    lambda_layer = keras.layers.Lambda(function, output_shape=(16, 16, 1))
    model = [keras.Input((16, 16, 1)), lambda_layer, keras.layers.Flatten()]
    return keras.Sequential([*model, keras.layers.Dense(2)])


def test_what_cannot_be_exported_is_refused_with_the_reason(plain, tmp_path):
    path, generator = tmp_path / "output", keras.random.SeedGenerator(0)

    def draw(x):
        return x + keras.random.normal(keras.ops.shape(x), seed=generator)

    def inverse(x):
        return keras.ops.erfinv(keras.ops.tanh(x) / 2)

    with pytest.raises(ValueError, match="noise an export would repeat.*may draw: "):
        export.export_saved_model(custom(draw), path)
    with pytest.raises(ValueError, match="no operator for tf.Erfinv"):
        export.export_tflite(custom(inverse), path)
    with pytest.raises(ValueError, match="one of None, float16, dynamic.*=int2"):
        export.export_tflite(plain, path, quantization="int2")
    with pytest.raises(ValueError, match="a positive integer.*num_samples=0"):
        export.export_tflite(plain, path, num_samples=0)
    with pytest.raises(ValueError, match=r"two or more of shape.*\(1, 16, 16, 1\)"):
        export.export_tflite(plain, path, images=IMAGES[:1])
    with pytest.raises(ValueError, match=r"two or more of shape.*\(5, 8, 16, 1\)"):
        export.export_tflite(plain, path, images=IMAGES[:, :8])
    flat = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"must take images.*\(None, 3\)"):
        export.export_saved_model(flat, path)
    assert list(tmp_path.iterdir()) == []
