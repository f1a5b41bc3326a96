"""Constructors of layers and posteriors, and names of models."""

import keras
import numpy as np
import pytest

import layers
import zoo
from tests.contracts.cases import Case, Refused, Same, check_all
from training import objective
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature
from zoo.registry import image_size

NAN, INF = float("nan"), float("inf")
COUNTS = (0, -1, 1.5, NAN, INF, "3", None)
SEEDS = (-1, 2**32, 1.5, NAN, "1")
SCALES = (0, -1, NAN, INF, "1", None)

# Constructor, arguments that are right, and values that are wrong, by argument.
CONSTRUCTORS = {
    "MCDropout": (
        layers.MCDropout,
        {},
        {"rate": (-0.1, 1, 1.5, NAN, INF, "0.5", None), "seed": SEEDS},
    ),
    "Dropout": (layers.Dropout, {}, {"rate": (-0.1, 1, NAN, None), "seed": SEEDS}),
    "StochasticDepth": (
        layers.StochasticDepth,
        {},
        {"rate": (-0.1, 1, NAN, None), "seed": SEEDS},
    ),
    "LocalAttention": (
        layers.LocalAttention,
        {"filters": 2},
        {key: COUNTS for key in ("filters", "num_heads", "key_dim", "window_size")},
    ),
    "AdaptiveAveragePooling2D": (
        layers.AdaptiveAveragePooling2D,
        {"output_size": 7},
        {"output_size": COUNTS},
    ),
    "BlurPool2D": (
        layers.BlurPool2D,
        {},
        {
            "taps": ((), (0, 0), (1, NAN), (INF, 1), "ab", None),
            "strides": COUNTS,
            "padding": ("SAME", "", None, 3),
        },
    ),
    "FLCPooling2D": (layers.FLCPooling2D, {}, {"strides": COUNTS}),
    "FrequencyDropout": (
        layers.FrequencyDropout,
        {},
        {
            "kernel_size": (*COUNTS, 2, 5),
            "filters": ({}, {"box": (0, 1, 2)}, {"gabor": (2, 0, 1)}, [0.4], "log"),
            "seed": SEEDS,
        },
    ),
    "QuantileReLU": (
        layers.QuantileReLU,
        {},
        {"quantile": (0, 1, -1, NAN, INF, "1", None)},
    ),
    "FilteredReLU": (layers.FilteredReLU, {}, {"quantile": (0, 1, NAN, INF, "1")}),
    "FilteredMaxPooling2D": (
        layers.FilteredMaxPooling2D,
        {},
        {"pool_size": COUNTS},
    ),
    "SpatialSmoothing": (
        layers.SpatialSmoothing,
        {},
        {
            "temperature": SCALES,
            "taps": ((), (0, 0), (1, NAN), None),
            "padding": ("valid", "", None),
            "probs": ("softmax2", "", None),
        },
    ),
    "DenseFlipout": (
        layers.DenseFlipout,
        {"units": 3},
        {
            "units": COUNTS,
            "prior_scale": SCALES,
            "initial_scale": SCALES,
            "seed": SEEDS,
            "estimator": ("flip", 3),
            "prior": (1.0, "normal"),
        },
    ),
    "Conv2DFlipout": (
        layers.Conv2DFlipout,
        {"filters": 2, "kernel_size": 3},
        {
            "filters": COUNTS,
            "kernel_size": (*COUNTS, (), (3, 0), (3, 3, 3), (1.5, 2)),
            "strides": (*COUNTS, (1, 2, 3)),
            "padding": ("reflect", "", None),
            "groups": COUNTS,
            "prior_scale": SCALES,
            "initial_scale": SCALES,
            "estimator": ("flip",),
            "dilation_rate": COUNTS,
        },
    ),
    "DepthwiseConv2DFlipout": (
        layers.DepthwiseConv2DFlipout,
        {"kernel_size": 3},
        {"strides": (*COUNTS, (1, 2)), "depth_multiplier": COUNTS},
    ),
    "ScaleMixturePrior": (
        layers.ScaleMixturePrior,
        {},
        {"weight": (0, 1, NAN, "1", None), "scales": ((1.0, 0.0), (1, NAN), 1.0, None)},
    ),
    "GaussianPrior": (layers.GaussianPrior, {}, {"scale": SCALES}),
    "FiLMBatchNormalization": (
        layers.FiLMBatchNormalization,
        {},
        {"num_members": COUNTS, "gain": SCALES, "seed": SEEDS},
    ),
    "DenseBatchEnsemble": (
        layers.DenseBatchEnsemble,
        {"units": 3},
        {"num_members": COUNTS, "fast_scale": (-1, NAN, INF, "1")},
    ),
    "Conv2DBatchEnsemble": (
        layers.Conv2DBatchEnsemble,
        {"filters": 2, "kernel_size": 3},
        {"num_members": COUNTS, "data_format": ("x", None)},
    ),
    "DenseRank1": (
        layers.DenseRank1,
        {"units": 3},
        {"num_members": COUNTS, "prior_scale": SCALES},
    ),
    "Conv2DRank1": (
        layers.Conv2DRank1,
        {"filters": 2, "kernel_size": 3},
        {
            "num_members": COUNTS,
            "prior_scale": SCALES,
            "initial_scale": SCALES,
            "data_format": ("x", None),
        },
    ),
    "Masksembles": (
        layers.Masksembles,
        {},
        {"num_members": COUNTS, "scale": (0, 0.9, 6.1, NAN, INF, "2", None)},
    ),
    "PackedDense": (
        layers.PackedDense,
        {"units": 3},
        {"units": COUNTS, "num_members": COUNTS},
    ),
    "SpectralConv2D": (
        layers.SpectralConv2D,
        {"filters": 2, "kernel_size": 3},
        {"max_norm": SCALES, "num_iterations": COUNTS, "data_format": ("x", None)},
    ),
    "GaussianProcess": (
        layers.GaussianProcess,
        {"units": 3},
        {
            "units": COUNTS,
            "num_features": COUNTS,
            "length_scale": SCALES,
            "ridge": SCALES,
            "mean_field_factor": (-1, NAN, INF, "1", None),
            "seed": SEEDS,
        },
    ),
    "ClassCentroids": (
        layers.ClassCentroids,
        {"units": 3},
        {
            "units": COUNTS,
            "embedding_size": COUNTS[:-1],
            "length_scale": SCALES,
            "momentum": (-0.1, 1.1, NAN, "1", None),
            "initial_count": SCALES,
        },
    ),
}


def with_argument(function, given, name):
    return lambda value: function(**{**given, name: value})


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_constructor_names_the_argument_that_is_wrong(name):
    function, given, wrong = CONSTRUCTORS[name]
    function(**given)  # It takes what is right.
    for argument, values in wrong.items():
        cases = [
            Case(f"{argument}={v!r}", (v,), Refused(argument, "value")) for v in values
        ]
        check_all(with_argument(function, given, argument), cases)


NAMES = {
    "nothing": "",
    "a space": " ",
    "no model": "resnet",
    "upper case": "ResNet20",
    "a path": "../resnet20",
    "a method twice": "resnet20_mcdo_mcdo",
    "no such method": "resnet20_foo",
    "an empty method": "resnet20__mcdo",
    "an empty tag": "resnet20.",
    "only a tag": ".cifar10",
    "a line break": "resnet20\n",
    "a long name": "resnet20_" + "smooth" * 1000,
    "a number": 20,
    "None": None,
}


TAKING = zoo.parse, zoo.build, zoo.describe, zoo.load, image_size


@pytest.mark.parametrize("function", TAKING)
def test_names_of_models_are_refused_with_the_name(function):
    for name in NAMES.values():
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            function(name)
        assert str(name)[:9] in str(caught.value)


SHAPES = (
    *((), (16, 16), (16, 16, 1, 1), (8, 8, 1), (0, 16, 1), (-16, 16, 1), (16, 16, 0)),
    *((16.5, 16, 1), (16, 16, None), ("16", 16, 1), (NAN, 16, 1), None, 16),
)


def test_sizes_of_models_are_named():
    wrong = {
        "input_shape": SHAPES,
        "num_classes": (1, *COUNTS),
        "normalization": (
            *(((0,),), ((0,), (0,)), ((0,), (-1,)), ((0, 0), (1, 1)), ((NAN,), (1,))),
            *(((0,), (NAN,)), ((INF,), (1,)), ((0,), (INF,)), 3, "ab"),
        ),
    }
    given = {"name": "resnet20", "input_shape": (16, 16, 1), "num_classes": 2}
    for argument, values in wrong.items():
        cases = [Case(f"{argument}={v!r}", (v,), Refused(argument)) for v in values]
        check_all(with_argument(zoo.build, given, argument), cases)


def test_lists_of_models_are_those_of_the_pattern():
    every = zoo.list_models()
    assert zoo.list_models("*") == sorted(set(every))
    for pattern in ("", "no such", "resnet20"):
        expected = [name for name in every if name == pattern]
        assert zoo.list_models(pattern) == expected
    assert set(zoo.list_models("resnet[0-9]*_mcdo")) < set(every)


@pytest.fixture(scope="module")
def model():
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(images)
    return keras.Model(images, keras.layers.Dense(3)(x), name="small")


def other(outputs):
    images = keras.Input((4, 4, 1))
    return keras.Model(images, outputs(keras.layers.Flatten()(images)))


MODELS = {
    "None": lambda: None,
    "a name": lambda: "resnet20",
    "a layer": lambda: keras.layers.Dense(3),
    "not built": lambda: keras.Sequential([keras.layers.Dense(3)]),
    "two outputs": lambda: other(lambda x: [keras.layers.Dense(3)(x)] * 2),
    "maps": lambda: other(lambda x: keras.layers.Dense(3)(x[:, None])),
    "one class": lambda: other(keras.layers.Dense(1)),
    "probabilities": lambda: other(keras.layers.Dense(3, activation="softmax")),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_no_classifier_is_refused_by_posteriors(kind):
    given = MODELS[kind]()
    case = [Case(kind, (given,), Refused("model", "members", "posterior"))]
    check_all(MonteCarlo, case)
    check_all(lambda model: DeepEnsemble([model]), case)
    check_all(Temperature, case)


def test_settings_of_posteriors_are_named(model):
    wrong = {
        MonteCarlo: {
            "num_samples": COUNTS,
            "seed": SEEDS,
            "estimator": ("flip", 3),
            "memory": COUNTS,
        },
        # Without a temperature, `adapt` sets it.
        Temperature: {"temperature": SCALES[:-1], "seed": SEEDS},
    }
    for function, arguments in wrong.items():
        first = "model" if function is MonteCarlo else "posterior"
        for argument, values in arguments.items():
            cases = [Case(f"{argument}={v!r}", (v,), Refused(argument)) for v in values]
            check_all(with_argument(function, {first: model}, argument), cases)
    check_all(DeepEnsemble, [Case("no members", ([],), Refused("members"))])
    cases = [Case(repr(v), (v,), Refused("tolerance")) for v in (-1, NAN, "1", None)]
    images = np.zeros((2, 4, 4, 1))
    check_all(lambda t: MonteCarlo(model, 4).sample_until(images, t), cases)


def test_settings_of_streams_are_named(model):
    def enter(estimator):
        with layers.stream(0, estimator=estimator):
            pass

    check_all(enter, [Case(v, (v,), Refused("estimator")) for v in ("flip", "")])
    cases = [Case(repr(v), (v,), Refused("seed")) for v in (*SEEDS, None)]
    check_all(lambda seed: layers.set_seed(model, seed), cases)


def test_settings_of_losses_are_named(model):
    cases = [Case(repr(v), (v,), Refused("num_examples")) for v in COUNTS]
    check_all(lambda n: objective.elbo(model, n), cases)
    cases = [
        Case(repr(v), (v,), Refused("label_smoothing")) for v in (-0.1, 1.5, NAN, "1")
    ]
    check_all(lambda s: objective.cross_entropy(s, 3), cases)


def test_smoothed_labels_are_a_mixture_with_all_classes():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 8), rng.normal(size=(8, 3)).astype("float32")
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = 0.9 * np.eye(3)[labels] + 0.1 / 3
    expected = -(target * logs).sum(axis=1).mean()
    case = Case("", (labels, logits), Same(()))
    found = float(objective.cross_entropy(0.1, 3)(*case.args))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
