import keras
import numpy as np
import pytest

from layers import Conv2DFlipout, DenseFlipout
from layers.priors import gaussian_kl

CASES = [
    (DenseFlipout, {"units": 3}, (4, 6)),
    (Conv2DFlipout, {"filters": 2, "kernel_size": 3}, (3, 4, 5, 2)),
]


@pytest.mark.parametrize(
    "loc, scale, prior_scale, expected",
    [
        (0, 1, 1, 0),
        (0, 0.3, 0.3, 0),
        (1, 1, 1, 0.5),
        (0, 0.1, 1, 1.807585),
        (0, 1, 0.1, 47.1974),  # The other direction.
    ],
)
def test_kl_has_its_closed_form(loc, scale, prior_scale, expected):
    loc, scale = np.full((2, 3), loc, "float32"), np.full((2, 3), scale, "float32")
    kl = gaussian_kl(loc, scale, prior_scale)
    np.testing.assert_allclose(kl, 6 * expected, rtol=1e-5, atol=1e-5)


def test_kl_is_finite_at_a_tiny_scale():
    kl = gaussian_kl(np.float32(0), np.float32(1e-30), 1.0)
    np.testing.assert_allclose(kl, 30 * np.log(10) - 0.5, rtol=1e-5)


@pytest.mark.parametrize("kind, arguments, shape", CASES)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_kl_is_added_once_per_call_in_single_precision(kind, arguments, shape, dtype):
    layer = kind(**arguments, prior_scale=0.7, initial_scale=0.3, dtype=dtype)
    for _ in range(3):
        layer(np.ones(shape))
    loc = np.asarray(layer.kernel, "float64")
    expected = np.log(0.7 / 0.3) + (0.3**2 + loc**2) / (2 * 0.7**2) - 0.5
    (kl,) = layer.losses
    assert kl.dtype == "float32"
    np.testing.assert_allclose(kl, expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_adds_each_kl_to_its_loss_unscaled(jit_compile):
    names = "first", "second"
    blocks = [DenseFlipout(6, name=name) for name in names]
    model = keras.Sequential([keras.Input((6,)), *blocks])
    scale = np.full((6, 6), 1e-3, "float32")
    kl = sum(gaussian_kl(b.kernel, scale, 1.0) for b in blocks)
    x = np.ones((16, 6))
    model.compile("sgd", loss=lambda y, p: 0.0 * p, jit_compile=jit_compile)
    loss = model.evaluate(x, x, batch_size=4, verbose=0)
    np.testing.assert_allclose(loss, kl, rtol=1e-5)
    model(x)
    assert len(model.losses) == 2
