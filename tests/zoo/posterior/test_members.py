"""Implicit ensembles: layers with several members, of which each sample has one."""

import keras
import numpy as np
import pytest

import layers
from tests.helpers.networks import IMAGES, MemberBias, as_numpy, network
from zoo.posterior import MonteCarlo

NUM_MEMBERS = 3


class Together(MemberBias):
    """The same, where several samples cannot be one batch."""

    by_row = False


def ensemble(*further, kind=MemberBias):
    names = "first", "second"
    return network(*(kind(NUM_MEMBERS, name=name) for name in names), *further)


def member_logits(model, number):
    """The logits of one member, of a network that has no other."""
    names = "first", "second"
    biases = [as_numpy(model.get_layer(name).bias)[number] for name in names]
    plain = network(*(keras.layers.Lambda(lambda x, b=b: x + b) for b in biases))
    own = [v for v in model.weights if not v.path.startswith(names)]
    for variable, value in zip(plain.weights, own, strict=True):
        variable.assign(as_numpy(value))
    return as_numpy(plain(IMAGES))


@pytest.fixture(scope="module")
def model():
    return ensemble()


@pytest.fixture(scope="module")
def members(model):
    found = np.array([member_logits(model, m) for m in range(NUM_MEMBERS)])
    assert np.abs(np.diff(found, axis=0)).min(axis=(1, 2)).max() > 1e-3
    return found


@pytest.mark.parametrize("kind", [MemberBias, Together])
def test_sample_s_is_member_s_modulo_their_number(kind, members):
    samples = MonteCarlo(ensemble(kind=kind), 7)(IMAGES, seed=5, offset=11)
    expected = members[np.arange(7) % NUM_MEMBERS]
    np.testing.assert_allclose(as_numpy(samples), expected, atol=1e-5)


def test_as_many_samples_as_members_are_the_ensemble_whatever_the_seed(model, members):
    for seed in (0, 1):
        samples = MonteCarlo(model, NUM_MEMBERS)(IMAGES, seed=seed)
        np.testing.assert_allclose(as_numpy(samples), members, atol=1e-5)


def test_what_draws_besides_draws_for_each_sample():
    model = ensemble(layers.MCDropout(0.5, name="dropout"))
    samples = as_numpy(MonteCarlo(model, 2 * NUM_MEMBERS)(IMAGES, seed=0))
    again = samples[NUM_MEMBERS:]  # The same members, and other masks.
    assert np.abs(samples[:NUM_MEMBERS] - again).max(axis=(1, 2)).min() > 1e-3
    few = as_numpy(MonteCarlo(model, 4, memory=1)(IMAGES[2:4], seed=0, offset=2))
    np.testing.assert_allclose(few, samples[:4, 2:4], atol=1e-5)


def test_an_example_has_one_member_in_all_layers_of_a_pass(model, members):
    def chosen(logits):
        errors = np.abs(as_numpy(logits) - members).max(axis=2)
        assert errors.min(axis=0).max() < 1e-5  # It is one of the members.
        return errors.argmin(axis=0)

    # As in `fit`: each member has its share of a batch.
    shares = np.arange(len(IMAGES)) % NUM_MEMBERS
    np.testing.assert_array_equal(chosen(model(IMAGES, training=False)), shares)
    found = []
    for key in range(40):
        with layers.stream(key):
            found.append(chosen(model(IMAGES)))
        with layers.stream(key, offset=3):  # The example's number counts.
            moved = chosen(model(IMAGES))
        np.testing.assert_array_equal(moved[:4], found[-1][3:])
    counts = np.bincount(np.ravel(found), minlength=NUM_MEMBERS)
    expected = np.size(found) / NUM_MEMBERS
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)
