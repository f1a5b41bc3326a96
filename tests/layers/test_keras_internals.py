"""What the package relies on of Keras beyond its public names."""

import keras
import numpy as np
import pytest

from layers import keras_internals


class Block(keras.layers.Layer):
    """Has layers in a list and a dict, and a generator in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [keras.layers.Dense(2, name="listed")]
        self.named = {"a": keras.layers.ReLU(name="filed")}
        self.generators = [keras.random.SeedGenerator(1)]

    def call(self, x):
        self.add_loss(keras.ops.sum(x))
        return self.named["a"](self.inner[0](x))


@pytest.fixture
def model():
    images = keras.Input((3,), name="images")
    x = Block(name="block")(images)
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="deep")])
    x = inner(inner(x))
    return keras.Model(images, keras.layers.Add(name="sum")([x, x]), name="whole")


def test_layers_are_found_at_any_depth_and_once(model):
    names = [layer.name for layer in keras_internals.flat_layers(model)]
    expected = {"whole", "images", "block", "listed", "filed", "deep", "sum"}
    assert expected <= {*names}
    assert len(names) == len({*names})
    assert keras_internals.flat_layers(model, include_self=False)[0] is not model


def test_losses_of_the_last_call_are_forgotten(model):
    model(np.ones((1, 3), "float32"))
    assert len(model.losses) == 1
    keras_internals.clear_losses(model)
    assert model.losses == []


def test_the_calls_of_a_graph_come_in_their_order(model):
    graph = keras_internals.functional_graph(model)
    assert graph is model
    calls = list(keras_internals.nodes(graph))
    names = [node.operation.name for node in calls]
    assert (names[0], names[-1], len(names)) == ("block", "sum", 4)
    known = {id(x) for x in graph.inputs}
    for node in calls:
        assert {id(x) for x in node.input_tensors} <= known
        known |= {id(x) for x in node.outputs}
    sequential = keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])
    assert keras_internals.functional_graph(sequential).inputs[0].shape == (None, 2)
    assert keras_internals.functional_graph(keras.Sequential()) is None


def test_inputs_are_cast_and_those_of_another_rank_are_refused(model):
    (values,) = keras_internals.standardized(model, np.ones((2, 3), "int32"))
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    with pytest.raises(ValueError, match="whole"):
        keras_internals.standardized(model, np.ones((2, 4), "float32"))


def test_generators_in_lists_are_known():
    assert len(keras_internals.seed_generators(Block())) == 1
    assert len(keras_internals.seed_generators(keras.layers.Dropout(0.5))) == 1
    assert keras_internals.seed_generators(keras.layers.ReLU()) == ()


def test_an_optimizer_knows_the_place_of_a_weight(model):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    weights = model.trainable_variables
    optimizer.build(weights)
    for index, weight in enumerate(weights):
        assert keras_internals.index_in(optimizer, weight) == index
        assert optimizer.momentums[index].shape == weight.shape


def test_variables_are_kept_apart_within_a_scope_alone():
    assert not keras_internals.is_stateless()
    with keras.StatelessScope():
        assert keras_internals.is_stateless()


def test_weights_without_values_are_never_given_any():
    with keras_internals.without_values():
        layer = keras.layers.Dense(4)
        layer.build((None, 3))
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).get_weights()
    assert layer.kernel.shape == (3, 4)
    assert layer.kernel._value is None


def test_no_other_module_uses_what_is_private(request):
    root = request.config.rootpath
    private = ("._flatten_layers", "._clear_losses", "._nodes_by_depth", "keras.src")
    for package in ("layers", "zoo", "training"):
        for path in (root / package).rglob("*.py"):
            if path.name != "keras_internals.py":
                text = path.read_text()
                assert not [word for word in private if word in text], path
