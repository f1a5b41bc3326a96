"""Networks with fewer channels have the logits of those in which they are zero."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers import marks, narrow
from tests.helpers.networks import as_numpy
from zoo.channels import Channels, multiply_adds
from zoo.compressed import compressed, compression_of

NAMES = ["resnet20_smooth", "preresnet20_blurpool", "resnet18d", "resnet50_smooth"]
SLOW = NAMES[1:]


@pytest.fixture
def short(monkeypatch):
    narrow.shortened(monkeypatch)


def some_of_each(channels, seed=0):
    """A random part of the channels of each group, but not all."""
    rng = np.random.default_rng(seed)
    removed = []
    for group in channels.groups:
        count = int(rng.integers(1, len(group.channels)))
        numbers = rng.permutation(len(group.channels))[:count]
        removed.append((group, sorted(map(int, numbers))))
    return removed


def close(actual, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", marks.few(NAMES, SLOW))
def test_removed_channels_leave_the_logits_of_masked_ones(short, name):
    model, x = narrow.built(name), narrow.images()
    before = as_numpy(model(x, training=False))
    channels = Channels(model)
    removed = some_of_each(channels)
    kept = channels.kept(removed)
    made = channels.narrowed(kept)
    np.testing.assert_array_equal(model(x, training=False), before)
    narrow.mask(channels, kept)
    masked = as_numpy(model(x, training=False))
    assert np.abs(masked - before).max() > 1e-3
    close(as_numpy(made(x, training=False)), masked)
    assert multiply_adds(made) < 0.9 * multiply_adds(model)
    # Zeros where a filter went, and nothing else of it is left.
    for name_, mask in kept.items():
        layer = channels.layers[name_]
        if layer is not None:
            assert not as_numpy(layer.kernel)[..., ~mask].any()
            assert made.get_layer(name_).kernel.shape[-1] == mask.sum()
    # A network of the same name, without these weights, has their shapes.
    fresh = zoo.build(name, narrow.SHAPE, 4)
    again = compressed(fresh, {"filters": channels.left(removed)})
    shapes = [weight.shape for weight in again.weights]
    assert shapes == [weight.shape for weight in made.weights]
    again.set_weights(made.get_weights())
    close(as_numpy(again(x, training=False)), masked)
    assert compression_of(again) == {"filters": channels.left(removed)}


def test_channels_that_are_added_are_one_group(short):
    channels = Channels(narrow.built("resnet20"))
    groups = {group.name: group for group in channels.groups}
    # What is added in all stages, what is behind zeros in the first, and the insides.
    sizes = {name: len(group.channels) for name, group in groups.items()}
    ends = [f"stage{stage}_block1_2_conv" for stage in (1, 2, 3)]
    inner = {f"stage{s}_block1_1_conv": 8 * 2 ** (s - 1) for s in (1, 2, 3)}
    assert sizes == {**dict(zip(ends, (8, 8, 16), strict=True)), **inner}
    first, second, _ = (groups[name] for name in ends)
    assert {*first.layers} == {"stem_conv", *ends}
    assert {*second.layers} == {"pad_0", *ends[1:]}
    assert {*second.channels[3]} == {("pad_0", 3), (ends[1], 11), (ends[2], 11)}


def test_models_inside_flat_maps_and_joined_maps_are_followed():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(5, 3, name="a"),
            layers.Dropout(0.5),
        ]
    )
    images = keras.Input((6, 6, 2))
    x = inner(images)
    y = ops.relu(keras.layers.Conv2D(4, 3, name="b", activation="tanh")(images))
    x = keras.layers.Concatenate()([x, y])
    x = keras.layers.Dense(6, name="c")(keras.layers.Flatten()(x))
    x = keras.layers.BatchNormalization(scale=False, name="n")(x)
    model = keras.Model(images, keras.layers.Dense(3)(layers.MCDropout(0.0)(x)))
    model.get_layer("n").moving_mean.assign(np.arange(6) / 6)
    channels = Channels(model)
    assert {group.name for group in channels.groups} == {"a", "b", "c"}
    kept = channels.kept(some_of_each(channels, 2))
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype("float32")
    made = channels.narrowed(kept)
    narrow.mask(channels, kept)
    close(as_numpy(made(x)), as_numpy(model(x)))


def chain(middle, shape=(6, 6, 2)):
    images = keras.Input(shape)
    x = middle(keras.layers.Conv2D(4, 3, name="conv")(images))
    x = keras.layers.Conv2D(3, 1, name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(2)(x))


@pytest.mark.parametrize(
    "middle",
    [
        keras.layers.Softmax(),
        keras.layers.Activation("sigmoid"),  # Of zero it is a half.
        keras.layers.Lambda(lambda x: x),
        keras.layers.LayerNormalization(),
        keras.layers.Conv2D(4, 3, groups=2),
        layers.SpatialSmoothing(probs="softmax"),
        layers.Conv2DFlipout(4, 3),
        lambda x: ops.flip(x, axis=-1),
    ],
)
def test_layers_that_do_not_keep_channels_apart_keep_all_of_them(middle):
    channels = Channels(chain(middle))
    assert [group.name for group in channels.groups] == ["last"]


def test_a_layer_that_is_called_twice_keeps_its_channels():
    conv = keras.layers.Conv2D(2, 1, name="twice")
    channels = Channels(chain(lambda x: conv(conv(keras.layers.Conv2D(2, 1)(x)))))
    assert "twice" not in {group.name for group in channels.groups}


def test_networks_without_groups_and_layers_without_filters_are_errors():
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(3)(images))
    with pytest.raises(ValueError, match="groups of channels.*cannot be found"):
        Channels(model)
    masked = keras.Sequential(
        [keras.Input((4, 4)), keras.layers.Masking(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="cannot be narrowed: it is not functional"):
        Channels(masked)
    channels = Channels(chain(keras.layers.ReLU()))
    with pytest.raises(ValueError, match="No filter of the layer 'conv' would be left"):
        channels.kept([(channels.groups[0], range(4))])
    for left in ({"conv": 0}, {"conv": 5}, {"other": 1}):
        with pytest.raises(ValueError, match="could not have been left with these"):
            channels.like(left)
    with pytest.raises(ValueError, match="Received: folded"):
        compressed(zoo.build("lenet5", (28, 28, 1), 2), {"folded": True})


def test_multiply_adds_are_those_of_the_loops():
    images = keras.Input((7, 9, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same")(images)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = keras.layers.Conv2D(4, 1, groups=2)(x)
    x = keras.layers.Dense(6)(keras.layers.Flatten()(x))
    found = multiply_adds(keras.Model(images, x))
    maps = 4 * 5 * 5 * 9 * 3, 2 * 3 * 10 * 9, 2 * 3 * 4 * 5, 24 * 6
    assert found == sum(maps)
    with pytest.raises(ValueError, match="images of one size"):
        multiply_adds(chain(keras.layers.ReLU(), (None, None, 2)))
