"""Any number of models on any number of data sets, stored and resumed."""

import functools
import itertools
import os
from collections.abc import Mapping, Sequence

import keras
from absl import logging

from training import task
from training.attacks import attacked
from training.attacks.attacked import Attack
from training.attacks.expectation import check_differentiable
from training.data import fingerprint
from training.evaluation import (
    adaptation,
    adapted_posteriors,
    class_names,
    decisions,
    evaluate,
    predictions,
    scaling,
    shared_passes,
    slices,
)
from training.evaluation import ood as detect
from training.evaluation.sampling import check_precision, check_sizes
from training.parallel.workers import Workers
from training.progress import track
from zoo import dataset_name, outputs
from zoo.posterior import Posterior, Scaler
from zoo.posterior.base import joined_splits
from zoo.posterior.scaler import NoBestFitError


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
    train=None,
    decide: Sequence[str] = (),
    workers: Workers | None = None,
    ranked: bool = False,
    precision: str = "float32",
    attacks: Sequence[Attack] = (),
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
        calibration: A data set, of neither training nor test images, that posteriors
            adapt to which have not yet. A scaler, such as a temperature, is fitted to
            stored predictions for each ensemble size, and takes no passes of its own.
            What others learn is stored in `folder`, too; see
            `training.evaluation.adapted_posteriors`.
        left_out: Gets a line for each posterior that nothing fits best, and for each
            decision that nothing can promise.
        train: The training images, for posteriors that are fitted to these.
        decide: Names of decisions, which each model gets for each ensemble size; see
            `zoo.conformal.named`. They adapt to `calibration`, or to a half of it where
            posteriors adapt to the other.
        workers: Processes that pass the images in place of this one. What is stored is
            the same, however many there are.
        ranked: Whether there are rows of `training.metrics.RANKING` too, of the score
            that each model itself ranks by; see `zoo.posterior.Posterior.ranks_by`. Of
            pixels there are.
        precision: `"float32"` or `"bfloat16"`, for the passes of images; see
            `training.evaluation.sampling.Passes`. Posteriors adapt in float32.
        attacks: Attacks on each model, of the images of data sets that are not shifted.
            A scaler gets the images of an attack on what it scales.

    Returns:
        Rows as those of `evaluate` and of the decisions, data set by data set, then
        those of `training.evaluation.ood`. What was adapted here to a sample of the
        images says so by `adapted_to`.

    Raises:
        ValueError: If something does not fit together, there is nothing to adapt to,
            or every model is left out.
    """
    sizes = check_sizes(num_samples)
    if decide and calibration is None:
        raise ValueError(
            "Decisions adapt to labeled images; give some. Received: calibration=None, "
            f"decide={decide}"
        )
    to_decide = calibration
    unfitted = [m for m in models.values() if not getattr(m, "is_adapted", True)]
    _check_attacks(attacks, models)
    _check_tasks(models, attack=attacks, decide=decide, ood=ood)
    if decide and "validation" in joined_splits(unfitted):
        calibration, to_decide = adaptation.halves(calibration)
    given = {"train": train, "validation": calibration}
    for name, model in models.items():
        check_precision(model, name, precision)
    learned_of = {
        name: [given[split] for split in model.adapts_to] if model in unfitted else []
        for name, model in models.items()
    }
    adapted = adapted_posteriors.Adapted(folder, given, batch_size, seed)
    models, failed = _adapted(models, given, adapted)
    members = shared_passes.group(models, sizes, seed, batch_size, precision)
    found, inside = [], {}
    with track("evaluate", 0, unit="passes") as progress:
        count = len(datasets) + len(ood)
        store = _Store(members, folder, progress, count, workers or Workers(None))
        if attacks:
            for member in members:
                check_differentiable(member.passes.posterior)
        if any(member.unfitted for member in members):
            failed += store.fit(calibration)
        if decide:
            failed += store.decide(to_decide, decide, seed)
        all_sets = itertools.chain(
            ((dataset, True) for dataset in datasets),
            ((dataset, False) for dataset in ood),
        )
        for labeled, name, of, stored in store(all_sets, attacks):
            own = learned_of[name]
            if not labeled:
                found += _with_samples(detect.rows(inside[name], stored, of), own)
                continue
            inside.setdefault(name, stored)
            is_ranked = ranked or task.of_predictions(stored.meta).by_score
            by = store.ranks_by[name] if is_ranked else None
            rows = evaluate.rows(stored, sizes=of, ranks_by=by)
            decided = decisions.rows(rows, store.decided.get(name, {}), stored)
            found += _with_samples(rows, own)
            found += _with_samples(decided, [*own, to_decide])
    if failed and not found:
        raise ValueError(f"No model is left to evaluate. {' '.join(failed)}")
    if left_out is not None:
        left_out += failed
    return found


def _with_samples(rows, datasets):
    """Returns rows that say which data sets were a sample of more."""
    texts = [
        f"{len(data.labels)} images of {data.name}, {data.selection}"
        for data in datasets
        if getattr(data, "selection", "")
    ]
    fact = {"adapted_to": "; ".join(texts)} if texts else {}
    return [{**row, **fact} for row in rows]


def _adapted(models, given, adapted):
    """Adapts posteriors that are no scalers; returns the models, and what failed."""
    kept, failed = {}, []
    for name, model in models.items():
        if not getattr(model, "is_adapted", True):
            if missing := [s for s in model.adapts_to if given[s] is None]:
                raise ValueError(
                    f"The posterior '{name}' has not learned yet what it needs to "
                    f"know; give images for that. Received: {_ARGUMENTS[missing[0]]}"
                    "=None"
                )
            if not isinstance(model, Scaler):
                try:
                    adapted.adapt(name, model)
                except NoBestFitError as error:
                    failed.append(_said(name, error))
                    continue
        kept[name] = model
    return kept, failed


def _attacked(member, dataset, attacks):
    passes = member.passes
    settings = {"batch_size": passes.batch_size, "seed": passes.seed}
    return attacked.attacked(dataset, passes.posterior, attacks, **settings)


def _check_attacks(attacks, models):
    """Checks that every model is one that attacks are made for."""
    if not attacks:
        return
    for name, model in models.items():
        if getattr(model, "takes_gradients", False):
            raise ValueError(
                f"'{name}' computes gradients of its networks for every prediction, so "
                "an attack would take second derivatives, which is not supported. "
                f"Received: attack={attacks[0].name}"
            )


def _check_tasks(models, **asked):
    """Checks that no model of numbers is asked for what is of classes."""
    given = ", ".join(name for name, what in asked.items() if len(what))
    for name, model in models.items():
        if given and task.of(model).name == outputs.REGRESSION:
            raise ValueError(
                "Attacks, decisions and detection take a classifier, and the model "
                f"'{name}' predicts numbers. Received: {given}"
            )


_ARGUMENTS = {"train": "train", "validation": "calibration"}


def _said(name, error):
    logging.warning("No %s: %s", name, error)
    return f"{name}: {error}"


class _Store:
    """Makes the predictions of several models, and scales them."""

    def __init__(self, members, folder, progress, num_datasets, workers):
        self.members, self.folder, self.progress = members, folder, progress
        self.left, self.workers = num_datasets, workers
        self.passes = 0  # Of the data sets that are loaded, done or not.
        self.fingerprints = {}  # Of models, by the names of their passes.
        self.known = {}  # By the name of a data set, what it is.
        self.decided = {}  # By those of a model and a decision, that for each size.
        self.ranks_by = {}  # By the name of a model, that of its score.
        for member in members:
            posteriors = {member.passes.name: member.passes.posterior, **member.scalers}
            self.ranks_by |= {n: p.ranks_by for n, p in posteriors.items()}

    def fit(self, dataset):
        """Fits the scalers that are not; returns a line for each that cannot be."""
        self.left += 1
        members, left_out = [m for m in self.members if m.unfitted], []
        for job, stored in self._predictions([(dataset, True)], members):
            for name in job.owner.unfitted:
                try:
                    job.owner.fit(name, stored)
                except NoBestFitError as error:
                    left_out.append(_said(name, error))
        self.members = [m for m in self.members if m.sizes or m.learned]
        return left_out

    def decide(self, dataset, names, seed):
        """Adapts decisions of all models; returns a line for each that cannot be."""
        self.left += 1
        left_out = []
        for _, model, sizes, stored in self([(dataset, True)]):
            own = self.decided[model] = {}
            for name in names:
                try:
                    own[name] = decisions.fit(name, stored, sizes, seed)
                except NoBestFitError as error:
                    left_out.append(_said(f"{name} of {model}", error))
        return left_out

    def __call__(self, datasets, attacks=()):
        """Yields what is known of each data set and model.

        Args:
            datasets: Pairs of a data set and whether its labels mean something to the
                models.
            attacks: Attacks on the models, of the images that are not shifted.

        Yields:
            That, and name, ensemble sizes and predictions of a model.
        """
        for job, stored in self._predictions(datasets, self.members, attacks):
            member = job.owner
            if member.sizes:
                yield job.labeled, member.passes.name, member.sizes, stored
            for name, by in member.learned.items():
                folder = predictions.folder_of(self.folder, name, job.dataset.name)
                scaler = member.scalers[name]
                scaled = scaling.scale(scaler, stored, by, name, folder)
                yield job.labeled, name, tuple(by), scaled

    def _distinct(self, dataset):
        """Returns a data set with a number behind the name if another one has it."""
        content, name, count = fingerprint.of_named(dataset), dataset.name, 1
        while self.known.setdefault(name, content) != content:
            count += 1
            name = f"{dataset.name}#{count}"
        return class_names.renamed(dataset, name)

    def _predictions(self, datasets, members, attacks=()):
        """Yields jobs, in the order of the data sets, and what is stored of each."""
        found = self._jobs(datasets, members, attacks)
        jobs = slices.Ahead(found, self.workers, self.progress)
        for job in jobs:
            passes, weight = job.passes, job.per_image
            self.progress.describe(f"{passes.name} on {job.dataset.name}")
            yield (
                job,
                predictions.write(
                    job.meta,
                    job.dataset.labels,
                    functools.partial(jobs.batches, job),
                    job.folder,
                    lambda count, new, weight=weight: self.progress(
                        count * weight, new
                    ),
                ),
            )

    def _jobs(self, datasets, members, attacks):
        """Loads data sets one by one, and yields a job for each of the models.

        Those of the images as they are come first, then those of each attack.
        """
        for loaded, labeled in datasets:
            dataset = self._distinct(loaded)
            matched = [
                evaluate.check_dataset(member.passes, dataset, labeled)
                for member in members
            ]
            named = list(zip(members, matched, strict=True))
            if labeled and attacks and not dataset_name.parse(dataset.name).is_shifted:
                sets = [
                    [(member, made) for made in _attacked(member, own, attacks)]
                    for member, own in named
                ]
                named += [
                    pair for of_attack in zip(*sets, strict=True) for pair in of_attack
                ]
            jobs = [self._job(member, own, labeled, dataset) for member, own in named]
            passes = len(dataset.labels) * sum(job.per_image for job in jobs)
            # The data sets that are not loaded yet are taken to be like this one.
            self.left -= 1
            self.passes += passes
            total = self.passes + passes * self.left
            self.progress.expect(total - self.progress.done)
            yield from jobs

    def _job(self, member, dataset, labeled, loaded):
        name = member.passes.name
        return slices.Job(
            member.passes,
            dataset,
            predictions.folder_of(self.folder, name, dataset.name),
            model=self._fingerprint(member.passes),
            labeled=labeled,
            owner=member,
            loaded=loaded,
        )

    def _fingerprint(self, passes):
        if passes.name not in self.fingerprints:
            found = fingerprint.of_posterior(passes.posterior)
            self.fingerprints[passes.name] = found
        return self.fingerprints[passes.name]
