"""Small models for the tests of exports, and ways to run what was exported."""

import collections
import functools
import itertools
import os

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

import layers
from layers.random import fold

RATE = 0.25
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1)).astype("float32")


def tiny(*random_layers):
    """Returns a network whose batch statistics differ from its moving ones."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16, 16, 1), name="images")
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv")(x)
    norm = keras.layers.BatchNormalization(name="norm")
    x = keras.layers.ReLU()(norm(x))
    for layer in random_layers:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
    norm.moving_mean.assign(np.linspace(-1, 1, 8))
    norm.moving_variance.assign(np.linspace(0.02, 0.2, 8))
    return model


def dropout_model():
    return tiny(layers.MCDropout(RATE, channelwise=True, name="dropout"))


def flipout_model():
    conv = layers.Conv2DFlipout(8, 3, initial_scale=0.3, name="flipout")
    return tiny(layers.MCDropout(0.3, name="dropout"), conv)


MODELS = {"plain": tiny, "dropout": dropout_model, "flipout": flipout_model}


def softmax(logits):
    powers = np.exp(np.asarray(logits, "float64"))
    return powers / np.sum(powers, axis=-1, keepdims=True)


def load(saved):
    """Returns a SavedModel, which is loaded once as long as nobody writes it anew."""
    return _load(os.fspath(saved), os.stat(saved).st_ino)


@functools.lru_cache(maxsize=3)
def _load(path, inode):
    return tf.saved_model.load(path)


def call(saved, signature="serving_default", **inputs):
    loaded = load(saved)
    inputs = {name: tf.constant(value) for name, value in inputs.items()}
    return {k: v.numpy() for k, v in loaded.signatures[signature](**inputs).items()}


def invoke(lite, **inputs):
    return Interpreter(str(lite)).get_signature_runner()(**inputs)["probabilities"]


def operators(lite):
    """Returns the number of built-in operators and the names of all others."""
    codes = flatbuffer(lite.read_bytes()).operatorCodes
    return len(codes), [code.customCode for code in codes if code.customCode]


def flatbuffer(content):
    """Returns a LiteRT file as objects."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def calls(lite):
    """Counts the calls of each operator, in all graphs of a file."""
    model = flatbuffer(lite.read_bytes())
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if k[0] != "_"}
    numbers = [code.builtinCode for code in model.operatorCodes]
    called = [call for graph in model.subgraphs for call in graph.operators]
    return collections.Counter(names[numbers[call.opcodeIndex]] for call in called)


def exact_moments(model, images):
    """Returns mean and variance of the probabilities, over all masks."""
    body = keras.Model(model.input, model.get_layer(index=-4).output)
    features = np.mean(body(images, training=False), axis=(1, 2))
    kernel, bias = model.get_layer("head").get_weights()
    masks = np.array(list(itertools.product([0, 1], repeat=8)))[:, None]
    kept = masks.sum(axis=-1, keepdims=True)
    weights = (1 - RATE) ** kept * RATE ** (8 - kept)
    probs = softmax(features * masks / (1 - RATE) @ kernel + bias)
    mean = np.sum(weights * probs, axis=0)
    return mean, np.sum(weights * (probs - mean) ** 2, axis=0)


def passes(model, images, num_samples, seed):
    """Runs the passes one by one, as the definition says."""
    samples = []
    for number in range(num_samples):
        with layers.stream(fold(seed, number)):
            samples.append(softmax(model(images, training=False)))
    return np.stack(samples)
