"""Networks of others with random layers in their graphs."""

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers import marks
from tests.helpers.exports import call, invoke, softmax
from training import export
from training.batch_statistics import update_batch_statistics

SHAPE = (12, 12, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype("float32")


def network(rate=0.5):
    """A classifier with a body in a model of its own, one of these in it sequential."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE, name="pixels")
    x = keras.layers.Conv2D(4, 3, 2, "same", activation="relu", name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.Add(name="add")([x, keras.ops.relu(y)])
    pool = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, name="hidden")]
    x = keras.Sequential([keras.Input((6, 6, 4)), *pool], name="pooling")(x)
    body = keras.Model(inputs, x, name="body")
    images = keras.Input(SHAPE, name="images")
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(IMAGES)
    x = body(scale(images))
    if rate:
        x = keras.layers.Dropout(rate, name="dropout")(x)
    logits = keras.layers.Dense(3, name="head")(x)
    model = keras.Model(images, logits, name="theirs")
    for layer in (
        body.get_layer("conv"),
        body.get_layer("depthwise"),
        model.layers[-1],
    ):
        layer.bias.assign(np.linspace(-1, 1, layer.bias.shape[0]))
    norm = body.get_layer("norm")
    norm.moving_mean.assign(np.linspace(-1, 1, 4))
    norm.moving_variance.assign(np.linspace(0.5, 2, 4))
    return model


def passes(model, num_samples=4):
    return np.asarray(zoo.posterior.MonteCarlo(model, num_samples)(IMAGES, seed=0))


@pytest.mark.parametrize(
    "method", marks.few(["flipout", "reparam", "lrt", "llsvi"], ["reparam", "lrt"])
)
def test_gaussian_weights_are_around_those_of_the_network(method):
    model = network()
    made = zoo.bayesianize(model, method, initial_scale=1e-9)
    expected = model(IMAGES)
    np.testing.assert_allclose(made(IMAGES), expected, rtol=1e-4, atol=1e-5)
    names = {layer.name for layer in layers.variational.gaussian_layers(made)}
    every = {"conv", "depthwise", "hidden", "head"}
    assert names == ({"head"} if method == "llsvi" else every)
    some = zoo.bayesianize(model, method, ["h*"], initial_scale=0.5)
    names = {layer.name for layer in layers.variational.gaussian_layers(some)}
    assert names == {"hidden", "head"}
    drawn = passes(some)
    assert np.all(np.std(drawn, axis=0) > 1e-3)
    assert made.name == f"theirs_{method}"
    for one, other in zip(network().weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)  # It is a copy.


def test_dropout_stays_on_or_is_put_behind_layers(tmp_path):
    model = network()
    made = zoo.bayesianize(model, "mcdo", ["hidden", "add"], rate=0.25)
    # Expected by hand: the layers of the network, with masks that are drawn alike.
    body, inner = model.get_layer("body"), made.get_layer("body")
    behind = [inner.get_layer("add_dropout")]
    behind.append(inner.get_layer("pooling").get_layer("hidden_dropout"))
    assert [type(layer) for layer in behind] == [layers.MCDropout] * 2
    assert {layer.rate for layer in behind} == {0.25}
    with layers.stream(7):
        logits = np.asarray(made(IMAGES))
    with layers.stream(7):
        x = model.get_layer("scale")(IMAGES)
        upper = keras.Model(body.input, body.get_layer("add").output)
        x = body.get_layer("pooling")(behind[0](upper(x)))
        expected = model.get_layer("head")(behind[1](x))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    statistics = np.asarray(inner.get_layer("norm").moving_mean)
    assert np.all(np.std(passes(made), axis=0) > 0)
    np.testing.assert_array_equal(inner.get_layer("norm").moving_mean, statistics)
    made.save(tmp_path / "made.keras")
    restored = keras.models.load_model(tmp_path / "made.keras")
    np.testing.assert_allclose(passes(restored), passes(made), rtol=1e-5, atol=1e-5)
    own = zoo.bayesianize(model, "mcdo")
    assert own.get_layer("dropout").rate == 0.5
    assert isinstance(own.get_layer("dropout"), layers.MCDropout)
    assert zoo.bayesianize(model, "mcdo", rate=0.1).get_layer("dropout").rate == 0.1


def test_a_network_of_the_zoo_keeps_its_classes_and_calls_dropout_as_it_was_called():
    model = zoo.build("resnet20", (16, 16, 1), 2, classes=["cat", "dog"])
    x = keras.layers.Dropout(0.5, name="drop")(model.layers[-2].output, training=True)
    x = keras.layers.Dense(2)(x)
    named = zoo.classifier.named(keras.Model(model.input, x), ["cat", "dog"])
    made = zoo.bayesianize(named, "mcdo")
    assert made.classes == ("cat", "dog")
    images = np.ones((1, 16, 16, 1))
    assert not np.array_equal(made(images), made(images))


def shared():
    images, layer = (
        keras.Input(SHAPE),
        keras.layers.Conv2D(3, 3, padding="same", name="c"),
    )
    return keras.Model(images, layer(layer(images)), name="twice")


class Subclassed(keras.Model):
    """Has no graph."""


REFUSED = [
    (network, ("bayes",), "Unknown method 'bayes'. Known: mcdo, flipout"),
    (network, ("flipuot",), "Unknown method.*Did you mean 'flipout'?"),
    (Subclassed, ("mcdo",), "graph of a functional or sequential model"),
    (lambda: network(0), ("mcdo",), "no dropout that could stay on.*model=theirs"),
    (network, ("mcdo", ["hiden"]), "no layer 'hiden'. Did you mean 'hidden'?"),
    (network, ("flipout", ["add"]), "'add' is no `keras.layers.Dense`.*: Add"),
    (shared, ("flipout",), "'c' is called 2 times"),
    (shared, ("mcdo", ["c"]), "'c' is called 2 times"),
    (
        lambda: keras.Sequential([keras.Input((3,)), keras.layers.ReLU()], name="relu"),
        ("llsvi",),
        "could have Gaussian weights. Received: model=relu",
    ),
]


@pytest.mark.parametrize("make, arguments, message", REFUSED)
def test_what_cannot_draw_is_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        zoo.bayesianize(make(), *arguments)


def test_settings_are_those_of_the_layers():
    with pytest.raises(ValueError, match="`rate` is the probability.*rate=1"):
        zoo.bayesianize(network(), "mcdo", rate=1)
    with pytest.raises(ValueError, match="Unrecognized keyword.*prior_scal"):
        zoo.bayesianize(network(), "flipout", prior_scal=1.0)
    tfp = pytest.importorskip("tensorflow_probability")
    uniform = layers.DistributionPrior(tfp.distributions.Uniform(-1.0, 1.0))
    with pytest.raises(ValueError, match="must be finite for every kernel"):
        zoo.bayesianize(network(), "flipout", prior=uniform)


def photos(count):
    """Noise of every color and contrast."""
    rng = np.random.default_rng(0)
    color = rng.uniform(0, 255, (count, 1, 1, 3))
    noise = rng.normal(size=(count, 32, 32, 3)) * rng.uniform(0, 99, (count, 1, 1, 1))
    return np.clip(color + noise, 0, 255).astype("float32")


def check(model, images, folder, method, names, **settings):
    """Checks that a network draws, also saved and exported."""
    # Without them features of untrained networks vanish.
    update_batch_statistics(model, photos(128), 128)
    made = zoo.bayesianize(model, method, names, **settings)
    posterior = zoo.posterior.MonteCarlo(made, 2)
    samples = np.asarray(posterior(images, seed=0))
    assert np.all(np.std(samples, axis=0).max(axis=-1) > 1e-3)
    made.save(folder / "made.keras")
    restored = keras.models.load_model(folder / "made.keras")
    again = zoo.posterior.MonteCarlo(restored, 2)(images, seed=0)
    np.testing.assert_allclose(again, samples, rtol=1e-3, atol=1e-4)
    probs = softmax(samples)
    export.export_saved_model(posterior, folder / "saved")
    served = call(folder / "saved", "sample", images=images, num_samples=2, seed=0)
    np.testing.assert_allclose(served["samples"], probs, atol=1e-4)
    export.export_tflite(posterior, folder / "lite", 2)
    device = invoke(folder / "lite", images=images, seed=np.array(0, "int32"))
    np.testing.assert_allclose(device, probs.mean(axis=0), atol=1e-4)


PHOTOS = photos(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, names, settings",
    [
        ("mcdo", ["block_*_add"], {"rate": 0.1}),
        ("flipout", None, {"initial_scale": 0.01, "estimator": "weight_sampling"}),
        ("llsvi", None, {"initial_scale": 0.1}),
    ],
)
def test_mobilenet_draws_saved_and_served(method, names, settings, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        (32, 32, 3), 0.35, weights=None, classes=10, classifier_activation=None
    )
    check(model, PHOTOS, tmp_path, method, names, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["flipout", "llsvi"])
def test_a_backbone_of_keras_hub_draws_saved_and_served(method, tmp_path):
    hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed")
    keras.utils.set_random_seed(0)
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(5)(x), name="hub")
    check(model, PHOTOS, tmp_path, method, None, initial_scale=0.05)
