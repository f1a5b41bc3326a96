"""What models do for SHAP's DeepExplainer; `make neighbors` runs them with it."""

import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import deep_explainer
from zoo.classifier import named

OWN, THEIRS = object(), object()
RULES = (
    *("Identity", "BiasAdd", "Add", "AddV2", "Sub", "Sum", "Mean", "Cast", "Reshape"),
    *("Pad", "Conv2D", "AvgPool", "Relu", "Tanh", "Rsqrt", "Mul", "MatMul", "RealDiv"),
)


def network(convolution, *others):
    """Returns a model with a normalization that has seen images."""
    images = keras.Input((8, 8, 2))
    norm = layers.BatchNormalization()
    x = norm(convolution(images))
    for layer in (*others, keras.layers.Flatten(), keras.layers.Dense(3)):
        x = layer(x)
    weights = np.random.default_rng(0).uniform(0.5, 2, (4, norm.gamma.shape[0]))
    norm.set_weights(list(weights))
    return named(keras.Model(images, x, name="explained"))


def explaining(monkeypatch):
    """Puts a stand-in there that is explaining: its rules, and what it has changed."""
    registry = {f"shap_{kind}": {} for kind in RULES}
    module = types.SimpleNamespace(
        tf_ops=types.SimpleNamespace(
            _gradient_registry=types.SimpleNamespace(_registry=registry)
        ),
        tf_execute=types.SimpleNamespace(record_gradient=THEIRS),
        tf_backprop=types.SimpleNamespace(_record_gradient=OWN),
    )
    monkeypatch.setitem(sys.modules, "shap.explainers._deep.deep_tf", module)
    return module


@pytest.fixture
def shap(monkeypatch):
    return explaining(monkeypatch)


def traced(model):
    spec = tf.TensorSpec((4, 8, 8, 2))
    return tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)


def kinds(function):
    return {node.op for node in function.graph.as_graph_def().node}


def test_normalizations_are_unfused_where_it_has_no_other_rule():
    model = network(keras.layers.Conv2D(4, 3), layers.SpatialSmoothing())
    images = tf.random.normal((4, 8, 8, 2), seed=0)
    usual = traced(model)
    assert "FusedBatchNormV3" in kinds(usual)
    assert not deep_explainer.is_explaining()
    with pytest.MonkeyPatch.context() as patch:
        stand_in = explaining(patch)
        assert deep_explainer.is_explaining()
        unfused = traced(model)
        assert stand_in.tf_execute.record_gradient is THEIRS
    assert "FusedBatchNormV3" not in kinds(unfused)
    np.testing.assert_allclose(unfused(images), usual(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model, message",
    [
        (
            lambda: network(keras.layers.DepthwiseConv2D(3)),
            "'explained', for it has no rule for DepthwiseConv2dNative.*Gradient",
        ),
        (
            lambda: network(keras.layers.Conv2D(4, 3), layers.MCDropout(0.5)),
            "'explained', for it compares two images.*GradientExplainer` can",
        ),
    ],
)
def test_what_it_cannot_follow_is_refused_and_later_trainings_go_on(
    shap, model, message
):
    with pytest.raises(ValueError, match=message):
        traced(model())
    assert shap.tf_execute.record_gradient is OWN
