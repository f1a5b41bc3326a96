"""Networks with logits for each pixel."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers import graphs, scenes
from training import initial_weights
from zoo import catalog, posterior, registry
from zoo.models import resnet, segmentation
from zoo.presets import weight_file

SIZE = (44, 61, 3)


@functools.cache
def outline(name, shape=SIZE):
    return catalog.outline(name, shape, 5)


@pytest.mark.parametrize(
    "name, levels",
    [
        ("unet", 4),
        ("segnet", 5),
        ("unet_resnet18", 3),
        ("segnet_preresnet20", 3),
        ("unet_vgg11", 4),
    ],
)
def test_every_pixel_has_logits_whatever_the_sides(name, levels):
    model = outline(f"{name}_smooth_mcdo50_flipout")
    assert model.output_shape == (None, *SIZE[:2], 5)
    names = {layer.name for layer in model.layers}
    assert {f"decoder{level}_1_conv" for level in range(1, levels + 1)} <= names
    assert f"decoder{levels + 1}_1_conv" not in names


def test_stems_that_subsample_are_enlarged_in_the_end():
    model = outline("unet_resnet18", (70, 90, 3))
    sizes = {
        level: model.get_layer(f"decoder{level}_1_conv").output.shape[1:3]
        for level in range(5)
    }
    maps = [(70, 90), (35, 45), (18, 23), (9, 12), (5, 6)]
    assert list(sizes.values()) == maps


@pytest.mark.parametrize(
    "name, encoder, decoder", [("unet", "345", "43"), ("segnet", "345", "543")]
)
def test_dropout_is_in_the_deeper_half_and_gaussian_weights_in_the_head(
    name, encoder, decoder
):
    model = outline(f"{name}_smooth_mcdo50_flipout")
    dropouts = [la for la in model.layers if isinstance(la, layers.MCDropout)]
    expected = [f"stage{i}_dropout" for i in encoder]
    expected += [f"decoder{i}_dropout" for i in decoder]
    assert [layer.name for layer in dropouts] == expected
    assert {layer.rate for layer in dropouts} == {0.5}
    gaussian = layers.variational.gaussian_layers(model)
    assert [layer.name for layer in gaussian] == ["head"]
    smooth = [la.name for la in model.layers if isinstance(la, layers.SpatialSmoothing)]
    assert smooth == [f"stage{i}_smooth" for i in range(1, 6)]


def test_counts_are_those_of_the_papers():
    def convs(*pairs):
        return sum(9 * a * b + 2 * b for a, b in pairs)

    widths = [3, 64, 128, 256, 512, 1024]
    encoder = sum(convs((a, b), (b, b)) for a, b in itertools.pairwise(widths))
    up = sum(2 * b * b + convs((2 * b, b), (b, b)) for b in (512, 256, 128, 64))
    assert catalog.count_parameters(outline("unet")) == encoder + up + 65 * 5
    # SegNet mirrors VGG-16; the last convolution gives 64 maps to the head here.
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256)] + [(256, 256)] * 2
    pairs += [(256, 512), (512, 512), (512, 512)] + [(512, 512)] * 3
    mirrored = [(b, a) for a, b in pairs[1:]] + [(64, 64)]
    count = convs(*pairs, *mirrored) + 65 * 5
    assert catalog.count_parameters(outline("segnet")) == count


@pytest.mark.parametrize("build", [segmentation.unet, segmentation.segnet])
def test_passes_differ_where_dropout_is_and_not_by_batches(build):
    data = scenes.scenes(5)
    model = scenes.network(("smooth", "mcdo50"), build)
    run = posterior.MonteCarlo(model, 3)
    samples = run.predict(data.images, seed=3)
    assert samples.shape == (3, 5, *scenes.SHAPE, 3)
    assert np.ptp(samples, axis=0).max() > 1e-3
    again = run.predict(data.images, batch_size=2, seed=3)
    np.testing.assert_allclose(again, samples, atol=1e-4)


def test_a_decoder_sees_all_levels():
    model = scenes.network()
    images = scenes.scenes(1).images.astype("float32")
    skip = keras.Model(model.input, model.get_layer("stage1_smooth").output)
    assert tuple(skip(images).shape[1:3]) == scenes.SHAPE
    moved = images.copy()
    moved[0, 0, 0] += 100

    def seen():
        """Whether pixels below that one see it."""
        return np.asarray(ops.any(model(moved) != model(images), axis=-1))[0, :, 0]

    # Far from it they do through the lowest level.
    assert seen().all()
    model.get_layer("stage3_block1_conv").kernel.assign(np.zeros((3, 3, 4, 8)))
    np.testing.assert_array_equal(seen(), np.arange(17) < 12)


def test_weights_of_a_classifier_start_its_encoder(tmp_path, monkeypatch):
    row = functools.partial(resnet.resnet, depths=(1, 1), filters=8)
    rows = {
        "resnet18": row,
        "unet_resnet18": functools.partial(segmentation.unet, encoder=row),
    }
    monkeypatch.setattr(registry, "ARCHITECTURES", rows)
    monkeypatch.setattr(registry, "CLASSIFIERS", {"resnet18": row})
    keras.utils.set_random_seed(1)
    classifier = zoo.build("resnet18_smooth", (32, 32, 3), 3, classes=("a", "b", "c"))
    path = tmp_path / "model.safetensors"
    weight_file.save_weights(classifier, path)
    found = initial_weights.find(str(path))
    # The head is another one, although there are as many classes of the same names.
    model, record = initial_weights.load(
        found, "unet_resnet18_mcdo", (32, 40, 3), ("a", "b", "c")
    )
    assert record["head"] == "new"
    own, theirs = weight_file.variables(model), weight_file.variables(classifier)
    shared = theirs.keys() - {"head/kernel", "head/bias"}
    assert shared < own.keys()
    for name in shared:
        np.testing.assert_array_equal(own[name], theirs[name], err_msg=name)
    assert float(ops.max(ops.abs(own["decoder1_1_conv/kernel"]))) > 0
    assert registry.encoder_of("unet_resnet18") == "resnet18"
    assert registry.task_of("unet_resnet18") == "segmentation"


def test_what_is_for_one_vector_an_image_is_refused():
    for method in ("mlp", "gmp", "packed"):
        with pytest.raises(ValueError, match="each pixel has no global pool"):
            outline(f"unet16_{method}")
    with pytest.raises(ValueError, match="no head that is for one vector an image"):
        outline("unet16_duq")
    with pytest.raises(ValueError, match="for images of one known size. Received: inp"):
        zoo.build("unet16", (None, None, 3), 5)


def test_every_classifier_with_maps_is_an_encoder():
    for name in ("resnet50d", "preresnet164", "prevgg11", "resnext50_32x4d"):
        for kind in ("unet", "segnet"):
            assert registry.encoder_of(f"{kind}_{name}") == name
    assert dataclasses.replace(zoo.parse("unet_resnet18_smooth")).methods == ("smooth",)
    assert "unet_resnet18" not in graphs.SHORT
