"""Where the passes of a model part from each other."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers.networks import IMAGES, UnknownNoise, as_numpy, mc_network, network
from zoo.posterior import MonteCarlo
from zoo.posterior.graph_split import Split

SHAPE = (8, 8, 1)


def drop(name="drop", rate=0.5):
    return layers.MCDropout(rate, name=name)


def head(x):
    return keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))


def chain():
    return mc_network()


def branches():
    """Two branches, one of them random, and a shortcut around both."""
    images = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(images)
    plain = keras.layers.Conv2D(4, 3, padding="same", name="plain")(x)
    noisy = keras.layers.Conv2D(4, 3, padding="same", name="noisy")(drop()(x))
    noisy = ops.relu(noisy) * 2.0
    return keras.Model(images, head(plain + noisy + ops.tanh(x)))


def nested():
    """A random layer inside of a model in a model, with layers around each."""
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            keras.layers.Conv2D(4, 3, padding="same", name="inner_before"),
            drop(),
            keras.layers.Conv2D(4, 3, padding="same", name="inner_behind"),
        ]
    )
    x = middle_input = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 1, name="middle_before")(x)
    middle = keras.Model(middle_input, keras.layers.ReLU()(inner(x)))
    images = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same", name="outer")(images)
    return keras.Model(images, head(middle(x)))


def shared():
    """A random layer, and a model with one, that are called twice."""
    dropout, images = drop(), keras.Input(SHAPE)
    body = keras.Sequential([keras.Input(SHAPE), keras.layers.Dense(1), drop("in")])
    x = keras.layers.Rescaling(1 / 255)(images)
    x = dropout(x) + 2 * dropout(x) + 4 * body(x)
    return keras.Model(images, head(body(x)))


def first():
    images = keras.Input(SHAPE)
    return keras.Model(images, head(drop()(images)))


def only_last():
    images = keras.Input(SHAPE)
    return keras.Model(images, drop()(head(images)))


MODELS = (chain, branches, nested, shared, first, only_last)


def run(split, images, key, count=None):
    """Returns logits, of one pass or of several in one batch."""
    values = split.prefix(ops.convert_to_tensor(images))
    if count is not None:
        key = layers.random.fold(key, np.arange(count))
        values = [ops.tile(v, (count, *[1] * (len(v.shape) - 1))) for v in values]
    with layers.stream(key):
        return as_numpy(split.suffix(values))


@pytest.mark.parametrize("make", MODELS)
def test_both_parts_are_the_model(make):
    model, split = make(), None
    split = Split(model)
    for key in (1, 2):
        with layers.stream(key):
            expected = as_numpy(model(IMAGES, training=False))
        np.testing.assert_allclose(run(split, IMAGES, key), expected, atol=1e-5)


@pytest.mark.parametrize("make", MODELS)
def test_several_passes_are_one_batch(make):
    split = Split(make())
    assert split.by_row
    singles = [run(split, IMAGES, int(layers.random.fold(3, n))) for n in range(3)]
    together = run(split, IMAGES, 3, 3)
    # A batch of another size adds up in another order.
    expected = np.concatenate(singles)
    limit = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(together, expected, atol=limit)


@pytest.mark.parametrize("make", [chain, branches, shared, first, only_last])
def test_the_prefix_is_what_does_not_change_from_pass_to_pass(make):
    model = make()
    split = Split(model)
    nodes = [n for op in model.operations for n in op._inbound_nodes if not n.is_input]
    tensors = [tensor for node in nodes for tensor in node.outputs]
    tensors = [t for t in tensors if id(t) in {p[1] for p in split._tracer.tensors}]
    every = keras.Model(model.inputs[0], tensors)
    values = []
    for key in range(4):
        with layers.stream(key):
            values.append([as_numpy(v) for v in every(IMAGES, training=False)])
    columns = zip(*values, strict=True)
    constant = [all(np.array_equal(v, w) for w in vs) for v, *vs in columns]
    late = {place[1] for step in split._suffix for place in step.outputs}
    assert [id(tensor) not in late for tensor in tensors] == constant
    assert any(constant) or make is first


def test_the_prefix_reaches_into_nested_models():
    model = nested()
    names = []
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D):
            call = layer.call

            def recorded(x, call=call, name=layer.name):
                names.append(name)
                return call(x)

            layer.call = recorded
    split = Split(model)
    values = split.prefix(ops.convert_to_tensor(IMAGES))
    assert names == ["outer", "middle_before", "inner_before"]
    names.clear()
    with layers.stream(0):
        split.suffix(values)
    assert names == ["inner_behind"]


def test_batch_statistics_stay_those_of_training_in_both_parts():
    model = network(
        keras.layers.BatchNormalization(), drop(), keras.layers.Dropout(0.9)
    )
    before = [as_numpy(v) for v in model.variables]
    with layers.stream(1):
        expected = as_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(run(Split(model), IMAGES, 1), expected, atol=1e-5)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, as_numpy(new))


class Subclassed(keras.Model):
    """A model that has no graph."""

    input_shape, output_shape = (None, *SHAPE), (None, 3)

    def __init__(self):
        super().__init__()
        self.body = mc_network()

    def call(self, images, training=False):
        return self.body(images, training=training)


def test_a_model_without_a_graph_is_passed_whole():
    model = Subclassed()
    model(IMAGES)
    split = Split(model)
    assert not split.by_row
    with layers.stream(1):
        expected = as_numpy(model(IMAGES))
    np.testing.assert_allclose(run(split, IMAGES, 1), expected, atol=1e-5)


@pytest.mark.parametrize("layer", [UnknownNoise(), keras.layers.Lambda(lambda x: x)])
def test_what_is_not_known_may_draw_and_runs_pass_by_pass(layer):
    split = Split(network(layer))
    assert not split.by_row
    assert not split.is_known
    assert len(split._prefix) > 2


def test_wrapped_random_layers_run_pass_by_pass():
    images = keras.Input((4, 6))
    x = keras.layers.TimeDistributed(drop())(images)
    split = Split(keras.Model(images, keras.layers.Dense(2)(x[:, 0])))
    assert not split.by_row


def test_rows_on_another_axis_run_pass_by_pass():
    images = keras.Input((4, 6))
    x = ops.transpose(images, (1, 0, 2))
    x = ops.transpose(drop()(x), (1, 0, 2))
    split = Split(keras.Model(images, keras.layers.Dense(2)(x[:, 0])))
    assert not split.by_row


def test_a_model_with_a_fixed_batch_runs_pass_by_pass():
    images = keras.Input(SHAPE, batch_size=2)
    assert not Split(keras.Model(images, head(drop()(images)))).by_row


def test_masks_are_kept_where_they_are():
    images = keras.Input((4, 6))
    x = keras.layers.Masking()(images)
    x = drop()(keras.layers.LSTM(3)(x))
    model = keras.Model(images, keras.layers.Dense(2)(x))
    split = Split(model)
    assert not split._prefix
    values = np.ones((2, 4, 6), "float32")
    values[:, 2:] = 0
    with layers.stream(1):
        expected = as_numpy(model(values))
    np.testing.assert_allclose(run(split, values, 1), expected, atol=1e-6)


def test_the_memory_of_a_row_is_that_of_the_widest_place():
    images = keras.Input((8, 8, 4))
    x = drop()(images)  # 256 numbers in, 256 out.
    x = keras.layers.Conv2D(16, 1)(x)  # 256 in, 1024 out.
    y = keras.layers.Conv2D(1, 1)(x)  # 1024 in, 64 out.
    x = keras.layers.Concatenate()([x, y])  # 1024 and 64 in, 1088 out.
    split = Split(keras.Model(images, head(x)))
    assert split.row_bytes == 4 * 2 * 1088
    images = keras.Input((None, None, 1))
    assert Split(keras.Model(images, head(drop()(images)))).row_bytes is None


def test_a_model_of_the_zoo_is_cut_where_it_draws():
    model = zoo.build("resnet20_lldo", (16, 16, 1), 3)
    posterior = MonteCarlo(model, 2)
    assert len(posterior._split._suffix) < len(posterior._split._prefix)
    assert posterior._split.by_row
    assert posterior._split.is_known
    assert MonteCarlo(zoo.build("resnet20", (16, 16, 1), 3), 2).repeats_itself
