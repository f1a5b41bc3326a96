"""The training step: fused kernels, with the values of Keras' own operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.helpers import marks
from training import objective, optimizer
from training.recipes.base import Recipe

SHAPES = (3, 3, 4, 8), (8,), (5, 1)
SETTINGS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-2}


def arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def updated(kind, steps=4, **settings):
    """Returns weights after some steps, the second of them left out of the decay."""
    result = kind(**SETTINGS | settings)
    weights = [keras.Variable(array) for array in arrays(0)]
    result.exclude_from_weight_decay(var_list=weights[1:2])
    result.build(weights)
    apply = tf.function(lambda *g: result.apply(g, weights), autograph=False)
    for step in range(steps):
        apply(*arrays(1 + step))
    return [np.asarray(weight) for weight in weights]


@pytest.mark.parametrize(
    "settings", [{"nesterov": True}, {"nesterov": False}, {"momentum": 0.0}]
)
def test_updates_as_keras_does(settings):
    ours = updated(optimizer.MomentumSGD, **settings)
    theirs = updated(keras.optimizers.SGD, **settings)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


class Counted(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that knows how often it was called."""

    def __init__(self):
        self.count = 0

    def __call__(self, step):
        self.count += 1
        return 0.1 / (1 + tf.cast(step, "float32"))


@pytest.mark.parametrize("kind", [optimizer.MomentumSGD, optimizer.AdamW])
def test_the_learning_rate_of_an_update_is_computed_once(kind):
    rate = Counted()
    updater, weights = kind(rate, weight_decay=0.1), [*map(keras.Variable, arrays(0))]
    updater.build(weights)
    for step in range(3):
        rate.count = 0
        updater.apply(arrays(1), weights)
        assert rate.count == 1
        # Between updates it is that of the next one.
        assert float(updater.learning_rate) == pytest.approx(0.1 / (2 + step))


def test_follows_the_recursion_of_nesterov():
    expected = [array.astype("float64") for array in arrays(0)]
    velocity = [0.0] * len(expected)
    for step in range(4):
        for i, gradient in enumerate(arrays(1 + step)):
            decay = 0 if i == 1 else 0.1 * 1e-2
            velocity[i] = 0.9 * velocity[i] - 0.1 * gradient
            expected[i] = (1 - decay) * expected[i]
            expected[i] += 0.9 * velocity[i] - 0.1 * gradient
    for one, other in zip(
        updated(optimizer.MomentumSGD, nesterov=True), expected, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_adamw_follows_the_algorithm_of_its_paper():
    expected = [array.astype("float64") for array in arrays(0)]
    first, second = [0.0] * len(expected), [0.0] * len(expected)
    for step in range(1, 5):
        for i, gradient in enumerate(arrays(step)):
            first[i] = 0.8 * first[i] + 0.2 * gradient
            second[i] = 0.99 * second[i] + 0.01 * gradient**2.0
            mean, square = first[i] / (1 - 0.8**step), second[i] / (1 - 0.99**step)
            decay = 0 if i == 1 else 1e-2
            expected[i] -= 0.1 * (mean / np.sqrt(square) + decay * expected[i])
    recipe = Recipe(
        "x",
        optimizer="adamw",
        betas=(0.8, 0.99),
        weight_decay=1e-2,
        schedule="step",
        learning_rate=0.1,
        warmup_epochs=0,
    )

    def kind(**_):
        rate = optimizer.learning_rate(recipe, 9)
        return optimizer.OPTIMIZERS["adamw"](recipe, rate)

    for one, other in zip(updated(kind), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_optimizer_survives_its_config():
    first = optimizer.MomentumSGD(0.1, momentum=0.9, nesterov=True)
    config = keras.saving.serialize_keras_object(first)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is optimizer.MomentumSGD
    assert again.get_config() == first.get_config()


def network():
    """A network with dropout of maps large enough to be worth compiling."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(images)
    x = layers.MCDropout(0.5, seed=3)(layers.BatchNormalization()(x))
    x = layers.Conv2DFlipout(32, 3, initial_scale=0.1, seed=4)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(2)(x))


def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 16, 16, 1)).astype("float32"), np.arange(8) % 2


def compiled(model, kind=optimizer.MomentumSGD, **settings):
    model.compile(kind(**SETTINGS), objective.cross_entropy(), **settings)
    return model


def operations(step, *args):
    """Returns the names of the operations outside and inside of what XLA compiles."""
    graph = tf.function(step, autograph=False).get_concrete_function(*args).graph
    definition = graph.as_graph_def()
    outside, inside = {node.op for node in definition.node}, set()
    for function in definition.library.function:
        place = inside if function.attr["_XlaMustCompile"].b else outside
        place |= {node.op for node in function.node_def}
    return outside, inside


def test_a_step_compiles_its_draws_and_nothing_else():
    images, labels = (tf.constant(array) for array in batch())
    trained = compiled(objective.elbo(network(), 100))
    trained.optimizer.build(trained.trainable_variables)
    outside, inside = operations(trained.train_step, (images, labels))
    assert {"RightShift", "BitwiseXor"} <= inside
    assert {"Conv2D", "FusedBatchNormV3", "ResourceApplyKerasMomentum"} <= outside
    assert not {"Conv2D", "ResourceApplyKerasMomentum"} & inside
    # Neither does an evaluation, nor what is exported.
    assert not operations(trained.test_step, (images, labels))[1]
    assert not operations(trained, images)[1]


@pytest.fixture(scope="module")
def plain():
    """The losses of three steps of plain Keras, and the weights behind them."""
    model = compiled(network(), keras.optimizers.SGD, jit_compile=False)
    losses = [model.train_on_batch(*batch()) for _ in range(3)]
    return losses, [np.asarray(weight) for weight in model.weights]


@pytest.mark.parametrize("jit_compile", marks.few([False, True], [False]))
def test_a_step_draws_and_learns_what_plain_keras_does(plain, jit_compile):
    ours = compiled(objective.elbo(network(), 1), jit_compile=jit_compile)
    losses, weights = plain
    for expected in losses:
        np.testing.assert_allclose(ours.train_on_batch(*batch()), expected, rtol=1e-5)
    for one, other in zip(ours.weights, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4, err_msg=one.path)
