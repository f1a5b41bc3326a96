"""Every network with every combination of methods trains, saves and loads."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import layers
import zoo
from tests.helpers import marks
from tests.helpers.graphs import FORMS, SMALLEST, draw, new_graph, some_images
from zoo import registry
from zoo.models import alexnet, methods, vgg
from zoo.models.methods import MEMBERS, METHODS
from zoo.models.parts import Parts, combine
from zoo.presets import weight_file

# Methods that are like `flipout` in what they could disturb.
VARIATIONAL = {"reparam", "lrt"}
# Methods against aliasing: alone, and with what could disturb them.
ALIASING = [
    *("antialias", "antialiasconv", "antialiasskip", "antialiaspool"),
    *("gelu", "swish", "flc", "freqdrop", "qrelu", "aliasfree", "lowpass"),
]
OF_ALIASING = [(name,) for name in ALIASING]
OF_ALIASING += [("smooth", "mcdo", "flc", "freqdrop", "swish")]
OF_ALIASING += [("flipout", "antialias", "qrelu"), ("sngp", "flc"), ("flc", "blur")]
OF_ALIASING += [("film", "flc"), ("packed", "antialias"), ("ddu", "gelu")]
# Those that not all families have.
RESIDUAL = {"msa", "nomu"}
# As another one, at another rate.
ALIKE = {"mcdo50"}
APART = {*VARIATIONAL, *MEMBERS, *ALIASING, *RESIDUAL, *ALIKE}
SINGLE = [name for name in METHODS if name not in APART]
SUBSETS = [
    subset
    for size in range(len(SINGLE) + 1)
    for subset in itertools.combinations(SINGLE, size)
]
SUBSETS += [(name,) for name in sorted(VARIATIONAL | ALIKE)] + [tuple(METHODS)]
SHAPE = (32, 32, 3)
# Those with several members: alone, and with what could disturb them.
OF_MEMBERS = [(name,) for name in MEMBERS]
OF_MEMBERS += [("smooth", "film"), ("batchensemble", "masks"), ("mcdo", "packed")]
OF_MEMBERS += [("film", "masks"), ("flipout", "rankone"), ("packed", "blurpool")]
OF_MEMBERS += [("mcdo", "masks"), ("packed", "mlp")]
RANDOM = {"mcdo", "mcdo10", "lldo", "flipout", "llsvi", "stf", "rankone"}
RANDOM |= {*VARIATIONAL, *ALIKE}
HEADS = {"sngp", "duq"}  # Methods whose head is no layer of Keras with other weights.


@pytest.fixture
def two_stages(short, monkeypatch):
    """Makes two narrow stages of one block of each family."""
    rows = {
        name: functools.partial(registry.ARCHITECTURES[name], depths=(1, 1))
        for name in SMALLEST
    }
    monkeypatch.setattr(registry, "ARCHITECTURES", rows)
    monkeypatch.setattr(vgg, "FILTERS", vgg.FILTERS[1:3])
    monkeypatch.setattr(alexnet, "SIZES", alexnet.SIZES[:2])


def clashes(subset):
    """Whether two of the methods replace the same part."""
    default = Parts()
    fields = [
        field.name
        for method in subset
        for field in dataclasses.fields(Parts)
        if getattr(METHODS[method](default), field.name)
        is not getattr(default, field.name)
    ]
    return len(fields) > len(set(fields))


def check_network(name, subset, path):
    name = "_".join((name, *subset))
    keras.utils.set_random_seed(0)
    if clashes(subset):
        with pytest.raises(ValueError, match="cannot be combined"):
            zoo.build(name, SHAPE, 3)
        return
    model, images = zoo.build(name, SHAPE, 3), some_images()
    check_step(model, images)
    drawn = draw(model, images)
    check_randomness(model, images, drawn)
    check_saving(model, images, drawn, path)
    check_plain_weights(model, path)


def check_step(model, images):
    """One step of training moves every trained weight."""
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The KL divergences of Gaussian weights are large, since nothing scales them.
    optimizer = keras.optimizers.SGD(1e-4)
    model.compile(optimizer, loss, run_eagerly=True)
    value = model.train_on_batch(images, np.array([0, 2]))
    assert np.isfinite(value)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = ops.convert_to_numpy(variable)
        assert np.isfinite(new).all(), variable.path
        assert np.any(new != old), variable.path


def check_randomness(model, images, drawn):
    """Only the documented methods are random, and moving statistics hold still."""
    statistics = [v for v in model.non_trainable_variables if "moving" in v.path]
    before = [ops.convert_to_numpy(v) for v in statistics]
    own = set(zoo.parse(model.name).methods)
    random = RANDOM & own
    assert layers.is_stochastic(model) == bool(random or own & set(MEMBERS))
    first, second = model(images, training=False), model(images, training=False)
    assert np.array_equal(first, second) == (not random)
    np.testing.assert_array_equal(draw(model, images), drawn)
    for old, variable in zip(before, statistics, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), old)


def check_saving(model, images, drawn, path):
    model.save(path / "model.keras")
    restored = keras.models.load_model(path / "model.keras")
    np.testing.assert_allclose(draw(restored, images), drawn, rtol=1e-5, atol=1e-5)
    assert restored.name == model.name


def check_plain_weights(model, path):
    """Weights of the network with the same parts that are not random load.

    A head of another kind keeps its own, and what members have of their own does.
    """
    spec = zoo.parse(model.name)
    if set(MEMBERS).intersection(spec.methods) - {"masks"}:
        return
    if {"stf", "ddu"} <= set(spec.methods):  # Its first convolution has no bound.
        return
    heads = [method for method in spec.methods if method in ("mlp", "ddu", "msa")]
    row = registry.ARCHITECTURES[spec.architecture]
    plain = plain_network("_".join((spec.architecture, *heads)), row.keywords["depths"])
    weight_file.save_weights(plain, path / "plain.safetensors")
    skip = ["head"] if HEADS.intersection(spec.methods) else []
    weight_file.load_weights(model, path / "plain.safetensors", skip=skip)
    loaded = weight_file.variables(model)
    for name, variable in weight_file.variables(plain).items():
        if name.partition("/")[0] in skip:
            continue
        np.testing.assert_array_equal(variable, loaded[name], err_msg=name)


@functools.cache
def plain_network(name, depths):
    return zoo.build(name, SHAPE, 3)


EACH = [subset for subset in SUBSETS if len(subset) in (0, 1, len(METHODS))]
EACH += [("smooth", "mcdo"), ("flipout", "blurpool"), ("llsvi", "stf")]
FEW = [
    ("smooth", "mcdo"),
    ("smooth", "mcdo", "flipout", "aa"),
    ("flipout", "blurpool", "gmp"),
    ("lldo", "mlp"),
]
MORE = [("preresnet20", subset) for subset in FEW]
MORE += [("alexnet", subset) for subset in reversed(FEW)]
SHORT = [("resnet20", subset) for subset in EACH]
# With these, every method once.
SHORT += [("vgg11", subset) for subset in [(), *FEW, ("blur", "gap"), tuple(METHODS)]]
SHORT += MORE
SHORT += [("resnet20", subset) for subset in (*OF_MEMBERS, *OF_ALIASING)]
SHORT += [("alexnet", subset) for subset in OF_ALIASING[:-7:2]]
# What others are like, by themselves; and every other combination of more families.
ALONE = "aa", "blur", "gap", "gmp", "mcdo10", "reparam", "lrt", "llsvi", "stf", "mlp"
SLOW = [("resnet20", (name,)) for name in ALONE]
SLOW += MORE[::2] + MORE[1:2] + [("vgg11", subset) for subset in FEW[1:]]
SLOW += [("resnet20", subset) for subset in OF_MEMBERS[1:]]
SLOW += [("resnet20", s) for s in OF_ALIASING if s != OF_ALIASING[-7]]
SLOW += [("alexnet", subset) for subset in OF_ALIASING]


def identify(value):
    return value if isinstance(value, str) else "_".join(value)


@pytest.mark.parametrize("name, subset", marks.few(SHORT, SLOW), ids=identify)
def test_short_networks_train_save_and_load_with_any_methods(
    two_stages, name, subset, tmp_path
):
    check_network(name, subset, tmp_path)


# Attention, and what could disturb it.
OF_ATTENTION = ["smooth_mcdo_msa", "smooth_mcdo_flipout_msa", "msa"]
OF_ATTENTION += ["msa_blurpool_gelu", "msa_film_freqdrop", "sngp_msa"]


@pytest.mark.parametrize("methods", marks.few(OF_ATTENTION, OF_ATTENTION[1:]))
@pytest.mark.parametrize("name", marks.few(["resnet20", "preresnet20"], ["resnet20"]))
def test_short_networks_with_attention_train_save_and_load(
    monkeypatch, name, methods, tmp_path
):
    row = functools.partial(registry.ARCHITECTURES[name], depths=(1, 2), filters=8)
    monkeypatch.setitem(registry.ARCHITECTURES, name, row)
    check_network(name, tuple(methods.split("_")), tmp_path)
    model = new_graph(f"{name}_{methods}", SHAPE, 3)
    assert model.get_layer("stage2_block2_attention").num_heads == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_short_networks_of_other_forms_train_save_and_load(short, name, tmp_path):
    check_network(name, ("smooth", "flipout", "blurpool", "gmp"), tmp_path)


# Methods that are as good as others in what they could disturb: in pairs, and some
# with a few others alone.
ALIKE = {"gap", "gmp", "blur", "aa"}
ONE_PASS = {"ddu", "llsvi", "stf", *HEADS}
OTHERS = {"smooth", "mcdo", "flipout", "blurpool"}
PAIRS = [
    s
    for s in SUBSETS
    if (len(s) <= 2 or not ALIKE.intersection(s))
    and (
        not ONE_PASS.intersection(s)
        or (len(s) <= 2 and ONE_PASS.union(OTHERS).issuperset(s))
    )
]
GRAPHS = [("resnet20", s) for s in PAIRS]
GRAPHS += [(name, s) for name in ("vgg11", "preresnet20", "alexnet") for s in PAIRS]
# The narrow chains have too few channels for masks.
GRAPHS += [
    (name, s)
    for s in OF_MEMBERS
    for name in (SMALLEST[:2] if "masks" in s else SMALLEST)
    if (name, "packed") not in {("lenet5", method) for method in s}  # 6 channels.
]
GRAPHS += [(name, s) for s in OF_ALIASING for name in SMALLEST if "packed" not in s]
MOST = [graph for n, graph in enumerate(GRAPHS) if n % 16]


@pytest.mark.parametrize("name, subset", marks.few(GRAPHS, MOST), ids=identify)
def test_any_methods_give_a_graph_or_a_clash(two_stages, name, subset):
    name = "_".join((name, *subset))
    if clashes(subset):
        with pytest.raises(ValueError, match="cannot be combined"):
            new_graph(name, SHAPE, 3)
    else:
        assert new_graph(name, SHAPE, 3).output_shape == (None, 3)


@pytest.mark.slow
@pytest.mark.parametrize("subset", PAIRS, ids="_".join)
@pytest.mark.parametrize("name", [*SMALLEST, *FORMS])
def test_networks_train_save_and_load_with_any_methods(
    narrow_mlp, name, subset, tmp_path
):
    check_network(name, subset, tmp_path)


def test_methods_that_claim_one_part_say_so(monkeypatch):
    monkeypatch.setitem(METHODS, "other", methods.mc_dropout)
    with pytest.raises(
        ValueError, match="'mcdo' and 'other' both replace the `dropout`"
    ):
        zoo.build("resnet20_mcdo_other", SHAPE, 3)


def test_the_order_of_methods_does_not_matter():
    forwards = combine({"smooth": METHODS["smooth"], "mcdo": METHODS["mcdo"]})
    backwards = combine({"mcdo": METHODS["mcdo"], "smooth": METHODS["smooth"]})
    assert forwards.dropout.args == backwards.dropout.args
    assert forwards.smooth.args == backwards.smooth.args


@pytest.mark.parametrize("name", ["resnet20_smooth_mcdo", "vgg11_flipout_blurpool"])
def test_compiled_networks_are_the_same_function(short, name):
    keras.utils.set_random_seed(0)
    model = zoo.build(name, SHAPE, 3)
    images = some_images()

    @tf.function
    def predict(images):
        with layers.stream(3):
            return model(images, training=False)

    compiled = predict(images)
    np.testing.assert_allclose(compiled, draw(model, images), rtol=1e-4, atol=1e-4)


def test_statistics_move_in_training_alone(short):
    model = zoo.build("resnet20_mcdo", SHAPE, 3)
    norm = model.get_layer("stem_norm")
    model(some_images(), training=False)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(16))
    model(some_images(), training=True)
    assert np.all(np.abs(norm.moving_mean) > 0)


def test_sides_that_are_not_known_take_any_images():
    model = zoo.build("resnet18_smooth", (None, None, 3), 3)
    fixed = zoo.build("resnet18_smooth", (64, 72, 3), 3)
    fixed.set_weights(model.get_weights())
    images = some_images((64, 72, 3))
    np.testing.assert_allclose(
        draw(model, images), draw(fixed, images), rtol=1e-4, atol=1e-4
    )
