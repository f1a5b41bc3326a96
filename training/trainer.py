"""The one training loop: resumes where it was stopped, on any backend."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Mapping

import keras
from absl import logging

import layers
from layers.batch_statistics import batch_normalizations
from layers.variational import divergent_layers
from training import (
    augment,
    batches,
    chance,
    checkpoint,
    distribution,
    objective,
    objectives,
    optimizer,
    progress,
    semi_supervised,
    task,
)
from training.batch_statistics import update_batch_statistics
from training.bayesian.feature_precision import update_precision
from training.bayesian.kl_weight import KLWeight
from training.compress.prune import pruning
from training.compress.quantize import freeze_statistics, with_statistics
from training.data import ImageData, fingerprint
from training.data.image_data import Numbers
from training.distribution import device_memory, resident, workers
from training.evaluation import class_names
from training.recipes.base import Recipe
from training.stochastic_depth import Branches
from training.trained_layers import freeze_others
from zoo import outputs
from zoo.classifier import Classifier, classes_of
from zoo.presets import snapshots, weight_file
from zoo.storage import files, remote

CHECKPOINT_FILE, ROWS_FILE = "checkpoint.safetensors", "metrics.jsonl"


class _Keeper(keras.callbacks.Callback):
    """Checks the loss, and saves metrics and checkpoints."""

    def __init__(self, workdir, position, settings, network, snapshots_from):
        super().__init__()
        self.folder, self.network = workdir, network
        self.snapshots_from = snapshots_from
        self.path = workdir / CHECKPOINT_FILE
        self.rows_path = workdir / ROWS_FILE
        rows = progress.read_rows(self.rows_path)
        self.rows = [row for row in rows if row["epoch"] <= position.epoch]
        self.steps, self.settings = 0, settings
        self.timer = workers.Timer(60.0)
        self.epoch, self.first_step = position.epoch, position.step
        self.spent, self.begin = position.seconds, time.monotonic()
        self.restored = None
        # What a constant prediction reaches on the validation set, if there is one.
        self.guess = None

    def _sync(self):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()

    def save(self, epoch, step):
        self._sync()
        spent = self.spent + time.monotonic() - self.begin
        position = checkpoint.Position(epoch, step, spent)
        checkpoint.save(self.model, self.path, position, self.settings)
        self.timer.restart()

    def save_snapshot(self, epoch):
        self._sync()
        path = snapshots.path_of(self.folder, epoch)
        if workers.is_chief():
            path.parent.mkdir(exist_ok=True)
            weight_file.save_weights(self.network, path)

    def on_epoch_begin(self, epoch, logs=None):
        # Keras has just reset the metrics of the epoch that goes on.
        self.epoch = epoch
        for variable, value in self.restored or ():
            variable.assign(value)
        self.restored = None

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss{self._whose()} is {logs['loss']} in epoch {self.epoch + 1}"
                f"{self._of(logs)}. {checkpoint.advice(self.path)}"
            )
        step = self.first_step + batch + 1
        if self.timer.is_due() and step < self.steps:
            self.save(self.epoch, step)

    def _of(self, logs):
        """Says which part of a loss it is, where the other one is finite."""
        if not math.isfinite(logs.get("nll", math.nan)):
            return ""
        return (
            ", and the cross-entropy of the images is finite: it is what the objective "
            f"'{self.settings['recipe']['objective']}' adds to it, or a penalty"
        )

    def _whose(self):
        moves = self.model.objective.moved is not None
        return ", of images that the objective has moved," if moves else ""

    def on_epoch_end(self, epoch, logs=None):
        if divergent := divergent_layers(self.network):
            self._sync()
            # Of the weights at the end, as the validation is. Others log it too.
            total = sum(float(layer.divergence()) for layer in divergent)
            logs["kl"] = total / self.model.num_examples
            logs["kl_weight"] = float(self.model.kl_weight.now())
        logs.update(self.model.measure_epoch(epoch))
        if self.model.pruning is not None:
            self._sync()
            logs.update(self.model.pruning.measured())
        rate = self.model.optimizer.learning_rate
        row = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in logs.items()},
            "learning_rate": float(keras.ops.convert_to_numpy(rate)),
            "seconds": round(self.spent + time.monotonic() - self.begin, 1),
        }
        self.rows.append(row)
        progress.write_rows(self.rows_path, self.rows)
        self.first_step = 0
        if epoch + 1 >= self.snapshots_from:
            self.save_snapshot(epoch + 1)
        self.save(epoch + 1, 0)
        _log(row)
        if self.guess is not None and workers.is_chief():
            recipe = self.settings["recipe"]
            own = recipe["warmup_epochs"], recipe["epochs"]
            chance.warn_of_epoch(self.guess, self.rows, *own)

    def add(self, row, prefix, guess):
        """Adds to the row of the last epoch what was measured on a set."""
        if not self.rows:  # Somebody has removed their file.
            self.rows.append({"epoch": self.epoch})
        self.rows[-1].update(row)
        progress.write_rows(self.rows_path, self.rows)
        _log(row)
        if workers.is_chief():
            chance.warn_of_end(guess, self.rows[-1], prefix)


def _log(row):
    logging.info(", ".join(f"{name} {value:.4g}" for name, value in row.items()))


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    num_examples: int,
    jit_compile="auto",
    steps_per_execution: int = 1,
    steps_per_epoch: int | None = None,
) -> keras.Model:
    """Compiles a model as a recipe sets it.

    Args:
        model: From images to logits.
        recipe: The settings. Layers that are not of its `trained_layers` are frozen.
        num_examples: The size of the training set, in labeled pixels where each has a
            label; it scales the KL divergences.
        jit_compile: Whether to compile with XLA; "auto" leaves it to Keras.
        steps_per_execution: How many steps a call takes.
        steps_per_epoch: By default as many as there are whole batches of examples.

    Returns:
        A compiled model with the same layers.

    Raises:
        ValueError: If the model does not return logits, the objective is for another
            task, or it takes no labels as the augmentations make them, or there is no
            residual branch for the `stochastic_depth`, no class for the
            `class_weights`, or nothing that `frozen_epochs` could freeze.
    """
    outputs.check_model(model)
    freeze_others(model, recipe.trained_layers)
    steps = steps_per_epoch or num_examples // recipe.batch_size
    trained = objective.elbo(model, num_examples)
    of_model = task.of(model)
    minimized = objectives.read(recipe.objective)(model, recipe)
    if of_model.name not in minimized.tasks:
        raise ValueError(
            f"The objective '{recipe.objective}' is for {' and '.join(minimized.tasks)}"
            f", and the model '{model.name}' for {of_model.name}. Received: "
            f"objective={recipe.objective}"
        )
    if minimized.integer_labels and augment.mixes_pairs(recipe.augmentations):
        raise ValueError(
            f"The objective '{recipe.objective}' compares images with one class each, "
            "and these augmentations mix images of several. Leave out the last of "
            f"them. Received: augmentations={list(recipe.augmentations)}"
        )
    weighs = task.CLASS_WEIGHTS[recipe.class_weights] is not None
    if weighs and of_model.name not in objective.OF_CLASSES:
        raise ValueError(
            f"The model '{model.name}' predicts numbers, which have no classes to "
            f"weigh. Received: class_weights={recipe.class_weights}"
        )
    if recipe.augmentations and len(model.input_shape) != 4:
        raise ValueError(
            "Augmentations are of images, and the model takes rows of numbers; set "
            f"augmentations=[]. Received: augmentations={list(recipe.augmentations)}"
        )
    weight = KLWeight(recipe, steps, model)
    trained.minimize(minimized, weight, pruning(recipe, steps, model))
    if recipe.frozen_epochs:
        with_statistics(model)  # Its errors come before the first epoch.
    if recipe.stochastic_depth:
        trained.branches = Branches(model, recipe.stochastic_depth)
    trained.compile(
        optimizer=optimizer.optimizer(recipe, steps, model),
        loss=trained.objective.loss,
        weighted_metrics=of_model.training_metrics(),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    trained.optimizer.build(trained.trainable_variables)
    return trained


def train(
    model: keras.Model,
    recipe: Recipe,
    data: ImageData,
    workdir: str | pathlib.Path,
    validation: ImageData | None = None,
    seed: int = 0,
    jit_compile="auto",
    checkpoint_seconds: float = 60.0,
    initial_weights: Mapping | None = None,
    test: ImageData | None = None,
) -> list[dict]:
    """Trains a model, or goes on with its training.

    A training that was stopped at any moment and is called again with the same
    arguments goes on from its last checkpoint and ends with the losses of one that was
    never stopped.

    Args:
        model: From images to logits. Build it in `training.distribution.scope` and call
            this function there too.
        recipe: The settings.
        data: The training set.
        workdir: Folder for `checkpoint.safetensors`, `metrics.jsonl` with one row for
            each epoch, TensorBoard's event files, and the `snapshots` that the recipe
            asks for; a path, or a URL that TensorFlow writes to. It is made if it is
            not there. Of several workers, only the chief reads it and writes to it.
            `loss` is what is minimized, with label smoothing and KL divergences; the
            mean `nll` of the labels and the `accuracy` are beside it, for mixtures of
            images those of the class with the larger share, and with Gaussian
            weights the `kl` of them, in nats per example, and its next `kl_weight`.
        validation: A set on which the three are measured after each epoch, with one
            forward pass; with an `ema_momentum`, also of the averaged weights.
        seed: Seed of the random layers, the order of the examples and the augmentation.
        jit_compile: Whether to compile with XLA; "auto" leaves it to Keras.
        checkpoint_seconds: Time between checkpoints; there is one after each epoch too.
        initial_weights: Provenance of the model's weights, unless they are random; a
            checkpoint with another one is refused.
        test: A set on which loss and accuracy are measured when the training has ended.

    Returns:
        The rows of `metrics.jsonl`.

    Raises:
        ValueError: If the data do not fit the model, or its labels and batches are not
            what `training.semi_supervised.split` takes, or an image cannot be read, or
            the checkpoint is of another training: of other settings, images, labels,
            class names or precision. Or if one of several workers has others than the
            chief.
        FloatingPointError: If the loss is not finite; the last good checkpoint stays.
        MemoryError: If the device has too little memory.
    """
    _check_fit(model, data)
    data, validation, test = _matched(model, data, validation, test)
    batches.check_size(data, recipe.batch_size, distribution.num_replicas())
    sets = semi_supervised.split(data, recipe, distribution.num_replicas())
    _prepare_replicas(model)
    settings = {
        "model": model.name,
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "precision": model.dtype_policy.name,
        "classes": data.classes,
        "examples": len(data),
        "training data": fingerprint.of_data(data),
        "validation data": validation and fingerprint.of_data(validation),
        "test data": test and fingerprint.of_data(test),
        "initial_weights": initial_weights,
    }
    workers.agree(settings)
    with workers.folder(workdir, (CHECKPOINT_FILE, ROWS_FILE)) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(folder / CHECKPOINT_FILE)
        workers.send(folder / CHECKPOINT_FILE)
        workers.send(folder / ROWS_FILE)
        with batches.explained():
            return _train(
                model,
                recipe,
                *sets,
                folder,
                settings,
                validation=validation,
                test=test,
                jit_compile=jit_compile,
                checkpoint_seconds=checkpoint_seconds,
            )


def _train(
    model,
    recipe,
    data,
    unlabeled,
    workdir,
    settings,
    *,
    validation,
    test,
    jit_compile,
    checkpoint_seconds,
):
    """Trains from the last checkpoint in the folder to the end."""
    seed, replicas = settings["seed"], distribution.num_replicas()
    steps = semi_supervised.steps_per_epoch(data, unlabeled, recipe)
    if (workdir / CHECKPOINT_FILE).exists():
        defaults = dataclasses.asdict(Recipe(recipe.dataset))
        checkpoint.check(workdir / CHECKPOINT_FILE, settings, defaults)
    is_resident = unlabeled is None and resident.fits(data)
    size = resident.STEPS if is_resident else 1
    examples = task.of(model).num_examples(data.labels)
    trained = compile_model(model, recipe, examples, jit_compile, size, steps)
    trained.filled_up, trained.seed = replicas > 1, seed
    if (weigh := task.CLASS_WEIGHTS[recipe.class_weights]) is not None:
        trained.class_weights = weigh(data.labels, len(data.classes))
    if trained.objective.adapt is not None:
        trained.objective.adapt(data, validation)
    load = functools.partial(
        batches.train_batches,
        augmentations=recipe.augmentations,
        replicas=replicas,
        views=trained.objective.views,
        own=distribution.own_replicas(),
        numbered=trained.objective.numbered,
    )
    together = unlabeled is not None and trained.objective.takes_unlabeled
    if unlabeled is not None:
        load = functools.partial(
            semi_supervised.train_batches,
            unlabeled=unlabeled,
            unlabeled_batch_size=recipe.unlabeled_batch_size,
            together=together,
            **load.keywords,
        )
        logging.info(
            "%d of %d training images keep their labels; the others are %s.",
            len(data),
            len(unlabeled),
            "without" if together else "not used",
        )
    if is_resident:
        views, numbered = trained.objective.views, trained.objective.numbered
        trained.resident = resident.put(data, recipe.augmentations, views, numbered)
        _build_metrics(trained, data, recipe.batch_size)
        load = resident.numbers
    layers.set_seed(model, seed)
    if trained.branches is not None:
        trained.branches.set_seed(seed)
    keeper = _resume(trained, model, workdir, settings, data, recipe)
    keeper.steps, keeper.timer = steps, workers.Timer(checkpoint_seconds)
    guess_of = task.of(model).guess
    keeper.guess = validation and guess_of(validation.labels)
    bar = progress.Bar(
        recipe.epochs * steps,
        keeper.epoch * steps + keeper.first_step,
        recipe.batch_size + together * recipe.unlabeled_batch_size,
    )
    # First of all, so that the checkpoint of an epoch has what its end has changed.
    callbacks = [layers.EpochEvents(bool(keeper.first_step)), keeper]
    if workers.is_chief():
        callbacks.append(bar)
    if keras.backend.backend() == "tensorflow" and workers.is_chief():
        callbacks.append(progress.TensorBoard(workdir / "tensorboard"))
    callbacks += distribution.callbacks()
    count = len(validation or ())
    # Behind the last epoch without any.
    frozen_from = recipe.epochs - recipe.frozen_epochs
    size = batches.test_batch_size(count, recipe.batch_size)
    if workers.is_chief():
        bar.start()
    try:
        with device_memory.explained(recipe.batch_size):
            for epoch in range(keeper.epoch, recipe.epochs):
                if epoch == max(keeper.epoch, frozen_from):
                    freeze_statistics(model)
                    trained.make_train_function(force=True)
                trained.fit(
                    distribution.shared(
                        load(
                            data,
                            recipe.batch_size,
                            seed=seed,
                            epoch=epoch,
                            start=keeper.first_step,
                        )
                    ),
                    epochs=epoch + 1,
                    initial_epoch=epoch,
                    validation_data=validation and _test_batches(validation, size),
                    steps_per_epoch=steps - keeper.first_step,
                    validation_steps=validation and math.ceil(count / size),
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
    finally:
        bar.stop()
    if recipe.ema_momentum:
        _average(trained, data, recipe.batch_size, seed)
        if validation:
            measured = _measured(trained, validation, size, "averaged_val")
            keeper.add(measured, "averaged_val", keeper.guess)
    if test:
        size = batches.test_batch_size(len(test), recipe.batch_size)
        measured = _measured(trained, test, size, "test")
        keeper.add(measured, "test", guess_of(test.labels))
    return keeper.rows


def _measured(trained, data, batch_size, prefix):
    """Returns loss and accuracy with one forward pass."""
    test = _test_batches(data, batch_size)
    # Keras warns where it has no number and what it is given ends.
    steps = math.ceil(len(data) / batch_size)
    logs = trained.evaluate(
        test,
        steps=steps,
        callbacks=distribution.callbacks(),
        verbose=0,
        return_dict=True,
    )
    return {f"{prefix}_{name}": logs[name] for name in logs}


def _test_batches(data, batch_size):
    made = batches.test_batches(
        data,
        batch_size,
        replicas=distribution.num_replicas(),
        own=distribution.own_replicas(),
    )
    return distribution.shared(made)


def _average(trained, data, batch_size, seed):
    """Gives a model its averaged weights, and the statistics that belong to them."""
    optimizer.average(trained)
    if trained.pruning is not None:
        trained.pruning.mask()  # Averages with what was not zero yet are not either.
    if any(layer.trainable for layer in batch_normalizations(trained)):
        update_batch_statistics(trained, data.images, batch_size, seed=seed)
    update_precision(trained, data.images, batch_size)


def _resume(trained, network, workdir, settings, data, recipe):
    """Restores the last checkpoint if there is one."""
    path, position = workdir / CHECKPOINT_FILE, checkpoint.Position()
    if path.exists():
        # The variables of the metrics exist only after a first batch.
        _build_metrics(trained, data, recipe.batch_size)
        position = checkpoint.restore(trained, path)
        logging.info("Going on from '%s', %s.", remote.shown(path), position)
    first = recipe.epochs - recipe.snapshots + 1
    keeper = _Keeper(workdir, position, settings, network, first)
    if position.step:
        keeper.restored = [
            (variable, keras.ops.convert_to_numpy(variable))
            for variable in trained.metrics_variables
        ]
    return keeper


def _build_metrics(trained, data, batch_size):
    trained.test_on_batch(data.images[:batch_size], data.labels[:batch_size])


def _prepare_replicas(model):
    """Makes batch statistics those of the global batch, as on one device."""
    # On JAX they are already: its program is that of one device, with the rows of its
    # arrays in several places.
    if distribution.num_replicas() > 1 and keras.backend.backend() == "tensorflow":
        layers.accept_empty_batches(model)
        for layer in batch_normalizations(model):
            layer.synchronized = True


def _matched(model, data, *held_out):
    """Returns the data with labels in the order of the model's classes.

    A model that does not know their names learns them from the data.
    """
    known = classes_of(model)
    if not known and not isinstance(data.classes, Numbers):
        known = data.classes
    if isinstance(model, Classifier):
        model.classes = known
    data = class_names.relabeled(data, known, f"model '{model.name}'")
    whose = f"data set '{data.name}'"
    others = (x and class_names.relabeled(x, known, whose) for x in held_out)
    return data, *others


def _check_fit(model, data):
    shape, wanted = model.input_shape[1:], data.input_shape
    fits = len(shape) == len(wanted) and all(
        a in (None, b) for a, b in zip(shape, wanted, strict=True)
    )
    if not fits:
        what = "images" if len(shape) == 3 else "rows of numbers"
        raise ValueError(
            f"The model takes {what} of shape {shape}, and data set '{data.name}' has "
            f"{wanted}."
        )
    task.of(model).check_data(model, data)
