"""Laplace's approximation of all weights against Jacobians that are written out."""

import keras
import numpy as np
import pytest

from tests.helpers import marks, processes
from tests.helpers.checks import assert_mean_close
from tests.helpers.networks import as_numpy
from zoo.posterior import Laplace, gauss_newton, subsets
from zoo.posterior.graph_split import LinearLayers

PRIOR = 0.7
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, size=(6, 6, 6, 2)).astype("uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])


def network(seed=0):
    """A network with all that may lie between linear layers; weights by NumPy."""
    images = keras.Input((6, 6, 2))
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    x = keras.layers.Conv2D(3, 3, 2, "same", name="first", activation="tanh")(x)
    x = keras.layers.BatchNormalization()(x)
    shortcut = x
    x = keras.layers.Conv2D(3, (2, 1), padding="same", use_bias=False, name="second")(x)
    x = keras.layers.Add()([keras.layers.ReLU()(x), shortcut])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(3, name="head")(x), name="it")
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        positive = "variance" in variable.path or "gamma" in variable.path
        low = 0.5 if positive else -1
        variable.assign(rng.uniform(low, 1, variable.shape))
    return model


class Slow:
    """The same network in NumPy and float64, image by image, and its derivatives."""

    def __init__(self, model):
        self.layers = [model.get_layer(name) for name in ("first", "second", "head")]
        self.shapes = [v.shape for layer in self.layers for v in layer.weights]
        weights = [as_numpy(v) for layer in self.layers for v in layer.weights]
        self.flat = np.concatenate([w.ravel() for w in weights]).astype("float64")
        norm = next(x for x in model.layers if "normalization" in x.name)
        gamma, beta, mean, variance = (as_numpy(v) for v in norm.weights)
        self.scale = gamma / np.sqrt(variance + norm.epsilon)
        self.offset = beta - mean * self.scale

    def run(self, image, flat, shifts=(0, 0, 0)):
        """Returns logits, and the rows of inputs of each layer.

        Args:
            image: Array of shape `(6, 6, 2)`.
            flat: All weights.
            shifts: What is added to the output of each layer, before its activation.
        """
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])[:-1]
        parts = zip(np.split(flat, ends), self.shapes, strict=True)
        first, bias, second, head, offset = (w.reshape(shape) for w, shape in parts)
        x = image.astype("float64") / 64 - 2
        padded = np.pad(x, ((0, 1), (0, 1), (0, 0)))  # Of an even size, at the end.
        y, rows = convolve(padded, first, 2)
        x = np.tanh(y + bias + shifts[0]) * self.scale + self.offset
        y, more = convolve(np.pad(x, ((0, 1), (0, 0), (0, 0))), second, 1)
        features = (np.maximum(y + shifts[1], 0) + x).mean(axis=(0, 1))
        return features @ head + offset + shifts[2], (rows, more, features[None])

    def jacobian(self, image):
        return slope(lambda flat: self.run(image, flat)[0], self.flat)

    def gradients(self, image, number, shape):
        """Returns those of the logits by the output of a layer, by position."""

        def shifted(shift):
            shifts = [0, 0, 0]
            shifts[number] = shift.reshape(shape)
            return self.run(image, self.flat, shifts)[0]

        found = slope(shifted, np.zeros(np.prod(shape)))
        return found.reshape(3, -1, shape[-1])


def slope(function, start, step=1e-5):
    """Returns derivatives by central differences, with a column for each number."""
    moves = step * np.eye(start.size)
    pairs = [(function(start + move), function(start - move)) for move in moves]
    return np.array([up - down for up, down in pairs]).T / (2 * step)


def convolve(x, kernel, stride):
    height, width = kernel.shape[:2]
    places = [
        (i, j)
        for i in range(0, x.shape[0] - height + 1, stride)
        for j in range(0, x.shape[1] - width + 1, stride)
    ]
    rows = np.array([x[i : i + height, j : j + width].ravel() for i, j in places])
    side = (x.shape[0] - height) // stride + 1
    return (rows @ kernel.reshape(rows.shape[1], -1)).reshape(
        side, -1, kernel.shape[-1]
    ), rows


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def slow(model):
    return Slow(model)


@pytest.fixture(scope="module")
def parts(slow):
    """Jacobians, probabilities and logits."""
    jacobians = np.array([slow.jacobian(image) for image in IMAGES])
    logits = np.array([slow.run(image, slow.flat)[0] for image in IMAGES])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return jacobians, probs, logits


def precision(structure, slow, jacobians, probs):
    """The matrix of all weights, in the order of Keras, without prior."""
    factors = [np.diag(p) - np.outer(p, p) for p in probs]
    full = sum(j.T @ f @ j for j, f in zip(jacobians, factors, strict=True))
    if structure == "full":
        return full
    if structure == "diagonal":
        return np.diag(np.diag(full))
    blocks = []
    for number, (layer, shape) in enumerate(
        zip(slow.layers, ((3, 3, 3), (3, 3, 3), (3,)), strict=True)
    ):
        a = g = 0
        for image, factor in zip(IMAGES, factors, strict=True):
            rows = slow.run(image, slow.flat)[1][number]
            a = a + rows.T @ rows / len(rows) / len(IMAGES)
            gradients = slow.gradients(image, number, shape)
            g = g + np.einsum("kpi,kl,lpj->ij", gradients, factor, gradients)
        blocks += [np.kron(a, g), g] if layer.use_bias else [np.kron(a, g)]
    ends = np.cumsum([0, *map(len, blocks)])
    found = np.zeros(full.shape)
    for start, end, block in zip(ends, ends[1:], blocks, strict=False):
        found[start:end, start:end] = block
    return found


def covariances(matrix, jacobians, prior=PRIOR):
    inverse = np.linalg.inv(matrix + prior * np.eye(len(matrix)))
    return np.array([j @ inverse @ j.T for j in jacobians])


def adapted(model, *settings, prior=PRIOR, subset="all", **options):
    posterior = Laplace(
        model, *settings, prior_precision=prior, subset=subset, **options
    )
    posterior.adapt(IMAGES, LABELS, batch_size=4)
    return posterior


@pytest.mark.parametrize("structure", gauss_newton.STRUCTURES)
def test_variances_and_evidence_are_those_of_the_matrix(structure, model, slow, parts):
    jacobians, probs, logits = parts
    posterior = adapted(model, structure)
    matrix = precision(structure, slow, jacobians, probs)
    expected = covariances(matrix, jacobians)
    variance = np.diagonal(expected, axis1=1, axis2=2)
    np.testing.assert_allclose(posterior.logit_variance(IMAGES), variance, 1e-4)
    if structure == "kronecker":
        scaled = logits / np.sqrt(1 + np.pi / 8 * variance)
        np.testing.assert_allclose(as_numpy(posterior(IMAGES))[0], scaled, 1e-4, 1e-5)
    log_likelihood = np.log(probs[np.arange(6), LABELS]).sum()
    with_prior = np.linalg.slogdet(matrix + PRIOR * np.eye(len(matrix)))[1]
    ratio = with_prior - len(matrix) * np.log(PRIOR)
    evidence = log_likelihood - (ratio + PRIOR * np.square(slow.flat).sum()) / 2
    assert posterior.log_marginal_likelihood() == pytest.approx(evidence, rel=1e-5)
    assert [layer.name for layer in posterior.gaussian_layers] == [
        *("first", "second", "head")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("predictive", ["probit", "monte_carlo"])
def test_images_are_linearized_a_few_at_a_time(predictive, model, monkeypatch):
    options = {"predictive": predictive, "num_samples": 2}
    expected = as_numpy(adapted(model, **options)(IMAGES, seed=1))
    monkeypatch.setattr(subsets, "_MEMORY", 2 * 4 * 700)
    posterior = adapted(model, **options)
    assert 1 < posterior._subset._size < 5
    found = as_numpy(posterior(IMAGES[:5], seed=1))  # The last ones overlap.
    np.testing.assert_allclose(found, expected[:, :5], 1e-4, 1e-4)


@pytest.mark.parametrize("wide", [0, 1e5])
def test_logits_have_the_moments_of_their_covariance(wide):
    rng = np.random.default_rng(1)
    root = rng.normal(size=(2, 4, 6))
    matrices = root @ root.transpose(0, 2, 1) + wide  # Of the mean of the logits.
    basis = gauss_newton.basis(4).astype("float64")
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(basis[:, -1], 0.5, 1e-6)
    turned = (basis.T @ matrices @ basis).astype("float32")
    found = gauss_newton.LogitCovariance(keras.ops.convert_to_tensor(turned))
    variance = np.diagonal(matrices, axis1=1, axis2=2)
    np.testing.assert_allclose(as_numpy(found.variance()), variance, 1e-5)
    sums, total = matrices.sum(axis=2), matrices.sum(axis=(1, 2))
    part, left = map(as_numpy, found.zero_sum())
    np.testing.assert_allclose(part, sums / total[:, None], 1e-4)
    rest = matrices - sums[:, :, None] * sums[:, None] / total[:, None, None]
    np.testing.assert_allclose(left, np.diagonal(rest, axis1=1, axis2=2), 1e-3)
    normals = rng.normal(size=(2, 50_000, 4)).astype("float32")
    draws = as_numpy(found.draw(normals)).astype("float64")
    centered = draws - draws.mean(axis=2, keepdims=True)
    middle = np.eye(4) - 1 / 4
    for image in range(2):
        assert_mean_close(draws[image], np.zeros(4))
        products = np.einsum("si,sj->sij", centered[image], centered[image])
        expected = middle @ matrices[image] @ middle
        assert_mean_close(products.reshape(-1, 16), expected.reshape(16))
        assert draws[image].mean(axis=1).var() == pytest.approx(
            matrices[image].mean(), rel=0.05
        )


@pytest.mark.slow
def test_a_narrow_prior_leaves_the_trained_network(model):
    posterior = adapted(model, predictive="monte_carlo", num_samples=2, prior=1e12)
    found = as_numpy(posterior(IMAGES, seed=0))
    expected = np.broadcast_to(as_numpy(model(IMAGES)), found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    "structure",
    [pytest.param(x, marks=pytest.mark.slow) for x in ("diagonal", "full")]
    + ["kronecker"],
)
def test_a_subnetwork_of_the_head_is_the_last_layer(structure, model):
    last = adapted(model, structure, "bridge", subset="last_layer")
    some = {"subset": "subnetwork", "subnetwork": ["head"]}
    found = adapted(model, structure, "bridge", **some)
    variance = found.logit_variance(IMAGES)
    np.testing.assert_allclose(variance, last.logit_variance(IMAGES), 1e-4)
    np.testing.assert_allclose(
        as_numpy(found(IMAGES)), as_numpy(last(IMAGES)), 1e-3, 1e-3
    )
    expected = last.log_marginal_likelihood()
    assert found.log_marginal_likelihood() == pytest.approx(expected, rel=1e-5)


def chosen(posterior):
    """The Jacobian's columns of the weights that a posterior has chosen."""
    return as_numpy(posterior.indices)


def test_a_subnetwork_has_the_weights_of_the_largest_variance(model, slow, parts):
    jacobians, probs, _ = parts
    full = precision("full", slow, jacobians, probs)
    some = {"subset": "subnetwork", "subnetwork": 9}
    posterior = adapted(model, **some)
    assert posterior.structure == "full"
    index = np.sort(np.argsort(np.diag(full))[:9])
    np.testing.assert_array_equal(chosen(posterior), index)
    expected = covariances(full[np.ix_(index, index)], jacobians[:, :, index])
    variance = np.diagonal(expected, axis1=1, axis2=2)
    np.testing.assert_allclose(posterior.logit_variance(IMAGES), variance, 1e-4)

    other = Laplace(model, prior_precision=PRIOR, **some)
    variances = np.arange(full.shape[0]) % 10
    shapes = zip(slow.shapes, np.split(variances, ends(slow)), strict=True)
    other.choose([part.reshape(shape) for shape, part in shapes])
    nines = np.flatnonzero(variances == 9)
    index = np.sort([*nines, *np.flatnonzero(variances == 8)[: 9 - len(nines)]])
    np.testing.assert_array_equal(chosen(other), index)
    weights = [w for layer in other.gaussian_layers for w in layer.weights]
    parts = np.split(variances, ends(slow))
    by_path = {w.path: part for w, part in zip(weights, parts, strict=True)}
    other.choose({**by_path, "other/gamma": np.ones(3)})
    np.testing.assert_array_equal(chosen(other), index)
    with pytest.raises(ValueError, match="none of first/bias$"):
        other.choose({k: v for k, v in by_path.items() if k != "first/bias"})
    assert other.get_config()["is_chosen"]
    other.adapt(iter([(IMAGES, LABELS)]))  # One pass is enough.
    np.testing.assert_array_equal(chosen(other), index)
    norm = np.square(slow.flat[index]).sum()
    block = full[np.ix_(index, index)]
    ratio = np.linalg.slogdet(np.eye(9) + block / PRIOR)[1]
    evidence = np.log(probs[np.arange(6), LABELS]).sum() - (ratio + PRIOR * norm) / 2
    assert other.log_marginal_likelihood() == pytest.approx(evidence, rel=1e-5)

    with pytest.raises(ValueError, match="gone through twice.*list_iterator"):
        posterior.adapt(iter([(IMAGES, LABELS)]))
    with pytest.raises(ValueError, match="87 finite numbers.*shape \\(86,\\)"):
        posterior.choose(variances[1:])
    with pytest.raises(ValueError, match="number of them. Received: subset=all"):
        adapted(model, "diagonal").choose(variances)


def ends(slow):
    return np.cumsum([np.prod(shape, dtype=int) for shape in slow.shapes])[:-1]


@pytest.mark.slow
def test_the_prior_precision_is_that_of_the_best_validation_images(model):
    posterior = Laplace(model, prior_precision="validation", subset="all")
    others = LABELS[::-1]
    posterior.adapt(IMAGES, LABELS, validation=[(IMAGES[:4], others[:4])])
    best = float(as_numpy(posterior.prior_precision))

    def nll(prior):
        posterior.prior_precision.assign(prior)
        logits = as_numpy(posterior(IMAGES[:4]))[0]
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -logs[np.arange(4), others[:4]].mean()

    assert 1e-5 < best < 1e9
    assert nll(best) < min(nll(best * 1.5), nll(best / 1.5))


@pytest.fixture(scope="module")
def dense():
    """Two dense layers without biases, and one output more than it takes."""
    images = keras.Input((2, 2, 1))
    x = keras.layers.Flatten()(images)
    x = keras.layers.Dense(3, "tanh", use_bias=False, name="hidden")(x)
    model = keras.Model(images, keras.layers.Dense(2, use_bias=False, name="head")(x))
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    return model


def learned(structure, linear, cotangents, images):
    """What a structure knows of images, and its variances of them."""
    found = gauss_newton.STRUCTURES[structure](linear.layers)
    images = keras.ops.convert_to_tensor(images)
    _, pairs = linear.pull_back(images, cotangents)
    sums = [as_numpy(total).astype("float64") for total in found.sums(pairs, {})]
    values = found.solve(sums, len(images))
    values = {name: value.astype("float32") for name, value in values.items()}
    _, pairs = linear.pull_back(images, each)
    matrix = gauss_newton.covariance(found.blocks(pairs, values), PRIOR)
    return np.diagonal(as_numpy(matrix), axis1=1, axis2=2)


def each(logits):
    """Cotangents of which each is one logit."""
    size, batch = logits.shape[1], keras.ops.shape(logits)[0]
    eye = keras.ops.eye(size)[:, None]
    return keras.ops.broadcast_to(eye, (size, batch, size))


@pytest.mark.parametrize("name", ["hidden", "head"])
def test_of_one_image_the_kronecker_product_is_all_of_the_matrix(name, dense):
    linear = LinearLayers(dense, [name])
    image = np.random.default_rng(3).normal(size=(1, 2, 2, 1)).astype("float32")
    variances = [
        learned(structure, linear, gauss_newton.roots, image)
        for structure in ("kronecker", "full")
    ]
    np.testing.assert_allclose(*variances, 1e-4)


def test_of_a_linear_regression_the_posterior_is_exact(dense):
    """The noise has the variance 1, so the labels' curvature is the unit matrix."""
    rng = np.random.default_rng(4)
    images = keras.Input((2, 2, 1))
    layer = keras.layers.Dense(2, name="it")
    model = keras.Model(images, layer(keras.layers.Flatten()(images)))
    x = rng.normal(size=(7, 2, 2, 1)).astype("float32")
    found = learned("full", LinearLayers(model), each, x)
    rows = np.concatenate([x.reshape(7, 4), np.ones((7, 1))], axis=1).astype("float64")
    inverse = np.linalg.inv(rows.T @ rows + PRIOR * np.eye(5))
    expected = np.einsum("ni,ij,nj->n", rows, inverse, rows)
    np.testing.assert_allclose(found, np.stack([expected, expected], 1), 1e-4)


def twice():
    images = keras.Input((6, 6, 2))
    layer = keras.layers.Conv2D(2, 1, name="shared")
    x = keras.layers.Flatten()(layer(layer(images)))
    return keras.Model(images, keras.layers.Dense(3)(x), name="it")


def wide():
    images = keras.Input((6, 6, 2))
    x = keras.layers.Dense(127, use_bias=False)(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Dense(73)(x[:, :125]))


SOME = {"subset": "subnetwork"}


@pytest.mark.parametrize(
    "make, settings, message",
    [
        (network, {"subset": "some"}, "subset=some"),
        (network, {"structure": ["kronecker"]}, r"structure=\['kronecker'\]"),
        (network, {"subnetwork": 3}, 'for subset="subnetwork".*last_layer'),
        (network, {"subset": "all", "subnetwork": 3}, "subset=all, subnetwork=3"),
        (network, SOME, "subnetwork=None"),
        (network, {**SOME, "subnetwork": "head"}, "list of names.*subnetwork=head"),
        (network, {**SOME, "subnetwork": []}, r"subnetwork=\[\]"),
        (network, {**SOME, "subnetwork": 0}, "subnetwork=0"),
        (network, {**SOME, "subnetwork": 88}, "87 weights.*subnetwork=88"),
        (network, {**SOME, "subnetwork": ["tail"]}, "tail; known: first, second, head"),
        (
            network,
            {**SOME, "subnetwork": 3, "structure": "diagonal"},
            "subnetwork=3, structure=diagonal",
        ),
        (twice, {"subset": "all"}, "'shared' of 'it' is called twice"),
        (
            wide,
            {"subset": "all", "structure": "full"},
            "structure=full, 18342 weights",
        ),
    ],
)
def test_other_networks_and_settings_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        Laplace(make(), **settings)


def test_logits_that_are_not_finite_leave_the_posterior_as_it_was():
    broken = network()
    broken.get_layer("head").bias.assign([0, np.nan, 0])
    posterior = Laplace(broken, prior_precision=1.0, subset="all")
    with pytest.raises(ValueError, match="must be finite.*infinity in 6 of 6"):
        posterior.adapt(IMAGES, LABELS)
    assert not posterior.is_adapted


def test_it_is_saved_with_the_weights_that_were_chosen(model, tmp_path):
    images = keras.Input((6, 6, 2))
    posterior = adapted(model, subset="subnetwork", subnetwork=9)
    whole = keras.Model(images, posterior(images)[0])
    whole.save(tmp_path / "it.keras")
    again = keras.models.load_model(tmp_path / "it.keras")
    np.testing.assert_array_equal(as_numpy(again(IMAGES)), as_numpy(whole(IMAGES)))


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
