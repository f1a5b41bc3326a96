"""What the package relies on of Keras beyond its public names."""

import ast

import keras
import numpy as np
import pytest
from keras import ops

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


def test_losses_from_before_come_back(model):
    model(np.ones((1, 3), "float32"))
    before = [float(loss) for loss in model.losses]
    with keras_internals.kept_losses(model):
        model(3 * np.ones((1, 3), "float32"))
        assert [float(loss) for loss in model.losses] != before
    assert [float(loss) for loss in model.losses] == before


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


class Marked(keras_internals.OutputMarker):
    """Marks its outputs with its name, and keeps the mark of those it is made of."""

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self.found = getattr(outputs, "mark", None)

    def mark(self, output):
        output.mark = self.name


def test_a_clone_is_made_of_marked_outputs():
    images = keras.Input((3,))
    model = Marked(images, keras.layers.Dense(2)(images), name="first")
    assert model.found is None
    clone = keras.models.clone_model(model)
    assert (type(clone), clone.found) == (Marked, "first")
    assert model(np.ones((1, 3), "float32")).shape == (1, 2)


class Doubled(keras_internals.OutputMarker):
    """Doubles what its dense layers give, as the graph of another network would."""

    def around(self, operation, call):
        if not isinstance(operation, keras.layers.Dense):
            return call
        return lambda *args, **kwargs: 2 * call(*args, **kwargs)


def test_a_pass_calls_what_a_model_puts_in_place_of_an_operation():
    images = keras.Input((3,))
    plain = keras.Model(images, keras.layers.Dense(2)(keras.layers.ReLU()(images)))
    changed, x = Doubled(images, plain.output), np.eye(3, dtype="float32")
    np.testing.assert_allclose(changed(x), 2 * plain(x), rtol=1e-6)
    assert changed.layers == plain.layers


def test_layers_say_whether_their_call_takes_the_training_mode(model):
    assert keras_internals.takes_training(keras.layers.Dropout(0.5))
    assert keras_internals.takes_training(model)
    assert not keras_internals.takes_training(keras.layers.ReLU())
    assert not keras_internals.takes_training(Block())
    x = keras.Input((3,))
    graph = keras_internals.functional_graph(keras.Model(x, keras.ops.negative(x)))
    (node,) = keras_internals.nodes(graph)
    assert not keras_internals.takes_training(node.operation)  # It is no layer.


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
    assert not keras_internals.has_value(layer.kernel)
    keras_internals.set_initial_values(layer.weights)
    assert keras_internals.has_value(layer.kernel)


def test_weights_are_made_with_their_values_under_short_names():
    def build():
        keras.utils.set_random_seed(1)
        images = keras.Input((3,))
        x = keras.layers.Dense(4, name="first")(images)
        inner = keras.Sequential([keras.layers.Dropout(0.5), keras.layers.Dense(2)])
        return keras.Model(images, inner(x), name="whole")

    expected = build()
    with keras_internals.without_values():
        model = build()
    value = keras.ops.reshape(keras.ops.arange(12.0), (3, 4))
    keras_internals.set_value(model.get_layer("first").kernel, value)
    keras_internals.set_initial_values(model.variables)
    np.testing.assert_array_equal(model.get_layer("first").kernel, value)
    expected.get_layer("first").kernel.assign(value)
    assert len(model.variables) == 5
    for found, other in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(found, other)
        assert found._initializer is None
        if keras.backend.backend() == "tensorflow":
            assert found.value.name == other.value.name.split("/")[-1]
    keras_internals.set_value(model.get_layer("first").kernel, 0 * value)
    assert not np.any(model.get_layer("first").kernel)


def test_no_other_module_imports_what_is_private_in_keras(request):
    for path, tree in _modules(request.config.rootpath).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                names = [f"{start}{alias.name}." for alias in node.names]
                found = [name for name in names if name.startswith("keras.src.")]
                assert not found, f"{path}:{node.lineno}"


def test_private_attributes_in_other_modules_are_their_own(request):
    trees = _modules(request.config.rootpath)
    own = {name for tree in trees.values() for name in _defined(tree)}
    for path, tree in trees.items():
        foreign = [(n, line) for n, line in _private_uses(tree) if n not in own]
        assert not foreign, path


def test_no_other_module_overrides_a_private_method_of_keras(request, model):
    optimizer = keras.optimizers.SGD()
    kinds = (model, keras.Sequential(), Block(), optimizer, keras.losses.Loss())
    methods = {name for kind in kinds for name in dir(kind) if _is_private(name)}
    for path, tree in _modules(request.config.rootpath).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = {getattr(inner, "name", None) for inner in node.body}
                assert not names & methods, path


def _modules(root) -> dict:
    """Returns the syntax trees of all modules but those of internals of others."""
    internals = "keras_internals.py", "deep_explainer.py"
    paths = [
        path
        for package in ("layers", "zoo", "training")
        for path in (root / package).rglob("*.py")
        if path.name not in internals
    ]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def _is_private(name):
    # Those of named tuples and of `os` are public in spite of their names.
    public = ("_fields", "_replace", "_asdict", "_exit")
    is_special = name.startswith("__") or name in public
    return name.startswith("_") and not is_special


def _defined(tree):
    """Yields the names of functions, of variables and of attributes that are set."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _private_uses(tree):
    """Yields private names, and their lines, of attributes and in `getattr`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in _BY_NAME:
            name = getattr(node.args[1], "value", None)
            if isinstance(name, str) and _is_private(name):
                yield name, node.lineno


_BY_NAME = ("getattr", "hasattr", "setattr", "delattr")


def test_symmetric_padding_is_that_of_the_operation_in_the_graph():
    x = keras.Input((4, 4, 1))
    widths = ((0, 0), (1, 1), (2, 2), (0, 0))
    model = keras.Model(x, ops.pad(ops.pad(x, widths, "symmetric"), widths))
    found = [
        keras_internals.symmetric_padding(node.operation)
        for node in keras_internals.nodes(model)
    ]
    assert found == [widths, None]


def test_functions_of_keras_are_known_by_their_kind_and_settings():
    images = x = keras.Input((4, 4, 2))
    y = ops.pad(x, ((0, 0), (1, 1), (0, 0), (0, 3)))
    y = ops.concatenate([ops.average_pool(y, 1, 2), ops.max_pool(y, 1, 2)], axis=-1)
    y = ops.reshape(ops.add(ops.relu(y), y), (-1, 60))
    model = keras.Model(images, keras.layers.Dense(2)(y))
    found = {
        keras_internals.operation_kind(node.operation): node.operation
        for node in keras_internals.nodes(model)
    }
    kinds = "Pad", "AveragePool", "MaxPool", "Concatenate", "Relu", "Add", "Reshape"
    assert {*found} == {*kinds, None}
    pad = found["Pad"]
    assert (tuple(pad.pad_width[-1]), pad.mode) == ((0, 3), "constant")
    assert np.max(found["AveragePool"].pool_size) == 1
    assert found["AveragePool"].data_format in (None, "channels_last")
    assert found["Concatenate"].axis == -1


def test_a_layer_that_is_built_accepts_weights_and_then_none():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with keras_internals.accepting_weights(layer):
        extra = layer.add_weight((2,), "ones", trainable=False, name="extra")
    assert any(weight is extra for weight in layer.weights)
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        layer.add_weight((2,), "ones", name="more")


@pytest.mark.parametrize("steps", [None, 2])
def test_an_optimizer_clips_what_an_update_is_of(steps):
    class Halves(keras_internals.ClipsUpdates, keras.optimizers.SGD):
        def clip(self, gradients):
            return [ops.minimum(x, 2.0) for x in gradients]

    made = Halves(1.0, gradient_accumulation_steps=steps)
    weight = keras.Variable(np.zeros(2, "float32"))
    made.build([weight])
    for gradient in ([1.0, 3.0], [1.0, 9.0]):
        made.apply([ops.array(gradient, "float32")])
    # Of the mean, (1, 6); and of each of them.
    expected = [-1.0, -2.0] if steps else [-2.0, -4.0]
    np.testing.assert_allclose(ops.convert_to_numpy(weight), expected)
