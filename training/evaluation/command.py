"""The whole of an evaluation: from names to a folder of results."""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from training import corruptions, data, metrics, processor, report
from training.attacks import attacked
from training.corruptions import table
from training.data import ImageData, image_data, loading, shown_names
from training.data.readers import label_files
from training.evaluation import (
    TOLERANCE,
    adaptation,
    card_check,
    carried,
    class_names,
    masking_check,
    seen,
    suites,
    sweep,
)
from training.evaluation import models as candidates
from training.parallel import workers as parallel
from training.report.terminal import Outcome
from zoo import conformal, dataset_name, finding, spelling
from zoo.posterior import POSTERIORS, Posterior, Scaler
from zoo.posterior.base import joined_splits
from zoo.storage import remote

# What an evaluation writes into its folder.
_FILES = ("predictions", "rows.jsonl", "table.md", "ensemble_size.png", "report.html")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate; the flags of `zoo-evaluate`.

    Attributes:
        model: Names, files, folders or servers; see `training.evaluation.models`.
        weights: A path or nothing for each of them.
        ensemble: Names, or weights of the first model, that make an ensemble.
        dataset: Names or patterns of test sets; see `training.data.expand`.
        ood: Names of out-of-distribution data sets, detected against the first one.
        split: `"test"`; or `"all"`, for all images of folders that are not divided into
            training and test images, of which the model was trained on none.
        suite: A key of `training.evaluation.suites.SUITES`, or None.
        exclude_seen: Whether to leave out images that one of the models was trained on,
            where its training recorded them.
        adapt: Name of a data set to whose validation images decisions adapt and
            posteriors that have not yet, or to whose training images where they are
            fitted to what the weights know, as `laplace` and `density` are; by default
            the first one of `dataset`.
        calibrate: Gives each model a temperature too, and says what posteriors adapt to
            in place of these validation images: `"validation"`, a number of training
            images, or the name of a data set, for its test images.
        adapt_limit: Maximal number of images of each split that posteriors and
            decisions adapt to, of each class its share.
        decision: Names of decisions that each model gets, such as `"aps_90"`; see
            `zoo.conformal.named`.
        num_samples: The ensemble sizes.
        limit: Maximal number of images of each set.
        selection: `"stratified"`, of each class its share, or `"first"`. By default
            stratified, but to compare with a model card as that was made.
        batch_size: Images per step.
        precision: `"float32"` or `"bfloat16"`; see `training.evaluation.sampling`.
        seed: Seed of the samples.
        data_dir: Folder of the files, as `training.data.load` takes it.
        output: Folder for the results, a path or a URL that TensorFlow writes to: a new
            one, or one of an earlier call.
        outputs: What models from outside the zoo return; see
            `training.evaluation.external_models`.
        input_range: Range of pixel values that these models take.
        classes: Class names of these models in the order of the outputs, or the path of
            a text file with one in each line.
        reference: A model, for the mCE of the others.
        check: Whether to compare with the model cards.
        tolerance: Largest accepted difference from a model card; see
            `training.evaluation.card_check`.
        attack: `"fgsm"` or `"pgd"`, or None for no attack; see
            `training.attacks.attacked`.
        epsilon: Radii of the attack, as parts of the range of pixels: `"8/255"`.
        attack_norm: `"linf"` or `"l2"`.
        steps: The number of steps of PGD; None is 20.
        step_size: Size of a step, in the unit of the radii; None is 2.5 times the
            radius by the number of steps.
        restarts: How often PGD begins anew.
        draws: Over how many draws of a model that draws the loss of the attack is a
            mean; None is 10.
        check_masking: Whether to look for masked gradients; see
            `training.attacks.gradient_masking`.
        jobs: Number of workers; see `training.parallel.workers.of_command`.
        cluster: Where they are: `"ray"` or `"ray:<address>"`, or None for this machine.
    """

    model: Sequence[str]
    output: str
    weights: Sequence[str] | None = None
    ensemble: Sequence[str] | None = None
    dataset: Sequence[str] = ("fashion_mnist",)
    ood: Sequence[str] = ()
    split: str = "test"
    suite: str | None = None
    exclude_seen: bool = False
    adapt: str | None = None
    calibrate: str | None = None
    adapt_limit: int | None = None
    decision: Sequence[str] = ()
    num_samples: Sequence[int] = (1, 2, 5, 10, 30, 50)
    limit: int | None = None
    selection: str | None = None
    batch_size: int = 100
    precision: str = "float32"
    seed: int = 0
    data_dir: str | None = None
    outputs: str = "logits"
    input_range: Sequence[float] = (0.0, 255.0)
    classes: Sequence[str] = ()
    reference: str | None = None
    check: bool = False
    tolerance: float = TOLERANCE
    attack: str | None = None
    epsilon: Sequence[str] = ()
    attack_norm: str = "linf"
    steps: int | None = None
    step_size: str | None = None
    restarts: int = 1
    draws: int | None = None
    check_masking: bool = False
    jobs: int | None = None
    cluster: str | None = None


class Lazy:
    """Data sets that are loaded one by one, when they are used.

    Args:
        names: Their names.
        load: From a name to a data set.
    """

    def __init__(self, names: Sequence[str], load: Callable[[str], ImageData]):
        self.names, self.load = names, load

    def __len__(self):
        return len(self.names)

    def __iter__(self) -> Iterator[ImageData]:
        return map(self.load, self.names)


def run(settings: Settings) -> Outcome:
    """Evaluates models on data sets and writes rows, tables and figures.

    The predictions are kept in the folder, so the same call goes on where it was
    interrupted, and takes what is there for other metrics.

    Raises:
        ValueError: If a name is not known, data and models do not fit together, or the
            folder is of something else.
    """
    with (
        parallel.of_command(settings.jobs, settings.cluster) as workers,
        image_data.derived_by(workers.each),
    ):
        check_folder(settings.output)
        with remote.local(settings.output) as folder:
            outcome = _run(settings, workers, folder)
            written = [remote.shown(path) for path in outcome.files]
            return dataclasses.replace(outcome, files=written)


def _run(settings, workers, folder):
    if settings.precision == "bfloat16" and processor.has_bfloat16() is False:
        logging.warning(
            "This processor has no instructions for bfloat16, in which an evaluation "
            "without a GPU may take longer than in float32."
        )
    attacks = _attacks(settings)
    models, names, ood, adapt, missing, ranked = _choose(settings)
    facts = carried.of_models(models, settings.model, settings.weights)
    _check_attacked(attacks, names)
    _check_reference(settings.reference, models)

    image_size, selection = _image_size(models), _selection(settings, models)

    def take(found):
        by = found.take if selection == "first" else found.sample
        return by(settings.limit)

    titles, said = shown_names.shown([*names, *ood]), set()
    leaks = seen.Leaks(*_trainings(settings))

    def load_whole(name):
        split = settings.split if data.is_undivided(name) else "test"
        return data.load(name, split, settings.data_dir, image_size)

    # Of the sets that are derived from it, one follows the other.
    load_clean = functools.lru_cache(maxsize=1)(load_whole)

    def load(name):
        found = load_whole(name)
        clean = str(dataset_name.parse(name).clean)
        if clean == name:
            found = leaks.checked(found, settings.exclude_seen)
        elif settings.exclude_seen:
            found = leaks.without(found, load_clean(clean))
        found = _said(take(found), name, said)
        return class_names.renamed(found, titles[name])

    def sample(found, name):
        return _said(found.sample(settings.adapt_limit), name, said, "Adapting to")

    first = load(names[0])

    def load_ood(name):
        found = data.load_ood(name, first.input_shape, data_dir=settings.data_dir)
        found = leaks.checked(found, settings.exclude_seen)
        found = _said(take(found), name, said, "Out-of-distribution set")
        return class_names.renamed(found, titles[name])

    calibration = None
    if adapt:
        calibration, split = adaptation.images(
            *adapt, data_dir=settings.data_dir, image_size=image_size
        )
        if settings.exclude_seen:
            calibration = leaks.checked(calibration, exclude=True)
        calibration = sample(calibration, adapt[1])
        for pair in zip(*_trainings(settings), strict=True):
            seen.warn(*pair, calibration, split)
    train = None
    if "train" in _needed(models):
        base = data.base_of(settings.adapt or names[0])
        train, _ = adaptation.images(base, "train", settings.data_dir, image_size)
        train = sample(train, base)
    left_out = []
    rows = sweep.evaluate_all(
        models,
        Lazy(names, load),
        folder / "predictions",
        settings.num_samples,
        settings.seed,
        settings.batch_size,
        ood=Lazy(ood, load_ood),
        calibration=calibration,
        left_out=left_out,
        train=train,
        decide=list(dict.fromkeys(settings.decision)),
        workers=workers,
        ranked=ranked,
        precision=settings.precision,
        attacks=attacks,
    )
    rows = carried.with_facts(rows, facts)
    missing = [*missing, *left_out, *_mixed(rows)]
    rows += aggregates(rows, settings.reference)
    deviations = _check(settings, models, rows) if settings.check else ()
    clean = [name for name in names if str(dataset_name.parse(name).clean) == name]
    paths = [*write(rows, folder, Lazy(clean, load)), *leaks.write(folder)]
    warnings = ()
    if settings.check_masking:
        sizes = {"batch_size": settings.batch_size, "seed": settings.seed}
        masked = masking_check.check(models, load(clean[0]), attacks[-1], **sizes)
        warnings = masking_check.texts(masked)
        paths.append(folder / "masking.md")
        masking_check.write(masked, paths[-1])
    return Outcome(rows, paths, missing, deviations, warnings)


def _attacks(settings):
    """Returns the attacks that the settings ask for, the largest radius last."""
    if settings.attack is None:
        given = settings.epsilon or settings.steps or settings.check_masking
        given = given or settings.attack_norm != "linf" or settings.restarts != 1
        if given or settings.draws or settings.step_size:
            raise ValueError(
                "Norm, radius, steps, restarts, draws and the check for masked "
                "gradients are for an attack; name one, fgsm or pgd. Received: "
                "attack=None"
            )
        return []
    return attacked.named(
        settings.attack,
        settings.epsilon,
        settings.attack_norm,
        settings.steps,
        settings.step_size,
        settings.restarts,
        settings.draws,
    )


def _check_attacked(attacks, names):
    if attacks and all(dataset_name.parse(name).is_shifted for name in names):
        raise ValueError(
            "Images are attacked as they are, not corrupted or shifted; name a clean "
            f"data set. Received: dataset={','.join(names[:3])}"
        )


def _check_reference(reference, models):
    if reference not in (None, metrics.PUBLISHED, *models):
        raise ValueError(
            "A reference is one of the models that are evaluated: "
            f"{', '.join(models)}.{spelling.hint(reference, models)} Received: "
            f"reference={reference}"
        )


def _trainings(settings):
    """Returns the names of all models, and weights or None of each."""
    names = list(settings.model)
    weights = list(settings.weights or [None] * len(names))
    for entry in settings.ensemble or ():
        is_place = finding.is_place(entry)
        names.append(names[0] if is_place else entry)
        weights.append(entry if is_place else None)
    return names, weights


def _said(dataset, name, said, what="Test set"):
    """Returns a data set after its images were told once, but of derived ones."""
    text = f"{what} {dataset.describe()}"
    if name == data.base_of(name) and text not in said:
        logging.info("%s", text)
        said.add(text)
    return dataset


def _image_size(models):
    """Returns the height and width that the first model with fixed ones takes."""
    for model in models.values():
        posterior = isinstance(model, Posterior)
        shape = model.image_shape if posterior else model.input_shape[1:]
        if None not in shape[:2]:
            return tuple(shape[:2])
    return None


def _choose(settings):
    """Returns models, test sets, other sets, images to adapt to, gaps, and a choice.

    The images, if there is something to adapt, are given by a data set and which of its
    images to take, as `training.evaluation.adaptation.images` has them. The choice is
    whether the score that each model ranks by is evaluated.
    """
    if settings.adapt and settings.calibrate:
        raise ValueError(
            "`--adapt` and `--calibrate` both say what posteriors adapt to; give one. "
            f"Received: adapt={settings.adapt}, calibrate={settings.calibrate}"
        )
    names = [name for pattern in settings.dataset for name in data.expand(pattern)]
    if not names:
        raise ValueError("No data set is named. Received: dataset=[]")
    ood = list(dict.fromkeys(settings.ood))
    loading.check_names([*names, *ood])  # Before models are loaded.
    for decision in settings.decision:
        conformal.named(decision)
    models = candidates.load(
        settings.model,
        settings.weights or (),
        max(settings.num_samples),
        settings.outputs,
        settings.input_range,
        label_files.given(settings.classes or ()),
    )
    if settings.ensemble:
        members = candidates.members(settings.ensemble, settings.model[0])
        candidates.add(models, *candidates.ensemble(members))
    kinds, missing, ranked = ["temperature"] if settings.calibrate else [], (), False
    if settings.suite:
        given = suites.Given(
            settings.model,
            settings.weights or [None] * len(settings.model),
            models,
            names[0],
            ood,
            settings.ensemble or (),
            max(settings.num_samples),
            settings.data_dir,
        )
        suite = suites.SUITES[settings.suite](given)
        models |= {k: m for k, m in suite.models.items() if k not in models}
        names += suite.datasets
        ood, missing, ranked = suite.ood, suite.missing, suite.ranked
        kinds += suite.posteriors
    for kind in kinds:
        models = _with_posteriors(models, kind, max(settings.num_samples))
    names = list(dict.fromkeys(names))
    adapt = None
    if settings.calibrate:
        adapt = names[0], settings.calibrate
    elif settings.decision or "validation" in _needed(models):
        adapt = settings.adapt or names[0], "validation"
    return models, names, ood, adapt, missing, ranked


def _with_posteriors(models, kind, num_samples):
    """Adds `model@kind` for each model that is not of that kind; no scaler of one."""
    make = POSTERIORS[kind]
    alike = Scaler if issubclass(make, Scaler) else make
    added = {
        f"{name}@{kind}": make.from_models([model], num_samples)
        for name, model in models.items()
        if not isinstance(model, alike)
    }
    return {**models, **{k: v for k, v in added.items() if k not in models}}


def _needed(models):
    """Returns the splits that models have yet to adapt to."""
    posteriors = [m for m in models.values() if not getattr(m, "is_adapted", True)]
    return joined_splits(posteriors)


def aggregates(rows: Sequence[dict], reference: str | None) -> list[dict]:
    """Returns means over corruptions of the sets that have all of them.

    Args:
        rows: Rows of an evaluation.
        reference: Name of the model whose errors are 100 in the mCE of the others, or
            None; see `training.metrics.aggregate`.
    """
    names = [dataset_name.parse(row["dataset"]) for row in rows]
    found = {}
    for name in names:
        if name.kind == "corruption":
            places = found.setdefault(name.clean, set())
            places.add((name.change, int(name.amount)))
    needed = set(itertools.product(corruptions.BENCHMARK, corruptions.SEVERITIES))
    mixed = metrics.mixed(rows)
    whole = {
        clean
        for clean, places in found.items()
        if needed <= places and str(clean.whole) not in mixed
    }
    if reference and not whole:
        raise ValueError(
            "A reference is for means over all 15 corruptions and 5 severities, such "
            "as --dataset=fashion_mnist,fashion_mnist_c/*/*. Received: "
            f"reference={reference}"
        )
    kept = [
        row
        for row, name in zip(rows, names, strict=True)
        if name.kind != "corruption" or name.clean in whole
    ]
    return metrics.aggregate(kept, reference) if whole else []


def _selection(settings, models):
    if settings.selection or not (settings.check and settings.limit):
        return settings.selection
    folders = card_check.folders(settings.model, settings.weights)
    # The first models are those that were named.
    own = [getattr(model, "card", None) for model in models.values()]
    names = [card or name for name, card in zip(settings.model, own, strict=False)]
    return card_check.selection(zip(names, folders, strict=False), settings.limit)


def _mixed(rows) -> list[str]:
    """Says which means over corruptions there are not, and what has another order."""
    texts = [
        f"the means over '{name}', which would mix {what}"
        for name, what in metrics.mixed(rows).items()
    ]
    others = {
        dataset_name.parse(row["dataset"]).clean
        for row in rows
        if table.OTHER_ORDER in row.get("source", "")
    }
    return texts + [
        f"any comparison of '{name}' with '{name.whole}' image by image: the "
        "published files have another order"
        for name in sorted(others, key=str)
    ]


def _check(settings, models, rows):
    cards = card_check.folders(settings.model, settings.weights)
    known = dict(zip(models, cards, strict=False))  # The first ones were named.
    made_of = {name: m.card for name, m in models.items() if hasattr(m, "card")}
    return card_check.check(rows, known, settings.tolerance, made_of)


def check_folder(folder: str | os.PathLike):
    """Checks that a folder, a path or a URL, is new, empty or that of an evaluation.

    Raises:
        ValueError: If it holds something else.
    """
    remote.check_folder(folder, _FILES, "an evaluation")


def write(rows: Sequence[dict], folder: pathlib.Path, images) -> list[pathlib.Path]:
    """Writes rows, a table, a figure and a page, and returns their paths.

    Args:
        rows: Rows of the evaluation.
        folder: The folder of the evaluation.
        images: Its clean data sets, from which the page shows mistakes.
    """
    first = [row for row in rows if row["dataset"] == rows[0]["dataset"]]
    paths = [folder / name for name in _FILES[1:]]
    report.write_rows(rows, paths[0])
    report.write_table(rows, paths[1])
    report.plot_ensemble_size(first, paths[2])
    report.html(rows, folder / "predictions", paths[3], images)
    if report.summary(rows):
        paths.append(folder / "summary.md")
        report.write_summary(rows, paths[-1])
    return paths
