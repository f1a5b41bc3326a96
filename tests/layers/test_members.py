"""Layers with several members, against the layers of Keras that their members are."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
from layers import FiLMBatchNormalization, Masksembles, PackedDense, members
from layers.masks import draw_masks
from layers.packed import num_groups
from tests.helpers import marks
from tests.helpers.checks import assert_mean_close, check_layer

NUM_MEMBERS = 3
MAPS, ROWS = (6, 4, 5, 12), (6, 12)
SETTINGS = {"num_members": NUM_MEMBERS, "bias_initializer": "random_normal"}
CONV = {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}
# By name: class, arguments, the shape of its inputs, and Keras' own layer.
CASES = {
    "film": (FiLMBatchNormalization, {"num_members": NUM_MEMBERS}, MAPS),
    "dense": (layers.DenseBatchEnsemble, {"units": 4, **SETTINGS}, ROWS),
    "conv": (layers.Conv2DBatchEnsemble, {**CONV, **SETTINGS}, MAPS),
    "dense_rank1": (layers.DenseRank1, {"units": 4, **SETTINGS}, ROWS),
    "conv_rank1": (layers.Conv2DRank1, {**CONV, **SETTINGS}, MAPS),
    "masks": (Masksembles, {"num_members": NUM_MEMBERS, "seed": 2}, MAPS),
    "packed": (PackedDense, {"units": 4, **SETTINGS}, ROWS),
}
DETERMINISTIC = [name for name in CASES if "rank1" not in name]


def built(case, **changes):
    kind, settings, shape = CASES[case]
    layer = kind(**{**settings, **changes})
    layer.build(shape)
    return layer, np.random.default_rng(0).normal(size=shape).astype("float32")


def of_member(layer, x, member, key=7, **settings):
    with layers.stream(key, number=member):
        return np.asarray(layer(x, **settings))


def alone(name, layer, member):
    """The same layer with one member, which has the weights of that one."""
    single = _narrow()
    if name != "packed":  # Draws follow from the name.
        single, _ = built(name, num_members=1, name=layer.name)
    for own, other in zip(single.weights, layer.weights, strict=True):
        if other.shape[:1] == (NUM_MEMBERS,) and own.shape != other.shape:
            own.assign(ops.convert_to_numpy(other)[member : member + 1])
        else:
            own.assign(other)
    return single


def _narrow():
    layer = PackedDense(4, num_members=1)
    layer.build((6, 12 // NUM_MEMBERS))
    return layer


@pytest.mark.parametrize("name", marks.few(CASES, set(CASES) - {"masks"}))
def test_keeps_the_contract(name):
    layer, x = built(name)
    check_layer(layer, x.shape)


@pytest.mark.parametrize("name", CASES)
def test_a_member_alone_is_the_member_in_the_ensemble(name):
    layer, x = built(name)
    if name == "film":  # Statistics of its own, too.
        for weight in _of_film(layer):
            weight.assign(np.random.default_rng(1).uniform(0.5, 2, weight.shape))
    found = [of_member(layer, x, m) for m in range(NUM_MEMBERS)]
    assert min(np.abs(a - b).max() for a, b in zip(found, found[1:], strict=False)) > 0
    for member, outputs in enumerate(found):
        own = x
        if name == "packed":
            own = np.split(x, NUM_MEMBERS, axis=1)[member]
        expected = of_member(alone(name, layer, member), own, 0)
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    if name not in DETERMINISTIC:
        return
    # Several samples as one batch; and examples of several members in one.
    with layers.stream(np.array([1, 2], "uint32"), number=np.array([5, 1], "int32")):
        both = np.asarray(layer(np.concatenate([x, x])))
    expected = np.concatenate([found[5 % NUM_MEMBERS], found[1]])
    np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-5)
    mixed = np.asarray(layer(x))
    expected = [found[row % NUM_MEMBERS][row] for row in range(len(x))]
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-5)


def test_one_member_is_the_layer_of_keras():
    twins = {
        "dense": keras.layers.Dense(4),
        "conv": keras.layers.Conv2D(**CONV),
        "packed": keras.layers.Dense(4),
    }
    for name, twin in twins.items():
        layer, x = built(name, num_members=1)
        assert not layer.stochastic
        twin.build(x.shape)
        if name != "packed":
            layer.alpha.assign(np.ones(layer.alpha.shape))
            layer.gamma.assign(np.ones(layer.gamma.shape))
        twin.set_weights(
            [
                np.reshape(w, v.shape)
                for w, v in zip(_own(layer), twin.weights, strict=True)
            ]
        )
        np.testing.assert_allclose(layer(x), twin(x), rtol=1e-6, atol=1e-6)
    layer, x = built("masks", num_members=1)
    np.testing.assert_array_equal(layer(x), x)
    film, x = built("film", num_members=1)
    twin = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    twin.build(x.shape)
    twin.set_weights([np.asarray(w)[0] for w in _of_film(film)])
    np.testing.assert_array_equal(film(x), twin(x))  # By the same kernel.
    np.testing.assert_allclose(
        film(x, training=True), twin(x, training=True), rtol=1e-5, atol=1e-6
    )
    for own, other in zip(_of_film(film)[2:], twin.weights[2:], strict=True):
        np.testing.assert_allclose(np.asarray(own)[0], other, rtol=1e-5, atol=1e-7)


def _of_film(layer):
    return [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance]


def _own(layer):
    return [np.asarray(layer.kernel), np.asarray(layer.bias)]


def test_kernels_of_members_differ_by_rank_one():
    layer, x = built("conv")
    for member in range(NUM_MEMBERS):
        factors = np.outer(layer.alpha[member], layer.gamma[member])
        twin = keras.layers.Conv2D(**CONV)
        twin.build(x.shape)
        twin.set_weights([np.asarray(layer.kernel) * factors, layer.bias[member]])
        np.testing.assert_allclose(of_member(layer, x, member), twin(x), atol=1e-5)
    bare, _ = built("conv", use_bias=False)
    count = sum(np.prod(w.shape) for w in bare.trainable_weights)
    assert count == 9 * 12 * 4 + NUM_MEMBERS * (12 + 4)


def test_factors_of_inputs_and_outputs_start_independent():
    for scale in (0.5, None):
        layer = layers.DenseBatchEnsemble(2000, fast_scale=scale)
        layer.build((None, 2000))
        factors = [np.asarray(w, "float64") for w in (layer.alpha, layer.gamma)]
        alpha, gamma = (w - (scale is not None) for w in factors)
        assert_mean_close((alpha * gamma).ravel(), 0.0)
        for weight in (alpha, gamma):
            assert_mean_close(weight.ravel(), 0.0)
            assert_mean_close(weight.ravel() ** 2, 1.0 if scale is None else scale**2)


def test_each_member_has_statistics_of_its_own():
    layer, x = built("film")
    x = np.concatenate([x, x[:1] + 3])  # Seven examples: 3, 2 and 2.
    outputs, expected = layer(x, training=True), np.zeros_like(x)
    for member in range(NUM_MEMBERS):
        gamma, beta, *moving = (np.asarray(w)[member] for w in _of_film(layer))
        rows = x[member::NUM_MEMBERS].astype("float64")
        mean, variance = rows.mean((0, 1, 2)), rows.var((0, 1, 2))
        scaled = (rows - mean) / np.sqrt(variance + 1e-5)
        expected[member::NUM_MEMBERS] = gamma * scaled + beta
        np.testing.assert_allclose(moving[0], 0.1 * mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(moving[1], 0.9 + 0.1 * variance, rtol=1e-5)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    before = [np.asarray(w) for w in (layer.moving_mean, layer.moving_variance)]
    layer(x[:1], training=True)  # Of the first member alone.
    statistics = layer.moving_mean, layer.moving_variance
    for old, new in zip(before, statistics, strict=True):
        np.testing.assert_array_equal(np.asarray(new)[1:], old[1:])
        assert np.any(np.asarray(new)[0] != old[0])


def test_film_keeps_whether_its_statistics_are_of_all_replicas():
    layer = FiLMBatchNormalization(synchronized=True)
    assert FiLMBatchNormalization.from_config(layer.get_config()).synchronized


def test_scales_and_shifts_start_as_published():
    layer = FiLMBatchNormalization(4, gain=2.0)
    layer.build((None, 2000))
    bound = 2 * np.sqrt(6 / (4 + 2000))
    for weight in (layer.gamma, layer.beta):
        values = np.asarray(weight)
        assert 0.99 * bound < np.abs(values).max() <= bound
        assert_mean_close(values.ravel(), 0.0)
        assert_mean_close(values.ravel() ** 2, bound**2 / 3)
    assert_mean_close(np.ravel(layer.gamma * layer.beta), 0.0)


@pytest.mark.parametrize("name", ["dense_rank1", "conv_rank1"])
def test_a_single_example_in_half_precision_has_rank_1_factors_too(name):
    layer, x = built(name, dtype="mixed_bfloat16")
    expected, _ = built(name, name=layer.name)
    for own, other in zip(expected.weights, layer.weights, strict=True):
        own.assign(other)
    found = of_member(layer, x[:1].astype(layer.compute_dtype), 1)
    assert found.dtype == "bfloat16"
    np.testing.assert_allclose(
        found.astype("float32"), of_member(expected, x[:1], 1), rtol=0.1, atol=0.1
    )


def test_rank_1_factors_are_gaussian_and_know_their_divergence():
    layer, x = built("dense_rank1", initial_scale=0.3, use_bias=False)
    x = np.repeat(x[:1], 4000, axis=0)
    outputs = of_member(layer, x, 1)
    alpha, gamma = (np.asarray(w, "float64")[1] for w in (layer.alpha, layer.gamma))
    kernel = np.asarray(layer.kernel, "float64")
    inner = (x[0] * alpha) @ kernel
    assert_mean_close(outputs, inner * gamma)
    spread = (x[0] ** 2 * 0.3**2) @ kernel**2
    second = (inner**2 + spread) * (gamma**2 + 0.3**2)
    assert_mean_close(outputs**2.0, second)
    layer, x = built("dense_rank1")
    layer.alpha.assign(np.ones(layer.alpha.shape))
    layer.gamma.assign(np.ones(layer.gamma.shape))
    layer(x)
    (divergence,) = layer.losses
    np.testing.assert_allclose(layer.divergence(), divergence, rtol=1e-6)
    weights = NUM_MEMBERS * (12 + 4)
    np.testing.assert_allclose(divergence / weights, 0.70084, rtol=2e-4)


@pytest.mark.parametrize("channels", [10, 16, 32, 64, 512])
def test_masks_have_equally_many_channels_and_every_channel(channels):
    masks = draw_masks(4, channels, 2.0, seed=1)
    assert masks.shape == (4, channels)
    ones = int(channels / 1.875)
    np.testing.assert_array_equal(masks.sum(axis=1), ones)
    assert masks.max(axis=0).min() == 1
    assert set(np.unique(masks)) == {0, 1}
    assert draw_masks(4, channels, 1.0).min() == 1
    overlaps = (masks @ masks.T)[np.triu_indices(4, 1)]
    assert abs(overlaps.mean() - ones / 2) < max(3.0, ones / 8)
    np.testing.assert_array_equal(draw_masks(4, channels, 2.0, seed=1), masks)


def test_packed_members_can_be_had_together():
    layer, x = built("packed")
    with members.together():
        every = np.asarray(layer(x))
    block = np.zeros((12, 4 * NUM_MEMBERS), "float32")
    for member in range(NUM_MEMBERS):
        rows = slice(4 * member, 4 * member + 4)
        block[rows, rows] = np.asarray(layer.kernel)[member]
    expected = (x @ block).reshape(len(x), NUM_MEMBERS, 4) + np.asarray(layer.bias)
    np.testing.assert_allclose(every, expected, rtol=1e-5, atol=1e-5)


def test_a_group_is_not_too_small():
    assert num_groups(4, 1024, 2, 64) == 8
    assert num_groups(4, 128, 2, 64) == 4
    assert num_groups(1, 64, 1, 1) == 1


def test_members_of_a_model_are_counted():
    inputs = keras.Input((12,))
    outputs = Masksembles(3, name="one")(inputs)
    assert members.count(keras.Model(inputs, outputs)) == 3
    assert members.count(keras.Model(inputs, keras.layers.ReLU()(inputs))) == 1
    odd = keras.Model(inputs, PackedDense(2, num_members=4, name="other")(outputs))
    with pytest.raises(ValueError, match="num_members=3 of 'one' and 4 of 'other'"):
        members.count(odd)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Masksembles(0), "positive integer. Received: num_members=0"),
        (lambda: FiLMBatchNormalization(2.5), "Received: num_members=2.5"),
        (lambda: FiLMBatchNormalization(gain=0), "Received: gain=0"),
        (lambda: FiLMBatchNormalization(center=False), "Received: center=False"),
        (lambda: Masksembles(2, scale=7), r"in \[1, 6\]. Received: scale=7"),
        (lambda: Masksembles(2)(np.ones((2, 9))), "at least. Received: channels=9"),
        (lambda: PackedDense(2, 4)(np.ones((2, 6))), "num_members=4, channels=6"),
        (lambda: layers.DenseRank1(2, prior_scale=0), "Received: prior_scale=0"),
        (lambda: layers.DenseBatchEnsemble(2, fast_scale=-1), "fast_scale=-1"),
    ],
)
def test_says_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
