"""The Hessian of a network against closed forms and differences of gradients."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
from tests.helpers import analyzed, marks, processes
from training import analysis
from training.analysis.hessian_products import HessianProducts
from training.analysis.training_batches import augmented, read_augmentations
from training.analysis.weight_loss import WeightLoss

RNG = np.random.default_rng(0)
DATA = analyzed.images(count=40, shape=(4, 4, 2))
# JAX has the other one only if it is asked for before all else.
DTYPE = "float64" if keras.backend.backend() == "tensorflow" else "float32"
IMAGES, TARGETS = augmented(DATA, 10, num_batches=1)[0]


def linear():
    """A softmax regression."""
    keras.utils.set_random_seed(1)
    return analyzed.chain((4, 4, 2))


def smooth_network(norm):
    """A network without kinks, with a normalization."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((4, 4, 2), dtype=DTYPE)
    x = keras.layers.Rescaling(1 / 64, -2, dtype=DTYPE)(inputs)
    x = keras.layers.Conv2D(4, 3, dtype=DTYPE, name="conv")(x)
    x = keras.ops.tanh(norm(x))
    x = keras.layers.GlobalAveragePooling2D(dtype=DTYPE)(x)
    model = keras.Model(inputs, keras.layers.Dense(3, dtype=DTYPE)(x), name="smooth")
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    return model


def hessian_of_softmax_regression(model, decay):
    """Returns the mean of `x x^T kron (diag(p) - p p^T)`, in float64."""
    kernel, bias = (np.asarray(w, "float64") for w in model.trainable_variables)
    rows = IMAGES.reshape(len(IMAGES), -1).astype("float64") / 64
    logits = rows @ kernel + bias
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    whole = np.zeros((kernel.size + bias.size,) * 2)
    for x, p in zip(np.c_[rows, np.ones(len(rows))], probs, strict=True):
        whole += np.kron(np.outer(x, x), np.diag(p) - np.outer(p, p)) / len(rows)
    return whole + decay * np.eye(len(whole))


def test_of_a_softmax_regression_the_hessian_has_a_closed_form():
    model, decay = linear(), 0.03
    wanted = hessian_of_softmax_regression(model, decay)
    matrix = HessianProducts(WeightLoss(model, decay))
    identity = np.eye(matrix.size, dtype="float32")
    found = matrix.products(identity, IMAGES, TARGETS)
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())
    halves = HessianProducts(WeightLoss(model, decay), at_once=5)
    np.testing.assert_allclose(
        halves.products(identity, IMAGES, TARGETS), found, atol=1e-4
    )
    finding = analysis.hessian(
        model,
        DATA,
        batch_size=10,
        augmentations="none",
        weight_decay=decay,
        num_batches=2,
        count=4,
        probes=0,
        steps=0,
    )
    values = np.linalg.eigvalsh(wanted)[::-1][:4]
    np.testing.assert_allclose(finding.arrays["eigenvalues"][0], values, rtol=1e-3)
    power = analysis.hessian(
        model,
        DATA,
        batch_size=10,
        augmentations=(),
        weight_decay=decay,
        num_batches=2,
        method="power",
        count=4,
        probes=30,
        steps=6,
        runs=2,
        tolerance=1e-5,
    )
    both = (f.arrays["eigenvalues"] for f in (finding, power))
    np.testing.assert_allclose(*both, rtol=5e-3)
    row = next(row for row in power.rows if row["metric"] == "trace")
    assert abs(row["value"] - np.trace(wanted)) < 6 * row["standard_error"]
    assert power.arrays["density_nodes"].shape == (2, 2, 6)
    facts = {"batch_statistics": "none", "augmentations": "none", "batch": 0}
    assert facts.items() <= row.items()
    median = power.values("largest_eigenvalue", quantile=0.5)
    np.testing.assert_allclose(median, power.arrays["eigenvalues"][:, 0].mean())
    penalty = decay / 2 * sum(np.sum(np.square(w)) for w in model.get_weights())
    gap = np.subtract(power.values("loss"), power.values("nll"))
    np.testing.assert_allclose(gap, penalty, rtol=1e-4)


NORMS = {
    "ours": lambda: layers.BatchNormalization(name="norm"),
    "batch": lambda: keras.layers.BatchNormalization(dtype=DTYPE, name="norm"),
    "layer": lambda: keras.layers.LayerNormalization(dtype=DTYPE),
    "group": lambda: keras.layers.GroupNormalization(2, dtype=DTYPE),
}


@pytest.mark.parametrize(
    "norm, statistics",
    marks.few(
        [
            *(("batch", "recomputed"), ("batch", "fixed"), ("layer", "fixed")),
            *(("group", "fixed"), ("ours", "recomputed"), ("ours", "fixed")),
        ],
        slow=[
            *(("batch", "fixed"), ("group", "fixed"), ("ours", "fixed")),
            ("ours", "recomputed"),
        ],
    ),
)
def test_products_are_differences_of_gradients(norm, statistics):
    model = smooth_network(NORMS[norm]())
    matrix = HessianProducts(WeightLoss(model, 0.01), statistics)
    assert matrix.dtype == DTYPE
    vectors = RNG.normal(size=(2, matrix.size))
    found = matrix.products(vectors, IMAGES, TARGETS)
    coarse = norm == "ours" or DTYPE == "float32"  # Ours computes in float32.
    step, rtol = (3e-4, 2e-2) if coarse else (1e-5, 1e-6)
    for vector, product in zip(vectors, found, strict=True):
        sides = [
            matrix.gradient(
                IMAGES,
                TARGETS,
                weights=[
                    w + sign * step * x
                    for w, x in zip(
                        matrix.loss.weights, matrix.split(vector), strict=True
                    )
                ],
            )[1]
            for sign in (1, -1)
        ]
        wanted = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(product, wanted, atol=rtol * np.abs(wanted).max())


def test_draws_are_those_of_the_key_and_frozen_layers_are_constants():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64)(inputs))
    x = layers.MCDropout(0.3, name="drop")(keras.layers.Dense(3, name="first")(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="small")
    matrix = HessianProducts(WeightLoss(model))
    vector = RNG.normal(size=(1, matrix.size)).astype("float32")
    products = [matrix.products(vector, IMAGES, TARGETS, key=key) for key in (3, 3, 4)]
    np.testing.assert_array_equal(*products[:2])
    assert np.abs(products[0] - products[2]).max() > 1e-3
    model.get_layer("first").trainable = False
    frozen = HessianProducts(WeightLoss(model))
    assert frozen.size == matrix.size - model.get_layer("first").count_params()
    model.trainable = False
    with pytest.raises(ValueError, match="'small' has no trained weights"):
        WeightLoss(model)


class NoSecond(keras.layers.Layer):
    """A layer whose gradient has none."""

    def call(self, x):
        if keras.backend.backend() == "jax":
            import jax

            @jax.custom_vjp
            def double(x):
                return 2 * x

            def backward(_, gradient):
                shape = jax.ShapeDtypeStruct(gradient.shape, gradient.dtype)
                return (jax.pure_callback(lambda x: 2 * x, shape, gradient),)

            double.defvjp(lambda x: (2 * x, None), backward)
            return double(x)
        if keras.backend.backend() == "torch":
            import torch

            class Gradient(torch.autograd.Function):
                @staticmethod
                def forward(context, gradient):
                    return 2 * gradient

                @staticmethod
                def backward(context, gradient):
                    raise NotImplementedError("There is no second derivative.")

            class Double(torch.autograd.Function):
                @staticmethod
                def forward(context, x):
                    return 2 * x

                @staticmethod
                def backward(context, gradient):
                    return Gradient.apply(gradient)

            return Double.apply(x)
        import tensorflow as tf

        size = (2 * x.shape[1], 2 * x.shape[2])
        return tf.raw_ops.ResizeBicubic(images=x, size=size)


def failing(folder=None, **changes):
    model = linear()
    given = {"batch_size": 10, "augmentations": "none", "num_batches": 2, "count": 1}
    given |= {"probes": 0, "steps": 0, "folder": folder}
    return analysis.hessian(model, DATA, **{**given, **changes})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"augmentations": None}, "No augmentation is given.*flip"),
        ({"augmentations": "flop"}, "flop"),
        ({"batch_size": 41}, "'noise' is smaller than a batch.*batch_size=41"),
        ({"num_batches": 5}, "num_batches=5"),
        ({"batch_statistics": "moving"}, "batch_statistics=moving"),
        ({"weight_decay": -1.0}, "weight_decay=-1"),
        ({"method": "qr"}, "method=qr"),
        ({"count": -1}, "count=-1"),
        ({"at_once": 3}, "at_once=3"),
    ],
)
def test_says_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        failing(**changes)


def test_a_layer_without_a_second_derivative_is_named():
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(2, 1, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(NoSecond(name="culprit")(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="network")
    matrix = HessianProducts(WeightLoss(model))
    with pytest.raises(ValueError, match="'culprit' has no second derivative"):
        matrix.products(np.ones((1, matrix.size)), IMAGES, TARGETS)


def test_what_was_computed_before_an_error_is_kept(tmp_path, monkeypatch):
    gradient, calls = HessianProducts.gradient, []

    def broken(self, images, targets, key):
        calls.append(key)
        value, found = gradient(self, images, targets, key)
        return (np.nan if len(calls) == 2 else value), found

    monkeypatch.setattr(HessianProducts, "gradient", broken)
    with pytest.raises(FloatingPointError, match="The loss of batch 1 is not finite"):
        failing(tmp_path)
    finding = failing(tmp_path)
    assert calls == [0, 1, 1]  # The first batch was kept.
    batches = [row["batch"] for row in finding.rows if row["metric"] == "eigenvalue"]
    assert batches == [0, 1]
    next(tmp_path.glob("batch_0000*")).write_text("damaged")
    with pytest.raises(ValueError, match="is damaged"):
        failing(tmp_path)


def test_augmentations_are_named_in_one_text():
    assert read_augmentations("flip+crop4") == ("flip", "crop4")
    assert read_augmentations("none") == ()
    mixed, targets = augmented(DATA, 10, ("mixup",), 1)[0]
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert 0 < np.median(targets.max(axis=1)) < 1
    assert mixed.shape == (10, 4, 4, 2)


@marks.on_others
def test_hessians_are_the_same_on_others(backend):
    processes.check_on(backend, __file__)


def test_moments_are_put_back():
    with layers.gradients.exact_moments():
        pass
    x = ops.convert_to_tensor(RNG.normal(size=(5, 3)))
    with layers.gradients.exact_moments():
        exact = ops.moments(x, axes=[0]), ops.moments(x, axes=[0], keepdims=True)
    plain = ops.moments(x, axes=[0]), ops.moments(x, axes=[0], keepdims=True)
    for own, other in zip(exact, plain, strict=True):
        for a, b in zip(own, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
