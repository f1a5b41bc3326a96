"""Scores of features against SciPy, explicit inverses and loops."""

import keras
import numpy as np
import pytest
from scipy import special, stats

from tests.helpers import marks, processes
from tests.helpers.checks import assert_mean_close
from tests.helpers.networks import as_numpy, mc_network, network
from zoo.classifier import named
from zoo.posterior import Density, MonteCarlo, feature_scores
from zoo.posterior.examples import RandomSample
from zoo.posterior.feature_scores import FEATURE_SCORES, Statistics

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (120, 8, 8, 1)).astype("uint8")
LABELS = np.repeat([0, 1, 2], [60, 40, 20])
OTHERS = RNG.integers(0, 60, (9, 8, 8, 1)).astype("uint8")


def features_of(model, images):
    headless = keras.Model(model.input, model.layers[-1].input)
    return as_numpy(headless(images)).astype("float64")


@pytest.fixture(scope="module")
def model():
    return named(network(), ("ant", "bee", "cat"))


@pytest.fixture(scope="module")
def posterior(model):
    posterior = Density(model)
    posterior.adapt(IMAGES, LABELS, batch_size=50)
    return posterior


def mixture(train, labels, features):
    """Minus the log density in float64."""
    logs = [
        np.log(np.mean(labels == label))
        + stats.multivariate_normal(
            train[labels == label].mean(axis=0), np.cov(train[labels == label].T)
        ).logpdf(features)
        for label in np.unique(labels)
    ]
    return -special.logsumexp(logs, axis=0)


def squares(features, mean, covariance):
    centered = features - mean
    return np.einsum("ni,ij,nj->n", centered, np.linalg.inv(covariance), centered)


def mahalanobis(train, labels, features):
    means = [train[labels == label].mean(axis=0) for label in np.unique(labels)]
    centered = train - np.array(means)[labels]
    within = centered.T @ centered / len(train)
    return np.min([squares(features, mean, within) for mean in means], axis=0)


def relative(train, labels, features):
    overall = np.cov(train.T, bias=True)
    others = squares(features, train.mean(axis=0), overall)
    return mahalanobis(train, labels, features) - others


def neighbors(train, labels, features):
    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return [
        np.sort(np.linalg.norm(unit(train) - row, axis=1))[9] for row in unit(features)
    ]


ORACLES = {
    "density": mixture,
    "mahalanobis": mahalanobis,
    "relative_mahalanobis": relative,
    "nearest_neighbors": neighbors,
}


@pytest.mark.parametrize("name", FEATURE_SCORES)
def test_scores_are_those_of_the_definition(name, model, posterior):
    train = features_of(model, IMAGES)
    for images in (OTHERS, IMAGES[:5]):
        logits, scores = posterior.scored(images)
        expected = ORACLES[name](train, LABELS, features_of(model, images))
        np.testing.assert_allclose(as_numpy(scores[name]), expected, 2e-3, 2e-3)
        np.testing.assert_allclose(as_numpy(logits)[0], as_numpy(model(images)), 1e-5)
    assert list(scores) == list(FEATURE_SCORES)
    assert not as_numpy(posterior.jitter).any()


def fitted(name, features, labels, **settings):
    """Returns a function of features to scores, without a network."""
    score = FEATURE_SCORES[name](features.shape[1], labels.max() + 1, **settings)
    found = Statistics(*features.shape[1:], labels.max() + 1, True, score.num_stored)
    for rows in np.array_split(np.arange(len(features)), 7):
        found.add(features[rows], labels[rows])
    values = {k: np.asarray(v, "float32") for k, v in score.solve(found).items()}

    def scores(rows):
        rows = keras.ops.convert_to_tensor(rows, "float32")
        return as_numpy(score.score(rows, values))

    return scores, values


def gaussians(count=90, size=4):
    labels = RNG.integers(0, 3, count)
    spread = RNG.normal(size=(3, size, size))
    noise = np.einsum("nij,nj->ni", spread[labels], RNG.normal(size=(count, size)))
    return 5 * RNG.normal(size=(3, size))[labels] + noise, labels


@pytest.mark.parametrize("name", FEATURE_SCORES)
def test_the_order_of_classes_and_the_unit_of_features_change_what_they_should(name):
    features, labels = gaussians()
    rows = 4 * RNG.normal(size=(20, 4))
    expected = fitted(name, features, labels)[0](rows)
    permuted = np.array([2, 0, 1])[labels]
    found = fitted(name, features, permuted)[0](rows)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-4)
    scaled = fitted(name, 3 * features, labels)[0](3 * rows)
    more = 4 * np.log(3) if name == "density" else 0
    np.testing.assert_allclose(scaled, expected + more, 1e-4, 1e-4)


def test_a_covariance_gets_jitter_only_where_it_needs_some():
    features, labels = gaussians(200)
    few = np.concatenate([np.flatnonzero(labels == 2)[:4], np.flatnonzero(labels != 2)])
    scores, values = fitted("density", features[few], labels[few])
    assert values["jitter"][2] > 0 == values["jitter"][:2].max()
    # The class of four images spans three of four dimensions.
    covariance = np.cov(features[few][labels[few] == 2].T)
    smallest = feature_scores.SMALLEST * np.trace(covariance) / 4
    assert values["jitter"][2] == pytest.approx(smallest, rel=1e-3)
    dead = np.where(np.arange(4) == 1, 7.0, features)  # The same in all images.
    scores, values = fitted("density", dead, labels)
    assert (values["jitter"] > 0).all()
    found = scores(np.stack([dead[0], dead[0] + 0.1 * np.eye(4)[1]]))
    assert np.isfinite(found).all()
    assert found[1] > found[0] + 1e3


def test_moments_of_features_far_from_zero_keep_their_digits():
    features, labels = gaussians(300)
    near = fitted("density", features, labels)[1]
    far = fitted("density", features + 1e5, labels)[1]
    np.testing.assert_allclose(far["log_weights"], near["log_weights"], 1e-5)


def test_of_many_images_each_is_as_likely_stored():
    rows, stored = np.arange(60.0)[:, None], []
    for seed in range(400):
        sample = RandomSample(12, seed)
        for part in np.split(rows, 4):
            sample.add(part)
        assert len(np.unique(sample.rows)) == 12
        stored.append(np.isin(rows[:, 0], sample.rows))
    assert_mean_close(stored, 12 / 60)


def test_batches_of_another_size_and_seeds_do_not_matter(model, posterior):
    other = Density(model)
    other.adapt(IMAGES, LABELS, batch_size=7, seed=5)
    for images in (OTHERS, IMAGES[:1]):
        expected = posterior.scored(images)[1]
        for name, score in other.scored(images, seed=3, offset=8)[1].items():
            np.testing.assert_allclose(score, expected[name], 1e-3, 1e-3)
    assert posterior.predict(OTHERS, 4).shape == (1, 9, 3)
    logits, scores = posterior.scored(OTHERS[:0])
    assert (logits.shape, scores["density"].shape) == ((1, 0, 3), (0,))


def test_it_is_saved_with_what_it_has_learned(model, posterior, tmp_path):
    images = keras.Input((8, 8, 1))
    keras.Model(images, posterior(images)).save(tmp_path / "it.keras")
    again = keras.models.load_model(tmp_path / "it.keras").layers[-1]
    assert again.is_adapted
    copied = Density.from_config(posterior.get_config())
    assert (copied.score_names, copied.is_adapted) == (posterior.score_names, True)
    for other in (again, posterior.settled()):
        assert other.score_names == posterior.score_names
        for name, score in other.scored(OTHERS)[1].items():
            expected = posterior.scored(OTHERS)[1][name]
            np.testing.assert_allclose(score, expected, 1e-5)
    trained = network(seed=1)
    with pytest.raises(ValueError, match="other weights than those"):
        Density(trained).assign(posterior.values())


def test_scores_that_are_left_out_take_no_weights(model):
    posterior = Density(MonteCarlo(model, 1), scores=["mahalanobis", "mahalanobis"])
    assert posterior.score_names == ("mahalanobis",)
    names = "class_means", "mean", "within_root", "fingerprint"
    assert posterior.adapted_weights == names
    posterior.adapt(IMAGES[30:], LABELS[30:])
    assert list(posterior.scored(OTHERS)[1]) == ["mahalanobis"]


def broken():
    model = network()
    model.layers[3].gamma.assign(np.full(8, np.nan))
    return model


SAME = np.repeat(IMAGES[:3], 10, axis=0)


@pytest.mark.parametrize(
    "make, dataset, labels, message",
    [
        (network, IMAGES, None, "give `labels`"),
        (network, IMAGES[:0], LABELS[:0], "0 images"),
        (network, IMAGES, LABELS[:9], "labels.shape"),
        (network, IMAGES[:90], LABELS[:90], "90 images, and fewer of 1 of 3.* 2$"),
        (network, IMAGES[:101], LABELS[:101], "must be 2 or more of each class.* 2$"),
        (network, IMAGES[[0, 1, 70, 71, 110, 111]], [0, 0, 1, 1, 2, 2], "Rec.* 6 imag"),
        (network, SAME, np.repeat([0, 1, 2], 10), "class 0, 10 images, do not vary"),
        (broken, IMAGES, LABELS, "must be finite.*NaN or infinity in 100 of 100"),
    ],
)
def test_what_cannot_be_fitted_to_leaves_the_posterior_as_it_was(
    make, dataset, labels, message
):
    posterior = Density(make())
    with pytest.raises(ValueError, match=message):
        posterior.adapt(dataset, labels)
    assert not posterior.is_adapted
    assert not as_numpy(posterior.class_means).any()
    for call in (posterior, posterior.scored):
        with pytest.raises(ValueError, match="features of its classes yet: call"):
            call(OTHERS)


@pytest.mark.parametrize(
    "make, scores, message",
    [
        (mc_network, ["density"], "does not draw.*model=network"),
        (network, ["euclidean"], "scores=euclidean"),
        (network, "density", "scores='density'"),
        (network, [], r"scores=\[\]"),
    ],
)
def test_other_networks_and_scores_are_refused(make, scores, message):
    with pytest.raises(ValueError, match=message):
        Density(make(), scores)


def test_covariances_that_no_memory_holds_are_refused():
    with pytest.raises(ValueError, match=r"15\.6 GiB.*num_features=2048"):
        FEATURE_SCORES["density"](2048, 1000)
    FEATURE_SCORES["mahalanobis"](2048, 1000)


def test_images_that_are_no_pixels_and_several_models_are_refused(posterior, model):
    for images in (OTHERS[:, :4], OTHERS / 255):
        with pytest.raises(ValueError, match="`images` must"):
            posterior.scored(images)
    with pytest.raises(ValueError, match="seed=1.5"):
        posterior.scored(OTHERS, seed=1.5)
    with pytest.raises(ValueError, match="made of one model.*2 models"):
        Density.from_models([model, model])
    assert Density.from_models([model], 10).num_samples == 1


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
