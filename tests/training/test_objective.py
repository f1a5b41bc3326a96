"""An objective in a training: its views, its epochs, and its state."""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import safetensors.numpy

import layers
from tests.helpers.data_sets import stripes, write_idx
from tests.helpers.trainings import RECIPE, without_time
from training import batches, objective, run, trainer
from training.data import load
from training.objectives import OBJECTIVES
from zoo.classifier import named

CHANGES = [
    *("objective=counting", "optimizer=adamw", "learning_rate=0.01"),
    *("batch_size=32", 'augmentations=["flip"]'),
]


def sum_of_products(*factors):
    factors = [keras.ops.cast(factor, "float32") for factor in factors]
    return keras.ops.sum(factors[0] * factors[1])


def counting(model, recipe):
    """Counts steps and epochs, and weighs the loss by the number of the epoch."""
    steps, epochs, seen = (
        keras.Variable(np.zeros((), "float32"), trainable=False, name=name)
        for name in ("steps", "epochs", "seen")
    )
    loss = objective.cross_entropy(recipe.label_smoothing, model.output_shape[-1])

    def training_loss(model, images, labels, logits):
        steps.assign(steps + 1)
        pair = objective.numbers() + 1, labels
        seen.assign(seen + sum_of_products(*pair))
        other = model(255 - images[:, 1], training=True)
        assert images.shape[1:] == (3, 28, 28, 1)
        first = loss.call(labels, logits[:, 0]) + loss.call(labels, other)
        return first * keras.ops.convert_to_tensor(epochs)

    def begin_epoch(model, epoch):
        assert int(epochs) == epoch
        epochs.assign(epochs + 1)

    def end_epoch(model, epoch):
        return {"counted": 100 * int(epochs) + float(steps)}

    return objective.Objective(
        loss,
        training_loss,
        views=((), ("flip",), ("crop2", "flip")),
        begin_epoch=begin_epoch,
        variables=(steps, epochs, seen),
        end_epoch=end_epoch,
        numbered=True,
    )


def network(name, shape, num_classes, normalization, classes):
    """A small network in place of one of the zoo."""
    images = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    x = keras.layers.Conv2D(4, 3, strides=3, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = layers.MCDropout(0.3, name="dropout")(keras.ops.relu(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(num_classes, name="head")(x)
    return named(keras.Model(images, logits, name="small"), classes)


def gaussian_process(num_classes):
    return layers.GaussianProcess(num_classes, 16, name="head")


def centroids(num_classes):
    return layers.ClassCentroids(num_classes, length_scale=1.0, name="head")


def one_pass_network(name, shape, num_classes, normalization, classes, head):
    """One with a bound on its convolution, and a head of its own."""
    images = keras.Input(shape, name="images")
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    conv = layers.SpectralConv2D(4, 3, strides=3, max_norm=0.5, name="conv")
    x = keras.layers.BatchNormalization(name="norm")(conv(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.ops.relu(x))
    logits = head(num_classes)(x)
    return named(keras.Model(images, logits, name="small"), classes)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    data = stripes(160, 28)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", data.images[..., 0])
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", data.labels)
    return str(folder)


def trained_whole_and_stopped(
    data_dir, tmp_path, monkeypatch, changes, network=network
):
    """Returns the checkpoint of a training, after comparing it bit for bit.

    That of another one, which was stopped inside of its second epoch and goes on, has
    the same values, and its epochs have the same rows.
    """
    monkeypatch.setattr(run.zoo, "build", network)

    steps, original = [], trainer._Keeper.on_train_batch_end

    def zoo_train(folder, stop=None):
        steps.clear()

        def interrupted(self, batch, logs=None):
            original(self, batch, logs)
            steps.append(batch)
            if len(steps) == stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
            return run.run_training(
                "resnet20_mcdo",
                "fashion_mnist",
                str(tmp_path / folder),
                data_dir,
                epochs=2,
                changes=changes,
                checkpoint_seconds=0,
            )

    whole = zoo_train("whole")
    with pytest.raises(KeyboardInterrupt):
        zoo_train("stopped", stop=6)
    (stopped,) = without_time([zoo_train("stopped")])
    assert len(steps) == 8 - 6  # No step was done twice.
    if "counted" in whole:
        assert whole["counted"] == 100 * 2 + 8
    assert stopped == without_time([whole])[0]
    files = [
        tmp_path / name / "checkpoint.safetensors" for name in ("whole", "stopped")
    ]
    one, other = map(safetensors.numpy.load_file, files)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    return one


def test_one_function_and_one_line_are_an_objective(data_dir, tmp_path, monkeypatch):
    """Stopped inside of the second epoch, it goes on bit for bit."""
    monkeypatch.setitem(OBJECTIVES, "counting", counting)
    one = trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, CHANGES)
    own = {name.split("/")[-1]: value for name, value in one.items()}
    assert (own["steps"], own["epochs"]) == (8, 2)
    data = load("fashion_mnist", "train", data_dir)
    order = np.concatenate(
        [batches.order_of(data, 32, 0, epoch).ravel() for epoch in range(2)]
    )
    assert own["seen"] == np.sum((order + 1) * data.labels[order])
    weights = safetensors.numpy.load_file(tmp_path / "whole" / "model.safetensors")
    assert not {"steps", "epochs", "seen"} & {name.split("/")[-1] for name in weights}


@pytest.mark.slow
def test_what_layers_sum_in_an_epoch_goes_on_bit_for_bit(
    data_dir, tmp_path, monkeypatch
):
    network = functools.partial(one_pass_network, head=gaussian_process)
    changes = ["batch_size=32"]
    one = trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, changes, network)
    own = {name.split("/", 2)[-1]: value for name, value in one.items()}
    # Of the 144 images of one epoch, not of both.
    assert 144 / 4 < np.mean(np.diag(own["head/precision"])) < 144
    assert own["conv/spectral_norm"] > 0.5
    weights = safetensors.numpy.load_file(tmp_path / "whole" / "model.safetensors")
    kept = {name for name in weights if name.startswith("head")}
    others = "kernel", "frequencies", "phases", "covariance_factor"
    assert kept == {f"head/{name}" for name in others}
    assert "conv/spectral_norm" in weights
    assert "conv/singular_vector" not in weights
    assert not np.allclose(weights["head/covariance_factor"], np.eye(16))


ATTACKED = [
    "fgsm:epsilon=32",
    "pgd:epsilon=32:steps=2",
    "ar_adals:bins=3:rate=0.5",
    "ada:radius=0.2",
]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ATTACKED)
def test_a_training_with_attacks_goes_on_bit_for_bit(
    objective, data_dir, tmp_path, monkeypatch
):
    changes = [f"objective={objective}", "batch_size=32", 'augmentations=["crop2"]']
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        one = trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, changes)
    finally:
        keras.config.set_dtype_policy(policy)
    own = {name.split("/")[-1]: value for name, value in one.items()}
    if "bins" in objective:
        assert np.bincount(own["bins"]).tolist() == [48, 48, 48]
    elif "epsilon" in objective:
        assert own["robust_accuracy"].tolist() != [1, 0]


@pytest.mark.slow
def test_a_training_of_centroids_goes_on_bit_for_bit(data_dir, tmp_path, monkeypatch):
    network = functools.partial(one_pass_network, head=centroids)
    changes = ["batch_size=32", "objective=duq", "learning_rate=0.01"]
    trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, changes, network)
    weights = safetensors.numpy.load_file(tmp_path / "whole" / "model.safetensors")
    assert {"head/kernel", "head/counts", "head/sums"} <= weights.keys()


@pytest.mark.slow
def test_a_training_with_augmix_goes_on_bit_for_bit(data_dir, tmp_path, monkeypatch):
    changes = ["objective=augmix", *CHANGES[1:]]
    trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, changes)
    folders = [tmp_path / name for name in ("whole", "stopped")]
    one, other = (
        safetensors.numpy.load_file(folder / "model.safetensors") for folder in folders
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.slow
def test_a_training_with_noise_and_mixtures_goes_on_bit_for_bit(
    data_dir, tmp_path, monkeypatch
):
    changes = ["objective=dign", 'augmentations=["randaugment", "cutmix"]']
    changes += ["batch_size=32", "learning_rate=0.01"]
    one = trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, changes)
    (steps,) = (value for name, value in one.items() if name.endswith("noise_step"))
    assert steps == 8
    record = json.loads((tmp_path / "whole" / "recipe.json").read_text())
    assert record["overlaps"][-1] == "gaussian_noise"
    assert len(record["overlaps"]) == 5


@pytest.mark.parametrize("name", ["duq", "fgsm", "ar_adals", "ada"])
def test_an_objective_of_whole_classes_refuses_mixtures(name):
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64)(images))
    centroids = layers.ClassCentroids(2, length_scale=1.0)
    head = centroids if name == "duq" else keras.layers.Dense(2)
    model = keras.Model(images, head(x))
    names = "flip", "mixup:alpha=0.2"
    recipe = dataclasses.replace(RECIPE, objective=name, augmentations=names)
    with pytest.raises(ValueError, match=f"'{name}' compares images with one class"):
        trainer.compile_model(model, recipe, 80)


@pytest.mark.slow
def test_a_training_with_few_labels_goes_on_bit_for_bit(
    data_dir, tmp_path, monkeypatch
):
    few = ["labels=20", "batch_size=8", "unlabeled_batch_size=32"]
    changes = ["objective=vat:entropy=1", *few, 'augmentations=["flip"]']
    one = trained_whole_and_stopped(data_dir, tmp_path, monkeypatch, changes)
    assert {name.split("/")[-1]: value for name, value in one.items()}["vat_step"] == 8
    record = json.loads((tmp_path / "whole" / "recipe.json").read_text())
    assert record["seen"] == {"images": 144, "held_out": 16, "labels": 20}


def test_views_of_an_image_are_of_one_member():
    images = keras.Input((2, 2, 1))
    head = layers.DenseBatchEnsemble(4, num_members=4)
    model = keras.Model(images, head(keras.layers.Flatten()(images)))
    for weight, value in ((head.kernel, 0), (head.alpha, 1), (head.gamma, 1)):
        weight.assign(np.full(weight.shape, value))
    head.bias.assign(np.eye(4))  # The class is the member.
    trained = objective.elbo(model, 6)
    trained.minimize(OBJECTIVES["augmix"](trained, RECIPE))
    logits = trained(np.zeros((6, 3, 2, 2, 1), "float32"), training=True)
    found = np.argmax(keras.ops.convert_to_numpy(logits), axis=-1)
    np.testing.assert_array_equal(
        found, np.repeat([[0], [1], [2], [3], [0], [1]], 3, 1)
    )


def test_views_are_augmented_apart_and_alike_again():
    data = stripes(40)
    views = (), ("crop8",), ("crop8",)
    settings = {"batch_size": 8, "augmentations": ("flip", "crop2"), "seed": 3}
    plain = list(batches.train_batches(data, **settings))
    several = list(batches.train_batches(data, **settings, views=views))
    again = batches.train_batches(data, **settings, views=views, start=2)
    for (images, labels), (found, other) in zip(plain, several, strict=True):
        assert found.shape == (8, 3, *images.shape[1:])
        assert found.dtype == "uint8"
        first, second, third = np.moveaxis(np.asarray(found), 1, 0)
        np.testing.assert_array_equal(first, images)
        np.testing.assert_array_equal(labels, other)
        assert np.mean(first != second) > 0.3
        assert np.mean(second != third) > 0.3
    for (images, _), (expected, _) in zip(again, several[2:], strict=True):
        np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("objective", "augmx", "Unknown objective 'augmx'. Did you mean 'augmix'"),
        ("optimizer", "adam", "`optimizer` must be"),
        ("betas", (0.9, 1.0), "`betas` must be"),
    ],
)
def test_what_is_no_objective_and_no_optimizer_is_refused(name, value, text):
    with pytest.raises(ValueError, match=f"{text}.*Received: {name}="):
        dataclasses.replace(RECIPE, **{name: value})
