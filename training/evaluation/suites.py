"""Suites: fixed lists of models and data sets, and the table that sums them up."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import keras

import layers
import zoo
from training import data
from training.evaluation import models as candidates
from zoo import finding
from zoo.posterior import POSTERIORS, DeepEnsemble, Posterior
from zoo.presets import index
from zoo.registry import split_posterior, split_seed


@dataclasses.dataclass(frozen=True)
class Given:
    """What a user names.

    Attributes:
        names: What `--model` says, the plain model first.
        weights: A path or None for each of them.
        models: These models by name, in the same order, and an ensemble if there is
            one.
        dataset: The name of the clean test set.
        ood: Names of out-of-distribution sets, if any.
        members: What `--ensemble` says.
        num_samples: Forward passes of what draws.
        data_dir: Folder of the files, as `training.data.load` takes it.
    """

    names: Sequence[str]
    weights: Sequence[str | None]
    models: Mapping[str, keras.Model | Posterior]
    dataset: str
    ood: Sequence[str] = ()
    members: Sequence[str] = ()
    num_samples: int = 10
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a suite adds to an evaluation.

    Attributes:
        models: By name, beside those that were given.
        datasets: Names of test sets, the clean one first.
        ood: Names of out-of-distribution sets.
        missing: What was left out, and why, in words.
        posteriors: Keys of `zoo.posterior.POSTERIORS`, of each model.
        ranked: Whether the score that each model itself ranks by is evaluated too.
    """

    models: Mapping[str, keras.Model | Posterior]
    datasets: Sequence[str]
    ood: Sequence[str]
    missing: Sequence[str]
    posteriors: Sequence[str] = ()
    ranked: bool = False


def ovadia(given: Given) -> Suite:
    """Returns the shift benchmark of Ovadia et al. for a plain model.

    The model as it is, with a temperature, with MC dropout (other weights, which must
    exist or be named), with dropout of the last layer (its own weights, which were not
    trained with it), and an ensemble, on all corruptions and severities, rotations,
    translations and out-of-distribution sets.

    Args:
        given: What the user names.

    Reference:
        [Can You Trust Your Model's Uncertainty?](https://arxiv.org/abs/1906.02530)
        (Ovadia et al., 2019).
    """
    found = finding.find(given.names[0], given.weights[0] or None)
    lldo = candidates.sibling(found, "lldo")
    trained, missing = _trained(given, ["mcdo"])
    if not any(map(is_ensemble, given.models.values())):
        missing.append(f"ensemble: {_SEEDS}")
    grids = ("corruptions", "rotations", "translations")
    datasets = [given.dataset, *(n for g in grids for n in data.grid(given.dataset, g))]
    ood = given.ood or [name for name in _OTHERS if name != given.dataset]
    models = {lldo.name: lldo, **trained}
    return Suite(models, datasets, ood, missing, posteriors=("temperature",))


def single_pass(given: Given) -> Suite:
    """Returns the comparison of deterministic uncertainty methods.

    The plain model as it is, with a temperature, with Laplace's approximation and,
    where its training kept snapshots, with SWAG; networks with MC dropout, SNGP, DUQ
    and DDU, whose weights must be named or published, the last ones with the density of
    their features too; of several seeds an ensemble, and a mixture of Laplace's
    approximations. They are evaluated on all corruptions and severities, and against
    data sets near to that of the training and far from it, each by the score that it
    ranks by.

    Args:
        given: What the user names.

    Raises:
        ValueError: If the first model is not a plain one.

    Reference:
        [On the Practicality of Deterministic Epistemic Uncertainty](
        https://arxiv.org/abs/2107.00649) (Postels et al., 2022).
    """
    _check_plain(given)
    trained, missing = _trained(given, ["mcdo", "sngp", "duq", "ddu"])
    models = dict(trained)
    plain = given.names[0], given.weights[0]
    wanted = [(*plain, kind, None) for kind in ("temperature", "laplace", "swag")]
    wanted += [(*pair, "density", None) for pair in _with_method(given, trained, "ddu")]
    if seeds := _seeds(given):
        wanted += [(*seeds[:2], kind, seeds[2]) for kind in ("ensemble", "mixture")]
    else:
        missing.append(f"ensemble, mixture: {_SEEDS}")
    for entry, weights, kind, name in wanted:
        try:
            made = _made(given, entry, weights, kind, name)
        except FileNotFoundError:
            missing.append(
                f"{kind}: there are no snapshots of the training beside the weights; "
                f"name in --weights the folder of one with --set=snapshots=20, or "
                f"{entry}@{kind} and that folder in --model, --weights"
            )
        else:
            models |= made
    ood, gaps = (given.ood, []) if given.ood else _apart(given)
    datasets = [given.dataset, *data.grid(given.dataset, "corruptions")]
    return Suite(models, datasets, ood, [*missing, *gaps], ranked=True)


def is_ensemble(model) -> bool:
    """Returns whether a model is an ensemble of several networks."""
    return type(model) is DeepEnsemble


def _check_plain(given):
    name, model = next(iter(given.models.items()))
    if isinstance(model, Posterior) or layers.is_stochastic(model):
        raise ValueError(
            "The suite compares others with a plain model, which does not draw; name "
            f"one first, such as 'resnet20.fashion_mnist'. Received: model={name}"
        )


def _trained(given, methods):
    """Returns published models with those methods that no given one has.

    Returns:
        Models by name, and a line for each method that there are no weights of.
    """
    found = finding.find(given.names[0], given.weights[0] or None)
    models, missing = {}, []
    for method in methods:
        if any(method in name.partition("@")[0] for name in given.models):
            continue
        spec = candidates.with_method(found.spec, method)
        if found.place is None and str(spec) in index.read(results=False):
            models[str(spec)] = zoo.load(spec)
            continue
        words, settings = _METHODS[method]
        missing.append(
            f"{words}: name {spec.stem} and its weights in --model, --weights; "
            f"`zoo-train --model={spec.stem}{settings}` trains it"
        )
    return models, missing


def _with_method(given, trained, method):
    """Returns what names models with a method, and their weights."""
    named = zip(given.names, given.weights, given.models, strict=False)
    pairs = [
        (entry, weights)
        for entry, weights, name in named
        if method in name and not {"@", "+"} & {*name}
    ]
    return pairs + [(name, None) for name in trained if method in name]


def _seeds(given):
    """Returns what names several trainings of the plain model, if anything does.

    Returns:
        Names and weights joined by `+`, and a short name for all; or None.
    """
    for name, weights in zip(given.names, given.weights, strict=True):
        of_models, behind = split_posterior(name)
        if behind and POSTERIORS[_kind(name)].takes_snapshots:
            continue  # Its weights are those along one training.
        if "+" in of_models or "+" in (weights or ""):
            return of_models, weights, None
    if given.members:
        places = [entry if finding.is_place(entry) else "" for entry in given.members]
        pairs = zip(given.members, places, strict=True)
        names = [given.names[0] if place else entry for entry, place in pairs]
        return "+".join(names), "+".join(places) if any(places) else None, None
    found = finding.find(given.names[0], given.weights[0] or None)
    if found.place is not None:
        return None
    stem, _ = split_seed(found.preset.name)
    known = index.read(results=False)
    names = [n for n in known if split_seed(n)[0] == stem and n != found.preset.name]
    names = [found.preset.name, *names][:_NUM_SEEDS]
    return ("+".join(names), None, f"{len(names)}x{stem}") if names[1:] else None


def _made(given, entry, weights, kind, name):
    """Returns a posterior of what is named, by its name; nothing if it is there."""
    is_there = any(_kind(known) == kind for known in given.models)
    if is_there or (
        kind == "ensemble" and any(map(is_ensemble, given.models.values()))
    ):
        return {}
    made = candidates.load([f"{entry}@{kind}"], [weights], given.num_samples)
    return {f"{name}@{kind}": model for model in made.values()} if name else made


def _kind(name):
    """Returns what stands behind the @ of a name, without settings and a number."""
    return re.split("[:#]", name.rpartition("@")[2])[0]


def _apart(given):
    """Returns data sets near to another and far from it, and a line for each gap."""
    base = data.base_of(given.dataset)
    (first, *_), found, gaps = given.models.values(), [], []
    shape = [side or _SIDE for side in first.input_shape[1:]]
    for name in dict.fromkeys([*data.NEAR.get(base, ()), *_OTHERS]):
        if name == base:
            continue
        try:
            data.load_ood(name, shape, data_dir=given.data_dir)
        except (OSError, ImportError, ValueError) as error:
            gaps.append(f"{name}: {error}".rstrip("."))
        else:
            found.append(name)
    return found, gaps


_SEEDS = "give weights of further seeds by --ensemble"
_NUM_SEEDS = 3
# Out-of-distribution sets that need no files.
_OTHERS = ("mnist", "digits", "noise")
_SIDE = 32  # Of images of any size.
# In words, and what their training needs beside the name.
_METHODS = {
    "mcdo": ("MC dropout", ""),
    "sngp": ("SNGP", ""),
    "duq": ("DUQ", " --set=objective=duq"),
    "ddu": ("DDU", ""),
}
# By the value of `--suite`.
SUITES = {"ovadia": ovadia, "single_pass": single_pass}
