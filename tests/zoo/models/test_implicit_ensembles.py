"""Networks with several members, against the networks that these are."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers import marks
from tests.helpers.graphs import some_images
from training import batch_statistics
from zoo import registry
from zoo.models import methods
from zoo.models.methods import MEMBERS
from zoo.presets import weight_file

SHAPE, NUM_MEMBERS = (20, 20, 1), 2
IMAGES = some_images(SHAPE, 3)


@pytest.fixture
def tiny(monkeypatch):
    """Makes two stages of one block, of 20 filters, and groups of any size."""
    rows = {
        "resnet20": functools.partial(
            registry.ARCHITECTURES["resnet20"], depths=(1, 1), filters=20
        ),
        "resnet18": functools.partial(
            registry.ARCHITECTURES["resnet18"], depths=(1, 1), filters=8
        ),
    }
    monkeypatch.setattr(registry, "ARCHITECTURES", rows)


def built(name, seed=0):
    """A network whose weights and statistics are all different."""
    keras.utils.set_random_seed(seed)
    model, rng = zoo.build(name, SHAPE, 3), np.random.default_rng(seed)
    for key, weight in weight_file.variables(model).items():
        if not key.endswith(("masks", "kernel")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def of_member(model, number, images=IMAGES):
    with layers.stream(3, number=number):
        return ops.convert_to_numpy(model(images, training=False))


def slice_member(name, values, shape, number):
    """The weight of one member: of an ensemble's weight, the shape it has alone."""
    if values.shape == shape:
        return values
    if values.shape[0] == NUM_MEMBERS and values.shape[1:] == shape[1:]:
        return values[number : number + 1]
    for axis, (whole, own) in enumerate(zip(values.shape, shape, strict=True)):
        if whole != own:  # Of packed channels, the share.
            values = np.split(values, whole // own, axis)[number]
    return values


@pytest.mark.parametrize(
    "name",
    marks.few(
        [f"resnet20_{method}" for method in MEMBERS] + ["resnet18_packed"],
        [f"resnet20_{name}" for name in MEMBERS if name != "film"],
    ),
)
def test_a_member_alone_is_the_member_in_the_ensemble(tiny, name, monkeypatch):
    model = built(f"{name}{NUM_MEMBERS}")
    single = methods.METHODS[name.partition("_")[2]]
    settings = {"num_members": 1}
    if name.endswith("packed"):  # A network of its share of the channels.
        settings |= {"alpha": 1}
    monkeypatch.setitem(MEMBERS, "alone", functools.partial(single, **settings))
    alone = zoo.build(f"{name.partition('_')[0]}_alone1", SHAPE, 3)
    samples = zoo.posterior.MonteCarlo(model, NUM_MEMBERS)(IMAGES, seed=3)
    for number in range(NUM_MEMBERS):
        own = weight_file.variables(alone)
        for key, values in weight_file.variables(model).items():
            found = slice_member(
                key, ops.convert_to_numpy(values), own[key].shape, number
            )
            own[key].assign(found)
        expected = of_member(alone, 0)
        found = of_member(model, number)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        if "rankone" not in name:
            np.testing.assert_allclose(samples[number], expected, rtol=1e-4, atol=1e-4)
    assert np.abs(of_member(model, 1) - of_member(model, 0)).max() > 1e-3


@pytest.mark.parametrize("name", marks.few(MEMBERS, ["rankone", "masks"]))
def test_one_member_is_the_plain_network(tiny, name, monkeypatch):
    method = functools.partial(MEMBERS[name], num_members=1)
    if name == "packed":
        method = functools.partial(method, alpha=1, gamma=1)
    monkeypatch.setitem(MEMBERS, name, method)
    plain = built("resnet20")
    model = zoo.build(f"resnet20_{name}1", SHAPE, 3)
    assert layers.is_stochastic(model) == (name == "rankone")
    values = weight_file.variables(plain)
    for key, weight in weight_file.variables(model).items():
        kind = key.rpartition("/")[2]
        if key in values:
            weight.assign(ops.reshape(values[key], weight.shape))
        elif kind != "masks":  # Factors of 1, that vary little.
            weight.assign(np.full(weight.shape, -20 if "rho" in kind else 1))
    expected = ops.convert_to_numpy(plain(IMAGES, training=False))
    found = ops.convert_to_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_permuting_members_permutes_samples_and_equal_members_agree(tiny):
    model = built("resnet20_film3_masks3")
    before = zoo.posterior.MonteCarlo(model, 3)(IMAGES, seed=0)
    for layer in layers.members.layers_of(model):
        for weight in layer.weights:
            if weight.shape[:1] == (3,):
                weight.assign(ops.convert_to_numpy(weight)[[2, 0, 1]])
    after = zoo.posterior.MonteCarlo(model, 3)(IMAGES, seed=1)
    order = ops.convert_to_numpy(before)[[2, 0, 1]]
    np.testing.assert_allclose(after, order, rtol=1e-4, atol=1e-4)
    for layer in layers.members.layers_of(model):
        for weight in layer.weights:
            if weight.shape[:1] == (3,):
                weight.assign(ops.convert_to_numpy(weight)[[1, 1, 1]])
    equal = ops.convert_to_numpy(zoo.posterior.MonteCarlo(model, 3)(IMAGES, seed=0))
    np.testing.assert_allclose(equal[1:], equal[:-1], rtol=1e-5, atol=1e-5)


def test_batch_statistics_are_those_of_each_member(tiny):
    model, images = built("resnet20_film2"), some_images(SHAPE, 16)
    batch_statistics.update_batch_statistics(model, images, 16, seed=1)
    norm, stem = model.get_layer("stem_norm"), model.get_layer("stem_conv")
    features = keras.Model(model.input, stem.output)
    order = np.random.default_rng(1).permutation(16)
    x = ops.convert_to_numpy(features(images[order]))
    with layers.stream(1):
        chosen = ops.convert_to_numpy(norm.members(x))
    for member in range(2):
        own = x[chosen == member]
        moments = own.mean((0, 1, 2)), own.var((0, 1, 2))
        pairs = zip((norm.moving_mean, norm.moving_variance), moments, strict=True)
        for found, expected in pairs:
            np.testing.assert_allclose(
                ops.convert_to_numpy(found)[member], expected, rtol=1e-4, atol=1e-4
            )


def test_the_number_of_members_is_behind_the_method():
    assert zoo.parse("resnet20_film8").methods == ("film8",)
    for wrong in ("film0", "film04", "mcdo4"):
        with pytest.raises(ValueError, match=f"resnet20_{wrong}"):
            zoo.parse(f"resnet20_{wrong}")
    with pytest.raises(ValueError, match="num_members=3, channels=32"):
        zoo.build("resnet20_packed3", (32, 32, 3), 10)
    with pytest.raises(ValueError, match="'film2' and 'film4' both replace"):
        zoo.build("resnet20_film2_film4", (32, 32, 3), 10)
