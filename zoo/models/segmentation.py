"""U-Net and SegNet: logits for each pixel, from the stages of any classifier.

U-Net is Ronneberger et al. (2015), https://arxiv.org/abs/1505.04597; SegNet is
Badrinarayanan et al. (2017), https://arxiv.org/abs/1511.00561. Both decode what the
stages of a classifier give, whose layers have their names, so that weights of that
classifier start them. The two papers' own encoders are chains of convolutions: `unet`
and narrower ones, and VGG-16.

Convolutions pad, so that a map has the size of the image, and sides need not divide: a
map is enlarged to the size of the one that it meets. Dropout is in the deeper half of
the stages, of encoder and decoder, as in Bayesian SegNet (Kendall et al., 2015,
https://arxiv.org/abs/1511.02680), and Gaussian weights are in the head.
"""

import dataclasses
import functools
from collections.abc import Callable

import keras
from keras import ops

import layers
from zoo.models import preresnet, resnet, vgg
from zoo.models.blocks import activate, conv_norm, convolve
from zoo.models.parts import Parts


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """What an encoder gives.

    Attributes:
        images: The input of the network.
        maps: Feature maps, the largest first, each of another size.
        is_deep: Of each of them, whether dropout belongs there.
    """

    images: object
    maps: list
    is_deep: list[bool]


def unet(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    encoder: Callable,
) -> keras.Model:
    """Builds a U-Net.

    A level of the decoder enlarges the map below by bilinear interpolation, puts the
    map of the encoder beside it, and has two convolutions.

    Args:
        parts: The layers to build it from.
        input_shape: `(height, width, channels)`, of a known size.
        num_classes: The number of logits of each pixel.
        normalization: Mean and variance of the pixels per channel.
        encoder: A family: a function with the arguments of `zoo.models.vgg.vgg`.

    Returns:
        A functional model from images to logits of shape `(batch, height, width,
        num_classes)`.

    Raises:
        ValueError: If the size is not known, or parts are for one vector an image.
    """
    encoded = _encode(parts, input_shape, num_classes, normalization, encoder)
    *skips, x = encoded.maps
    for level in range(len(skips), 0, -1):
        skip, name = skips[level - 1], f"decoder{level}"
        filters = _width(level, skip.shape[-1])
        # A convolution of 1x1 before the map is enlarged is the same as behind.
        x = convolve(x, parts, filters, 1, 1, f"{name}_up")
        x = ops.concatenate([skip, _enlarged(x, skip.shape[1:3])], axis=-1)
        x = _convolutions(x, parts, [filters, filters], name)
        x = _dropped(x, parts, name, encoded.is_deep[level - 1])
    return _finished(encoded, x, parts, input_shape, num_classes)


def segnet(
    parts: Parts,
    input_shape: tuple[int, int, int],
    num_classes: int,
    normalization: tuple,
    encoder: Callable,
    depths: tuple[int, ...] = (),
) -> keras.Model:
    """Builds a SegNet; see `unet` for the arguments.

    A level of the decoder puts the values of the map below where that of the encoder
    has its largest ones, and has as many convolutions as the stage of the encoder, or
    two. A pooling ends the last stage, too.

    Args:
        parts: As `unet`.
        input_shape: As `unet`.
        num_classes: As `unet`.
        normalization: As `unet`.
        encoder: As `unet`.
        depths: The number of convolutions of each level, the largest maps first; by
            default two.
    """
    encoded = _encode(parts, input_shape, num_classes, normalization, encoder)
    maps, x = encoded.maps, encoded.maps[-1]
    if min(x.shape[1:3]) > 1:
        x = parts.max_pool(x, 2, name="bottom_pool")
    else:
        maps = maps[:-1]
    depths = depths or (2,) * len(maps)
    for level in range(len(maps), 0, -1):
        name, like = f"decoder{level}", maps[level - 1]
        x = layers.MaxUnpooling2D(name=f"{name}_unpool")([x, like])
        below = maps[max(level - 2, 0)].shape[-1]
        widths = [*[like.shape[-1]] * (depths[level - 1] - 1), below]
        x = _convolutions(x, parts, widths, name)
        x = _dropped(x, parts, name, encoded.is_deep[level - 1])
    return _finished(encoded, x, parts, input_shape, num_classes)


def _encode(parts, input_shape, num_classes, normalization, encoder):
    """Builds a classifier up to its last map, and returns those of all sizes."""
    if None in input_shape:
        raise ValueError(
            "A network with logits for each pixel is for images of one known size. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    _check(parts)
    found, count = [], len(encoder.keywords["depths"])
    first_deep = count - count // 2

    def smooth(name):
        stage = int(name.removeprefix("stage").removesuffix("_smooth"))

        def call(x):
            x = _dropped(x, parts, f"stage{stage}", stage >= first_deep)
            x = parts.smooth(name=name)(x)
            found.append((x, stage >= first_deep))
            return x

        return call

    def max_pool(x, pool_size, name, **settings):
        found.append((x, False))  # Of a stem; that of a stage is there.
        return parts.max_pool(x, pool_size, name=name, **settings)

    inner = dataclasses.replace(
        parts,
        smooth=smooth,
        max_pool=max_pool,
        dropout=keras.layers.Identity,
        inner_conv=parts.conv,
        pool=lambda x: x,
        head=lambda num_classes, name: lambda x: x,
    )
    network = encoder(inner, input_shape, num_classes, normalization)
    x = network.output
    if found[-1][0].shape[1:3] != x.shape[1:3]:
        # A pre-activation network, whose last stage has no smoothing.
        x = _dropped(x, parts, f"stage{count}", True)
    found.append((x, True))
    by_size = {}
    for tensor, is_deep in found:
        size = tuple(tensor.shape[1:3])
        by_size[size] = tensor, is_deep or by_size.get(size, (None, False))[1]
    maps, is_deep = zip(*by_size.values(), strict=True)
    return _Encoded(network.input, list(maps), list(is_deep))


def _check(parts):
    default = Parts()
    for field, what in _OF_VECTORS.items():
        if getattr(parts, field) != getattr(default, field):
            raise ValueError(
                f"A network with logits for each pixel has {what}, which a method of "
                "its name replaces."
            )


_OF_VECTORS = {
    "pool": "no global pooling",
    "num_parts": "no members side by side in its channels",
}


def _width(level, channels):
    """Returns the width of a level of the decoder, that of the paper at most."""
    return min(channels, _FILTERS * 2 ** (level - 1))


def _enlarged(x, size):
    dtype = x.dtype
    if dtype != "float32":
        # Of other types Keras clips each value, which takes longer than to resize.
        x = ops.cast(x, "float32")
    x = ops.image.resize(x, tuple(size), interpolation="bilinear")
    return x if dtype == "float32" else ops.cast(x, dtype)


def _convolutions(x, parts, widths, name):
    for number, width in enumerate(widths, 1):
        inner = f"{name}_{number}"
        x = activate(conv_norm(x, parts, width, 3, 1, inner), parts, inner)
    return x


def _dropped(x, parts, name, is_deep):
    return parts.dropout(name=f"{name}_dropout")(x) if is_deep else x


def _finished(encoded, x, parts, input_shape, num_classes):
    """Brings the map to the size of the images, and adds the head."""
    if tuple(x.shape[1:3]) != tuple(input_shape[:2]):
        filters = max(x.shape[-1] // 2, 1)
        x = convolve(x, parts, filters, 1, 1, "decoder0_up")
        x = _convolutions(_enlarged(x, input_shape[:2]), parts, [filters], "decoder0")
    try:
        logits = parts.head(num_classes, name="head")(x)
    except ValueError as error:
        raise ValueError(
            "A network with logits for each pixel has no head that is for one vector "
            f"an image, as a method of its name has it: {error}"
        ) from error
    return keras.Model(encoded.images, logits)


_FILTERS = 64  # Of the first level, each other one has twice as many.
_ENCODERS = {**resnet.ARCHITECTURES, **preresnet.ARCHITECTURES, **vgg.ARCHITECTURES}
# Of the paper on U-Net, and narrower ones.
_CHAINS = {
    "unet": (64, 128, 256, 512, 1024),
    "unet32": (32, 64, 128, 256, 512),
    "unet16": (16, 32, 64, 128, 256),
}
ARCHITECTURES = {
    **{
        name: functools.partial(
            unet,
            encoder=functools.partial(vgg.vgg, depths=(2, 2, 2, 2, 2), filters=filters),
        )
        for name, filters in _CHAINS.items()
    },
    "segnet": functools.partial(
        segnet, encoder=vgg.ARCHITECTURES["vgg16"], depths=(2, 2, 3, 3, 3)
    ),
    **{
        f"unet_{name}": functools.partial(unet, encoder=e)
        for name, e in _ENCODERS.items()
    },
    **{
        f"segnet_{name}": functools.partial(segnet, encoder=e)
        for name, e in _ENCODERS.items()
    },
}
