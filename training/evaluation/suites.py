"""Suites: fixed lists of models and data sets, and the table that sums them up."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras

import zoo
from training import data
from training.evaluation import models as candidates
from zoo import finding
from zoo.posterior import Posterior
from zoo.presets import index


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a suite adds to an evaluation.

    Attributes:
        models: By name, beside those that were given.
        datasets: Names of test sets, the clean one first.
        ood: Names of out-of-distribution sets.
        posteriors: Keys of `zoo.posterior.POSTERIORS`, of each model.
        missing: What was left out, and why, in words.
    """

    models: Mapping[str, keras.Model]
    datasets: Sequence[str]
    ood: Sequence[str]
    posteriors: Sequence[str]
    missing: Sequence[str]


def ovadia(
    model: str,
    weights: str | None,
    dataset: str,
    known: Sequence[str] = (),
    has_ensemble: bool = False,
) -> Suite:
    """Returns the shift benchmark of Ovadia et al. for a plain model.

    The model as it is, with a temperature, with MC dropout (other weights, which must
    exist or be named), with dropout of the last layer (its own weights, which were not
    trained with it), and an ensemble, on all corruptions and severities, rotations,
    translations and out-of-distribution sets.

    Args:
        model: The name of a deterministic model.
        weights: Weights of the model, or None.
        dataset: The name of the clean test set.
        known: Names of all models of the evaluation.
        has_ensemble: Whether there is an ensemble among them.

    Reference:
        [Can You Trust Your Model's Uncertainty?](https://arxiv.org/abs/1906.02530)
        (Ovadia et al., 2019).
    """
    found, missing = finding.find(model, weights or None), []
    lldo = candidates.sibling(found, "lldo")
    models = {lldo.name: lldo}
    if not any("mcdo" in name for name in known):
        mcdo = candidates.with_method(found.spec, "mcdo")
        if found.place is None and str(mcdo) in index.read(results=False):
            models[str(mcdo)] = zoo.load(mcdo)
        else:
            missing.append(
                f"MC dropout: name {mcdo.stem} and its weights in --model, --weights"
            )
    if not has_ensemble:
        missing.append("ensemble: give weights of further seeds by --ensemble")
    grids = ("corruptions", "rotations", "translations")
    datasets = [dataset, *(n for kind in grids for n in data.grid(dataset, kind))]
    ood = [name for name in ("mnist", "digits", "noise") if name != dataset]
    return Suite(models, datasets, ood, ("temperature",), missing)


def is_ensemble(model) -> bool:
    """Returns whether a model is an ensemble of several."""
    return isinstance(model, Posterior) and hasattr(model, "members")


# By the value of `--suite`: functions of the arguments of `ovadia`.
SUITES = {"ovadia": ovadia}
