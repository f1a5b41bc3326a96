"""What a model is, as far as its weights do not say: metadata that travel with them."""

import json
from collections.abc import Mapping

import keras
import numpy as np

from zoo.classifier import classes_of, task_known
from zoo.compressed import compression_of

# What every layer has, what the shapes of the weights say, and what only sets where
# a training starts.
_LEFT_OUT = {"name", "trainable", "dtype", "seed"}
_LEFT_OUT |= {"units", "filters", "kernel_size", "strides", "groups"}
_LEFT_OUT |= {"use_bias", "initial_scale"}


def model_metadata(model: keras.Model) -> dict[str, object]:
    """Returns what one has to know besides the weights to build a model again.

    Args:
        model: From images to logits.

    Returns:
        `name`, `input_shape`, `num_classes`, the `mean` and `variance` of the pixels
        per channel if the model normalizes them, `layers`, as `layer_settings` has
        them, the names of the `classes` if they are known, the `compression` of a
        smaller network, as `zoo.compressed` has it, and of a regressor the mean and the
        standard deviation of its `target`; all as `json` gives it back.
    """
    metadata = {
        "name": model.name,
        "input_shape": list(model.input_shape[1:]),
        "num_classes": model.output_shape[-1],
        "layers": layer_settings(model),
    }
    if classes := classes_of(model):
        metadata["classes"] = list(classes)
    if compression := compression_of(model):
        metadata["compression"] = compression
    if target := task_known(model).get("target"):
        metadata["target"] = target
    for layer in model.layers:
        normalizes = isinstance(layer, keras.layers.Normalization)
        if layer.name == "normalize" and normalizes:
            config = layer.get_config()
            for key in ("mean", "variance"):
                value = np.broadcast_to(np.ravel(config[key]), model.input_shape[-1:])
                metadata[key] = value.astype(float).tolist()
    return metadata


def layer_settings(model: keras.Model) -> dict[str, dict]:
    """Returns the settings of a model's layers from the package `layers`, by class.

    Args:
        model: Keras model.

    Returns:
        For example `{"MCDropout": {"rate": 0.3, "channelwise": False}}`: what the
        layers of a class have in common.
    """
    settings = {}
    for layer in model.layers:
        ours = type(layer).__module__.startswith("layers.")
        # It computes what Keras' own does, in which no method has a say.
        if not ours or isinstance(layer, keras.layers.BatchNormalization):
            continue
        config = json.loads(json.dumps(layer.get_config()))
        common = settings.setdefault(type(layer).__name__, config)
        for key in list(common):
            differs = config.get(key) != common[key]
            if key in _LEFT_OUT or differs or isinstance(common[key], dict):
                del common[key]
    return settings


def check_layers(model: keras.Model, settings: Mapping[str, Mapping], source: str):
    """Checks that a model has the layers that its weights were trained with.

    Args:
        model: Keras model.
        settings: Settings of the layers in training, from `layer_settings`.
        source: What the weights are, for the message.

    Raises:
        ValueError: If a setting differs: the same weights are then another function.
    """
    found = layer_settings(model)
    for kind, config in settings.items():
        for key, value in config.items():
            if key not in found.get(kind, {}) or found[kind][key] != value:
                raise ValueError(
                    f"'{source}' was trained with {kind} of {key}={value}, and the "
                    f"model '{model.name}' has {found.get(kind, 'none')}."
                )
