"""Any number of models on any number of data sets, stored and resumed."""

import os
from collections.abc import Mapping, Sequence

import keras
from absl import logging

from training.data import fingerprint
from training.evaluation import class_names, evaluate, predictions, temperature
from training.evaluation import ood as detect
from training.evaluation.sampling import Passes, check_sizes
from training.progress import track
from zoo.posterior import Posterior
from zoo.posterior.temperature import NoBestTemperatureError


def evaluate_all(
    models: Mapping[str, keras.Model | Posterior],
    datasets: Sequence,
    folder: str | os.PathLike,
    num_samples: Sequence[int] = (1, 2, 5, 10, 30, 50),
    seed: int = 0,
    batch_size: int = 100,
    ood: Sequence = (),
    calibration=None,
    left_out: list[str] | None = None,
) -> list[dict]:
    """Evaluates any number of models on any number of data sets, and can be resumed.

    Each image is passed through each model once, whatever the sizes and metrics. What
    comes out is stored in `folder`, and what is there already is taken from it; see
    `training.evaluation.predictions`. Metrics are computed from there.

    Args:
        models: Models or posteriors by name. A posterior is evaluated at the sizes that
            it has samples for, and at all of its samples.
        datasets: Data sets with the classes of the models, or an object with a length
            that loads them one by one when it is iterated. Of two different ones of one
            name, the second gets a `#2`.
        folder: Folder of the predictions.
        num_samples: The ensemble sizes.
        seed: Seed of the samples.
        batch_size: Images per step.
        ood: Out-of-distribution data sets, detected against the first one.
        calibration: A data set, of neither training nor test images, to which a
            temperature is fitted for each model and size; `<model>@temperature` is the
            model with it, which takes no passes of its own.
        left_out: Gets a line for each model that no temperature is the best for; it is
            evaluated as it is alone.

    Returns:
        Rows as those of `evaluate`, data set by data set, then those of
        `training.evaluation.ood`.
    """
    sizes = check_sizes(num_samples)
    members = [
        Passes(model, _sizes_for(model, sizes), seed, batch_size, name)
        for name, model in models.items()
    ]
    found, inside = [], {}
    with track("evaluate", 0, unit="passes") as progress:
        store = _Store(members, folder, progress, len(datasets) + len(ood))
        if calibration is not None:
            failed = store.calibrate(calibration)
            if left_out is not None:
                left_out += failed
        for dataset in datasets:
            for name, of, stored in store(dataset):
                inside.setdefault(name, stored)
                found += evaluate.rows(stored, sizes=of)
        for dataset in ood:
            for name, of, stored in store(dataset, labeled=False):
                found += detect.rows(inside[name], stored, of)
    return found


class _Store:
    """Makes the predictions of several models, which may get temperatures."""

    def __init__(self, members, folder, progress, num_datasets):
        self.members, self.folder, self.progress = members, folder, progress
        self.left, self.temperatures = num_datasets, {}
        self.known = {}  # By the name of a data set, what it is.

    def calibrate(self, dataset):
        """Fits the temperatures; returns a line for each model that has none."""
        self.left += 1
        left_out = []
        for passes, stored in self._predictions(dataset):
            try:
                best = temperature.temperatures(stored, passes.sizes)
            except NoBestTemperatureError as error:
                left_out.append(f"temperature of {passes.name}: {error}")
                logging.warning("No %s", left_out[-1])
                continue
            self.temperatures[passes.name] = best
            text = ", ".join(f"{best[n]:.3f} at N = {n}" for n in best)
            logging.info("%s: temperature %s", passes.name, text)
        return left_out

    def __call__(self, dataset, labeled=True):
        """Yields name, ensemble sizes and predictions of each model."""
        for passes, stored in self._predictions(dataset, labeled):
            name = passes.name
            yield name, passes.sizes, stored
            if best := self.temperatures.get(name):
                name = f"{name}@temperature"
                folder = predictions.folder_of(self.folder, name, dataset.name)
                yield name, passes.sizes, temperature.scale(stored, best, name, folder)

    def _distinct(self, dataset):
        """Returns a data set with a number behind the name if another one has it."""
        content, name, count = fingerprint.of_named(dataset), dataset.name, 1
        while self.known.setdefault(name, content) != content:
            count += 1
            name = f"{dataset.name}#{count}"
        return class_names.renamed(dataset, name)

    def _predictions(self, dataset, labeled=True):
        dataset = self._distinct(dataset)
        matched = [
            evaluate.check_dataset(passes, dataset, labeled) for passes in self.members
        ]
        per_image = sum(passes.per_image for passes in self.members)
        # The data sets that are not loaded yet are taken to be like this one.
        self.progress.expect(len(dataset.labels) * per_image * self.left)
        self.left -= 1
        for passes, dataset in zip(self.members, matched, strict=True):
            name, weight = passes.name, passes.per_image
            self.progress.describe(f"{name} on {dataset.name}")
            folder = predictions.folder_of(self.folder, name, dataset.name)
            yield (
                passes,
                predictions.store(
                    passes,
                    dataset,
                    folder,
                    lambda count, new, weight=weight: self.progress(
                        count * weight, new
                    ),
                ),
            )


def _sizes_for(model, sizes):
    """Returns the sizes that a posterior has samples for, and that of all of them."""
    if not isinstance(model, Posterior) or model.num_samples >= sizes[-1]:
        return sizes
    return (*(n for n in sizes if n < model.num_samples), model.num_samples)
