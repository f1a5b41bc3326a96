"""A training by names: model, recipe, data set, work folder."""

import contextlib
import dataclasses
import importlib
import json
import pathlib
import shlex
import sys
from collections.abc import Sequence

import keras
from absl import logging

import layers
import zoo
from training import (
    batch_statistics,
    batches,
    initial_weights,
    recipes,
    semi_supervised,
    trainer,
)
from training import data as datasets
from training import distribution as distributions
from training.compress import prune, quantize
from training.data import fingerprint, identities, loading
from training.distribution import workers
from training.recipes.base import Recipe
from training.versions import current_commit
from zoo import registry, spelling
from zoo.presets import training_images
from zoo.presets.model_config import model_metadata
from zoo.presets.weight_file import save_weights
from zoo.publishing import training_record
from zoo.storage import files, urls

# What a training that goes on reads of its folder, or looks whether it is there.
_RESUMED = (
    *(trainer.CHECKPOINT_FILE, trainer.ROWS_FILE),
    *(training_record.FILE, training_images.FILE),
)


def load_recipe(name: str) -> Recipe:
    """Returns the recipe of that name, a module of `training.recipes`.

    Raises:
        ValueError: If there is none.
    """
    recipes.check(name)
    return importlib.import_module(f"training.recipes.{name}").RECIPE


def change_recipe(
    recipe: Recipe, changes: Sequence[str], epochs: int | None = None
) -> Recipe:
    """Returns a recipe with some settings replaced, all at once.

    A warm-up that nobody asked for becomes as short as a smaller number of epochs
    needs, and so do the epochs in which statistics stay.

    Args:
        recipe: The recipe.
        changes: Such as `"batch_size=32"` or `"image_size=[64, 64]"`: the name of an
            attribute of `Recipe` and its value in JSON; text needs no quotes.
        epochs: A change, too.

    Raises:
        ValueError: If there is no such setting, it is given two values, or its value is
            of another kind or out of its range, or others keep it from counting, as
            `schedule="cosine"` does `milestones`.

    Example:

    >>> change_recipe(Recipe("cifar10"), ["batch_size=32"]).batch_size
    32
    """
    values = {}
    for change in [*changes, *([] if epochs is None else [f"epochs={epochs}"])]:
        name, value = _parse_change(recipe, change)
        if values.setdefault(name, value) != value:
            raise ValueError(
                f"Setting '{name}' has two values. Received: {name}={values[name]} and "
                f"{change}"
            )
    epochs = values.get("epochs", recipe.epochs)
    if "warmup_epochs" not in values and 1 <= epochs <= recipe.warmup_epochs:
        values["warmup_epochs"] = epochs - 1
        logging.info("The warm-up takes %d of %d epochs.", epochs - 1, epochs)
    if "frozen_epochs" not in values and 1 <= epochs <= recipe.frozen_epochs:
        values["frozen_epochs"] = epochs - 1
        logging.info("Statistics stay in %d of %d epochs.", epochs - 1, epochs)
    changed = dataclasses.replace(recipe, **values)
    for name, value in values.items():
        needed, counts = _COUNTS.get(name, ("", None))
        if counts and value != getattr(recipe, name) and not counts(changed):
            raise ValueError(
                f"Setting '{name}' counts with {needed} alone, so it would change "
                f"nothing here. Received: {name}={json.dumps(value)}"
            )
    last = changed.epochs - changed.warmup_epochs
    late = [epoch for epoch in changed.milestones if epoch >= last]
    if late and changed.schedule == "step":
        logging.warning(
            "The learning rate does not fall at the milestones %s: there are %d epochs "
            "after the warm-up.",
            ", ".join(map(str, late)),
            last,
        )
    return changed


# Settings that count with others alone: with which, in words and as a function.
_COUNTS = {
    **dict.fromkeys(
        ("milestones", "decay"), ("schedule=step", lambda x: x.schedule == "step")
    ),
    **dict.fromkeys(
        ("momentum", "nesterov"), ("optimizer=sgd", lambda x: x.optimizer == "sgd")
    ),
    "betas": ("optimizer=adamw", lambda x: x.optimizer == "adamw"),
    "kl_epochs": (
        "kl_schedule=linear or cyclic",
        lambda x: x.kl_schedule in ("linear", "cyclic"),
    ),
    **dict.fromkeys(
        ("labels_seed", "unlabeled_batch_size"),
        ("a number of labels, such as labels=1000", lambda x: x.labels > 0),
    ),
}


def _parse_change(recipe, change):
    """Returns the name and the value of a setting, of the kind that it has."""
    known = dataclasses.asdict(recipe)
    name, _, text = change.partition("=")
    try:
        value = _as_tuples(json.loads(text))
    except ValueError:
        value = text
    if name not in known:
        raise ValueError(
            f"Unknown setting '{name}'.{spelling.hint(name, known)} Known: "
            f"{', '.join(known)}."
        )
    like = known[name]
    if type(like) is float and type(value) is int:
        value = float(value)
    if type(like) is str and type(value) is not str:
        value = text  # Such as the folder 2024.
    same_kind = like is None or type(value) is type(like)
    if same_kind and isinstance(like, tuple) and like:
        same_kind = all(type(part) is type(like[0]) for part in value)
    if not same_kind:
        raise ValueError(
            f"Setting '{name}' is like {json.dumps(like)}. Received: {change}"
        )
    return name, value


def _as_tuples(value):
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _image_size(recipe, name, model, initial):
    """Returns the size of images that are resized, and in words what decided it."""
    of_weights = initial and initial.image_size
    if of_weights and registry.task_of(initial.model) != registry.task_of(model):
        of_weights = None  # A classifier starts what is for whole scenes.
    found = (
        (recipe.image_size, "as the recipe says"),
        (of_weights, "as those of the weights"),
        (datasets.own_size(name), "the size of all of them"),
        (registry.image_size(model), f"what {model} is made for"),
        (datasets.IMAGE_SIZE, "the size for images of several sizes"),
    )
    return next((tuple(size), why) for size, why in found if size)


def load_sets(
    recipe: Recipe,
    dataset: str | None,
    data_dir: str | None,
    limit: int | None,
    model: zoo.ModelSpec,
    initial: initial_weights.InitialWeights | None = None,
):
    """Returns the training, the validation and the test set, and a record of them.

    Args:
        recipe: The settings.
        dataset: Data set in place of the recipe's.
        data_dir: Where the data lie; see `training.data.load`.
        limit: Maximal number of images of each.
        model: Parsed name of the model, for the size of images that have none.
        initial: Weights that a training starts from, for the same.

    Raises:
        ValueError: If the sets do not have the same classes, or one alone, or images
            have another size than the recipe says.
    """
    name = dataset or recipe.dataset
    size, why = _image_size(recipe, name, model, initial)
    if pathlib.Path(datasets.base_of(name)).is_dir():
        logging.info("Images are resized to %d x %d: %s", *size, why)

    def load(split):
        return datasets.load(name, split, data_dir, size, recipe.holdout)

    def shown(split, data):
        data = data.sample(limit)
        logging.info("The %s set: %s", split, data.describe())
        return data

    whole = load("test")
    train, test = shown("train", load("train")), shown("test", whole)
    train.check_trained(test)
    _check_size(recipe, train)
    held_out = shown("validation", load("validation")) if recipe.holdout else None
    return train, held_out, test, _data_record(name, data_dir, train, whole)


def _check_size(recipe, data):
    shape, wanted = data.input_shape, recipe.image_size
    if wanted and shape[:2] != tuple(wanted):
        raise ValueError(
            "`image_size` is for images that are resized, such as those of folders, "
            f"and those of data set '{data.name}' are not; squares of 64 pixels are "
            f"--dataset={data.name}_size/64. Received: image_size={list(wanted)}, "
            f"images of shape {shape}"
        )


def _data_record(name, data_dir, train, test):
    """Returns where data are, and what, so that nothing goes by their name."""
    return {
        "path": loading.absolute(name),
        "data_dir": data_dir and _absolute(data_dir),
        "training": fingerprint.of_data(train),
        "test": fingerprint.of_data(test),
    }


def _absolute(path):
    return path if urls.is_url(path) else str(pathlib.Path(path).absolute())


def run_training(
    model: str,
    recipe: str,
    workdir: str,
    data_dir: str | None = None,
    dataset: str | None = None,
    weights: str | None = None,
    update_batch_statistics: bool = False,
    distribution: str = "one",
    epochs: int | None = None,
    limit: int | None = None,
    changes: Sequence[str] = (),
    seed: int = 0,
    mixed_precision: bool = False,
    jit_compile="auto",
    checkpoint_seconds: float = 60.0,
    command: str = "zoo-train",
) -> dict:
    """Trains a model and saves its weights.

    Args:
        model: Name of the model.
        recipe: Name of the recipe.
        workdir: Folder for `model.safetensors`, `recipe.json`, the
            `training_images.npy` of `zoo.presets.training_images` and what
            `training.trainer.train` writes; of several workers, the chief's. A path, or
            a URL that TensorFlow writes to.
        data_dir: Where the data lie; see `training.data.load`.
        dataset: Data set in place of the recipe's.
        weights: What to start from, as `training.initial_weights.find` takes it; by
            default from scratch. The model normalizes pixels as theirs does, and has a
            new head if the classes are others.
        update_batch_statistics: Whether to set the batch statistics to those
            of the training set first.
        distribution: A key of `training.distribution.DISTRIBUTIONS`.
        epochs: Epochs in place of the recipe's; a warm-up that does not fit shrinks.
        limit: Maximal number of images to train, validate and test on, of each class
            its share.
        changes: Other settings in place of the recipe's; see `change_recipe`.
        seed: Seed of everything random.
        mixed_precision: Compute in bfloat16, or with TensorFlow on a GPU in float16.
        jit_compile: Whether to compile with XLA; "auto" leaves it to Keras.
        checkpoint_seconds: Time between checkpoints.
        command: Name of the command that runs, for the record.

    Returns:
        The last row of the metrics, with those of the test set: it appears when the
        training has ended, and the validation set before.

    Raises:
        BlockingIOError: If another training writes to the folder.
        ConnectionError: If another worker of the training has ended.
    """
    spec = zoo.parse(model)
    settings = change_recipe(load_recipe(recipe), changes, epochs)
    if update_batch_statistics and not weights:
        raise ValueError(
            "`update_batch_statistics` needs `weights`. Received: weights=None"
        )
    if settings.moped and not weights:
        raise ValueError(
            "`moped` puts Gaussian weights around those that a training starts from, "
            f"so it needs `weights`. Received: weights=None, moped={settings.moped}"
        )
    if settings.pruning and prune.read(settings.pruning).removes and not weights:
        raise ValueError(
            "Filters are removed from a network that was trained, so `pruning` needs "
            f"`weights` here. Received: weights=None, pruning={settings.pruning}"
        )
    # First, for workers wait for each other before TensorFlow computes anything.
    devices = distributions.scope(distribution)
    initial = initial_weights.find(weights) if weights else None
    *sets, data_record = load_sets(settings, dataset, data_dir, limit, spec, initial)
    train, validation, test = sets
    is_sized = len(train.input_shape) == 3
    size = train.input_shape[:2] if is_sized else None
    settings = dataclasses.replace(settings, image_size=size)
    if dataset not in (None, settings.dataset):
        settings = dataclasses.replace(settings, dataset=dataset, normalization=None)
    if mixed_precision:
        keras.config.set_dtype_policy(_half_precision())
    keras.utils.set_random_seed(seed)
    with contextlib.ExitStack() as stack:
        stack.enter_context(devices)
        batches.check_size(train, settings.batch_size, distributions.num_replicas())
        semi_supervised.split(train, settings, distributions.num_replicas())
        folder = stack.enter_context(workers.folder(workdir, _RESUMED))
        stack.enter_context(files.claimed(folder))
        if workers.active() is not None:
            workers.agree(
                {
                    "model": str(spec),
                    "recipe": dataclasses.asdict(settings),
                    "seed": seed,
                    "precision": keras.config.dtype_policy().name,
                    "classes": train.classes,
                    "examples": len(train),
                    "training data": data_record["training"],
                    "test data": data_record["test"],
                    "weights": initial and initial.sha256,
                    "update_batch_statistics": update_batch_statistics,
                    "commit": current_commit(),
                }
            )
            workers.send(folder / trainer.CHECKPOINT_FILE)
        network, normalization, provenance = _start(spec, settings, train, initial)
        if initial is not None:
            settings = dataclasses.replace(settings, normalization=normalization)
            provenance["updated_batch_statistics"] = update_batch_statistics
        network = _compressed(network, settings)
        is_new = not (folder / trainer.CHECKPOINT_FILE).exists()
        if update_batch_statistics and is_new:
            batch_statistics.update_batch_statistics(
                network, train.images, settings.batch_size, seed=seed
            )
        if is_new or not (folder / training_record.FILE).exists():
            write_record(
                folder,
                command=command,
                model=spec.stem,
                dataset=train.name,
                data=data_record,
                recipe=recipe,
                settings=_shown(settings),
                seed=seed,
                input_shape=train.input_shape,
                **{"num_classes": 2, "classes": (), **train.model_settings},
                normalization=normalization,
                initial_weights=provenance,
                seen=_seen(train, settings),
                overlaps=settings.overlaps,
            )
        # What is decoded is hashed when the training reads it.
        images = identities.Recorded(train.images)
        train = dataclasses.replace(train, images=images)
        rows = trainer.train(
            network,
            settings,
            train,
            workdir=folder,
            validation=validation,
            seed=seed,
            jit_compile=jit_compile,
            checkpoint_seconds=checkpoint_seconds,
            initial_weights=provenance,
            test=test,
        )
        save_weights(network, folder / "model.safetensors")
        if workers.is_chief() and not (folder / training_images.FILE).exists():
            training_images.write(folder / training_images.FILE, images.identities())
    return rows[-1]


def _start(spec, settings, train, initial):
    """Returns a network, its normalization, and what its record says of its start."""
    shape, classes = train.input_shape, train.classes
    if initial is None:
        normalization = settings.normalization or train.measure_normalization()
        network = zoo.build(
            spec, shape, normalization=normalization, **train.model_settings
        )
        return network, normalization, None
    network, provenance = initial_weights.load(initial, spec, shape, classes)
    if settings.moped:
        begins_anew = {"head"} if provenance["head"] == "new" else ()
        layers.moped(network, settings.moped, skip=begins_anew)
    found = model_metadata(network)
    return network, (tuple(found["mean"]), tuple(found["variance"])), provenance


def _compressed(network, settings):
    """Returns what is trained in place of a network, as the recipe makes it smaller."""
    pruning = prune.read(settings.pruning)
    if pruning is not None and pruning.removes:
        network = prune.without_filters(network, pruning)
    if settings.weight_bits:
        network = quantize.with_integers(network, settings.weight_bits)
    return network


def _shown(settings):
    """Returns settings as a record has them, without the folders of this machine."""
    places = settings.teacher_weights.split("+")
    shown = "+".join(map(initial_weights.without_folders, places))
    return {**dataclasses.asdict(settings), "teacher_weights": shown}


def _seen(train, settings):
    """Returns what a record says of the images, and of the labels if not all count."""
    seen = {"images": len(train), "held_out": train.held_out}
    return {**seen, "labels": settings.labels} if settings.labels else seen


def folder_of_several(
    workdir: str, distribution: str | None, what: str
) -> pathlib.Path:
    """Returns the folder in which several trainings have one each.

    Args:
        workdir: The work folder, a local path.
        distribution: As `run_training` takes it, for each of the trainings.
        what: What the trainings are together, for errors.

    Raises:
        ValueError: If the work folder is a URL or that of a single training, or the
            trainings have several workers.
    """
    if urls.is_url(workdir) or distribution == "multi_worker":
        raise ValueError(
            f"The trainings of {what} have a local folder and one worker each; with "
            "others train them apart, each in a workdir of its own. Received: "
            f"workdir={workdir}, distribution={distribution}"
        )
    folder = pathlib.Path(workdir)
    if (folder / training_record.FILE).exists():
        raise ValueError(
            f"'{workdir}' is the folder of a single training; take another one for "
            f"{what}. Received: workdir={workdir}"
        )
    return folder


def write_record(folder: pathlib.Path, command: str = "zoo-train", **settings):
    """Writes what makes a training, or a sampling, into its folder.

    Args:
        folder: The folder.
        command: Name of the command that runs.
        **settings: Further fields.
    """
    backend = keras.backend.backend()
    record = {
        **settings,
        "command": shlex.join([command, *sys.argv[1:]]),
        "commit": current_commit(),
        "backend": backend,
        "versions": {
            "keras": keras.__version__,
            backend: sys.modules[backend].__version__,
            "smoothzoo": zoo.__version__,
        },
    }
    with files.replacing(folder / training_record.FILE) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")


def _half_precision():
    if keras.backend.backend() == "jax":
        return "mixed_bfloat16"
    devices = keras.distribution.list_devices()
    on_gpu = any("gpu" in device.lower() for device in devices)
    return "mixed_float16" if on_gpu else "mixed_bfloat16"
