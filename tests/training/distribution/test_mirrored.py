"""Several devices: every image counts once, whatever the sizes."""

import itertools
import json
import os
import pathlib
import sys

import numpy as np
import pytest

from tests.helpers import processes
from tests.helpers.data_sets import stripes
from training import batches

ROOT = pathlib.Path(__file__).parents[3]


def run(*cases):
    """Returns the figures of trainings in a process with several logical devices."""
    command = [sys.executable, "-m", "tests.helpers.mirrored", json.dumps(cases)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = processes.run(command, cwd=ROOT, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def assert_like_one_device(training, nll="val_loss", rtol=1e-6):
    one = training.pop("1")
    (expected,) = one["weights"]
    for devices, other in training.items():
        for row, expected_row in zip(other["rows"], one["rows"], strict=True):
            assert row.keys() == expected_row.keys()
            for name, value in expected_row.items():
                np.testing.assert_allclose(
                    row[name], value, rtol, atol=1e-7, err_msg=f"{devices} {name}"
                )
        np.testing.assert_allclose(other["rows"][-1][nll], other["nll"], rtol)
        assert len(other["weights"]) == int(devices)
        for own in other["weights"]:
            for path, value in expected.items():
                np.testing.assert_allclose(
                    own[path], value, 10 * rtol, atol=rtol, err_msg=path
                )


@pytest.fixture(scope="module")
def figures():
    # Two devices get 5 and 4 images of a batch, and the last validation image is on the
    # first of them alone. Of maps, they have different numbers of labeled pixels.
    weighted = {"class_weights": "median_frequency"}
    return run([9, 19, 19, [2]], [5, 10, 10, [2], weighted, "pixels", ["crop2"]])


def test_odd_sizes_have_the_figures_of_one_device(figures):
    training, of_maps = figures["trainings"]
    assert_like_one_device(dict(training))
    assert_like_one_device(dict(of_maps), nll="val_nll")


@pytest.mark.slow
def test_noise_and_mixtures_of_pairs_are_those_of_one_device():
    mixed = "plain", ["flip", "mixup"]
    short = {"clip_norm": 0.05}  # Of the sum over devices, not of each part.
    cases = [9, 19, 19, [2], "dign", *mixed], [10, 21, 31, [3], short, *mixed]
    for training in run(*cases)["trainings"]:
        assert_like_one_device(training)


@pytest.mark.slow
def test_three_views_of_images_have_the_figures_of_one_device():
    for training in run([9, 19, 19, [2], "augmix"])["trainings"]:
        assert_like_one_device(training)


@pytest.mark.slow
def test_perturbations_and_unlabeled_images_have_the_figures_of_one_device():
    objective = "vat:epsilon=0.5:entropy=1"
    few = {"objective": objective, "labels": 12, "unlabeled_batch_size": 7}
    # Of 3 labeled and 7 unlabeled images, two devices have 2 and 4.
    cases = [9, 19, 19, [2], objective], [3, 24, 19, [2], few]
    for training in run(*cases)["trainings"]:
        # The gradient of a small divergence has fewer digits.
        assert_like_one_device(training, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("cross_entropy", "sngp"), ("duq", "duq")])
def test_layers_of_one_pass_have_the_figures_of_one_device(kind):
    figures = run([9, 19, 19, [2], *kind], [3, 7, 5, [4], *kind])
    for training in figures["trainings"]:
        assert_like_one_device(training, "val_nll")


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", ["fgsm:epsilon=32:random_start=false", "ar_adals:bins=2:rate=0.5"]
)
def test_attacked_images_and_bins_of_images_have_the_figures_of_one_device(objective):
    figures = run([9, 19, 19, [2], objective], [3, 7, 5, [4], objective])
    for training in figures["trainings"]:
        assert_like_one_device(training, rtol=1e-5)


def test_a_replica_without_images_adds_nothing_in_the_fit_of_keras(figures):
    left_over = figures["left over"]
    assert np.isfinite(list(left_over["losses"].values())).all()
    for own, alone in zip(left_over["devices"], left_over["alone"], strict=True):
        for path, value in own.items():
            if "moving" in path:  # Each replica has statistics of its own images.
                np.testing.assert_allclose(value, alone[path], 1e-5, 1e-6, err_msg=path)
    for own in left_over["devices"]:
        for path, value in left_over["alone"][0].items():
            if "moving" not in path:
                np.testing.assert_allclose(own[path], value, 1e-5, 1e-6, err_msg=path)


def test_keras_predicts_a_batch_once_for_each_replica(figures):
    # What the guide warns of; if this fails, Keras has mended it.
    assert figures["left over"]["rows of predict_on_batch"] == 2 * 4
    assert figures["left over"]["rows"] == 3


@pytest.mark.slow
def test_every_size_has_the_figures_of_one_device():
    figures = run(
        [10, 21, 31, [2, 3, 4]],
        [3, 7, 5, [4, 8]],  # Replicas without an image in training.
        [16, 33, 17, [2, 5]],
        [16, 33, 33, [3, 7]],
        [8, 16, 75, [2, 6]],
    )
    for training in figures["trainings"]:
        assert_like_one_device(training)


NETWORKS = (
    "resnet20_smooth_mcdo",
    "resnet20_flipout",
    "resnet20_blurpool_gmp",
    "resnet18_blur_lldo",
    "resnet18d_aa",
    "preresnet20",
    "resnext50_32x4d",
    "vgg11_mlp",
    "alexnet",
)


@pytest.mark.slow
def test_networks_survive_a_replica_without_images():
    for name, (loss, finite) in run(*NETWORKS).items():
        assert np.isfinite(loss), name
        assert finite, name


@pytest.mark.parametrize("replicas", range(1, 9))
def test_weights_make_the_mean_over_rows_that_over_the_images(replicas):
    rng = np.random.default_rng(0)
    for batch_size, count in itertools.product((1, 2, 5, 16), (1, 7, 16, 33)):
        losses, rows = rng.normal(size=count), []
        for start in range(0, count, batch_size):
            index = np.arange(start, min(start + batch_size, count))
            share = -(-batch_size // replicas)
            spread, weights = batches.spread(index, share, replicas)
            assert spread[weights == 1].tolist() == index.tolist()
            of_replica = weights.reshape(replicas, share).sum(axis=1)
            assert max(of_replica) - min(of_replica) <= 1
            rows.append(weights * losses[spread])
        mean = np.mean(rows) * np.size(rows) / count
        np.testing.assert_allclose(mean, losses.mean(), rtol=1e-9)


@pytest.mark.parametrize("replicas, count", [(2, 33), (3, 32), (8, 3)])
def test_filled_batches_have_the_images_of_others(replicas, count):
    data = stripes(count)
    filled = list(batches.test_batches(data, 16, replicas))
    images = np.concatenate([np.asarray(x)[np.asarray(w) > 0] for x, _, w in filled])
    np.testing.assert_array_equal(images, data.images)
    weights = np.concatenate([w for *_, w in filled])
    np.testing.assert_allclose(weights[weights > 0], len(weights) / count, rtol=1e-6)
    assert all(len(x) % replicas == 0 for x, *_ in filled)
    if count > 5:
        one, several = (
            list(batches.train_batches(data, 5, ("flip",), 0, 1, 0, n))
            for n in (1, replicas)
        )
        for (images, labels), (x, y, w) in zip(one, several, strict=True):
            real = np.asarray(w) > 0
            np.testing.assert_array_equal(images, np.asarray(x)[real])
            np.testing.assert_array_equal(labels, np.asarray(y)[real])


def test_batches_that_divide_have_no_weights():
    data = stripes(32)
    for batch in batches.train_batches(data, 8, replicas=2):
        assert len(batch) == 2
    for batch in batches.test_batches(data, 8, 4):
        assert len(batch) == 2
