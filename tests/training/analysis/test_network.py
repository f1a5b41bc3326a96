"""Where a network has its blocks, and the ways around them."""

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers import analyzed, marks, processes
from training.analysis.network import Network


def test_points_are_between_blocks_and_say_what_is_there():
    points = Network(analyzed.residual()).points
    found = [(p.layer, p.shape, p.kinds) for p in points]
    assert found == [
        ("normalize", (8, 8, 2), ()),
        ("stem_relu", (8, 8, 4), ()),
        ("one_out", (8, 8, 4), ()),
        ("smooth", (8, 8, 4), ("smoothing",)),
        ("two_add", (4, 4, 6), ("subsampling",)),
        ("pool", (6,), ()),
        ("head", (3,), ()),
    ]
    assert [p.depth for p in points] == list(range(7))


def test_points_of_the_zoo_are_its_blocks():
    model = zoo.build("resnet18_blurpool_mcdo", (32, 32, 3), num_classes=10)
    found = [(p.layer, p.kinds) for p in Network(model).maps()]
    blocks = [
        (f"stage{i}_block{j}_relu", ("smoothing", "subsampling") * (j == 1 < i))
        for i in range(1, 5)
        for j in (1, 2)
    ]
    assert found == [("normalize", ()), ("stem_relu", ()), *blocks]


def test_points_are_found_inside_of_other_models():
    inner = analyzed.residual()
    images = keras.Input(analyzed.SHAPE)
    outer = keras.Model(images, inner(keras.layers.Rescaling(0.5)(images)))
    names = [p.layer for p in Network(outer).points]
    assert names[0] == "normalize"
    assert names[1:] == [p.layer for p in Network(inner).points][1:]


def test_values_are_those_of_the_layers():
    model = analyzed.residual()
    network = Network(model)
    points = network.maps(["two_add", "one_2"])
    assert [p.layer for p in points] == ["one_2", "two_add"]  # As in the network.
    wanted = [model.get_layer(name).output for name in ("one_2", "two_add")]
    pixels = analyzed.images().images.astype("float32")
    logits, found = network.values(pixels, points)
    for own, theirs in zip(
        [logits, *found],
        keras.Model(model.input, [model.output, *wanted])(pixels),
        strict=True,
    ):
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-5)
    assert "one_relu" in [p.layer for p in network.maps("all")]


def test_what_draws_is_known():
    model = analyzed.residual(rate=0.5)
    assert Network(model).draws
    assert Network(model).num_passes(7) == 7
    assert Network(analyzed.residual()).num_passes(7) == 1


def test_ways_around_are_branches_and_identities():
    ways, without = Network(analyzed.residual()).bypasses()
    assert [(way.point.layer, way.kind) for way in ways] == [
        ("one_out", "branch"),
        ("smooth", "identity"),
        ("two_add", "branch"),
    ]
    assert without == ["stem_relu"]


@pytest.mark.parametrize(
    "names, message",
    [
        (["one_ad"], "has no layer 'one_ad'. Did you mean 'one_add'"),
        (["pool"], "no feature map of height, width and channels"),
        (["stem", "head"], "The layer 'head' of 'small' gives no feature map"),
    ],
)
def test_a_layer_that_cannot_be_looked_at_is_named(names, message):
    with pytest.raises(ValueError, match=message):
        Network(analyzed.residual()).maps(names)


class Own(keras.Model):
    """A model with code of its own."""

    def call(self, inputs):
        return inputs


def masked():
    model = analyzed.chain()
    model.get_layer("flatten").mask_zero = True  # As an embedding has it.
    return model


@pytest.mark.parametrize(
    "make, message",
    [
        (Own, "a functional or sequential Keras model"),
        (lambda: zoo.posterior.MonteCarlo(analyzed.chain()), "not a posterior"),
        (masked, "without masks. Received: model=functional"),
        (lambda: layers.MCDropout(0.5), "a functional or sequential Keras model"),
    ],
)
def test_a_model_that_cannot_be_looked_into_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        Network(make())


@pytest.mark.parametrize(
    "name",
    [
        *("feature_maps", "frequencies", "lesion_study", "network", "representations"),
        *("loss_landscape", "mode_connectivity", "phase_diagram", "command"),
    ],
)
@marks.on_others
def test_analyses_are_the_same_on_others(backend, name):
    processes.check_on(backend, f"tests/training/analysis/test_{name}.py")
