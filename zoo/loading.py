"""Pretrained models and posteriors by name, from the package, a folder or a URL."""

import dataclasses
import os
import warnings

import keras

from layers import keras_internals
from zoo import finding
from zoo.compressed import compressed
from zoo.model_name import read_posterior
from zoo.models.blocks import is_small
from zoo.posterior import POSTERIORS, Posterior
from zoo.posterior.base import layer_name
from zoo.presets import posterior_file, provenance, weight_file
from zoo.registry import ModelSpec, build, encoder_of, split_posterior
from zoo.storage import remote


def load(
    name: str | ModelSpec,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
    weights: str | os.PathLike | None = None,
    **settings,
) -> keras.Model | Posterior:
    """Loads a pretrained model, or a posterior of it.

    Args:
        name: `architecture[_method...][.tag][@posterior[:setting=value...]]`, or what
            `zoo.parse` makes of it; without a tag, the first weights in `presets.json`
            for that name or, converted from another library, for its architecture, with
            a warning that they were trained without the methods; offline, the first
            that are here. Or the URL of a published folder: `hf://owner/name`,
            `gs://bucket/folder` or `https://...`, with the posterior behind it.
            Posteriors are those of `zoo.posterior.POSTERIORS`.
            `resnet20.cifar10*3` is an ensemble of three trainings, those that
            `zoo.finding.members` says.
        input_shape: `(height, width, channels)`, by default that of the training. The
            channels must be the same, and so must be the kind of the stem.
        num_classes: The number of logits. Another than in the training puts a new head
            on the pretrained body.
        weights: A safetensors file, or a folder that `zoo-train` or `zoo-publish`
            wrote, in place of published weights; a published one may be a URL, and
            that of a training one that TensorFlow opens, such as `gs://bucket/run`.
            That of `zoo-train --members` gives an ensemble.
        **settings: Arguments of the posterior, as in its name, such as `num_samples`,
            the forward passes of a model that draws.

    Returns:
        A functional model from images in `[0, 255]` to logits. It is called by its full
        name, or without the tag if its head is new; if not, it has the names of its
        `classes`. With a posterior in its name, a `zoo.posterior.Posterior`: where what
        it has learned is published with the weights it knows that, else call its
        `adapt`.

    Raises:
        ValueError: If there are no weights for that name, or they do not fit.
        FileNotFoundError: If the weights file is not there.
        ConnectionError: If it cannot be downloaded.
    """
    if "*" in str(name) or (weights and len(finding.places(weights)) > 1):
        return load_several(str(name), input_shape, num_classes, weights, **settings)
    found = finding.find(name, weights)
    warn_unlike(found)
    return load_found(found, input_shape, num_classes, **settings)


def load_several(
    name: str,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
    weights: str | os.PathLike | None = None,
    **settings,
) -> Posterior:
    """Loads the posterior of several networks, by default an ensemble; see `load`.

    Args:
        name: That of one model or of several joined by `+`, as `zoo.finding.members`
            takes them, with a posterior behind an @.
        input_shape: As `load` takes it.
        num_classes: As `load` takes it.
        weights: As `zoo.finding.members` takes them.
        **settings: As `load` takes them.
    """
    of_models, behind = split_posterior(name)
    kind, pairs = read_posterior(behind or "ensemble")
    models = [
        load(own, input_shape, num_classes, place)
        for own, place in finding.members(of_models, weights)
    ]
    settings = {**POSTERIORS[kind].parse_settings(pairs), **settings}
    return POSTERIORS[kind].from_models(models, name=layer_name(name), **settings)


def warn_unlike(found: finding.Found):
    """Warns if the model of a name is not the one that its weights were trained in."""
    spec, preset = found.spec, found.preset
    if preset.stem == spec.stem:
        return
    if found.place is None:
        provenance.warn_unlike(spec, found.trained_methods, preset.name)
        return
    warnings.warn(
        f"'{remote.shown(found.path)}' holds weights of '{preset.name}'. They load "
        f"into '{spec.of_model}' by the names of the layers, but were not trained in "
        "it: train or evaluate it before you rely on it.",
        stacklevel=3,
    )


def load_found(
    found: finding.Found,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
    **settings,
) -> keras.Model | Posterior:
    """Builds a model and loads its weights, which were found; see `load`."""
    spec = found.spec
    if settings and not spec.posterior:
        raise ValueError(
            "These are settings of a posterior, and the name has none, such as "
            f"'{spec}@mc'. Received: name={spec}, "
            f"{', '.join(f'{key}={value}' for key, value in settings.items())}"
        )
    new_head = _has_new_head(found, num_classes)
    model = _build(found, input_shape, num_classes)
    _load_weights(model, found, {"head"} if new_head else set())
    if spec.posterior is None:
        return model
    preset = found.preset
    published = None if new_head else preset.posteriors.get(spec.posterior)
    return posterior_file.restore(
        model, spec, preset, published, found.place, settings, found.path
    )


def load_shared(
    found: finding.Found,
    input_shape: tuple[int | None, int | None, int] | None = None,
    num_classes: int | None = None,
) -> tuple[keras.Model, set[str]]:
    """Builds a model and loads what it shares with the network of the weights.

    That is a network of the same architecture with other methods, or other classes, or
    the classifier that is its encoder. The layers that these replace, and what they add
    to a layer, begin anew.

    Args:
        found: The weights, and the model that they are to be in.
        input_shape: As `load` takes it.
        num_classes: As `load` takes it.

    Returns:
        The model; and the names of its layers, and of single weights, that begin anew,
        and of those that only the network of the weights has.

    Raises:
        ValueError: If the weights are of another architecture, or do not fit their own.
    """
    skip = {"head"} if _has_new_head(found, num_classes) else set()
    model = _build(found, input_shape, num_classes)
    trained = _network(found)
    if trained not in (None, found.spec.of_model):
        network = _build(
            dataclasses.replace(found, spec=trained), model.input_shape[1:]
        )
        skip |= weight_file.unshared(model, network)
        # Of a classifier it is for vectors; the names of classes do not tell.
        is_encoder = trained.architecture != found.spec.architecture
        skip |= {"head"} if is_encoder else set()
    _load_weights(model, found, skip)
    return model, skip


def _network(found):
    """Returns what the network of the weights is; None if it is of another family."""
    spec = found.spec.of_model
    if found.trained_methods is not None:
        return dataclasses.replace(spec, methods=found.trained_methods)
    encoder = encoder_of(spec)
    if encoder is None or found.methods_of(encoder) is None:
        return None
    methods = found.methods_of(encoder)
    return dataclasses.replace(spec, architecture=encoder, methods=methods)


def _has_new_head(found, num_classes):
    return num_classes not in (None, found.preset.num_classes)


def _build(found, input_shape, num_classes=None):
    """Builds the model that weights are to be in, whose weights have no values yet."""
    spec, preset = found.spec.of_model, found.preset
    if input_shape is None and not preset.input_shape:
        raise ValueError(
            f"The weights file '{remote.shown(found.path)}' does not say for which "
            "images its weights are; give `input_shape`. Received: input_shape=None"
        )
    shape = tuple(preset.input_shape if input_shape is None else input_shape)
    if preset.input_shape and shape[-1] != preset.input_shape[-1]:
        raise ValueError(
            f"'{preset.name}' was trained on images with {preset.input_shape[-1]} "
            f"channel(s). Received: input_shape={shape}"
        )
    new_head = _has_new_head(found, num_classes)
    with keras_internals.without_values():  # Those of the file come at once.
        model = build(
            dataclasses.replace(spec, tag=None) if new_head else spec,
            shape,
            num_classes if new_head else preset.num_classes,
            (preset.mean, preset.variance) if preset.mean else None,
            () if new_head else found.classes,
            None if new_head else preset.target,
        )
        return compressed(model, preset.compression)


def _load_weights(model, found, skip):
    preset = found.preset
    try:
        weight_file.load_weights(
            model,
            found.path,
            found.sha256,
            skip,
            preset.layers if found.spec.stem == preset.stem else {},
        )
    except ValueError as error:
        small = is_small(preset.input_shape or model.input_shape[1:])
        if is_small(model.input_shape[1:]) == small:
            raise
        sides = "all sides of 64 or more" if not small else "a side below 64"
        raise ValueError(
            f"'{preset.name}' was trained on images of shape {preset.input_shape}, "
            f"whose stem fits images with {sides} alone. Received: "
            f"input_shape={model.input_shape[1:]}. {error}"
        ) from error
