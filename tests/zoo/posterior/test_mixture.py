"""A mixture of Laplace approximations is the mean of what each of them predicts."""

import keras
import numpy as np
import pytest

from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from zoo import predictive
from zoo.posterior import Laplace, Mixture, MonteCarlo, Temperature

LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


def adapted(posterior):
    posterior.adapt(IMAGES, LABELS)
    return posterior


def probs(posterior):
    return as_numpy(predictive.probs(posterior(IMAGES, seed=3)))


@pytest.mark.parametrize(
    "form", ["probit", pytest.param("bridge", marks=pytest.mark.slow)]
)
def test_of_one_network_and_of_copies_it_is_the_laplace_approximation(form):
    model = network()
    expected = adapted(Laplace(model, predictive=form))
    for count in (1, 3):
        found = adapted(Mixture([model] * count, predictive=form))
        assert found.num_samples == count
        samples = as_numpy(found(IMAGES))
        for sample in samples:
            np.testing.assert_array_equal(sample, as_numpy(expected(IMAGES))[0])
        np.testing.assert_allclose(probs(found), probs(expected), 1e-6)
        assert np.abs(samples[0] - as_numpy(model(IMAGES))).max() > 1e-3


def test_all_networks_have_the_same_part_and_each_a_prior_of_its_own():
    models = [network(seed=seed) for seed in range(2)]
    found = Mixture(models)
    assert found.adapts_to == ("train",)
    assert not found.is_adapted
    adapted(found)
    assert found.is_adapted
    alone = [adapted(Laplace(model)) for model in models]
    expected = np.mean([probs(posterior) for posterior in alone], axis=0)
    np.testing.assert_allclose(probs(found), expected, 1e-5)
    priors = [as_numpy(member.prior_precision) for member in found.members]
    assert priors == [as_numpy(posterior.prior_precision) for posterior in alone]
    assert priors[0] != priors[1]
    assert Mixture(alone).is_adapted
    validated = Mixture(models, prior_precision="validation")
    assert validated.adapts_to == ("train", "validation")


def test_members_draw_independently_of_each_other():
    members = [network(), network()]
    settings = {"predictive": "monte_carlo", "prior_precision": 1.0}
    found = adapted(Mixture.from_models(members, 4, **settings))
    assert found.num_samples == 8
    assert found.draws
    samples = found.predict(IMAGES, seed=1)
    again = found.predict(IMAGES, 3, seed=1)
    np.testing.assert_allclose(again, samples, 1e-4, 1e-4)
    assert np.abs(samples[:4] - samples[4:]).min() > 0


def test_it_is_saved_with_what_its_members_have_learned(tmp_path):
    images = keras.Input((8, 8, 1))
    models = [network(seed=seed, name=f"n{seed}") for seed in range(2)]
    found = adapted(Mixture(models, structure="diagonal", name="mixture"))
    whole = keras.Model(images, predictive.probs(found(images)))
    whole.save(tmp_path / "it.keras")
    again = keras.models.load_model(tmp_path / "it.keras")
    np.testing.assert_array_equal(as_numpy(again(IMAGES)), as_numpy(whole(IMAGES)))


@pytest.mark.parametrize(
    "members, settings, message",
    [
        ([], {}, "needs members"),
        ([mc_network()], {}, "does not draw"),
        ([Temperature(network())], {}, "models or `Laplace`.*of Temperature"),
        ([MonteCarlo(mc_network())], {}, "does not draw"),
        (["resnet20"], {}, "member=resnet20 of str"),
        ([network()], {"structure": "some"}, "structure=some"),
    ],
)
def test_other_members_and_settings_are_refused(members, settings, message):
    with pytest.raises(ValueError, match=message):
        Mixture(members, **settings)


def test_members_of_several_sizes_would_not_have_the_same_part():
    many = Laplace(network(), predictive="monte_carlo", num_samples=3)
    with pytest.raises(ValueError, match=r"num_samples=\[3, 1\]"):
        Mixture([many, network()])
