"""Keys: streams, the counter and what is saved of it. The draws: test_random."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from layers import (
    Conv2DFlipout,
    DenseFlipout,
    MCDropout,
    RandomLayer,
    random,
    set_seed,
    stream,
)
from tests.helpers import marks

LAYERS = {
    "dropout": lambda **kwargs: MCDropout(0.5, **kwargs),
    "channelwise": lambda **kwargs: MCDropout(0.5, channelwise=True, **kwargs),
    "dense": lambda **kwargs: DenseFlipout(3, initial_scale=1.0, **kwargs),
    "conv": lambda **kwargs: Conv2DFlipout(3, 3, initial_scale=1.0, **kwargs),
}
X = np.random.default_rng(0).normal(size=(5, 6, 7, 4)).astype("float32")


@pytest.fixture(params=LAYERS.values(), ids=LAYERS)
def layer(request):
    layer = request.param(name="layer", seed=3)
    layer.build(X.shape)
    return layer


def draw(layer, x=X, key=7, offset=0):
    with stream(key, offset):
        return np.array(layer(x))


def test_a_stream_repeats_itself_and_writes_no_state(layer):
    before = layer.random_state.numpy()
    np.testing.assert_array_equal(draw(layer), draw(layer))
    assert np.any(draw(layer) != draw(layer, key=8))
    np.testing.assert_array_equal(layer.random_state, before)


@pytest.mark.parametrize("split", [1, 2, 4])
def test_a_stream_does_not_depend_on_the_batch_split(layer, split):
    parts = draw(layer, X[:split]), draw(layer, X[split:], offset=split)
    np.testing.assert_allclose(np.concatenate(parts), draw(layer), rtol=1e-5, atol=1e-5)


def test_examples_of_a_stream_are_drawn_apart(layer):
    same = np.broadcast_to(X[:1], X.shape)
    assert len(np.unique(draw(layer, same), axis=0)) == len(X)


def test_a_second_call_inside_a_stream_draws_anew_and_repeats_too(layer):
    def twice():
        with stream(7):
            return np.array([layer(X), layer(X)])

    first, second = twice()
    assert np.any(first != second)
    np.testing.assert_array_equal(twice(), [first, second])


def test_a_stream_depends_on_the_name_and_not_on_other_layers():
    a, b = MCDropout(0.5, name="a"), MCDropout(0.5, name="b")
    with stream(7):
        first_a, first_b = np.array(a(X)), np.array(b(X))
    with stream(7):
        second_b, second_a = np.array(b(X)), np.array(a(X))
    np.testing.assert_array_equal(first_a, second_a)
    np.testing.assert_array_equal(first_b, second_b)
    assert np.any((first_a == 0) != (first_b == 0))


def test_a_stream_is_the_same_inside_a_compiled_function(layer):
    @tf.function(reduce_retracing=True)
    def compiled(x, key, offset):
        with stream(key, offset):
            return layer(x)

    for key, offset in ((7, 0), (7, 3), (2**31 + 5, 0)):
        expected = draw(layer, X, key, offset)
        tensors = tf.constant(key, "uint32"), tf.constant(offset)
        actual = compiled(X, *tensors)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


IMAGES, LABELS = X[:4], np.array([0, 1, 0, 1])


def trained():
    inputs = keras.Input(X.shape[1:])
    x = keras.layers.Flatten()(MCDropout(0.5, name="outer", seed=1)(inputs))
    head = DenseFlipout(2, initial_scale=1.0, name="head", seed=2)
    model = keras.Model(inputs, head(x))
    model.build(X.shape)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    set_seed(model, 3)
    return model


def fitted(model):
    history = model.fit(IMAGES, LABELS, batch_size=2, shuffle=False, verbose=0)
    return history.history["loss"]


CALLS = {
    "fit": lambda model: fitted,
    "evaluate": lambda model: lambda model: model.evaluate(IMAGES, LABELS, verbose=0),
    "predict": lambda model: lambda model: model.predict(IMAGES, verbose=0),
    "predict_on_batch": lambda model: lambda model: model.predict_on_batch(IMAGES),
    "train_on_batch": lambda model: lambda m: m.train_on_batch(IMAGES, LABELS),
    "tf.function": lambda model: tf.function(lambda _: model(IMAGES)),
}


SLOW = ("evaluate", "predict_on_batch", "train_on_batch")  # They take like paths.


@pytest.mark.parametrize("call", marks.few(CALLS, SLOW))
def test_a_stream_around_a_compiled_function_has_no_effect(call):
    inside, outside = trained(), trained()
    first, second = CALLS[call](inside), CALLS[call](outside)
    with stream(0, estimator="weight_sampling"):
        results = [first(inside), first(inside)]
    results.append(first(inside))
    expected = [second(outside) for _ in range(3)]
    assert np.any(np.asarray(expected[0]) != np.asarray(expected[1]))
    np.testing.assert_allclose(results, expected, rtol=1e-5, atol=1e-5)
    for ours, others in zip(inside.layers, outside.layers, strict=True):
        if isinstance(ours, RandomLayer):
            np.testing.assert_array_equal(ours.random_state, others.random_state)


def test_a_stream_holds_in_the_loops_of_its_function():
    layer = MCDropout(0.5, seed=0, name="layer")

    @tf.function
    def compiled(key):
        with stream(key):
            body = lambda i, y: (i + 1, layer(X))  # noqa: E731
            _, y = tf.while_loop(lambda i, y: i < 1, body, (0, tf.zeros(X.shape)))
            return tf.cond(key > 0, lambda: layer(y), lambda: y)

    zero, one = tf.constant(0), tf.constant(1)
    np.testing.assert_array_equal(compiled(zero), draw(layer, key=0))
    assert np.any(compiled(one) != draw(layer, key=1))
    assert layer.random_state.numpy().tolist() == [0, 0]


def test_streams_nest_and_end_with_their_block():
    dropout = MCDropout(0.5, seed=0)
    with stream(7):
        outer = np.array(dropout(X))
    with stream(7):
        draw(dropout, key=8)
        np.testing.assert_array_equal(dropout(X), outer)
    with pytest.raises(RuntimeError, match="inside"), stream(7):
        raise RuntimeError("inside")
    dropout(X)
    assert int(dropout.random_state[1]) == 1


def test_calls_outside_a_stream_count_and_differ(layer):
    outputs = [np.array(layer(X)) for _ in range(3)]
    assert len(np.unique(outputs, axis=0)) == 3
    assert layer.random_state.numpy().tolist() == [3, 3]


@pytest.mark.parametrize("wrap", [lambda layer: layer, tf.function])
def test_the_first_call_has_number_one(wrap):
    call = wrap(MCDropout(0.5, seed=3))
    for number in (1, 2):
        keys = random.fold(random.fold(3, number), np.arange(len(X)))
        drop = random.bernoulli(keys, X.shape, 0.5)
        np.testing.assert_array_equal(call(X) == 0, drop)


def test_equal_seeds_draw_equally(layer):
    twin = type(layer).from_config(layer.get_config())
    twin.build(X.shape)
    twin.set_weights(layer.get_weights())
    for _ in range(2):
        np.testing.assert_array_equal(twin(X), layer(X))


def test_without_a_seed_layers_differ_and_follow_the_global_seed():
    def masks():
        keras.utils.set_random_seed(1)
        return [np.array(MCDropout(0.5)(X)) for _ in range(2)]

    first, second = masks()
    assert np.any(first != second)
    np.testing.assert_array_equal(masks(), [first, second])


def build_model():
    body = keras.Sequential([keras.Input((6, 7, 4)), LAYERS["conv"](name="inner")])
    inputs = keras.Input((6, 7, 4))
    x = MCDropout(0.5, name="outer")(body(inputs))
    return keras.Model(inputs, DenseFlipout(2, initial_scale=1.0, name="head")(x))


def test_set_seed_restarts_every_random_layer_and_sets_them_apart():
    model = build_model()
    set_seed(model, 5)
    first, second = np.array(model(X)), np.array(model(X))
    assert np.any(first != second)
    set_seed(model, 5)
    np.testing.assert_array_equal([model(X), model(X)], [first, second])
    set_seed(model, 6)
    assert np.any(np.array(model(X)) != first)
    states = [
        layer.random_state
        for layer in model._flatten_layers()
        if isinstance(layer, RandomLayer)
    ]
    assert len({int(state[0]) for state in states}) == len(states) == 3


def test_a_saved_model_goes_on_with_the_next_draws(tmp_path):
    model = build_model()
    model(X)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    from_weights = build_model()
    from_weights.load_weights(tmp_path / "model.weights.h5")
    restored = keras.models.load_model(tmp_path / "model.keras")
    expected = [np.array(model(X)) for _ in range(2)]
    assert np.any(expected[0] != expected[1])
    for other in (from_weights, restored):
        np.testing.assert_allclose([other(X) for _ in range(2)], expected, rtol=1e-5)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_rejects_a_seed_outside_of_32_bits(seed):
    with pytest.raises(ValueError, match=f"`seed` must be .*Received: seed={seed}"):
        MCDropout(seed=seed)
