"""Trainings that start from weights: which, with what head, and what they record."""

import functools
import json
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

import zoo
from tests.helpers.publications import make_preset, publish_preset
from training import initial_weights, run, trainer
from training.batch_statistics import update_batch_statistics
from zoo import finding, registry
from zoo.presets import index, weight_file
from zoo.publishing import publish, training_record
from zoo.storage import files

NORMALIZATION = ((70.0, 80.0, 90.0), (800.0, 900.0, 1000.0))
SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as `zoo-train` leaves it, and its model."""
    keras.utils.set_random_seed(3)
    model = zoo.build("resnet20", SHAPE, 2, NORMALIZATION)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, 0.25))
    folder = tmp_path_factory.mktemp("runs") / "plain"
    folder.mkdir()
    weight_file.save_weights(model, folder / "model.safetensors")
    record = {
        "model": "resnet20",
        "dataset": "pets",
        "recipe": "finetune",
        "settings": {},
        "seed": 3,
        "command": "zoo-train",
        "commit": "0",
        "classes": ["cat", "dog"],
    }
    (folder / "recipe.json").write_text(json.dumps(record))
    return folder, model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of two classes with 36 images for training and 4 for testing."""
    folder, rng = tmp_path_factory.mktemp("data") / "birds", np.random.default_rng(0)
    for split, count in (("train", 18), ("test", 2)):
        for label, name in enumerate(("crow", "gull")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(80 * label, 80 * label + 170, SHAPE, "uint8")
                Image.fromarray(pixels).save(folder / split / name / f"{i:02}.png")
    return folder


def run_training(trained, pictures, workdir, **changes):
    settings = ["batch_size=8", "image_size=[16, 16]", "warmup_epochs=0"]
    arguments = {
        "model": "resnet20_smooth_mcdo",
        "recipe": "finetune",
        "workdir": str(workdir),
        "dataset": str(pictures),
        "weights": str(trained[0]),
        "update_batch_statistics": True,
        "epochs": 2,
        "changes": settings,
        **changes,
    }
    return run.run_training(**arguments)


@pytest.fixture
def started(monkeypatch):
    """What `run_training` hands to the training, which does not take place."""
    calls = []

    def train(network, settings, data, *, initial_weights, **rest):
        calls.append((network, settings, data, initial_weights))
        return [{"epoch": 1}]

    monkeypatch.setattr(trainer, "train", train)
    return calls


def arrays(model):
    return {k: np.array(v) for k, v in weight_file.variables(model).items()}


def differing(model, other):
    """Returns the layers with other weights, or weights of another shape."""
    one, two = arrays(model), arrays(other)
    names = {k for k in one if not np.array_equal(one[k], two[k])}
    return {name.partition("/")[0] for name in names}


def test_the_body_is_that_of_the_weights_and_the_head_is_new(trained):
    found = initial_weights.find(str(trained[0]))
    classes = "crow", "gull", "owl"
    model, provenance = initial_weights.load(
        found, "resnet20_smooth_mcdo", SHAPE, classes
    )
    assert model.output_shape == (None, 3)
    assert differing(model, trained[1]) == {"head"}
    assert provenance == {
        "weights": "plain",
        "model": "resnet20",
        "sha256": files.sha256(trained[0] / "model.safetensors"),
        "head": "new",
    }
    kept = model.get_layer("normalize").get_config()
    np.testing.assert_allclose(np.ravel(kept["mean"]), NORMALIZATION[0])
    np.testing.assert_allclose(np.ravel(kept["variance"]), NORMALIZATION[1])


@pytest.mark.parametrize(
    "classes, head, changed",
    [(("cat", "dog"), "kept", set()), (("crow", "gull"), "new", {"head"})],
)
def test_as_many_other_classes_have_a_new_head_too(trained, classes, head, changed):
    model, provenance = initial_weights.load(
        initial_weights.find(str(trained[0])), "resnet20", SHAPE, classes
    )
    assert provenance["head"] == head
    assert differing(model, trained[1]) == changed
    assert np.std(arrays(model)["head/kernel"]) > 0.01


@pytest.fixture
def lines(monkeypatch):
    """What is logged."""
    found = []
    monkeypatch.setattr(
        initial_weights.logging, "info", lambda text, *args: found.append(text % args)
    )
    return found


# Of 19 convolutions, and of 19 normalizations with four vectors each.
BODY = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
BODY += 4 * (7 * 16 + 6 * 32 + 6 * 64)
GAUSSIAN_PROCESS = 64 * 1024 + 1024 + 1024**2 + 1024 * 2


@pytest.mark.parametrize(
    "name, head, line",
    [
        (
            "sngp",
            "new",
            f"{GAUSSIAN_PROCESS + 19:,} begin anew: head, spectral_norm of",
        ),
        ("duq", "new", f"{64 * 64 * 2 + 2 + 64 * 2:,} begin anew: head"),
        pytest.param(
            *("ddu", "kept", "19 begin anew: spectral_norm of 19 layers"),
            marks=pytest.mark.slow,  # As of the first one.
        ),
        ("flipout", "kept", "begin anew: kernel_rho of 10 layers"),
        ("mcdo", "kept", "weights are those of plain"),
    ],
)
def test_what_a_method_replaces_begins_anew(trained, lines, name, head, line):
    model, provenance = initial_weights.load(
        initial_weights.find(str(trained[0])), f"resnet20_{name}", SHAPE, ("dog", "cat")
    )
    expected = arrays(trained[1])
    in_head = {k: expected.pop(k)[..., ::-1] for k in ("head/kernel", "head/bias")}
    kept = {**expected, **(in_head if head == "kept" else {})}
    found = arrays(model)
    for key, value in kept.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert provenance["head"] == head
    count = BODY + (64 * 2 + 2 if head == "kept" else 0)
    assert lines == [lines[0]]
    assert lines[0].startswith(f"{count:,} weights are those of plain")
    assert line in lines[0]
    fresh = zoo.build(model.name, SHAPE, 2)
    for key in ("head/covariance_factor", "head/counts", "stem_conv/spectral_norm"):
        if key in found:
            np.testing.assert_array_equal(found[key], arrays(fresh)[key])


def test_what_a_plain_network_has_not_stays_in_the_file(lines, tmp_path):
    model = zoo.build("resnet20_flipout", SHAPE, 2)
    weight_file.save_weights(model, tmp_path / "model.safetensors")
    found = initial_weights.find(str(tmp_path))
    plain, _ = initial_weights.load(found, "resnet20_smooth", SHAPE, ("dog", "cat"))
    assert not differing(plain, model)
    assert "have no place: kernel_rho of 10 layers" in lines[0]


def test_layers_without_a_counterpart_are_named(lines, tmp_path, monkeypatch):
    def narrow(filters):
        row = functools.partial(
            registry.ARCHITECTURES["resnet18"], depths=(1, 1), filters=filters
        )
        monkeypatch.setitem(registry.ARCHITECTURES, "resnet18", row)

    narrow(8)
    model = zoo.build("resnet18", SHAPE, 2)
    weight_file.save_weights(model, tmp_path / "model.safetensors")
    found, classes = initial_weights.find(str(tmp_path)), ("dog", "cat")
    network, _ = initial_weights.load(found, "resnet18_ddu", SHAPE, classes)
    shared = arrays(network).keys() & arrays(model).keys()
    assert len(arrays(model)) - len(shared) == 5  # Those of one shortcut.
    for key in shared:
        np.testing.assert_array_equal(arrays(network)[key], arrays(model)[key])
    skip = "stage2_block1_skip"
    place = f"{8 * 16 + 4 * 16} have no place: {skip}_conv, {skip}_norm"
    assert lines[0].endswith(place)
    narrow(4)  # Another network of this name.
    with pytest.raises(
        ValueError, match=r"'stem_conv/kernel' has shape \(3, 3, 3, 8\).*\(3, 3, 3, 4\)"
    ):
        initial_weights.load(found, "resnet18_ddu", SHAPE, classes)


def test_another_order_of_classes_is_that_of_the_logits_of_any_head(trained, tmp_path):
    model = zoo.build("resnet20_sngp", SHAPE, 2, NORMALIZATION, ("cat", "dog"))
    path = tmp_path / "model.safetensors"
    weight_file.save_weights(model, path)
    turned, provenance = initial_weights.load(
        initial_weights.find(str(path)), model.name, SHAPE, ("dog", "cat")
    )
    assert provenance["head"] == "kept"
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE))
    expected = np.asarray(model(images))[:, ::-1]
    np.testing.assert_allclose(turned(images), expected, rtol=1e-5)


def test_a_file_that_names_no_classes_keeps_its_head(trained, tmp_path):
    path = tmp_path / "alone.safetensors"
    path.write_bytes((trained[0] / "model.safetensors").read_bytes())
    found = initial_weights.find(str(path))
    model, provenance = initial_weights.load(found, "resnet20", SHAPE, ("crow", "gull"))
    assert (provenance["weights"], provenance["head"]) == ("alone.safetensors", "kept")
    assert not differing(model, trained[1])


def test_names_and_published_folders_are_found(trained, tmp_path, monkeypatch):
    record = training_record.read(trained[0])
    named = zoo.load("resnet20.pets", weights=trained[0])
    preset = publish.publish(named, tmp_path / "it", record, data_license="mit")
    found = initial_weights.find(str(tmp_path / "it"))
    assert (found.weights, found.model) == ("it", "resnet20.pets")
    assert (found.sha256, found.classes) == (preset.sha256, ("cat", "dog"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    behind = initial_weights.find(url := f"file://{tmp_path}/it")
    assert (behind.weights, behind.model) == (url, "resnet20.pets")
    assert (behind.sha256, behind.classes) == (preset.sha256, ("cat", "dog"))
    assert files.sha256(behind.path) == preset.sha256
    monkeypatch.setattr(index, "FOLDER", tmp_path / "package")
    publish_preset(tmp_path / "package", "resnet20.toys")
    for name in ("resnet20.toys", "resnet20"):
        found = initial_weights.find(name)
        assert (found.weights, found.num_classes) == ("resnet20.toys", 4)
        assert found.path.name == "resnet20.toys.safetensors"
    found.path.write_bytes(found.path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"toys.safetensors' was altered"):
        initial_weights.find("resnet20")


def test_converted_weights_are_found(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "FOLDER", tmp_path)
    url, path = "http://127.0.0.1:9/w", trained[0] / "model.safetensors"
    index.add(make_preset("resnet20.a1", source="timm:resnet20.a1", url=url))
    monkeypatch.setattr(finding.first_use, "locate", lambda preset: path)
    found = initial_weights.find("resnet20_smooth")
    assert (found.weights, found.model) == ("resnet20.a1", "resnet20.a1")
    assert (found.path, found.sha256) == (path, files.sha256(path))


@pytest.mark.parametrize(
    "name, message",
    [
        ("no/such/folder", "no weights file 'no/such/folder'"),
        ("model.safetensors", "no weights file 'model.safetensors'"),
        ("resnet20_smoth", "no file or folder 'resnet20_smoth' .*Did you mean 'smooth"),
        ("resnet20.fashion", "no weights for 'resnet20.fashion'. .*20.fashion_mnist"),
        (".", r"no weights file 'model.safetensors'"),
    ],
)
def test_weights_that_are_not_there(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        initial_weights.find(name)


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("vgg11", SHAPE, "does not fit the model 'vgg11'"),
        ("resnet32_sngp", SHAPE, r"'head/kernel' has shape \(64, 2\).*\(1024, 2\)"),
        ("resnet32", SHAPE, "the file lacks 'stage1_block4"),
        ("resnet20", (16, 16, 1), r"images with 3 channel.*\(16, 16, 1\)"),
    ],
)
def test_weights_that_do_not_fit(trained, name, shape, message):
    with pytest.raises(ValueError, match=message):
        initial_weights.load(
            initial_weights.find(str(trained[0])), name, shape, ("cat", "dog")
        )


def test_a_training_records_and_starts_from_updated_batch_statistics(
    trained, pictures, tmp_path, started
):
    changes = ["batch_size=9", "image_size=[16, 16]", "warmup_epochs=0"]
    run_training(trained, pictures, tmp_path / "work", changes=changes)
    ((network, settings, data, provenance),) = started
    expected, _ = initial_weights.load(
        initial_weights.find(str(trained[0])), network.name, SHAPE, data.classes
    )
    keras_seeded = {"head"}  # Drawn anew here.
    update_batch_statistics(expected, data.images, 9, seed=0)
    assert differing(network, expected) <= keras_seeded
    assert {"stem_norm", "stage3_block3_2_norm"} <= differing(network, trained[1])
    record = json.loads((tmp_path / "work" / "recipe.json").read_text())
    assert record["initial_weights"] == provenance
    assert (provenance["head"], provenance["updated_batch_statistics"]) == ("new", True)
    assert np.allclose(record["normalization"], NORMALIZATION)
    assert np.allclose(settings.normalization, NORMALIZATION)


def test_the_statistics_are_kept_where_nothing_was_asked(
    trained, pictures, tmp_path, started
):
    run_training(trained, pictures, tmp_path, update_batch_statistics=False)
    assert differing(started[0][0], trained[1]) == {"head"}
    assert started[0][-1]["updated_batch_statistics"] is False


def test_a_record_has_no_folders_of_the_weights_of_teachers(
    trained, pictures, tmp_path, started, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    places = f"{tmp_path}/one/two/+gs://bucket/three+.+four/five.safetensors"
    changes = ["image_size=[16, 16]", "warmup_epochs=0", f"teacher_weights={places}"]
    run_training(
        trained, pictures, "work", changes=changes, update_batch_statistics=False
    )
    record = json.loads((tmp_path / "work" / "recipe.json").read_text())
    shown = f"two+gs://bucket/three+{tmp_path.name}+five.safetensors"
    assert record["settings"]["teacher_weights"] == shown
    assert started[0][1].teacher_weights == places
    assert initial_weights.without_folders("") == ""  # Published weights.


@pytest.mark.slow
def test_gaussian_weights_start_around_those_of_the_plain_network(
    trained, pictures, tmp_path, started
):
    changes = ["moped=0.2", "image_size=[16, 16]", "warmup_epochs=0"]
    run_training(trained, pictures, tmp_path, model="resnet20_flipout", changes=changes)
    network = started[0][0]
    name = "stage2_block1_2_conv"
    conv, plain = network.get_layer(name), trained[1].get_layer(name)
    for mean in (conv.kernel, conv.prior_loc):
        np.testing.assert_array_equal(mean, plain.kernel)
    scale = np.maximum(0.2 * np.abs(plain.kernel), 1e-6)
    np.testing.assert_allclose(conv.prepare()[1], scale, rtol=1e-3)
    assert network.get_layer("head").prior_loc is None  # It begins anew.


def test_a_training_that_goes_on_does_not_update_batch_statistics_again(
    trained, pictures, tmp_path, started, monkeypatch
):
    (tmp_path / trainer.CHECKPOINT_FILE).touch()
    monkeypatch.setattr(run.batch_statistics, "update_batch_statistics", None)
    run_training(trained, pictures, tmp_path)
    assert started


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weights": None}, "`update_batch_statistics` needs `weights`"),
        ({"dataset": None}, "no folder 'path/to/folder'"),
        (
            {
                "weights": None,
                "update_batch_statistics": False,
                "changes": ["moped=0.1"],
            },
            "needs `weights`. Received: weights=None, moped=0.1",
        ),
    ],
)
def test_what_a_training_lacks(trained, pictures, tmp_path, changes, message):
    with pytest.raises((ValueError, OSError), match=message):
        run_training(trained, pictures, tmp_path, **changes)


@pytest.mark.parametrize(
    "splits, message",
    [
        ({"train": ["crow"], "test": ["crow"]}, "class crow alone"),
        (
            {"train": ["crow", "gull"], "test": ["gull", "owl"]},
            "classes that .* has not: owl",
        ),
    ],
)
def test_folders_that_tell_nothing_apart(trained, tmp_path, splits, message):
    for split, names in splits.items():
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            picture = Image.fromarray(np.zeros(SHAPE, "uint8"))
            picture.save(tmp_path / split / name / "0.png")
    with pytest.raises(ValueError, match=message):
        run_training(trained, tmp_path, tmp_path / "work")


@pytest.mark.slow
def test_fine_tuning_goes_on_bit_for_bit_after_a_stop(
    trained, pictures, tmp_path, monkeypatch
):
    run_training(trained, pictures, tmp_path / "whole")
    original, count = trainer._Keeper.on_train_batch_end, iter(range(1, 100))

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        if next(count) == 5:
            raise KeyboardInterrupt

    stopped = {"workdir": tmp_path / "stopped", "checkpoint_seconds": 0}
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_training(trained, pictures, **stopped)
    run_training(trained, pictures, **stopped)
    found = [tmp_path / name / "model.safetensors" for name in ("whole", "stopped")]
    assert found[0].read_bytes() == found[1].read_bytes()
    with pytest.raises(
        ValueError, match="another training: initial_weights.*was.*True"
    ):
        run_training(trained, pictures, **stopped, update_batch_statistics=False)
    assert pathlib.Path(tmp_path / "stopped" / "recipe.json").exists()
