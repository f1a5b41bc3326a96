"""Methods: functions that replace parts of a network."""

import dataclasses
import functools

import keras
from keras import ops

import layers
from layers.alias_free import kaiser, num_taps
from layers.packed import check_divides, num_groups
from zoo.models.blocks import zero_padded
from zoo.models.parts import (
    Parts,
    average_pooled,
    averaging,
    bordered,
    convolution,
    max_pooled,
    pooled,
)


def smooth(parts: Parts, temperature: float = 10.0, padding: str = "same") -> Parts:
    """Spatial smoothing (Park and Kim, 2022) before each subsampling."""
    layer = functools.partial(layers.SpatialSmoothing, temperature, padding=padding)
    return dataclasses.replace(parts, smooth=layer)


def mc_dropout(parts: Parts, rate: float = 0.3) -> Parts:
    """MC dropout (Gal and Ghahramani, 2016), active in prediction too."""
    layer = functools.partial(layers.MCDropout, rate)
    return dataclasses.replace(parts, dropout=layer)


def light_dropout(parts: Parts, rate: float = 0.1) -> Parts:
    """MC dropout at a lower rate, for narrow networks: 0.3 starves 16 filters."""
    return mc_dropout(parts, rate)


def half_dropout(parts: Parts, rate: float = 0.5) -> Parts:
    """MC dropout of half of the features, as in the deep stages of Bayesian SegNet."""
    return mc_dropout(parts, rate)


def last_layer_dropout(parts: Parts, rate: float = 0.32) -> Parts:
    """MC dropout of the features alone (Ovadia et al., 2019, CIFAR-10's rate).

    All the rest of a pass is the same for each sample.
    """

    def head(units, name):
        dropout = layers.MCDropout(rate, name=f"{name}_dropout")
        dense = parts.head(units, name=name)
        return lambda features: dense(dropout(features))

    return dataclasses.replace(parts, head=head)


def flipout(
    parts: Parts, prior_scale: float = 1.0, estimator: str = "weight_sampling"
) -> Parts:
    """Gaussian weights (Wen et al., 2018) in the inner convolutions and the head.

    Flipout is for training. A prediction draws one kernel for the whole batch by
    default, which takes one convolution in place of two.
    """
    settings = {"prior_scale": prior_scale, "estimator": estimator}
    return _gaussian(parts, layers.Conv2DFlipout, layers.DenseFlipout, settings)


def reparam(parts: Parts, prior_scale: float = 1.0) -> Parts:
    """As `flipout`, but a step draws one kernel too (Blundell et al., 2015)."""
    conv, head = layers.Conv2DReparameterization, layers.DenseReparameterization
    return _gaussian(parts, conv, head, {"prior_scale": prior_scale})


def local_reparameterization(parts: Parts, prior_scale: float = 1.0) -> Parts:
    """As `flipout`, but outputs are drawn, and no kernels (Kingma et al., 2015)."""
    return _gaussian(
        parts,
        layers.Conv2DLocalReparameterization,
        layers.DenseLocalReparameterization,
        {"prior_scale": prior_scale},
    )


def _gaussian(parts, conv, head, settings):
    return dataclasses.replace(
        parts,
        inner_conv=_gaussian_conv(conv, **settings),
        head=functools.partial(head, **settings),
    )


def _gaussian_conv(conv, **settings):
    initializer = {"use_bias": False, "kernel_initializer": "he_normal"}
    return functools.partial(conv, **initializer, **settings)


def last_layer_svi(parts: Parts, prior_scale: float = 1.0) -> Parts:
    """Gaussian weights in the head alone (Ovadia et al., 2019).

    All the rest of a pass is the same for each sample.
    """
    head = functools.partial(layers.DenseReparameterization, prior_scale=prior_scale)
    return dataclasses.replace(parts, head=head)


def stf(parts: Parts, prior_scale: float = 1.0, initial_scale: float = 0.05) -> Parts:
    """Gaussian weights in the first convolution alone, for the recipe `stf_finetune`.

    A Bayesian network of fused parts: the first layer in distribution, all others by
    their values.
    """
    conv = _gaussian_conv(
        layers.Conv2DFlipout,
        prior_scale=prior_scale,
        initial_scale=initial_scale,
        estimator="weight_sampling",
    )
    return dataclasses.replace(parts, first_conv=conv)


def sngp(
    parts: Parts,
    max_norm: float = 6.0,
    num_features: int = 1024,
    mean_field_factor: float = 20.0,
) -> Parts:
    """A Gaussian process on features that keep distances (Liu et al., 2020).

    The spectral norm of every convolution is bounded. The numbers are those of the
    published wide network for CIFAR-10.
    """
    head = functools.partial(
        layers.GaussianProcess,
        num_features=num_features,
        mean_field_factor=mean_field_factor,
    )
    return dataclasses.replace(_bounded(parts, max_norm), head=head)


def duq(parts: Parts, length_scale: float = 0.1, momentum: float = 0.999) -> Parts:
    """Distances to centroids of the classes (van Amersfoort et al., 2020).

    It is for the objective `duq`, which moves the centroids.
    """
    head = functools.partial(
        layers.ClassCentroids, length_scale=length_scale, momentum=momentum
    )
    return dataclasses.replace(parts, head=head)


def ddu(parts: Parts, max_norm: float = 3.0, negative_slope: float = 0.01) -> Parts:
    """Features that keep distances, for their density (Mukhoti et al., 2021).

    Convolutions with a bound, leaky rectifiers, and shortcuts without weights that
    average.
    """
    return dataclasses.replace(
        _bounded(parts, max_norm),
        activation=functools.partial(keras.layers.LeakyReLU, negative_slope),
        shortcut=zero_padded,
        skip_downsample=averaging,
    )


def _bounded(parts, max_norm):
    conv = functools.partial(
        layers.SpectralConv2D,
        max_norm=max_norm,
        use_bias=False,
        kernel_initializer="he_normal",
    )
    return dataclasses.replace(parts, conv=conv, inner_conv=conv)


def blurpool(parts: Parts, taps: tuple[float, ...] = (1, 3, 3, 1)) -> Parts:
    """Anti-aliased subsampling (Zhang, 2019); the 7x7 stem keeps its stride."""
    layer = functools.partial(layers.BlurPool2D, taps)
    return dataclasses.replace(_blurred(parts, layer), skip_downsample=layer)


def blur(parts: Parts, taps: tuple[float, ...] = (1, 2, 1)) -> Parts:
    """Anti-aliasing of timm's `resnetblur` networks: shortcuts keep their strides."""
    return _blurred(parts, functools.partial(layers.BlurPool2D, taps))


def _blurred(parts, layer):
    pool = functools.partial(max_pooled, downsample=layer)
    return dataclasses.replace(parts, downsample=layer, max_pool=pool)


def average(parts: Parts) -> Parts:
    """Anti-aliasing of timm's `resnetaa` networks, by averages of 2x2 pixels.

    Shortcuts keep their strides. Where a side is odd, which those networks do not
    take, the last average is of what is there.
    """
    return dataclasses.replace(parts, downsample=averaging, max_pool=average_pooled)


def antialias(parts: Parts, taps: tuple[float, ...] = (1, 2, 1)) -> Parts:
    """Anti-aliasing where nothing learns to filter (Vasconcelos et al., 2021).

    Behind convolutions of 3x3 with a stride, in shortcuts and behind max poolings;
    `antialias_conv`, `antialias_skip` and `antialias_pool` are each of these alone.
    """
    for place in (antialias_conv, antialias_skip, antialias_pool):
        parts = place(parts, taps)
    return parts


def antialias_conv(parts: Parts, taps: tuple[float, ...] = (1, 2, 1)) -> Parts:
    """Anti-aliasing directly behind convolutions of 3x3 that had a stride.

    A larger kernel, that of a stem, can learn to filter, and one of 1x1 is in a
    shortcut.
    """

    def strided(x, conv, kernel_size, strides, name):
        if kernel_size != 3:
            return conv(x, strides)
        pool = layers.BlurPool2D(taps, strides, name=f"{name}_downsample")
        return pool(conv(x, 1))

    return dataclasses.replace(parts, strided=strided)


def antialias_skip(parts: Parts, taps: tuple[float, ...] = (1, 2, 1)) -> Parts:
    """Anti-aliasing in shortcuts.

    Before the projection, which is linear in each point: it makes of a filtered map
    what the filter makes of a projected one, on a quarter of the points.
    """
    layer = functools.partial(layers.BlurPool2D, taps)
    return dataclasses.replace(parts, skip_downsample=layer)


def antialias_pool(parts: Parts, taps: tuple[float, ...] = (1, 2, 1)) -> Parts:
    """Anti-aliasing behind max poolings; a ResNet has one, in its stem."""
    layer = functools.partial(layers.BlurPool2D, taps)
    pool = functools.partial(max_pooled, downsample=layer)
    return dataclasses.replace(parts, max_pool=pool)


def msa(parts: Parts) -> Parts:
    """Self-attention at the ends of stages (Park and Kim, 2022), in residual networks.

    In place of convolutions of 3x3, in every other block from the end of a stage on: up
    to two blocks of the last stage, three of the one before and one of that before,
    and none of the first stage.
    """
    return dataclasses.replace(parts, attention=layers.LocalAttention)


def gelu(parts: Parts) -> Parts:
    """Smooth activations, which make fewer high frequencies (Vasconcelos et al.)."""
    return _activated(parts, "gelu")


def swish(parts: Parts) -> Parts:
    """As `gelu`, `x * sigmoid(x)` (Ramachandran et al., 2017)."""
    return _activated(parts, "swish")


def _activated(parts, name):
    activation = functools.partial(keras.layers.Activation, name)
    return dataclasses.replace(parts, activation=activation)


def flc(parts: Parts) -> Parts:
    """Subsampling without aliasing: frequency low-cut pooling (Grabinski et al., 2022).

    Before each convolution with a stride, which then has none, and in place of
    poolings.
    """

    def strided(x, conv, kernel_size, strides, name):
        pool = layers.FLCPooling2D(strides, name=f"{name}_downsample")
        return conv(pool(x), 1)

    def pool(x, pool_size, name, padding=0):
        return layers.FLCPooling2D(2, name=name)(x)

    return dataclasses.replace(
        parts,
        strided=strided,
        skip_downsample=layers.FLCPooling2D,
        max_pool=pool,
        average_pool=pool,
    )


def frequency_dropout(parts: Parts, kernel_size: int = 3) -> Parts:
    """Random filters of feature maps in training (Islam and Glocker, 2022).

    Behind each convolution but those of shortcuts; maps that are smaller than the
    filters have none.
    """

    def conv_filter(name):
        def call(x):
            sides = [side for side in x.shape[1:3] if side is not None]
            if min(sides, default=kernel_size) < kernel_size:
                return x
            return layers.FrequencyDropout(kernel_size, name=name)(x)

        return call

    return dataclasses.replace(parts, conv_filter=conv_filter)


def quantile_relu(parts: Parts, quantile: float = 0.4) -> Parts:
    """Rectifiers that cut few points (Rodriguez-Munoz and Torralba, 2022)."""
    layer = functools.partial(layers.QuantileReLU, quantile)
    return dataclasses.replace(parts, activation=layer)


def alias_free(parts: Parts, quantile: float | None = 0.4) -> Parts:
    """Anti-aliasing from first principles (Rodriguez-Munoz and Torralba, 2022).

    A low-pass filter before each convolution with a stride, which keeps it; rectifiers
    and max poolings on a finer grid, between two filters.
    """

    def filtered(x, strides, name, keep):
        lengths = [num_taps(side) for side in x.shape[1:3] if side is not None]
        taps = kaiser(1 / (2 * strides), min(lengths, default=7))
        return layers.BlurPool2D(taps, keep, name=name)(x)

    def strided(x, conv, kernel_size, strides, name):
        return conv(filtered(x, strides, f"{name}_filter", 1), strides)

    def skip_downsample(strides, name):
        return lambda x: filtered(x, strides, name, strides)

    def pool(x, pool_size, name, padding=0):
        layer = layers.FilteredMaxPooling2D(pool_size, name=name)
        return layer(bordered(x, padding))

    return dataclasses.replace(
        parts,
        strided=strided,
        skip_downsample=skip_downsample,
        activation=functools.partial(layers.FilteredReLU, quantile),
        max_pool=pool,
    )


def low_pass(parts: Parts) -> Parts:
    """As `alias_free`, but rectifiers do not raise maps."""
    return alias_free(parts, quantile=None)


def gap(parts: Parts) -> Parts:
    """Global average pooling, as by default (Lin et al., 2014)."""
    return _pooling(parts, keras.layers.GlobalAveragePooling2D)


def gmp(parts: Parts) -> Parts:
    """Global max pooling (Oquab et al., 2015): the largest value of each channel."""
    return _pooling(parts, keras.layers.GlobalMaxPooling2D)


def _pooling(parts, layer):
    return dataclasses.replace(parts, pool=functools.partial(pooled, layer=layer))


def _perceptron(x, units):
    side = min(side if side is not None else 2 for side in x.shape[1:3])
    if side > 1:
        x = keras.layers.MaxPooling2D(2, name="pool_max")(x)
    x = layers.AdaptiveAveragePooling2D(7, name="pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{i}")(x)
        x = layers.Dropout(0.5, name=f"hidden_{i}_dropout")(x)
    return x


def mlp(parts: Parts, units: int = 4096) -> Parts:
    """The classifier of VGG: two hidden layers with ordinary dropout."""
    return dataclasses.replace(parts, pool=functools.partial(_perceptron, units=units))


def nomu(parts: Parts, smallest: float = 1e-3, largest: float = 2.0) -> Parts:
    """A second network for the uncertainty of the mean (Heiss et al., 2022).

    Of perceptrons that are regressors, for the objective `nomu`. Both networks have the
    hidden layers of the family, and the second one sees the last features of the first.
    """

    def trunk(x, hidden):
        features = hidden(x, name="hidden")
        own = hidden(x, name="uncertainty")
        return [features, ops.concatenate([own, features], axis=-1)]

    def head(units, name):
        mean = parts.head(1, name=name)
        raw = keras.layers.Dense(1, name=f"{name}_uncertainty")

        def call(features):
            if units != 2 or not isinstance(features, list):
                raise ValueError(
                    "The method 'nomu' is for perceptrons with a mean and a standard "
                    "deviation, such as zoo.build('mlp64x2_nomu', (8,), target=(0.0, "
                    f"1.0)). Received: {units} outputs"
                )
            return ops.concatenate([mean(features[0]), raw(features[1])], axis=-1)

        return call

    output = functools.partial(layers.NomuOutput, smallest=smallest, largest=largest)
    return dataclasses.replace(parts, trunk=trunk, head=head, output=output)


def film(parts: Parts, num_members: int = 4, gain: float = 1.0) -> Parts:
    """A batch normalization for each member (Turkoglu et al., 2022)."""
    norm = functools.partial(
        layers.FiLMBatchNormalization,
        num_members,
        momentum=0.9,
        epsilon=1e-5,
        gain=gain,
    )
    return dataclasses.replace(parts, norm=norm)


def batch_ensemble(parts: Parts, num_members: int = 4) -> Parts:
    """Kernels that differ by rank one between members (Wen et al., 2020)."""
    return _of_rank_1(
        parts,
        layers.Conv2DBatchEnsemble,
        layers.DenseBatchEnsemble,
        num_members=num_members,
    )


def rank_1(parts: Parts, num_members: int = 4) -> Parts:
    """The same with Gaussian factors (Dusenberry et al., 2020)."""
    return _of_rank_1(
        parts, layers.Conv2DRank1, layers.DenseRank1, num_members=num_members
    )


def _of_rank_1(parts, conv, head, **settings):
    conv = functools.partial(
        conv, use_bias=False, kernel_initializer="he_normal", **settings
    )
    head = functools.partial(head, **settings)
    return dataclasses.replace(parts, conv=conv, inner_conv=conv, head=head)


def masks(parts: Parts, num_members: int = 4, scale: float = 2.0) -> Parts:
    """Masks of channels in place of dropout, saved (Durasov et al., 2021)."""
    layer = functools.partial(layers.Masksembles, num_members, scale)
    return dataclasses.replace(parts, dropout=layer)


def packed(
    parts: Parts,
    num_members: int = 4,
    alpha: int = 2,
    gamma: int = 2,
    min_channels: int = 64,
) -> Parts:
    """Narrow networks side by side in grouped convolutions (Laurent et al., 2023).

    All feature maps have `alpha` times the channels, of which each member has its
    share; and a member has up to `gamma` groups, of `min_channels` channels at least.
    """

    def conv(filters, kernel_size, strides=1, groups=1, **settings):
        check_divides(num_members, filters)

        def call(x):
            count = num_groups(num_members, x.shape[-1], gamma, min_channels)
            if groups > 1:
                count = num_members * groups
            layer = convolution(filters, kernel_size, strides, groups=count, **settings)
            return layer(x)

        return call

    def first_conv(filters, *args, **settings):
        check_divides(num_members, filters)
        return parts.conv(filters, *args, **settings)

    return dataclasses.replace(
        parts,
        first_conv=first_conv,
        conv=conv,
        inner_conv=conv,
        # What mixes all features would mix the members.
        pool=functools.partial(pooled),
        head=functools.partial(layers.PackedDense, num_members=num_members),
        widen=alpha,
        num_parts=num_members,
    )


# By their name in a model name, where a number behind it is that of the members.
MEMBERS = {
    "film": film,
    "batchensemble": batch_ensemble,
    "rankone": rank_1,
    "masks": masks,
    "packed": packed,
}
# By their name in a model name.
METHODS = {
    "smooth": smooth,
    "mcdo": mc_dropout,
    "mcdo10": light_dropout,
    "mcdo50": half_dropout,
    "lldo": last_layer_dropout,
    "flipout": flipout,
    "reparam": reparam,
    "lrt": local_reparameterization,
    "llsvi": last_layer_svi,
    "stf": stf,
    "blurpool": blurpool,
    "blur": blur,
    "aa": average,
    "antialias": antialias,
    "antialiasconv": antialias_conv,
    "antialiasskip": antialias_skip,
    "antialiaspool": antialias_pool,
    "gelu": gelu,
    "swish": swish,
    "flc": flc,
    "freqdrop": frequency_dropout,
    "msa": msa,
    "qrelu": quantile_relu,
    "aliasfree": alias_free,
    "lowpass": low_pass,
    "gap": gap,
    "mlp": mlp,
    "gmp": gmp,
    "sngp": sngp,
    "duq": duq,
    "ddu": ddu,
    "nomu": nomu,
    **MEMBERS,
}
