"""The precision of all images, against NumPy."""

import keras
import numpy as np

import layers
from tests.helpers.trainings import stripes
from training.bayesian.feature_precision import update_precision


def network():
    images = keras.Input((12, 12, 1))
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    x = layers.BatchNormalization()(keras.layers.Conv2D(3, 3)(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(x))
    head = layers.GaussianProcess(2, 20, length_scale=1.0, ridge=0.5, name="head")
    return keras.Model(images, head(x))


def test_the_variance_is_that_of_the_features_of_all_images():
    model, data = network(), stripes(23)
    head = model.get_layer("head")
    head.observe(np.ones((5, 3), "float32"))  # Of a training before.
    update_precision(model, data.images, batch_size=10)
    features = keras.Model(model.input, model.get_layer("pool").output)(data.images)
    phi = np.asarray(head.random_features(features), "float64")
    covariance = 0.5 * np.linalg.inv(phi.T @ phi + 0.5 * np.eye(20))
    expected = np.sum(phi @ covariance * phi, axis=1)
    np.testing.assert_allclose(head.variance(features), expected, rtol=1e-3)


def test_a_frozen_head_stays_as_it_is():
    model = network()
    head = model.get_layer("head")
    head.trainable = False
    update_precision(model, stripes(4).images)
    np.testing.assert_array_equal(head.covariance_factor, np.eye(20))
