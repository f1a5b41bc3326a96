"""Where methods against aliasing put their layers, in every family."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers import marks
from tests.helpers.graphs import build_graph, draw, outputs, some_images
from zoo import registry
from zoo.models import methods, parts
from zoo.presets import weight_file
from zoo.registry import default_normalization


def of_kind(model, kind):
    return {layer.name: layer for layer in model.layers if type(layer) is kind}


def producer(layer):
    """The name of what gives a layer its input."""
    return layer.input._keras_history.operation.name


def with_parts(architecture, own, side):
    """A network of parts; with the weights of a plain one, and that."""
    keras.utils.set_random_seed(0)
    row, shape = registry.ARCHITECTURES[architecture], (side, side, 3)
    plain, model = (
        row(p, shape, 3, default_normalization(3)) for p in (parts.Parts(), own)
    )
    model.set_weights(plain.get_weights())
    return plain, model


# How many times each family subsamples: of its layers, and of its shortcuts.
SUBSAMPLED = [
    ("resnet18", 224, 5, 3, 7),
    ("resnet50d", 224, 5, 3, 7),
    ("resnet20", 30, 2, 2, 8),
    ("preresnet20", 18, 2, 2, 5),
    ("vgg11", 28, 4, 0, 2),
    ("alexnet", 224, 3, 0, 14),
    ("lenet5", 28, 2, 0, 5),
]


@pytest.mark.parametrize(
    "name, side, count, skips, last", marks.few(SUBSAMPLED, SUBSAMPLED[1:3])
)
def test_low_cut_pooling_is_all_that_subsamples(name, side, count, skips, last):
    model = build_graph(f"{name}_flc", (side, side, 3), 10)
    pools = of_kind(model, layers.FLCPooling2D)
    assert len(pools) == count + skips
    assert sum("skip" in name for name in pools) == skips
    for layer in model.layers:
        assert not isinstance(
            layer,
            keras.layers.MaxPooling2D
            | keras.layers.AveragePooling2D
            | keras.layers.ZeroPadding2D,
        )
        assert getattr(layer, "strides", 1) in (1, (1, 1)) or layer.name in pools
    sides = [layer.output.shape[1] for layer in model.layers if layer.output.shape[3:]]
    assert sides[-1] == last


def test_low_cut_pooling_is_before_what_had_the_stride():
    model = build_graph("resnet18_flc", (224, 224, 3), 10)
    for conv in ("stem", "stage2_block1_1", "stage2_block1_skip"):
        layer = model.get_layer(f"{conv}_conv")
        assert producer(layer) == f"{conv}_downsample"
    assert type(model.get_layer("stem_pool")) is layers.FLCPooling2D
    assert producer(model.get_layer("stem_pool")) == "stem_relu"


def test_a_block_convolves_and_skips_what_low_cut_pooling_leaves(short):
    own = methods.flc(parts.Parts())
    _, model = with_parts("resnet20", own, 18)
    images = some_images((18, 18, 3))
    before, conv, skip = outputs(
        model,
        ["stage1_smooth", "stage2_block1_1_conv", "stage2_block1_add"],
        images,
    )
    kernel = model.get_layer("stage2_block1_1_conv").kernel
    rows = layers.frequency.low_cut(18, 2)
    small = np.einsum("ah,bhwc,dw->badc", rows, before, rows)
    expected = ops.conv(small, kernel, padding="same")
    np.testing.assert_allclose(conv, expected, rtol=1e-3, atol=1e-3)
    branch = outputs(model, ["stage2_block1_2_norm"], images)[0]
    np.testing.assert_allclose((skip - branch)[..., :16], small, rtol=1e-3, atol=1e-3)


ONE_TAP = [("resnet20", 18), ("resnet18", 64)]


@pytest.mark.parametrize("name, side", marks.few(ONE_TAP, ONE_TAP[1:]))
def test_a_filter_of_one_tap_subsamples_as_a_plain_network_does(short, name, side):
    own = methods.antialias(parts.Parts(), taps=(1,))
    plain, model = with_parts(name, own, side)
    images = some_images((side, side, 3))
    np.testing.assert_allclose(draw(model, images), draw(plain, images), atol=1e-4)
    filtered = with_parts(name, methods.antialias(parts.Parts()), side)[1]
    assert np.abs(draw(filtered, images) - draw(plain, images)).max() > 1e-2


PLACES = {
    "conv": {f"stage{n}_block1_1_downsample" for n in (2, 3, 4)},
    "skip": {f"stage{n}_block1_skip_downsample" for n in (2, 3, 4)},
    "pool": {"stem_pool_downsample"},
}


PLACED = "conv", "skip pool", "conv skip pool"


@pytest.mark.parametrize("words", marks.few(PLACED, PLACED[1:2]))
def test_filters_are_in_any_of_the_places_by_their_names(words):
    places = words.split()
    ending = "_".join(f"antialias{place}" for place in places)
    model = build_graph(f"resnet18_{ending}", (224, 224, 3), 10)
    found = set(of_kind(model, layers.BlurPool2D))
    assert found == set().union(*(PLACES[place] for place in places))
    assert model.get_layer("stem_conv").strides == (2, 2)  # It can learn to filter.
    strides = 1 if "conv" in places else 2
    assert model.get_layer("stage2_block1_1_conv").strides == (strides, strides)
    if len(places) == 3:
        assert found == set(
            of_kind(build_graph("resnet18_antialias"), layers.BlurPool2D)
        )


def test_filters_are_directly_behind_convolutions():
    model = build_graph("resnet50_antialias", (224, 224, 3), 10)
    block = "stage2_block1"
    assert producer(model.get_layer(f"{block}_2_downsample")) == f"{block}_2_conv"
    assert producer(model.get_layer(f"{block}_2_norm")) == f"{block}_2_downsample"
    # A filter before a projection is one behind it.
    pool, rng = layers.BlurPool2D((1, 2, 1)), np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 7, 8, 3)), rng.normal(size=(1, 1, 3, 5))
    x, kernel = x.astype("float32"), kernel.astype("float32")
    np.testing.assert_allclose(
        ops.conv(pool(x), kernel), pool(ops.conv(x, kernel)), atol=1e-5
    )


def test_activations_are_smooth_everywhere(short):
    for name, function in (("gelu", ops.gelu), ("swish", ops.silu)):
        model = zoo.build(f"vgg11_{name}", (16, 16, 3), 3)
        assert keras.layers.ReLU not in {type(layer) for layer in model.layers}
        names = [f"stage1_block1_{kind}" for kind in ("norm", "relu")]
        x, y = outputs(model, names, some_images((16, 16, 3)))
        settings = {"approximate": False} if name == "gelu" else {}
        np.testing.assert_allclose(y, function(x, **settings), atol=1e-5)


# Filters behind convolutions: all but those of shortcuts, and of maps of one point.
BEHIND = [
    ("resnet20", 19),
    ("vgg11", 6),
    ("preresnet20", 19),
    ("resnet50", 49),
    ("alexnet", 5),
    ("lenet5", 2),
]


@pytest.mark.parametrize("name, count", marks.few(BEHIND, BEHIND[2:]))
def test_random_filters_are_behind_convolutions_but_in_shortcuts(name, count):
    model = build_graph(f"{name}_freqdrop", (32, 32, 3), 10)
    filters = of_kind(model, layers.FrequencyDropout)
    assert len(filters) == count
    for name, layer in filters.items():
        assert producer(layer) == name.replace("_filter", "_conv")
        assert "skip" not in name


def test_random_filters_are_of_training_alone(short):
    plain = zoo.build("resnet20", (16, 16, 3), 3)
    model = zoo.build("resnet20_freqdrop", (16, 16, 3), 3)
    assert not layers.is_stochastic(model)
    saved = weight_file.variables(plain)
    for name, variable in weight_file.variables(model).items():
        if name in saved:
            variable.assign(saved[name])
    images = some_images((16, 16, 3))
    np.testing.assert_array_equal(draw(model, images), draw(plain, images))
    first, second = (np.asarray(model(images, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_first_principles_filter_before_strides_that_stay():
    model = build_graph("resnet18_aliasfree", (224, 224, 3), 10)
    for name in ("stem", "stage2_block1_1"):
        conv, blur = (model.get_layer(f"{name}_{kind}") for kind in ("conv", "filter"))
        assert (conv.strides, blur.strides, len(blur.taps)) == ((2, 2), 1, 7)
        np.testing.assert_allclose(
            blur.taps, layers.alias_free.kaiser(1 / 4, 7), atol=1e-9
        )
    skip = model.get_layer("stage4_block1_skip_downsample")
    assert (skip.strides, len(skip.taps)) == (2, 3)
    assert model.get_layer("stage4_block1_skip_conv").strides == (1, 1)
    rectifiers = of_kind(model, layers.FilteredReLU).values()
    assert {layer.quantile for layer in rectifiers} == {0.4}
    assert len(rectifiers) == 17
    assert model.get_layer("stem_pool").output.shape == (None, 56, 56, 64)
    lower = build_graph("resnet18_lowpass", (224, 224, 3), 10)
    rectifiers = of_kind(lower, layers.FilteredReLU).values()
    assert {layer.quantile for layer in rectifiers} == {None}
    quantiles = of_kind(build_graph("vgg11_qrelu"), layers.QuantileReLU).values()
    assert {layer.quantile for layer in quantiles} == {0.4}


OWN = "flc", "freqdrop", "antialias", "gelu", "swish", "qrelu", "aliasfree", "lowpass"


@pytest.mark.filterwarnings("ignore:.* was trained with")
@pytest.mark.filterwarnings("ignore:.*weights of 'resnet20'")
@pytest.mark.parametrize("method", marks.few(OWN, OWN[1:]))
def test_weights_of_a_plain_network_load_into_each_mixed_with_others(
    short, method, tmp_path
):
    plain = zoo.build("resnet20", (28, 28, 1), 10)
    path = tmp_path / "plain.safetensors"
    weight_file.save_weights(plain, path)
    model = zoo.load(
        f"resnet20_smooth_mcdo_{method}", (28, 28, 1), num_classes=10, weights=path
    )
    loaded = weight_file.variables(model)
    for name, variable in weight_file.variables(plain).items():
        np.testing.assert_array_equal(loaded[name], variable, err_msg=name)
    logits = draw(model, some_images((28, 28, 1)))  # 28 to 14 to 7.
    assert logits.shape == (2, 10)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    "pair, part",
    [
        ("flc_blurpool", "skip_downsample"),
        ("flc_antialias", "strided"),
        ("flc_ddu", "skip_downsample"),
        ("antialias_antialiasconv", "strided"),
        ("antialiaspool_aa", "max_pool"),
        ("gelu_qrelu", "activation"),
        ("aliasfree_swish", "activation"),
    ],
)
def test_methods_of_one_place_cannot_be_combined(pair, part):
    with pytest.raises(ValueError, match=f"both replace the `{part}`"):
        zoo.build(f"resnet20_{pair}", (32, 32, 3), 3)
