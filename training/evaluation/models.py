"""The models of an evaluation, from what a user writes on the command line."""

import functools
import warnings
from collections.abc import Sequence

import keras

import zoo
from training.evaluation import external_models, seen
from zoo import finding
from zoo.posterior import POSTERIORS, DeepEnsemble, Posterior
from zoo.posterior.base import layer_name
from zoo.presets import index
from zoo.registry import split_posterior


def load(
    names: Sequence[str],
    weights: Sequence[str | None] = (),
    num_samples: int = 1,
    outputs: str = "logits",
    input_range: Sequence[float] = (0.0, 255.0),
    classes: Sequence[str] = (),
) -> dict[str, keras.Model | Posterior]:
    """Loads models and ensembles.

    Args:
        names: Names of the zoo, `.keras` files or folders of SavedModels. Several ones
            joined by `+` are an ensemble of one pass each. A posterior of them all may
            follow: `a@temperature`, `a+b@temperature`.
        weights: A file or folder, or nothing, for each name, if any. Several ones
            joined by `+` are an ensemble of a name.
        num_samples: Forward passes of posteriors and of models that are not of the
            zoo; not of a posterior that is published with the weights.
        outputs: What models from outside the zoo return; see
            `training.evaluation.external_models`.
        input_range: Range of pixel values that these models take.
        classes: Class names of these models.

    Returns:
        Models and posteriors by name; of equal names, the second one gets a `#2`.

    Raises:
        ValueError: If a name is not known, or weights and names do not fit together.
    """
    weights = list(weights) or [None] * len(names)
    if len(weights) != len(names):
        raise ValueError(
            "`--weights` needs as many entries as `--model`. Received: "
            f"{len(weights)} weights, {len(names)} models"
        )
    load_external = functools.partial(
        external_models.load,
        num_samples=num_samples,
        outputs=outputs,
        input_range=input_range,
        classes=classes,
    )
    loaded = {}
    for name, of_name in zip(names, weights, strict=True):
        add(loaded, *_load(name, of_name, num_samples, load_external))
    return loaded


def add(models: dict, name: str, model: keras.Model | Posterior):
    """Adds a model, with a number behind its name if that is taken."""
    count = 2
    unique = name
    while unique in models:
        unique, count = f"{name}#{count}", count + 1
    models[unique] = model


def ensemble(members: Sequence[keras.Model]) -> tuple[str, DeepEnsemble]:
    """Returns an ensemble of one pass of each member, and a name made of theirs."""
    names = [member.name for member in members]
    alike = len(set(names)) == 1
    name = f"{len(names)}x{names[0]}" if alike else "+".join(names)
    return name, DeepEnsemble(members, seed=0)


def members(entries: Sequence[str], architecture: str) -> list[keras.Model]:
    """Loads the members of an ensemble.

    Args:
        entries: Names of the zoo; or files and folders of weights.
        architecture: The name that these weights are for.
    """
    return [
        zoo.load(architecture, weights=entry) if is_file(entry) else zoo.load(entry)
        for entry in entries
    ]


def is_file(entry: str) -> bool:
    """Returns whether a member of an ensemble is a path of weights, not a name."""
    return "/" in entry or entry.endswith(".safetensors")


def sibling(name: str, method: str, weights: str | None = None) -> keras.Model:
    """Loads a model with a further method and the weights of the one without.

    They were not trained with it; it is up to the caller to say so.
    """
    spec = zoo.parse(name)
    source, tag, known = weights, spec.tag, ()
    if not weights:
        preset = index.find(spec)
        source, tag = finding.locate(preset), preset.tag
        known = finding.class_names(preset)
    wanted = zoo.ModelSpec(spec.architecture, (*spec.methods, method), tag)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*were not trained in it")
        model = zoo.load(str(wanted), weights=source)
    model.classes = model.classes or known
    return model


def trained_on(names: str, weights: str | None = None) -> str:
    """Returns the name of the data set that the weights of a model were trained on.

    Args:
        names: Name of the model, or several joined by `+`, of which the first counts.
        weights: A file or folder of weights, or nothing; several ones joined by `+`.

    Raises:
        ValueError: If that is not known.
    """
    name, path = names.split("+")[0], (weights or "").split("+")[0]
    found = seen.find(name, path or None)
    if not (found and found[0].base):
        raise ValueError(
            f"Which images '{name}' was trained on is not known; name a data set for "
            "the posterior to adapt to. Received: adapt=None"
        )
    return found[0].base


def _load(name, weights, num_samples, load_external):
    of_models, kind = split_posterior(name)
    if kind and (published := _published(name, weights)):
        return published, zoo.load(name, weights=weights or None)
    own, loaded = _load_models(of_models, weights, load_external)
    if kind is None:
        return own, ensemble(loaded)[1] if len(loaded) > 1 else loaded[0]
    name = f"{own}@{kind}"
    return name, POSTERIORS[kind].from_models(
        loaded, num_samples=num_samples, name=layer_name(name)
    )


def _published(name, weights) -> str | None:
    """Returns the full name of a posterior that is published with its weights."""
    of_model, _ = split_posterior(name)
    if "+" in f"{of_model}{weights}" or external_models.is_external(of_model):
        return None
    found = finding.find(name, weights or None)
    is_published = found.spec.posterior in found.preset.posteriors
    return str(found.spec) if is_published else None


def _load_models(name, weights, load_external):
    """Returns a name for one or more models together, and these."""
    names = name.split("+")
    of_names = weights.split("+") if weights else [None]
    if len(names) > 1 and len(of_names) == 1:
        of_names *= len(names) if weights is None else 1
    elif len(names) == 1:
        names *= len(of_names)
    if len(names) != len(of_names):
        raise ValueError(
            "An ensemble needs as many weights as models, or one model. Received: "
            f"model={name}, weights={weights}"
        )
    loaded = [
        _one(name, of_name, load_external)
        for name, of_name in zip(names, of_names, strict=True)
    ]
    return ensemble(loaded)[0] if len(loaded) > 1 else loaded[0].name, loaded


def _one(name, weights, load_external):
    if not external_models.is_external(name):
        return zoo.load(name, weights=weights or None)
    if weights:
        raise ValueError(f"'{name}' has its own weights. Received: weights={weights}")
    return load_external(name)
