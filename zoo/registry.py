"""From a name to a specification to a Keras model."""

import functools
import numbers
import re
from collections.abc import Iterable, Sequence

import keras
import numpy as np

import layers
from zoo import model_name, outputs
from zoo.classifier import Classifier, named
from zoo.model_name import ModelSpec as ModelSpec
from zoo.model_name import Words
from zoo.models import alexnet, lenet, preresnet, resnet, segmentation, vgg
from zoo.models.methods import MEMBERS, METHODS
from zoo.models.parts import Method, Parts, combine
from zoo.posterior import POSTERIORS

# With logits for each image.
CLASSIFIERS = {
    **resnet.ARCHITECTURES,
    **preresnet.ARCHITECTURES,
    **vgg.ARCHITECTURES,
    **alexnet.ARCHITECTURES,
    **lenet.ARCHITECTURES,
}
# The others have logits for each pixel.
ARCHITECTURES = {**CLASSIFIERS, **segmentation.ARCHITECTURES}

# Mean and variance per channel, of pixels in [0, 255]: ImageNet's for color (standard
# deviations .229, .224, .225 of [0, 1]), else the middle of the range.
IMAGENET = (
    (123.675, 116.28, 103.53),
    (58.395**2, 57.12**2, 57.375**2),
)


def parse(name: str | ModelSpec) -> ModelSpec:
    """Parses a model name; a specification is returned as it is.

    Args:
        name: `architecture[_method...][.tag][@posterior[:setting=value...]]`, for
            example `"resnet50_smooth_mcdo.imagenet@temperature"` or
            `"resnet20@laplace:subset=all"`. A tag has letters, digits, `_`, `-` and
            `.`, and begins with one of the first three kinds.

    Returns:
        Its specification.

    Raises:
        ValueError: If the architecture, a method or the posterior is unknown, a method
            is named twice, the tag has other characters, what is behind the posterior
            is no setting, or several models are joined by `+`.

    Example:

    >>> parse("resnet20_smooth_mcdo.fashion_mnist").methods
    ('smooth', 'mcdo')
    """
    return model_name.read(name, Words(ARCHITECTURES, METHODS, POSTERIORS, MEMBERS))


def split_posterior(name: str) -> tuple[str, str | None]:
    """Takes the posterior off what names a model, an ensemble, a file or a URL.

    Args:
        name: Several models are joined by `+`; a posterior is that of them together.

    Returns:
        What is before the @; and what is behind it, a key of
        `zoo.posterior.POSTERIORS` and its settings, as
        `zoo.model_name.read_posterior` takes it, or None.

    Raises:
        ValueError: If what is behind the key is no setting.

    Example:

    >>> split_posterior("runs/me@home/model.keras@temperature")
    ('runs/me@home/model.keras', 'temperature')
    >>> split_posterior("hf://owner/name@v1")
    ('hf://owner/name@v1', None)
    """
    return model_name.split_posterior(name, POSTERIORS)


def default_normalization(channels: int):
    """Returns the mean and variance of pixels that a model assumes if none are given.

    Args:
        channels: The number of image channels.

    Returns:
        Two tuples of that length, in units of `[0, 255]`.
    """
    return IMAGENET if channels == 3 else ((127.5,) * channels, (127.5**2,) * channels)


def build(
    name: str | ModelSpec,
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    num_classes: int = 1000,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
    classes: Sequence[str] = (),
    target: tuple[float, float] | None = None,
) -> Classifier:
    """Builds an untrained model.

    Args:
        name: `architecture[_method...]`, or what `parse` makes of it; a tag is kept in
            the name only.
        input_shape: `(height, width, channels)`; sides below 64 get a stem that does
            not subsample, and None is any size of 64 or more. A perceptron takes rows
            of numbers too: `(features,)`.
        num_classes: The number of logits, two at least.
        normalization: Mean and variance of the pixels per channel, in units of
            `[0, 255]`. By default those of ImageNet for three channels. Of rows of
            numbers those of each feature, by default 0 and 1.
        classes: The names of the classes in the order of the logits, if they are known.
            The model keeps them as `model.classes`, and labels are matched by them.
        target: Mean and standard deviation of the targets of a regressor, in place of
            classes.

    Returns:
        A functional model from images of shape `(batch, *input_shape)` in `[0, 255]`,
        integer or float, to logits of shape `(batch, num_classes)`, or with those for
        each pixel `(batch, height, width, num_classes)`. A regressor takes images or
        rows of numbers to the mean and the standard deviation of a Gaussian, in the
        unit of the targets, of shape `(batch, 2)`. It is called `name`.

    Raises:
        ValueError: If a word of the name is unknown, two methods clash, or a size does
            not fit.

    Example:

    >>> build("resnet20_smooth_mcdo", (32, 32, 3), num_classes=100).output_shape
    (None, 100)
    >>> build("mlp50_mcdo", (8,), target=(22.5, 9.2)).output_shape
    (None, 2)
    """
    spec = parse(name)
    if spec.posterior:
        raise ValueError(
            f"An untrained model has no posterior; build '{spec.of_model}', and make "
            "one by the classes of `zoo.posterior`. Received: "
            f"name={spec}"
        )
    num_classes = num_classes if target is None else 2
    _check_sizes(input_shape, num_classes, spec)
    layers.checks.check_channels_last({})
    parts = combine({method: _method(method) for method in spec.methods})
    if normalization is None:
        normalization = _DEFAULTS[len(input_shape)](input_shape[-1])
    _check_normalization(normalization, input_shape[-1])
    model = ARCHITECTURES[spec.architecture](
        parts, tuple(input_shape), num_classes, normalization
    )
    if target is not None:
        model = _regressor(model, parts, target, spec)
    elif parts.output is not Parts.output:
        raise ValueError(
            f"The methods of '{spec}' are for a regressor; give the mean and the "
            "standard deviation of its targets. Received: target=None"
        )
    model.name = str(spec)
    found = named(model, classes if target is None else ())
    if target is not None:
        found.know(task="regression", target=[float(number) for number in target])
    return found


def _regressor(model, parts, target, spec):
    """Returns a network that ends with the numbers of a Gaussian."""
    if len(model.output_shape) != 2:
        raise ValueError(
            f"A regressor has one row of numbers for each image, and '{spec}' is for "
            f"pixels; take '{encoder_of(spec) or 'resnet18'}'. Received: "
            f"target={target}"
        )
    if np.shape(target) != (2,):
        raise ValueError(
            "`target` must be the mean and the standard deviation of the targets, such "
            f"as (22.5, 9.2). Received: target={target}"
        )
    loc, scale = (
        number.item() if hasattr(number, "item") else number for number in target
    )
    output = parts.output(loc=loc, scale=scale, name="outputs")
    return keras.Model(model.input, output(model.output))


def _numbers_as_they_are(features):
    return (0.0,) * features, (1.0,) * features


# Normalizations by the rank of the inputs, functions of the channels or features.
_DEFAULTS = {1: _numbers_as_they_are, 3: default_normalization}


def _method(word: str) -> Method:
    """Returns the method of a key of `METHODS`, or of one of `MEMBERS` and a number."""
    if word in METHODS:
        return METHODS[word]
    stem, count = model_name.split_count(word)
    return functools.partial(MEMBERS[stem], num_members=count)


def image_size(name: str) -> tuple[int, int] | None:
    """Returns the height and width that a family is made for, if it is for one alone.

    Args:
        name: Name of a model; see `parse`.

    Example:

    >>> image_size("resnet20_smooth"), image_size("resnet18")
    ((32, 32), None)
    """
    row = ARCHITECTURES[parse(name).architecture]
    return (32, 32) if getattr(row, "keywords", {}).get("cifar") else None


def task_of(name: str | ModelSpec) -> str:
    """Returns what the networks of a name are for, one of `zoo.outputs.TASKS`.

    Those for classification may be built as regressors too.

    Args:
        name: Name of a model; see `parse`.

    Example:

    >>> task_of("resnet20_smooth"), task_of("unet_mcdo")
    ('classification', 'segmentation')
    """
    is_classifier = parse(name).architecture in CLASSIFIERS
    return "classification" if is_classifier else "segmentation"


def encoder_of(name: str | ModelSpec) -> str | None:
    """Returns the classifier whose layers a model with logits for each pixel has.

    Args:
        name: Name of a model; see `parse`.

    Returns:
        The name of an architecture; None if there is none of this name.

    Example:

    >>> encoder_of("unet_resnet18_smooth"), encoder_of("segnet"), encoder_of("vgg16")
    ('resnet18', 'vgg16', None)
    """
    row = ARCHITECTURES[parse(name).architecture]
    encoder = getattr(row, "keywords", {}).get("encoder")
    return next((key for key, own in CLASSIFIERS.items() if own is encoder), None)


def _check_sizes(input_shape, num_classes, spec):
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else (input_shape,)
    whole = all(n is None or isinstance(n, numbers.Integral) for n in shape)
    if len(shape) == 1 and whole and (shape[0] or 0) > 0:
        if spec.architecture in lenet.PERCEPTRONS:
            outputs.check_num_classes(num_classes)
            return
        raise ValueError(
            "Rows of numbers are for perceptrons, such as "
            f"{', '.join(lenet.PERCEPTRONS)}, and '{spec.architecture}' takes images. "
            f"Received: input_shape={shape}"
        )
    sides = [16 if n is None else n for n in shape[:2]]
    if len(shape) != 3 or not whole or (shape[-1] or 0) < 1 or min(sides) < 16:
        raise ValueError(
            "`input_shape` must be (height, width, channels) with sides of 16 pixels "
            f"at least, or (features,) for a perceptron. Received: input_shape={shape}"
        )
    outputs.check_num_classes(num_classes)


def _check_normalization(normalization, channels):
    try:
        moments = np.asarray(normalization, "float64")
    except (TypeError, ValueError):  # Words, or lists of different lengths.
        moments = np.zeros(0)
    fits = moments.shape == (2, channels) and np.isfinite(moments).all()
    if not fits or moments[1].min() <= 0:
        raise ValueError(
            "`normalization` must be (mean, variance), each with one number per "
            f"channel ({channels}) and variances positive. "
            f"Received: normalization={normalization}"
        )


_SEED = re.compile(r"(.+\..+)_seed(\d+)")


def split_seed(name: str) -> tuple[str, int]:
    """Takes the seed of a training off the name of its weights.

    Args:
        name: With its tag. The training with seed 0 has none in its tag.

    Returns:
        The name that all trainings of the model share, and the seed.

    Example:

    >>> split_seed("resnet20.fashion_mnist_seed2")
    ('resnet20.fashion_mnist', 2)
    >>> split_seed("resnet20.fashion_mnist")
    ('resnet20.fashion_mnist', 0)
    """
    match = _SEED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def join_seed(name: str, seed: int | None) -> str:
    """Returns the name of the weights of a training, as `split_seed` takes it apart."""
    return f"{name}_seed{seed}" if seed else name
