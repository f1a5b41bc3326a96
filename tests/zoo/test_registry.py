import re

import keras
import pytest

import zoo
from zoo import registry
from zoo.registry import ARCHITECTURES, IMAGENET


@pytest.mark.parametrize(
    "name, architecture, methods, tag",
    [
        ("resnet20", "resnet20", (), None),
        ("vgg11_mlp.a", "vgg11", ("mlp",), "a"),
        ("wide_resnet50_2_gmp_mcdo", "wide_resnet50_2", ("gmp", "mcdo"), None),
        ("resnet110_mcdo_smooth.a_b.c", "resnet110", ("mcdo", "smooth"), "a_b.c"),
        ("resnet18.0-b_seed1", "resnet18", (), "0-b_seed1"),
        ("resnet18.képek", "resnet18", (), "képek"),  # Of a folder of that name.
    ],
)
def test_a_name_is_its_specification(name, architecture, methods, tag):
    spec = zoo.parse(name)
    assert (spec.architecture, spec.methods, spec.tag) == (architecture, methods, tag)
    assert str(spec) == name
    assert spec.stem == name.partition(".")[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_parses_to_itself(name):
    assert zoo.parse(name) == zoo.ModelSpec(name)


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet18_smoth", "Unknown method 'smoth' in .* Did you mean 'smooth'\\?"),
        ("resnett18", "Unknown architecture 'resnett18' .* Did you mean 'resnet"),
        ("resnet180", "Unknown architecture 'resnet180'"),
        ("resnext50_smooth", "'resnext50' .* Did you mean 'resnext50_32x4d'"),
        ("wide_resnet28_mcdo", "'wide_resnet28' .* Did you mean 'wide_resnet28_10'"),
        ("resnet18_", "Unknown method ''"),
        ("resnet18_mcdo_smooth_mcdo", "method 'mcdo' twice"),
        ("", "Unknown architecture ''.*Known: alexnet, "),
    ],
)
def test_words_that_are_unknown_are_named_with_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        zoo.parse(name)


def test_a_posterior_of_a_name_has_settings():
    name = "resnet20_mcdo.a@laplace:subset=all:prior_precision=2e-1"
    spec = zoo.parse(name)
    assert (spec.posterior, str(spec)) == ("laplace", name)
    assert spec.settings == (("subset", "all"), ("prior_precision", "2e-1"))
    assert str(spec.of_model) == "resnet20_mcdo.a"
    text = "laplace:subnetwork=stem_conv+head"
    assert registry.split_posterior(f"a+b@{text}") == ("a+b", text)
    assert registry.split_posterior("me@home:1") == ("me@home:1", None)


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet20@laplace:all", "a name and a value. Received: @laplace:all"),
        ("resnet20@laplace:", "a name and a value. Received: @laplace:"),
        ("resnet20@laplace:subset=", "a name and a value"),
        ("resnet20@laplace:a=1:a=2", "setting 'a' of a posterior has two values"),
        ("resnet20@lapace:a=1", "Unknown posterior 'lapace'.*Did you mean 'laplace'"),
    ],
)
def test_settings_of_a_name_are_a_name_and_a_value_each(name, message):
    with pytest.raises(ValueError, match=message):
        zoo.parse(name)
    if "laplace" in name:
        with pytest.raises(ValueError, match=message):
            registry.split_posterior(name)


@pytest.mark.parametrize("tag", ["my tag", "x/y", "x/y+z", "a#2", "-a", "..", "a\n"])
def test_a_tag_has_letters_digits_and_few_signs(tag):
    with pytest.raises(ValueError, match=f"The tag '{re.escape(tag)}' .*letters, dig"):
        zoo.parse(f"resnet20_mcdo.{tag}")


@pytest.mark.parametrize(
    "name",
    [
        *("resnet20.a+b", "resnet20.a+resnet20.b@ensemble", "resnet20+resnet20_mcdo"),
        *("resnet20.a@temperature+resnet20.b", "+", "a+b.c"),
    ],
)
def test_several_models_are_no_model_but_an_ensemble(name):
    message = rf"zoo-evaluate .*DeepEnsemble.*Received: name={re.escape(name)}$"
    with pytest.raises(ValueError, match=message):
        zoo.parse(name)


@pytest.mark.parametrize(
    "args, message",
    [
        ({"input_shape": (32, 32)}, r"input_shape=\(32, 32\)"),
        ({"input_shape": (8, 32, 3)}, "sides of 16 pixels at least"),
        ({"input_shape": (32, 32, None)}, "must be .height, width, channels."),
        ({"num_classes": 0}, "num_classes=0"),
        ({"normalization": ((0,), (1,))}, r"channel \(3\)"),
        ({"normalization": ((0, 0, 0), (1, 0, 1))}, "variances positive"),
    ],
)
def test_sizes_that_do_not_fit_are_named(args, message):
    with pytest.raises(ValueError, match=message):
        zoo.build("resnet20", **{"input_shape": (32, 32, 3), **args})


@pytest.mark.parametrize(
    "channels, expected", [(3, IMAGENET), (1, ((127.5,), (127.5**2,)))]
)
def test_pixels_are_normalized_inside(channels, expected):
    model = zoo.build("resnet20", (16, 16, channels), 2)
    config = model.get_layer("normalize").get_config()
    assert tuple(config["mean"]) == expected[0]
    assert tuple(config["variance"]) == expected[1]


def test_a_model_is_called_by_its_full_name():
    assert zoo.build("resnet20_mcdo.tag", (16, 16, 3), 2).name == "resnet20_mcdo.tag"


def test_channels_first_as_the_setting_of_keras_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last.*=channels_first"):
            zoo.build("vgg11", (32, 32, 3), 10)
    finally:
        keras.config.set_image_data_format("channels_last")
