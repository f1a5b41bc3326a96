"""A sampling by names, and its draws as a posterior that is evaluated and published."""

import json
import math

import numpy as np
import pytest

import zoo
from tests.helpers.data_sets import stripes, write_idx
from training import data
from training.evaluation import models
from training.mcmc import Sampling
from training.mcmc import run as mcmc_run
from training.publishing import publish_training
from zoo.models import lenet
from zoo.presets import snapshots

SAMPLING = Sampling(num_results=4, burnin=5, step_size=0.3)


@pytest.fixture
def sampled(tmp_path, monkeypatch):
    """A function that samples a tiny network for stripes."""
    monkeypatch.setattr(lenet, "UNITS", (3, 3))
    images = stripes(60, 28)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", images.images[..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", images.labels)

    def run(folder="run", model="mlp", sampling=SAMPLING, **changes):
        settings = {"dataset": "fashion_mnist", "data_dir": str(tmp_path), "chains": 2}
        settings |= {"jit_compile": False, **changes}
        workdir = str(tmp_path / folder)
        return mcmc_run.run_sampling(model, "mnist", workdir, sampling, **settings)

    return run


def test_draws_are_evaluated_and_published_by_name(sampled, tmp_path):
    folder = tmp_path / "run"
    changes = ["normalization=[[0],[65025]]"]
    found = sampled(changes=changes, prior="empcov:scale=0.2")
    assert found == json.loads((folder / "diagnostics.json").read_text())
    assert found["training_images"] == 60
    assert [set(row) for row in found["chains"]] == [set(found["chains"][0])] * 2
    assert found["predictions"]["r_hat_max"] >= found["weights"]["r_hat_median"] / 10
    ((name, posterior),) = models.load(["mlp@hmc"], [str(folder)], 5).items()
    images = data.load("fashion_mnist", "test", str(tmp_path)).images[:9]
    logits = np.asarray(posterior(images))
    assert (name, logits.shape) == ("mlp@hmc", (5, 9, 10))
    places = [(n * 8 // 5 // 4, n * 8 // 5 % 4) for n in range(5)]
    for sample, (chain, draw) in zip(logits, places, strict=True):
        path = snapshots.path_of_draw(folder, chain, draw)
        single = zoo.load("mlp", weights=path)
        np.testing.assert_allclose(single(images), sample, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="There are 8 draws.*num_samples=9"):
        models.load(["mlp@hmc"], [str(folder)], 9)
    with pytest.raises(ValueError, match="another one: prior"):
        sampled(changes=changes, prior="gaussian:scale=0.2")
    options = {"dtype": "float32", "saved_model": False, "data_license": "mit"}
    output = tmp_path / "published"
    options |= {"num_samples": 5, "data_dir": str(tmp_path)}
    publish_training.publish_training("mlp.mine@hmc", folder, output, **options)
    again = zoo.load("mlp.mine@hmc", weights=output)
    (posterior,) = models.load(["mlp@hmc"], [str(folder)], 5).values()
    np.testing.assert_array_equal(again.samples, posterior.samples)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "resnet20"}, "without batch normalization.*stem_norm"),
        ({"model": "mlp_mcdo"}, "do not draw.*mlp_mcdo, with hidden_1_dropout"),
        ({"prior": "gausian"}, "Did you mean 'gaussian'"),
        ({"prior": "sum_filter"}, "begin with a convolution.*'hidden_1'"),
        ({"chains": 0}, "chains=0"),
    ],
)
def test_what_cannot_be_sampled_is_refused(sampled, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sampled(**changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_chains_that_are_done_are_kept_when_a_later_one_fails(sampled, tmp_path):
    sampled(chains=1)
    wild = Sampling(num_results=30, burnin=0, step_size=1e4, trajectory=math.pi * 1e4)
    with pytest.raises(ValueError, match="another one: burnin.*step_size"):
        sampled(sampling=wild)
    with pytest.raises(FloatingPointError, match="Chain 0 diverges"):
        sampled("wild", sampling=wild)
    assert len(list((tmp_path / "run" / "snapshots").glob("chain_00*"))) == 4
