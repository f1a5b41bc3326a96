"""CKA against its closed forms, and what must not change it."""

import itertools

import keras
import numpy as np
import pytest

from tests.helpers import analyzed
from training import analysis
from training.analysis import representations


def features(count, size, seed):
    return np.random.default_rng(seed).normal(3.0, 1.0, (count, size))


def closed_form(x, y):
    """Returns CKA by covariances (Kornblith et al., 2019, section 3)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norm = np.linalg.norm
    return norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))


def hsic(x, y):
    """Returns HSIC without bias by sums over pairs (Nguyen et al., 2021, eq. 3)."""
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    k[range(n), range(n)] = l[range(n), range(n)] = 0
    pairs = sum(k[i, j] * l[j, i] for i, j in itertools.product(range(n), repeat=2))
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2))
    paths = 2 / (n - 2) * sum(k[:, i].sum() * l[i].sum() for i in range(n))
    return (pairs + sums - paths) / (n * (n - 3))


def estimates(x, y, size):
    """Returns the plain and the unbiased estimate, in batches."""
    parts = {name: [] for name in representations.CENTERS}
    for start in range(0, len(x), size):
        pair = [
            np.asarray(representations.gram(z[start : start + size].astype("float32")))
            for z in (x, y)
        ]
        for name, center in representations.CENTERS.items():
            found = [center(gram.astype("float64")).ravel() for gram in pair]
            parts[name].append(
                [found[i] @ found[j] for i, j in ((0, 1), (0, 0), (1, 1))]
            )
    sums = {name: np.sum(of_name, axis=0) for name, of_name in parts.items()}
    return [a / np.sqrt(b * c) for a, b, c in sums.values()]


def test_estimates_are_their_closed_forms():
    x, y = features(12, 5, 0), features(12, 7, 1)
    y[:, :3] += x[:, :3]
    plain, unbiased = estimates(x, y, 12)
    np.testing.assert_allclose(plain, closed_form(x, y), rtol=1e-4)
    wanted = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
    np.testing.assert_allclose(unbiased, wanted, rtol=1e-3)
    _, unbiased = estimates(x, y, 4)
    batches = [slice(i, i + 4) for i in (0, 4, 8)]
    sums = [
        sum(hsic(a[part], b[part]) for part in batches)
        for a, b in ((x, y), (x, x), (y, y))
    ]
    np.testing.assert_allclose(
        unbiased, sums[0] / np.sqrt(sums[1] * sums[2]), rtol=1e-3
    )


def test_rotations_scales_and_shifts_change_nothing():
    x = features(20, 6, 0)
    turn, _ = np.linalg.qr(features(6, 6, 1))
    np.testing.assert_allclose(estimates(x, 3 * x @ turn + 1, 10), [1, 1], rtol=1e-4)
    stretched = estimates(x, x * np.array([9, 1, 1, 1, 1, 1]), 10)
    assert max(stretched) < 0.95


def test_independent_features_are_like_each_other_in_the_plain_estimate_alone():
    x, y = features(40, 500, 0), features(40, 500, 1)
    plain, unbiased = estimates(x, y, 40)
    assert plain > 0.8
    # Of independent features it has mean 0; 40 images leave a deviation of about 1/40.
    assert abs(unbiased) < 6 / 40


def test_networks_are_compared_block_by_block():
    first, second = analyzed.residual(), analyzed.residual(seed=1, branch=False)
    data = analyzed.images(12)
    found = analysis.similarity(first, second, data, batch_size=6)
    names = ["normalize", "stem_relu", "one_out", "smooth", "two_add", "pool", "head"]
    ours, theirs = [*names, "probs"], [names[0], *names[2:], "probs"]
    for of, wanted in (("layer", ours), ("of_layer", theirs)):
        assert list(dict.fromkeys(r[of] for r in found.rows if of in r)) == wanted
    tables = found.arrays["cka"], found.arrays["cka_unbiased"]
    assert all(table.shape == (8, 7) for table in tables)
    np.testing.assert_allclose([table[0, 0] for table in tables], [1, 1], rtol=1e-4)
    pixels = data.images.astype("float32")
    maps = [
        np.asarray(keras.Model(m.input, m.get_layer("pool").output)(pixels))
        for m in (first, second)
    ]
    wanted = estimates(*maps, 6)
    own = [
        found.values(name, layer="pool", of_layer="pool")
        for name in ("cka", "cka_unbiased")
    ]
    np.testing.assert_allclose(np.ravel(own), wanted, rtol=1e-3)
    predicted = [np.argmax(np.asarray(m(pixels)), axis=-1) for m in (first, second)]
    values = [*found.values("agreement"), *found.values("accuracy", of=2)]
    others = predicted[0], data.labels
    wanted = [np.mean(predicted[1] == other) for other in others]
    np.testing.assert_allclose(values, wanted)
    assert not found.values("weight_distance")  # Other shapes.
    assert len(representations.plot_similarity({"a and b": found})) == 1


def test_distances_of_weights_are_those_of_vectors():
    models = analyzed.residual(), analyzed.residual(seed=1)
    found = analysis.similarity(*models, analyzed.images(), batch_size=4, mixup=16)
    a, b = (
        np.concatenate([np.ravel(w) for w in model.trainable_weights])
        for model in models
    )
    norms = np.linalg.norm(a), np.linalg.norm(b)
    distance = np.linalg.norm(a - b)
    wanted = distance, distance / np.mean(norms), a @ b / np.prod(norms)
    metrics = "weight_distance", "relative_weight_distance", "weight_cosine"
    values = [found.values(name)[0] for name in metrics]
    np.testing.assert_allclose(values, wanted, rtol=1e-4)


def test_a_network_is_like_itself_on_mixtures():
    model = analyzed.residual(rate=0.5)
    found = analysis.similarity(model, model, analyzed.images(), batch_size=4, mixup=16)
    np.testing.assert_allclose(np.diag(found.arrays["cka_unbiased"]), 1, rtol=1e-4)
    assert found.values("agreement") == [1.0]
    other = analysis.similarity(model, model, analyzed.images(), batch_size=4)
    assert not np.allclose(found.arrays["cka"], other.arrays["cka"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch_size": 3}, "4 images at least. Received: batch_size=3"),
        ({"batch_size": 4, "mixup": -1}, "`mixup` is 0 for none, or positive"),
        ({"batch_size": 99}, "smaller than a batch"),
    ],
)
def test_bad_settings_are_named(settings, message):
    model = analyzed.chain()
    with pytest.raises(ValueError, match=message):
        analysis.similarity(model, model, analyzed.images(), **settings)
