"""What a model must return, at every door that takes one."""

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from training.data import ImageData
from training.evaluation import evaluate
from zoo import outputs, predictive
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 4, 1)).astype("uint8")


def features():
    images = keras.Input((4, 4, 1))
    return images, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))


def ending(*end):
    images, x = features()
    x = keras.layers.Dense(3)(x)
    for layer in end:
        x = layer(x)
    return keras.Model(images, x, name="theirs")


def nested(inner):
    images = keras.Input((4, 4, 1))
    return keras.Model(images, inner(images), name="theirs")


def dense(activation):
    images, x = features()
    last = keras.layers.Dense(3, activation=activation, name="last")
    return keras.Model(images, last(x), name="theirs")


def sequential(*end):
    first = keras.Input((4, 4, 1)), keras.layers.Flatten()
    return keras.Sequential([*first, keras.layers.Dense(3), *end], name="theirs")


class Subclassed(keras.Model):
    input_shape, output_shape = (None, 4, 4, 1), (None, 3)

    def __init__(self, of_logits, **kwargs):
        super().__init__(**kwargs)
        self.body, self.of_logits = sequential(), of_logits

    def call(self, images, training=False):
        return self.of_logits(self.body(images))


def subclassed(of_logits):
    model = Subclassed(of_logits, name="theirs")
    model(IMAGES)
    return model


def normalized(x):
    return ops.exp(x) / ops.sum(ops.exp(x), axis=-1, keepdims=True)


SEEN = {
    "softmax layer": lambda: ending(keras.layers.Softmax()),
    "activation": lambda: ending(keras.layers.Activation("softmax")),
    "operation": lambda: ending(ops.softmax),
    "dense": lambda: dense("softmax"),
    "sigmoid": lambda: dense("sigmoid"),
    "sequential": lambda: sequential(keras.layers.Softmax()),
    "nested": lambda: nested(sequential(keras.layers.Softmax())),
    "behind": lambda: ending(
        keras.layers.Softmax(), keras.layers.Reshape((3,)), keras.layers.Dropout(0.5)
    ),
}
# Those that only their numbers tell, some so sure that all answers are equal.
HIDDEN = {
    "written out": lambda: ending(normalized),
    "lambda": lambda: ending(keras.layers.Lambda(ops.softmax)),
    "subclassed": lambda: subclassed(ops.softmax),
}
LOGITS = {
    "plain": sequential,
    "log": lambda: ending(ops.log_softmax),
    "nested": lambda: nested(dense("linear")),
    "inside": lambda: ending(keras.layers.Softmax(), keras.layers.Dense(3)),
    "subclassed": lambda: subclassed(lambda x: x),
}


@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize(
    "door", [lambda m: MonteCarlo(m, 2), DeepEnsemble, Temperature]
)
def test_a_graph_that_ends_with_probabilities_is_refused_by_posteriors(make, door):
    model = make()
    with pytest.raises(ValueError, match="ends with the .*Received: model=theirs"):
        door([model] if door is DeepEnsemble else model)


@pytest.mark.parametrize("make", HIDDEN.values(), ids=HIDDEN)
def test_others_are_refused_by_their_numbers_at_the_first_call(make):
    model = make()
    for posterior in (MonteCarlo(model, 2), DeepEnsemble([model]), Temperature(model)):
        with pytest.raises(ValueError, match="'theirs' returns must be logits"):
            posterior(IMAGES)


@pytest.mark.parametrize("make", LOGITS.values(), ids=LOGITS)
def test_logits_are_taken_and_are_those_of_the_model(make):
    model = make()
    expected = ops.convert_to_numpy(model(IMAGES, training=False))
    found = ops.convert_to_numpy(MonteCarlo(model, 2)(IMAGES))
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)


@pytest.mark.parametrize("num_classes", [1, 0, -3, True, 2.5, None])
def test_one_class_is_none(num_classes):
    with pytest.raises(ValueError, match=f"two classes.*num_classes={num_classes}"):
        zoo.build("resnet20", (16, 16, 1), num_classes)


def test_a_model_of_one_logit_is_refused():
    images, x = features()
    model = keras.Model(images, keras.layers.Dense(1)(x))
    with pytest.raises(ValueError, match=r"two classes.*output_shape=\(None, 1\)"):
        MonteCarlo(model, 2)


QUANTITIES = [
    *("probs", "log_probs", "entropy", "expected_entropy", "mutual_information"),
    "variation_ratio",
]
SAMPLES = RNG.normal(size=(5, 4, 3))
PROBS = np.exp(SAMPLES) / np.exp(SAMPLES).sum(axis=-1, keepdims=True)


def broken(value):
    samples = SAMPLES.copy()
    samples[1, 2, 0] = value
    return samples


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize(
    "logits, message",
    [
        (SAMPLES[0], r"shape \(samples, batch, num_classes\).*shape=\(4, 3\)"),
        (SAMPLES[..., :1], r"two classes at least.*shape=\(5, 4, 1\)"),
        (SAMPLES[:0], r"one sample.*shape=\(0, 4, 3\)"),
        (
            PROBS,
            "must be logits; take the logarithm.*the sum of each row is 1",
        ),
        (PROBS.astype("float16"), "take the logarithm"),
        (broken(np.nan), "NaN or infinite.*1 of 20 such rows"),
        (broken(np.inf), "NaN or infinite.*1 of 20 such rows"),
        (np.full((2, 2, 3), -np.inf), "4 of 4 such rows"),
    ],
)
def test_what_are_no_sampled_logits_is_refused(name, logits, message):
    with pytest.raises(ValueError, match=message):
        getattr(predictive, name)(logits)


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_list_is_an_array_and_no_images_have_no_values(name):
    quantity = getattr(predictive, name)
    np.testing.assert_array_equal(quantity(SAMPLES.tolist()), quantity(SAMPLES))
    assert quantity(SAMPLES[:, :0]).shape[0] == 0


def test_an_impossible_class_has_no_part_in_any_quantity():
    three = np.insert(SAMPLES[..., :2], 1, -np.inf, axis=-1)
    for name in QUANTITIES:
        found = ops.convert_to_numpy(getattr(predictive, name)(three))
        expected = ops.convert_to_numpy(getattr(predictive, name)(SAMPLES[..., :2]))
        found = found[..., [0, 2]] if found.ndim == 2 else found
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_logits_are_not_taken_for_probabilities_by_chance():
    assert not outputs.are_probabilities([[0.3, 0.7]])
    assert outputs.are_probabilities([[0.3, 0.7], [0.2, 0.8]])
    # The sum of two uniform numbers is within 1e-3 of one with a chance of 2e-3, so
    # three such sums are in 8e-9.
    several = np.random.default_rng(0).uniform(size=(20_000, 3, 2))
    assert not any(map(outputs.are_probabilities, several))


def in_a_function(x):
    return ops.softmax(x)


@pytest.mark.parametrize("activation", [in_a_function, "sparsemax"])
def test_a_softmax_of_another_name_is_found_at_every_door(activation):
    model = dense(activation)
    model.get_layer("last").kernel.assign(RNG.normal(size=(16, 3)))
    data = ImageData("mine", IMAGES, np.arange(6) % 3, ("a", "b", "c"))
    for call in (
        lambda: MonteCarlo(model, 2)(IMAGES),
        lambda: DeepEnsemble([model])(IMAGES),
        lambda: evaluate.evaluate(model, data, (1,), progress=False),
    ):
        with pytest.raises(ValueError, match="must (be|return) logits"):
            call()


def test_a_subclass_without_shapes_and_several_inputs_are_refused():
    class Shapeless(keras.Model):
        def call(self, images):
            return images[:, 0, :, 0]

    model = Shapeless()
    model(IMAGES)
    with pytest.raises(ValueError, match="`model` must be functional or sequential"):
        MonteCarlo(model, 1)
    images, x = features()
    more = keras.Input((3,))
    both = keras.layers.Concatenate()([x, more])
    model = keras.Model([images, more], keras.layers.Dense(3)(both))
    with pytest.raises(ValueError, match="`model` must take one batch of images"):
        MonteCarlo(model, 1)
