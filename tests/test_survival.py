"""What is saved, loaded, copied, pickled or cloned is what it was."""

import copy
import functools
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
import zoo
from tests.helpers import marks
from training import objective as losses
from training import optimizer
from training.metrics import keras_metrics
from zoo.posterior import (
    SWA,
    SWAG,
    DeepEnsemble,
    Density,
    Dirichlet,
    Isotonic,
    Laplace,
    LinearLaplace,
    Mixture,
    MonteCarlo,
    PriorNetwork,
    Spread,
    Temperature,
    Temporal,
    Vector,
    WeightSamples,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 2)).astype("float32")
LABELS = np.array([0, 1, 2, 1, 0])


def load(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def checkpoint(model, folder):
    """As `fit` saves it by a callback that Keras has."""
    callback = keras.callbacks.ModelCheckpoint(str(folder / "best.keras"))
    callback.set_model(model)
    callback.on_epoch_end(0, {})
    return keras.saving.load_model(folder / "best.keras")


def clone(model, folder):
    result = keras.models.clone_model(model)
    result.set_weights(model.get_weights())
    return result


WAYS = {
    "load": load,
    "checkpoint": checkpoint,
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "clone": clone,
}


def around(layer, shape=(8, 8, 2)):
    """Returns a model with a layer in its middle."""
    images = keras.Input((8, 8, 2), name="images")
    x = layer(keras.layers.Reshape(shape)(images))
    if len(x.shape) > 2:
        x = keras.layers.Flatten()(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="around")


def classifier():
    images = keras.Input((8, 8, 2), name="images")
    x = layers.MCDropout(0.3, name="dropout")(keras.layers.Flatten()(images / 255))
    x = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1))(x)
    logits = layers.DenseFlipout(3, initial_scale=0.1, name="head")(x)
    model = keras.Model(images, logits, name="classifier")
    return zoo.classifier.named(model, ("cat", "dog", "cow"))


def objective(label_smoothing=0.0):
    """Returns a model with all that a training compiles into it."""
    model = losses.elbo(classifier(), 1000)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    rate = optimizer.WarmUp(schedule, warmup_steps=3)
    model.compile(
        optimizer.MomentumSGD(rate, momentum=0.9),
        losses.cross_entropy(label_smoothing, 3),
        metrics=["accuracy", keras_metrics.Classification("ece", from_logits=True)],
        run_eagerly=True,
    )
    model.train_on_batch(IMAGES, LABELS)
    return model


def posterior(kind):
    """Returns a posterior in a model of its own, with its samples as a batch."""
    images = keras.Input((8, 8, 2), name="images")
    return keras.Model(images, kind(images, seed=3), name="outer")


def adapted(kind=Laplace, *settings, **options):
    images = keras.Input((8, 8, 2))
    logits = keras.layers.Dense(3, name="head")(keras.layers.Flatten()(images / 255))
    model = zoo.classifier.named(keras.Model(images, logits), ("cat", "dog", "cow"))
    found = kind(model, *settings, **options)
    if found.takes_snapshots:
        found.collect([model, around(keras.layers.Flatten())])
    found.adapt(np.resize(IMAGES, (12, 8, 8, 2)), np.arange(12) // 4)
    return found


def laplace():
    return adapted(Laplace, "diagonal", "monte_carlo", 0.5, num_samples=2)


# Linear layers, whose arguments are alike.
LINEAR = [
    *("DenseReparameterization", "Conv2DLocalReparameterization"),
    *("DenseLocalReparameterization", "Conv2DReparameterization"),
    *("DepthwiseConv2DFlipout", "DepthwiseConv2DReparameterization"),
    "DepthwiseConv2DLocalReparameterization",
    *("DenseBatchEnsemble", "Conv2DBatchEnsemble", "DenseRank1", "Conv2DRank1"),
]


def unpooled(x):
    return layers.MaxUnpooling2D()([keras.layers.MaxPooling2D()(x), x])


def numbers(layer):
    return around(lambda x: layer(keras.layers.Dense(2)(x)), (128,))


def regressor():
    images = keras.Input((8, 8, 2))
    x = keras.layers.Dense(2, name="head")(keras.layers.Flatten()(images / 255))
    outputs = layers.GaussianOutput(1.0, 2.0)(x)
    found = zoo.classifier.named(keras.Model(images, outputs, name="regressor"))
    found.know(task="regression", target=(1.0, 2.0))
    return found


def linear_laplace():
    found = LinearLaplace(regressor(), 0.5)
    found.adapt(np.resize(IMAGES, (12, 8, 8, 2)), np.arange(12.0))
    return found


# What others of these are like in how they survive.
ALIKE = [
    *LINEAR[2:],
    "NomuOutput",
    "QuantileReLU",
    "FilteredMaxPooling2D",
    "Dropout",
    "SWA",
    "Vector",
    "Dirichlet",
    "PriorNetwork",
    "QuantizedDense",
    "QuantizedSmoothing",
    "SmoothedCrossEntropy",
]


def of_linear(name):
    sizes = [size for kind, size in (("Conv2D", 3), ("Dense", 4)) if kind in name]
    if name.startswith("Conv2D"):
        sizes = [4, 3]
    return around(getattr(layers, name)(*sizes, seed=5))


OBJECTS = {
    "SpatialSmoothing": lambda: around(layers.SpatialSmoothing(2.0, (1, 2, 1))),
    "AdaptiveAveragePooling2D": lambda: around(layers.AdaptiveAveragePooling2D(3)),
    "GroupedConv2D": lambda: around(layers.GroupedConv2D(4, 3, groups=2)),
    "FusedConv2D": lambda: around(layers.FusedConv2D(4, 3, activation="relu")),
    "BlurPool2D": lambda: around(layers.BlurPool2D((1, 2, 1), strides=2)),
    "FLCPooling2D": lambda: around(layers.FLCPooling2D(3)),
    "FrequencyDropout": lambda: around(
        layers.FrequencyDropout(filters={"gabor": (0.1, 0.5, 1.0)})
    ),
    "QuantileReLU": lambda: around(layers.QuantileReLU(0.7)),
    "FilteredReLU": lambda: around(layers.FilteredReLU(None)),
    "FilteredMaxPooling2D": lambda: around(layers.FilteredMaxPooling2D(3)),
    "MCDropout": lambda: around(layers.MCDropout(0.4, channelwise=True)),
    "Dropout": lambda: around(layers.Dropout(0.4)),
    "BatchNormalization": lambda: around(layers.BatchNormalization(momentum=0.5)),
    "DenseFlipout": lambda: around(layers.DenseFlipout(4, prior_scale=2.0)),
    "Conv2DFlipout": lambda: around(layers.Conv2DFlipout(4, 3, groups=2)),
    **{name: functools.partial(of_linear, name) for name in LINEAR},
    "FiLMBatchNormalization": lambda: around(layers.FiLMBatchNormalization(2)),
    "Masksembles": lambda: around(layers.Masksembles(2), (4, 2, 16)),
    "PackedDense": lambda: around(layers.PackedDense(4, 2), (128,)),
    "SpectralConv2D": lambda: around(layers.SpectralConv2D(4, 3, max_norm=0.1)),
    "GaussianProcess": lambda: around(layers.GaussianProcess(4, 32, seed=1)),
    "ClassCentroids": lambda: around(layers.ClassCentroids(4, 3), (128,)),
    "LocalAttention": lambda: around(
        layers.LocalAttention(4, num_heads=2, key_dim=3, window_size=3)
    ),
    "StochasticDepth": lambda: around(layers.StochasticDepth(0.3)),
    "MaxUnpooling2D": lambda: around(unpooled),
    "FakeQuantization": lambda: around(layers.FakeQuantization(4)),
    "QuantizedConv2D": lambda: around(layers.QuantizedConv2D(4, 3, weight_bits=4)),
    "QuantizedDense": lambda: around(layers.QuantizedDense(4)),
    "QuantizedMCDropout": lambda: around(layers.QuantizedMCDropout(0.4)),
    "QuantizedSmoothing": lambda: around(layers.QuantizedSmoothing()),
    "GaussianOutput": lambda: numbers(layers.GaussianOutput(1.0, 2.0)),
    "NomuOutput": lambda: numbers(layers.NomuOutput(1.0, 2.0, largest=3.0)),
    "Spread": lambda: posterior(Spread(regressor(), 2.0)),
    "LinearLaplace": lambda: posterior(linear_laplace()),
    "Temporal": lambda: posterior(Temporal(classifier(), past=2)),
    "PriorNetwork": lambda: posterior(PriorNetwork(classifier(), 2)),
    "MonteCarlo": lambda: posterior(MonteCarlo(classifier(), 2)),
    "DeepEnsemble": lambda: posterior(DeepEnsemble([classifier(), classifier()])),
    "Temperature": lambda: posterior(Temperature(classifier(), 2.5)),
    "Laplace": lambda: posterior(laplace()),
    "Density": lambda: posterior(adapted(Density, ["mahalanobis"])),
    "SWA": lambda: posterior(adapted(SWA)),
    "SWAG": lambda: posterior(adapted(SWAG, num_samples=2)),
    "WeightSamples": lambda: posterior(adapted(WeightSamples, num_samples=2)),
    "Mixture": lambda: posterior(Mixture([laplace(), laplace()])),
    "Vector": lambda: posterior(Vector(classifier())),
    "Dirichlet": lambda: posterior(Dirichlet(classifier(), 0.1)),
    "Isotonic": lambda: posterior(Isotonic(classifier())),
    "Classifier": classifier,
    "Elbo": objective,
    "SmoothedCrossEntropy": lambda: objective(0.2),
}


def outputs(model):
    images = np.resize(IMAGES, (5, *model.input_shape[1:]))
    with layers.stream(0):
        return keras.ops.convert_to_numpy(model(images, training=False))


def objective_of(model):
    with layers.stream(0):
        logits = model(IMAGES, training=False)
    return float(model.compute_loss(IMAGES, LABELS, logits, training=False))


@pytest.fixture
def eager():
    """Traces no function: each of them is called once."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("name", marks.few(OBJECTS, ALIKE))
def test_every_public_object_survives(name, tmp_path, eager):
    keras.utils.set_random_seed(0)
    model = OBJECTS[name]()
    expected = outputs(model)
    for way, again in WAYS.items():
        (tmp_path / way).mkdir()
        found = again(model, tmp_path / way)
        np.testing.assert_array_equal(outputs(found), expected, err_msg=way)
        assert type(found) is type(model), way
        assert getattr(found, "classes", ()) == getattr(model, "classes", ()), way
        if not model.compiled:
            continue
        assert found.num_examples == 1000, way
        ours, theirs = (objective_of(x) for x in (model, found))
        np.testing.assert_allclose(theirs, ours, 1e-5, err_msg=way)
        assert [m.name for m in found.metrics] == [m.name for m in model.metrics], way
        one, other = (m.optimizer.get_config() for m in (model, found))
        assert one == other, way
        assert other["learning_rate"]["config"]["warmup_steps"] == 3


def test_every_public_layer_and_posterior_is_here():
    public = {
        name
        for package in (layers, zoo.posterior)
        for name, value in vars(package).items()
        if isinstance(value, type) and issubclass(value, keras.layers.Layer)
    }
    bases = {"RandomLayer", "MemberLayer", "Posterior", "Scaler"}
    assert public - bases <= set(OBJECTS)


def test_penalties_of_other_layers_are_theirs_alone():
    model = classifier()
    with layers.stream(0):
        logits = model(IMAGES, training=True)
    penalty, divergence = (float(x) for x in reversed(sorted_losses(model)))
    nll = float(losses.cross_entropy()(LABELS, logits))
    trained = losses.elbo(model, 1000)
    trained.compile("sgd", losses.cross_entropy())
    with layers.stream(0):
        total = trained.compute_loss(
            IMAGES, LABELS, trained(IMAGES, training=True), training=True
        )
    assert penalty > 0.01
    assert divergence > 1
    expected = nll + penalty + divergence / 1000
    np.testing.assert_allclose(float(total), expected, rtol=1e-5)


def sorted_losses(model):
    """Returns the divergence, and the penalty of the regularizer."""
    (head,) = (layer for layer in model.layers if layer.name == "head")
    (divergence,) = head.losses
    (penalty,) = (x for x in model.losses if float(x) != float(divergence))
    return divergence, penalty


def test_outside_of_a_training_the_divergence_is_whole():
    model = classifier()
    losses.elbo(model, 1000)(IMAGES)
    divided = float(sorted_losses(model)[0])
    model(IMAGES)
    np.testing.assert_allclose(float(sorted_losses(model)[0]), divided * 1000, 1e-5)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.0, 2.0, 1.0, 1.0])])
def test_smoothing_of_labels_is_a_mean_over_examples(weights):
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    targets = 0.7 * np.eye(3)[LABELS] + 0.1
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    each = -(targets * logs).sum(1) * (1 if weights is None else weights)
    loss = losses.cross_entropy(0.3, 3)(LABELS, logits, weights)
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-5)
