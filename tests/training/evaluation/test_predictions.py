import functools
import json
import os
import pathlib
import signal
import sys
import time
import tracemalloc

import keras
import numpy as np
import pytest

import layers
from tests.helpers import processes
from tests.helpers.commands import environment
from tests.helpers.data_sets import LABELS, Data, Interrupting
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from training.data import fingerprint
from training.evaluation import evaluate, predictions, sweep
from training.evaluation.sampling import Passes
from zoo.posterior import MonteCarlo

ARRAYS = ("labels", "probs", "mutual_information", "energy", "max_logit")
SIZES = (1, 2, 5)


def model_of_names():
    """A model of the same names of layers each time, as those of the zoo have."""
    keras.utils.clear_session()
    return mc_network(name="random")


@functools.cache
def passes(sizes=SIZES, seed=3, batch_size=2):
    return Passes(model_of_names(), sizes, seed, batch_size)


def assert_same_bits(stored, other):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(stored, name), getattr(other, name))


def test_what_is_stored_follows_the_definitions(tmp_path):
    model = mc_network(name="random")
    stored = predictions.store(Passes(model, SIZES, 3, 4), Data(), tmp_path)
    logits = as_numpy(MonteCarlo(model, 5)(IMAGES, seed=3)).astype("float64")
    exps = np.exp(logits)
    probs = exps / exps.sum(-1, keepdims=True)

    def entropy(p):
        return -np.sum(p * np.log(p), -1)

    for index, size in enumerate(SIZES):
        mean = probs[:size].mean(0)
        information = entropy(mean) - entropy(probs[:size]).mean(0)
        energy = -np.log(exps[:size].sum(-1)).mean(0)
        largest = logits[:size].max(-1).mean(0)
        for name, expected in zip(
            ARRAYS[1:], (mean, information, energy, largest), strict=True
        ):
            found = getattr(stored, name)
            assert found.dtype == "float32"
            assert isinstance(found, np.memmap)
            np.testing.assert_allclose(found[index], expected, atol=2e-5, err_msg=name)
    np.testing.assert_array_equal(stored.labels, LABELS)
    assert stored.index(5) == 2


@pytest.mark.parametrize("reads", [0, 1, 3])
def test_an_interrupted_pass_goes_on_with_the_same_bits(tmp_path, reads):
    whole = predictions.store(passes(), Data(), tmp_path / "whole")
    images, folder = Interrupting(IMAGES, reads), tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        predictions.store(passes(), Data(images), folder, period=0)
    done = max(reads - 1, 0)  # The last was not looked at yet.
    assert json.loads((folder / "meta.json").read_text())["done"] == 2 * done
    with pytest.raises(ValueError, match=f"end at image {2 * done} of 7"):
        predictions.load(folder)
    counts = []
    images = Interrupting(IMAGES, 4 - done)  # As many reads as are left.
    stored = predictions.store(
        passes(), Data(images), folder, lambda *count: counts.append(count)
    )
    assert images.reads == 0
    assert counts == [(2 * done, False)] * (done > 0) + [
        *[(2, True)] * (3 - done),
        (1, True),
    ]
    assert_same_bits(stored, whole)


def test_a_killed_process_leaves_what_another_goes_on_from(tmp_path):
    script = f"""
import numpy as np
from tests.helpers.data_sets import LABELS, Data
from tests.helpers.networks import IMAGES, mc_network
from training.evaluation import predictions
from training.evaluation.sampling import Passes
passes = Passes(mc_network(name="random"), {SIZES}, 3, 2)  # As `passes()`.
images = np.tile(IMAGES, (100, 1, 1, 1))
data = Data(images, np.tile(LABELS, 100))
predictions.store(passes, data, r"{tmp_path}/killed", period=0)
"""
    process = processes.start([sys.executable, "-c", script], env=environment())
    meta = tmp_path / "killed" / "meta.json"
    done = 0
    while done < 20:
        assert process.poll() is None
        time.sleep(0.01)
        done = json.loads(meta.read_text())["done"] if meta.exists() else 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = json.loads(meta.read_text())["done"]
    assert 20 <= done < 700
    data = Data(np.tile(IMAGES, (100, 1, 1, 1)), np.tile(LABELS, 100))
    counts = []
    stored = predictions.store(
        passes(), data, tmp_path / "killed", lambda *count: counts.append(count)
    )
    assert counts[0] == (done, False)
    whole = predictions.store(passes(), data, tmp_path / "whole")
    for name in ARRAYS:
        actual, desired = getattr(stored, name), getattr(whole, name)
        rest = np.s_[..., done:] if actual.ndim < 3 else np.s_[:, done:]  # By image.
        np.testing.assert_array_equal(actual[rest], desired[rest])
        # On some processors the last bits of two processes differ.
        np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=1e-6)


def store_again(folder, made=None, data=None):
    """Returns whether predictions are made anew."""
    new = []
    predictions.store(
        made or passes(),
        data or Data(),
        folder,
        lambda count, is_new: new.append(is_new),
    )
    assert len(set(new)) == 1
    return new[0]


def test_what_is_there_is_made_anew_if_anything_changed(tmp_path):
    assert store_again(tmp_path)
    assert not store_again(tmp_path)
    other_images = IMAGES.copy()
    other_images[-1, 0, 0] ^= 1
    changes = [
        {"made": passes(seed=4)},
        {"made": passes(batch_size=3)},
        {"made": passes(sizes=(1, 6))},
        {"data": Data(other_images)},
        {"data": Data(labels=LABELS[::-1].copy())},
        {"data": Data(classes=("a", "b", "d"))},
        {"data": Data(IMAGES[:6], LABELS[:6])},
    ]
    for change in changes:
        assert store_again(tmp_path, **change), change
        assert not store_again(tmp_path, **change), change


def test_other_weights_and_other_layers_are_other_models(tmp_path):
    model = model_of_names()
    made = Passes(model, (1,))
    assert store_again(tmp_path, made)
    assert not store_again(tmp_path, made)
    model.layers[-1].bias.assign_add([0, 0, 1e-6])
    assert store_again(tmp_path, made)
    assert not store_again(tmp_path, made)
    model.get_layer("elementwise").rate = 0.4
    assert store_again(tmp_path, made)
    assert not store_again(tmp_path, made)


def test_fewer_ensemble_sizes_are_taken_from_what_is_there(tmp_path):
    folder = predictions.folder_of(tmp_path, "random", "made_up")
    assert store_again(folder)
    assert not store_again(folder, passes(sizes=(1, 5)))
    rows = sweep.evaluate_all(
        {"random": model_of_names()}, [Data()], tmp_path, (1, 5), seed=3, batch_size=2
    )
    assert {row["num_samples"] for row in rows} == {1, 5}
    assert not store_again(folder)


def test_what_was_begun_goes_on_with_fewer_ensemble_sizes(tmp_path, caplog):
    whole = predictions.store(passes(sizes=(2,)), Data(), tmp_path / "whole")
    folder, counts = tmp_path / "begun", []
    with pytest.raises(KeyboardInterrupt):
        predictions.store(passes(), Data(Interrupting(IMAGES, 3)), folder, period=0)
    images = Interrupting(IMAGES, 2)  # As many reads as are left.
    stored = predictions.store(
        passes(sizes=(2,)), Data(images), folder, lambda *count: counts.append(count)
    )
    assert counts == [(4, False), (2, True), (1, True)]
    assert stored.meta["sizes"] == [2]
    for name in ARRAYS:
        ours, theirs = getattr(stored, name), getattr(whole, name)
        np.testing.assert_allclose(ours, theirs, atol=1e-6, err_msg=name)


def test_why_predictions_are_made_anew_is_said(tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    reasons = {
        "sizes were [1, 2, 5] and are now [1, 6]": passes(sizes=(1, 6)),
        "seed was 3 and is now 4": passes(seed=4, sizes=(1,)),
        "batch_size was 2 and is now 3": passes(seed=4, sizes=(1,), batch_size=3),
    }
    store_again(tmp_path)
    for reason, made in reasons.items():
        caplog.clear()
        store_again(tmp_path, made)
        assert reason in caplog.text


def test_what_was_loaded_stays_when_the_files_are_made_anew(tmp_path):
    first = predictions.store(passes(), Data(), tmp_path)
    before = {name: np.array(getattr(first, name)) for name in ARRAYS}
    # Fewer images: the same files, cut off, would end the process.
    predictions.store(passes(seed=9), Data(IMAGES[:2], LABELS[:2]), tmp_path)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(first, name), value, err_msg=name)


def test_a_truncated_file_is_named_and_made_anew(tmp_path):
    store_again(tmp_path)
    path = tmp_path / "energy.npy"
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(ValueError, match="energy.npy' is truncated"):
        predictions.load(tmp_path)
    assert store_again(tmp_path)
    predictions.load(tmp_path)


def test_names_of_data_sets_stay_inside_the_folder():
    root = pathlib.Path("root")
    path = predictions.folder_of(root, "resnet20.x", "x_c/fog/3")
    assert path == root / "resnet20.x" / "x_c" / "fog" / "3"
    path = predictions.folder_of(root, "a/b", "/../c")
    assert path == root / "a%2Fb" / "%" / "%2E%2E" / "c"


def test_the_memory_does_not_grow_with_the_images(tmp_path):
    class Made:
        """Images that exist only when they are read."""

        def __init__(self, count):
            self.shape = (count, 8, 8, 1)

        def __len__(self):
            return self.shape[0]

        def fingerprint(self):
            return str(self.shape)

        def __getitem__(self, index):
            count = len(range(len(self))[index])
            return np.full((count, 8, 8, 1), index.start % 251, "uint8")

    made = Passes(network(name="plain"), (1,), batch_size=500)
    predictions.store(made, Data(Made(500), np.zeros(500, int)), tmp_path / "warm")
    peaks = []
    for count in (10_000, 40_000):
        data = Data(Made(count), np.zeros(count, "int32"))
        tracemalloc.start()
        predictions.store(made, data, tmp_path / str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The probabilities of the larger one would take 480 kB.
    assert peaks[1] < peaks[0] + 100_000


def test_the_fingerprint_does_not_count_the_layers_made_before():
    def prints(name):
        images = keras.Input((4, 4, 1))
        x = images[:, :3] + keras.ops.pad(images, 1)[:, :3, :4]
        x = keras.layers.Flatten()(layers.MCDropout(0.5, name=name)(x))
        model = keras.Model(
            images, keras.layers.Dense(2, "relu", name="head")(x), name="m"
        )
        model.set_weights([np.ones_like(w) for w in model.get_weights()])
        return fingerprint.of_posterior(MonteCarlo(model, 2))

    first = prints("dropout")
    assert prints("dropout") == first
    assert prints("other") != first  # The draws follow this name.


def test_predictions_of_another_precision_do_not_count(tmp_path):
    def stored(precision):
        passes = Passes(convolutions(), (1, 2), 3, 2, precision=precision)
        return predictions.store(passes, Data(), tmp_path)

    full = stored("float32")
    probs = np.array(full.probs)
    half = stored("bfloat16")
    assert half.meta["precision"] == "bfloat16"
    error = np.abs(half.probs - probs).max()
    assert 0 < error < 0.02
    assert {row["precision"] for row in evaluate.rows(half)} == {"bfloat16"}
    assert not any("precision" in row for row in evaluate.rows(full))
    again = stored("float32")
    np.testing.assert_array_equal(again.probs, probs)
    # Those of before there was a precision are of float32.
    path = tmp_path / "meta.json"
    meta = json.loads(path.read_text())
    del meta["precision"]
    path.write_text(json.dumps(meta))
    assert "precision" not in stored("float32").meta
    assert stored("bfloat16").meta["precision"] == "bfloat16"


def convolutions():
    """A network with something to fold, of the same weights each time."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x = start = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3)(x))
    x = layers.MCDropout(0.3, name="drop")(keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(x))
    return keras.Model(start, keras.layers.Dense(3)(x), name="convolutions")
