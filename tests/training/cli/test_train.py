"""The command `zoo-train` as a user meets it."""

import dataclasses
import json
import os
import shlex
import sys

import numpy as np
import pytest
from PIL import Image

import zoo
from tests.helpers import graphs, processes
from tests.helpers.data_sets import stripes, write_idx
from training import initial_weights, run
from training.data import identities, load
from training.data.image_data import ImageData
from zoo import registry
from zoo.presets import training_images
from zoo.storage import files


@pytest.fixture
def data_dir(tmp_path):
    data = stripes(160, 28)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", data.images[..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", data.labels)
    return str(tmp_path)


def zoo_train(*flags):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return processes.run(
        [sys.executable, "-m", "training.cli.train", *flags],
        env=environment,
    )


def test_the_size_of_images_is_that_of_weights_images_or_family(tmp_path):
    """In this order, after that of the recipe."""
    for folder, sizes in (("same", (24, 24)), ("mixed", (24, 25))):
        (tmp_path / folder / "ant").mkdir(parents=True)
        for i, size in enumerate(sizes):
            image = Image.new("RGB", (size, 40))
            image.save(tmp_path / folder / "ant" / f"{i}.png")
    recipe = run.load_recipe("finetune")
    weights = initial_weights.InitialWeights(
        "w", tmp_path, "resnet18", "", 2, (), (64, 64)
    )
    same, mixed = str(tmp_path / "same"), str(tmp_path / "mixed")

    def size(name, model, weights=None, changes=()):
        return run._image_size(run.change_recipe(recipe, changes), name, model, weights)

    changed = size(same, "resnet20", weights, ["image_size=[48, 50]"])
    assert changed == ((48, 50), "as the recipe says")
    assert size(same, "resnet20", weights) == ((64, 64), "as those of the weights")
    unknown = dataclasses.replace(weights, image_size=None)
    assert size(same, "resnet20", unknown) == ((40, 24), "the size of all of them")
    assert size(mixed, "resnet20_smooth")[0] == (32, 32)
    assert size(mixed, "resnet18") == (
        (224, 224),
        "the size for images of several sizes",
    )


def test_the_normalization_is_measured_all_over_a_set_that_is_sorted():
    images = np.repeat(np.arange(200, dtype="uint8"), 100)[:, None, None, None]
    labels = np.zeros(len(images), "int32")
    (mean,), (variance,) = ImageData("d", images, labels, ("a",)).measure_normalization(
        limit=1000
    )
    np.testing.assert_allclose((mean, variance), (99.5, images.var()), rtol=1e-3)


def test_a_constant_channel_is_not_divided_by_nothing():
    images = np.zeros((12, 8, 8, 3), "uint8")
    images[..., 0] = np.arange(64).reshape(8, 8)
    images[0, 0, 0, 1] = 1
    data = ImageData("red", images, np.arange(12) % 2, ("a", "b"))
    mean, variance = normalization = data.measure_normalization()
    assert mean == (31.5, 0, 0)
    assert variance == (pytest.approx((64**2 - 1) / 12, abs=0.01), 1, 1)
    model = zoo.build("resnet20", (16, 16, 3), 2, normalization=normalization)
    normalized = model.get_layer("normalize")(np.full((1, 16, 16, 3), 255, "uint8"))
    assert np.abs(normalized).max() <= 255


def test_trains_by_names_and_leaves_all_files(data_dir, tmp_path):
    workdir = tmp_path / "work"
    flags = ["--model=resnet20_smooth", "--recipe=fashion_mnist", "--epochs=2"]
    flags += ['--set=augmentations=["flip", "crop2"]', f"--workdir={workdir}"]
    flags += [f"--data_dir={data_dir}"]
    result = zoo_train(*flags)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "accuracy" in result.stdout
    assert str(workdir) in result.stdout
    summary = json.loads((workdir / "recipe.json").read_text())
    assert summary["model"] == "resnet20_smooth"
    assert shlex.split(summary["command"]) == ["zoo-train", *flags]
    assert summary["settings"]["epochs"] == 2
    assert (summary["input_shape"], summary["num_classes"]) == ([28, 28, 1], 10)
    assert summary["seen"] == {"images": 144, "held_out": 16}
    train = load("fashion_mnist", "train", data_dir)
    expected = np.unique(identities.of_pixels(train.images))
    np.testing.assert_array_equal(training_images.beside(workdir), expected)
    assert list((workdir / "tensorboard").iterdir())
    rows = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [("val_loss" in row, "test_loss" in row) for row in rows] == [
        (True, False),
        (True, True),
    ]
    assert "Validation NLL" in result.stdout
    assert f"Test NLL {rows[-1]['test_nll']:.4f}" in result.stdout
    model = zoo.build("resnet20_smooth", (28, 28, 1), 10, summary["normalization"])
    before = model.get_weights()[0].copy()
    zoo.presets.weight_file.load_weights(model, workdir / "model.safetensors")
    assert not np.array_equal(model.get_weights()[0], before)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "resnet20_smoth"}, "Did you mean 'smooth'"),
        ({"recipe": "fashionmnist"}, "Did you mean 'fashion_mnist'"),
        ({"distribution": "mirored"}, "one, mirrored"),
        ({"dataset": "no/such/folder"}, "no folder 'no/such/folder'"),
        ({"changes": ["batchsize=32"]}, "Did you mean 'batch_size'"),
        ({"changes": ["batch_size=many"]}, "like 128. Received: batch_size=many"),
        ({"changes": ["image_size=64"]}, r"like \[224, 224\]"),
        ({"changes": ["holdout=-1"]}, "0 for no validation set.*holdout=-1"),
        ({"changes": ["warmup_epochs=1"], "epochs": 1}, "epochs=1, warmup_epochs=1"),
        ({"changes": ["epochs=2"], "epochs": 3}, "epochs=2 and epochs=3"),
        ({"changes": ["milestones=2"]}, r"like \[\]"),
        ({"changes": ["augmentations=[1]"]}, "like"),
        ({"changes": ["batch_size=0", "momentum=1"]}, "batch_size=0.*momentum=1.0"),
        ({"model": "resnet20_mcdo", "limit": 100}, "batch_size=128, 100 images"),
        ({"changes": ["image_size=[64, 64]"]}, "--dataset=fashion_mnist_size/64"),
        ({"changes": ["labels=145"]}, "there are 144 in .*Received: labels=145"),
        ({"changes": ["labels=1"]}, "2 classes .* 1 .* would have no labeled image"),
    ],
)
def test_says_what_is_wrong(data_dir, tmp_path, changes, message):
    arguments = {"model": "resnet20", "recipe": "fashion_mnist", "data_dir": data_dir}
    arguments["workdir"] = str(tmp_path / "work")
    with pytest.raises((ValueError, OSError), match=message):
        run.run_training(**{**arguments, **changes})


def test_another_training_is_refused_and_touches_nothing(data_dir, tmp_path):
    workdir = tmp_path / "work"
    flags = ["--model=resnet20", "--recipe=fashion_mnist", f"--data_dir={data_dir}"]
    with files.claimed(workdir):
        result = zoo_train(*flags, f"--workdir={workdir}", "--epochs=2")
    assert result.returncode == 1
    assert f"Another process writes to '{workdir}'" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in workdir.iterdir()] == [".lock"]


def test_the_record_is_that_of_the_training_that_begins(
    data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(registry, "ARCHITECTURES", graphs.SHORT)
    workdir = tmp_path / "work"
    same = {"recipe": "fashion_mnist", "data_dir": data_dir, "workdir": str(workdir)}

    def settings():
        return json.loads((workdir / "recipe.json").read_text())["settings"]

    with pytest.raises(ValueError, match="batch_size=128, 100 images"):
        run.run_training("resnet20", limit=100, epochs=3, **same)
    assert not workdir.exists()
    workdir.mkdir()  # Of one that was killed before its first checkpoint.
    (workdir / "recipe.json").write_text('{"settings": {}}')
    first = ["learning_rate=0.03", "batch_size=32"]
    run.run_training("resnet20", limit=100, epochs=2, changes=first, **same)
    assert (settings()["learning_rate"], settings()["batch_size"]) == (0.03, 32)
    with pytest.raises(ValueError, match="learning_rate"):
        run.run_training("resnet20", limit=100, epochs=2, changes=first[1:], **same)
    assert settings()["learning_rate"] == 0.03


def test_settings_of_a_recipe_can_be_changed():
    before = run.load_recipe("cifar10")
    texts = "batch_size=8", "image_size=[32, 48]", "learning_rate=1", "schedule=step"
    after = run.change_recipe(before, texts)
    changes = {"batch_size": 8, "image_size": (32, 48), "learning_rate": 1.0}
    assert after == dataclasses.replace(before, **changes, schedule="step")


def test_text_that_looks_like_a_number_stays_text():
    recipe = run.change_recipe(run.load_recipe("cifar10"), ["teacher_weights=2024"])
    assert recipe.teacher_weights == "2024"


def test_the_order_of_changes_does_not_matter():
    recipe = run.load_recipe("fashion_mnist")
    changes = ["epochs=1", "warmup_epochs=0"]
    first, second = (run.change_recipe(recipe, x) for x in (changes, changes[::-1]))
    assert first == second == dataclasses.replace(recipe, epochs=1, warmup_epochs=0)
    longer = run.change_recipe(recipe, ["warmup_epochs=13"], epochs=14)
    assert (longer.warmup_epochs, longer.epochs) == (13, 14)


@pytest.mark.parametrize(
    "change, beside",
    [
        ("milestones=[4, 8]", "schedule=step"),
        ("decay=0.5", "schedule=step"),
        ("betas=[0.9, 0.99]", "optimizer=adamw"),
        ("kl_epochs=3", "kl_schedule=cyclic"),
        ("labels_seed=1", "labels=100"),
        ("unlabeled_batch_size=64", "labels=100"),
    ],
)
def test_a_setting_that_would_not_count_is_refused(change, beside):
    recipe, name = run.load_recipe("fashion_mnist"), change.partition("=")[0]
    with pytest.raises(ValueError, match=f"Setting '{name}' counts with .* alone"):
        run.change_recipe(recipe, [change])
    assert getattr(run.change_recipe(recipe, [change, beside]), name)
    with pytest.raises(ValueError, match="'momentum' counts with optimizer=sgd alone"):
        run.change_recipe(recipe, ["optimizer=adamw", "momentum=0.8"])
    same = f"momentum={recipe.momentum}"
    assert run.change_recipe(recipe, ["optimizer=adamw", same]).optimizer == "adamw"


def test_milestones_behind_the_end_are_told(caplog):
    recipe = run.load_recipe("cifar10")  # 60, 120 and 160 of 200 after the warm-up.
    with caplog.at_level("WARNING", "absl"):
        run.change_recipe(recipe, [], epochs=162)
        assert not caplog.records
        run.change_recipe(recipe, [], epochs=121)
    assert "does not fall at the milestones 120, 160: there are 120 ep" in caplog.text


def test_a_warm_up_that_nobody_asked_for_fits():
    recipe = dataclasses.replace(run.load_recipe("fashion_mnist"), warmup_epochs=5)
    warm_ups = [run.change_recipe(recipe, [], n).warmup_epochs for n in (1, 5, 6)]
    assert warm_ups == [0, 4, 5]


def test_a_wrong_flag_is_one_line(tmp_path):
    result = zoo_train("--model=resnet20", "--recipe=fashion_mnist", "--workdirr=x")
    assert result.returncode == 2
    assert "Unknown command line flag 'workdirr'" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_normalization_is_that_of_the_pixels():
    data = stripes(100, 12)
    mean, variance = data.measure_normalization()
    np.testing.assert_allclose(mean, [data.images.mean()], atol=0.01)
    np.testing.assert_allclose(variance, [data.images.astype(float).var()], atol=0.01)


def test_a_sweep_tells_of_names_and_members_before_it_begins(tmp_path):
    flags = ["--model=resnet20", "--recipe=fashion_mnist", f"--workdir={tmp_path}/w"]
    wrong = zoo_train(*flags, "--sweep=model=resnet20,resnet20_smoth")
    assert wrong.returncode == 1
    assert "smoth" in wrong.stderr
    wrong = zoo_train(*flags, "--sweep=seed=0,1", "--members=2")
    assert wrong.returncode == 1
    assert "members=2" in wrong.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_a_sweep_trains_all_combinations(data_dir, tmp_path):
    flags = ["--model=mlp", "--recipe=fashion_mnist", f"--workdir={tmp_path}/w"]
    flags += ["--epochs=2", f"--data_dir={data_dir}", "--sweep=batch_size=16,32"]
    result = zoo_train(*flags)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "batch_size=16: Test NLL" in result.stdout
    text = (tmp_path / "w" / "sweep.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["batch_size"] for row in rows] == [16, 32]
    record = json.loads((tmp_path / "w/batch_size=32/recipe.json").read_text())
    assert record["settings"]["batch_size"] == 32
