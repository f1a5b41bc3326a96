"""The whole of `zoo-analyze`: from names to a folder of findings and a page."""

import dataclasses
import functools
import inspect
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import keras
from absl import logging

from training import data, named_settings
from training.analysis import ANALYSES, base, page, store
from training.analysis.base import Analysis, Finding
from training.data import ImageData, fingerprint, loading
from training.data.readers import label_files
from training.evaluation import external_models, models
from training.progress import track
from training.runtimes import places
from training.versions import current_commit
from zoo import finding, spelling
from zoo import loading as zoo_loading
from zoo.registry import split_posterior
from zoo.storage import files, remote


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to analyze; the flags of `zoo-analyze`.

    Attributes:
        model: Names of the zoo, `.keras` files, and folders of trainings or of
            published weights.
        output: Folder for the results, a path or a URL that TensorFlow writes to: a new
            one, or one of an earlier call.
        what: Names of analyses, of `training.analysis.ANALYSES`.
        weights: A file or folder, or nothing, for each model, if any.
        sweep: The folder of several trainings, for analyses of these.
        dataset: Name of the data set; see `training.data.load`.
        limit: Maximal number of images of each split, of each class its share.
        batch_size: Images in a batch; None is that of each analysis.
        changes: Settings of analyses: `"fourier:noise=20"`.
        seed: Seed of all of them.
        data_dir: Folder of the files, as `training.data.load` takes it.
        outputs: What `.keras` files return; see `training.evaluation.external_models`.
        input_range: Range of pixel values that these take.
        classes: Class names of these in the order of the outputs, or the path of a text
            file with one in each line.
    """

    model: Sequence[str]
    output: str
    what: Sequence[str] = ("features", "fourier")
    weights: Sequence[str] = ()
    sweep: str | None = None
    dataset: str = "fashion_mnist"
    limit: int | None = 1000
    batch_size: int | None = None
    changes: Sequence[str] = ()
    seed: int = 0
    data_dir: str | None = None
    outputs: str = "logits"
    input_range: Sequence[float] = (0.0, 255.0)
    classes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """An analysis of a model, a pair, or a folder of trainings.

    Attributes:
        name: Name of the analysis.
        model: Name of the model, or of the pair.
        given: What its function takes first.
        facts: What rows say of these.
    """

    name: str
    model: str
    given: tuple
    facts: dict

    @property
    def analysis(self) -> Analysis:
        """The line of the table."""
        return ANALYSES[self.name]


def run(settings: Settings) -> list[str]:
    """Analyzes models, and writes rows, arrays, figures and a page.

    What each analysis of each model finds is written when it ends, so the same call
    goes on where it was interrupted. An error of one of them ends the call; the page
    shows what was found before.

    Returns:
        The paths of what was written for readers.

    Raises:
        ValueError: If a name or a setting is not known, data and models do not fit
            together, or the folder is of something else.
        FloatingPointError: If something that is computed is not finite.
    """
    chosen = read_settings(settings.what, settings.changes)
    # Folders of evaluations have rows and a page as well.
    remote.check_folder(settings.output, (store.FOLDER,), "analyses")
    loading.check_names([settings.dataset], settings.data_dir)
    _check_given(settings, chosen)
    loaded = load(settings)
    jobs = list(_jobs(settings, chosen, loaded))
    images = functools.lru_cache(functools.partial(_images, settings, loaded))
    prints = functools.lru_cache(fingerprint.of_posterior)
    with remote.local(settings.output) as folder, files.claimed(folder):
        (folder / store.FOLDER).mkdir(exist_ok=True)
        try:
            for job in jobs:
                _do(job, settings, chosen[job.name], images, prints, folder)
        except Exception:
            logging.error("What was found before this error is kept in %s.", folder)
            page.write(folder, list(loaded))
            raise
        return [remote.shown(path) for path in page.write(folder, list(loaded))]


def read_settings(what: Sequence[str], changes: Sequence[str]) -> dict[str, dict]:
    """Returns the settings of each analysis that are not its defaults.

    Args:
        what: Names of analyses.
        changes: Settings of them, `"fourier:noise=20:width=0.2"`.

    Raises:
        ValueError: If an analysis or a setting is not known.

    Example:

    >>> read_settings(["fourier"], ["fourier:noise=20"])
    {'fourier': {'noise': 20}}
    """
    chosen = {name: {} for name in what}
    functions = {name: found.function for name, found in ANALYSES.items()}
    for name in (*chosen, *(text.partition(":")[0] for text in changes)):
        if name not in ANALYSES:
            raise ValueError(
                f"Unknown analysis '{name}'.{spelling.hint(name, ANALYSES)} Known: "
                f"{', '.join(ANALYSES)}."
            )
    if not chosen:
        raise ValueError(f"Name an analysis: {', '.join(ANALYSES)}. Received: what=[]")
    for text in changes:
        name, given = named_settings.read(
            text, functions, "analysis", others=_GIVEN, words=True
        )
        if name not in chosen:
            raise ValueError(
                f"A setting of '{name}', which is not asked for. Received: set={text}, "
                f"what={','.join(chosen)}"
            )
        chosen[name] |= given
    return chosen


def load(settings: Settings) -> dict[str, keras.Model]:
    """Loads the models to analyze, by their names in results.

    Raises:
        ValueError: If one is not a single network of Keras, a name is not known, or
            there are not as many weights as models.
    """
    loaded = {}
    for name, place in models.paired(settings.model, settings.weights):
        models.add(loaded, *_load(name, place or None, settings))
    for model in loaded.values():
        base.check_functional(model)
    return loaded


def _load(name, weights, settings):
    """Returns the name of a model in results, and that."""
    is_folder = pathlib.Path(name).is_dir()
    if weights and (is_folder or name.endswith(".keras")):
        raise ValueError(f"'{name}' has its own weights. Received: weights={weights}")
    if name.endswith(".keras"):
        classes = label_files.given(settings.classes)
        model, own = external_models.read(
            name, settings.outputs, settings.input_range, classes
        )
        return own, model
    if is_folder or weights:
        _check_single(finding.places(weights or name), name)
    if is_folder:
        name, weights = finding.read(name).preset.name, name
    elif places.is_place(name) or split_posterior(name)[1]:
        raise ValueError(
            "An analysis looks at the layers of one network: name a model without a "
            "posterior, a .keras file or the folder of a training. Received: "
            f"model={name}"
        )
    else:
        _check_single([own for own, _ in finding.members(name, weights)], name)
    found = finding.find(name, weights)
    zoo_loading.warn_unlike(found)
    model = zoo_loading.load_found(found)
    own = f"{model.name} ({pathlib.Path(weights).name})" if weights else model.name
    return own, model


def _check_single(members, name):
    if len(members) > 1:
        raise ValueError(
            "An analysis looks at the layers of one network, and this is an ensemble; "
            f"name one of its members. Received: model={name}, of {members[0]}, "
            f"{members[1]}"
        )


def _check_given(settings, chosen):
    """Checks that there are as many models as the analyses take."""
    for name in chosen:
        takes = ANALYSES[name].takes
        if takes == "pair" and len(settings.model) < 2:
            raise ValueError(
                f"'{name}' compares two models. Received: model="
                f"{','.join(settings.model)}"
            )
        if takes == "sweep" and not settings.sweep:
            raise ValueError(
                f"'{name}' is of the trainings in a folder; name it by --sweep. "
                "Received: sweep=None"
            )
        if takes == "model" and not settings.model:
            raise ValueError(f"'{name}' is of a model. Received: model=[]")


def _jobs(settings, chosen, loaded) -> Iterator[Job]:
    for name in chosen:
        takes = ANALYSES[name].takes
        if takes == "sweep":
            folder = pathlib.Path(settings.sweep)
            yield Job(name, folder.name, (folder,), {})
        elif takes == "pair":
            for pair in itertools.combinations(loaded, 2):
                facts = {"first": pair[0], "second": pair[1]}
                given = tuple(loaded[own] for own in pair)
                yield Job(name, " and ".join(pair), given, facts)
        else:
            for own, model in loaded.items():
                yield Job(name, own, (model,), {})


def _images(settings, loaded, split) -> tuple[ImageData, str]:
    """Returns the images of a split and their fingerprint."""
    sizes = [model.input_shape[1:3] for model in loaded.values()]
    size = next((size for size in sizes if None not in size), None)
    found = data.load(settings.dataset, split, settings.data_dir, size)
    found = found.sample(settings.limit)
    logging.info("%s images of %s", split.capitalize(), found.describe())
    return found, fingerprint.of_data(found)


def _do(job, settings, changed, images, prints, folder):
    """Makes a finding and writes it, unless it is there."""
    chosen, data_print = images(job.analysis.split)
    function = job.analysis.function
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }
    own = {k: v for k, v in defaults.items() if k not in _GIVEN} | changed
    batch_size = settings.batch_size or defaults["batch_size"]
    meta = {
        **{"analysis": job.name, "settings": own, "seed": settings.seed},
        "batch_size": batch_size,
        "models": [
            prints(one) if isinstance(one, keras.Model) else str(one)
            for one in job.given
        ],
        "data": data_print,
    }
    place = store.Place(folder, job.name, job.model, chosen.name)
    if place.read(meta) is not None:
        logging.info("%s of %s was found before.", job.name, job.model)
        return
    if place.read() is not None:
        logging.warning(
            "%s of %s was of other settings, weights or images, and is made anew.",
            *(job.name, job.model),
        )
    kept = {"folder": place.partial(meta)} if job.analysis.keeps else {}
    logging.info("%s of %s", job.name, job.model)
    with track(f"{job.name} of {job.model}", 1, unit="batches") as progress:
        found = function(
            *job.given,
            chosen,
            batch_size=batch_size,
            seed=settings.seed,
            progress=progress,
            **changed,
            **kept,
        )
    facts = {
        **{"analysis": job.name, "model": job.model, **job.facts},
        **{"dataset": chosen.name, "split": job.analysis.split},
        **{"num_examples": len(chosen), "seed": settings.seed},
        **{"batch_size": batch_size, "backend": keras.backend.backend()},
        "commit": current_commit(),
    }
    rows = [{**facts, **row} for row in found.rows]
    place.write(Finding(rows, found.arrays), meta)


# Arguments of functions that are no settings.
_GIVEN = (*base.COMMON, "model", "first", "second", "sweep", "dataset")
