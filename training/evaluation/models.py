"""The models of an evaluation, from what a user writes on the command line."""

import dataclasses
import functools
from collections.abc import Sequence

import keras

import zoo
from training.evaluation import external_models, seen
from zoo import finding, loading
from zoo.model_name import read_posterior
from zoo.posterior import POSTERIORS, DeepEnsemble, Posterior, Scaler
from zoo.posterior.base import layer_name
from zoo.presets import posterior_file
from zoo.registry import split_posterior


def load(
    names: Sequence[str],
    weights: Sequence[str | None] = (),
    num_samples: int = 1,
    outputs: str = "logits",
    input_range: Sequence[float] = (0.0, 255.0),
    classes: Sequence[str] = (),
    in_keras: bool = False,
) -> dict[str, keras.Model | Posterior]:
    """Loads models and ensembles.

    Args:
        names: Names of the zoo, `.keras` files, folders of SavedModels, or what
            `training.runtimes.places` opens. Several ones joined by `+` are an ensemble
            of one pass each. A posterior of them all may follow, with settings:
            `a@laplace:subset=all`, `a+b@temperature`.
        weights: A file or folder, or nothing, for each name, if any. Several ones
            joined by `+` are an ensemble of a name.
        num_samples: Forward passes of posteriors and of models that are not of the
            zoo; not of a posterior that is published with the weights.
        outputs: What models from outside the zoo return; see
            `training.evaluation.external_models`.
        input_range: Range of pixel values that these models take.
        classes: Class names of these models.
        in_keras: Whether all of them are to be computed by Keras, as for an export.

    Returns:
        Models and posteriors by name; of equal names, the second one gets a `#2`.

    Raises:
        ValueError: If a name is not known, or weights and names do not fit together.
    """
    pairs = paired(names, weights)
    load_external = functools.partial(
        external_models.load,
        num_samples=num_samples,
        outputs=outputs,
        input_range=input_range,
        classes=classes,
    )
    loaded = {}
    for name, of_name in pairs:
        own, model = _load(name, of_name, num_samples, load_external, in_keras)
        add(loaded, own, model)
    return loaded


def paired(
    names: Sequence[str], weights: Sequence[str | None] = ()
) -> list[tuple[str, str | None]]:
    """Returns names with the weights of each, as `--weights` gives them.

    Args:
        names: Names of models.
        weights: A file or folder, or nothing, for each name, if any.

    Raises:
        ValueError: If there are not as many weights as names.
    """
    weights = list(weights) or [None] * len(names)
    if len(weights) != len(names):
        raise ValueError(
            "`--weights` needs as many entries as `--model`. Received: "
            f"{len(weights)} weights, {len(names)} models"
        )
    return list(zip(names, weights, strict=True))


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
        entries: Names of the zoo; or files, folders and URLs of weights.
        architecture: The name that these weights are for.
    """
    return [
        zoo.load(architecture, weights=entry)
        if finding.is_place(entry)
        else zoo.load(entry)
        for entry in entries
    ]


def with_method(spec: zoo.ModelSpec, method: str) -> zoo.ModelSpec:
    """Returns the specification of a model with a further method, of the same tag."""
    return zoo.ModelSpec(spec.architecture, (*spec.methods, method), spec.tag)


def sibling(found: finding.Found, method: str) -> keras.Model:
    """Loads weights into their model with a further method.

    They were not trained with it; it is up to the caller to say so.
    """
    spec = with_method(found.spec, method)
    return loading.load_found(dataclasses.replace(found, spec=spec))


def trained_on(names: str, weights: str | None = None) -> str:
    """Returns the name of the data set that the weights of a model were trained on.

    Args:
        names: Name of the model, or several joined by `+`, of which the first counts.
        weights: A file or folder of weights, or nothing; several ones joined by `+`.

    Raises:
        ValueError: If that is not known.
    """
    name, path = finding.members(names, weights)[0]
    found = seen.find(name, path)
    if not (found and found[0].base):
        raise ValueError(
            f"Which images '{name}' was trained on is not known; name a data set for "
            "the posterior to adapt to. Received: adapt=None"
        )
    return found[0].base


def _load(name, weights, num_samples, load_external, in_keras):
    """Returns the name of a model, an ensemble or a posterior of either, and that."""
    of_models, posterior = split_posterior(name)
    kind, given = read_posterior(posterior) if posterior else (None, ())
    settings = {"num_samples": num_samples}
    settings |= POSTERIORS[kind].parse_settings(given) if kind else {}
    pairs, loaded = finding.members(of_models, weights), []
    looks_inside = kind is not None and not issubclass(POSTERIORS[kind], Scaler)
    in_keras = in_keras or looks_inside or len(pairs) > 1
    for of_model, path in pairs:
        if external_models.is_external(of_model):
            loaded.append(_external(of_model, path, load_external, in_keras))
            continue
        found = finding.find(of_model, path)
        loading.warn_unlike(found)
        published = found.preset.posteriors.get(kind)
        is_published = published and posterior_file.serves(published, kind, given)
        has_snapshots = kind is not None and POSTERIORS[kind].takes_snapshots
        if len(pairs) == 1 and (is_published or has_snapshots):
            spec = dataclasses.replace(found.spec, posterior=kind, settings=given)
            found = dataclasses.replace(found, spec=spec)
            more = {} if is_published else settings
            return str(spec), loading.load_found(found, **more)
        loaded.append(loading.load_found(found))
    own, model = ensemble(loaded) if len(loaded) > 1 else (_name(loaded[0]), loaded[0])
    if kind is None:
        return own, model
    name = f"{own}@{posterior}"
    return name, POSTERIORS[kind].from_models(loaded, **settings, name=layer_name(name))


def _external(name, weights, load_external, in_keras):
    if weights:
        raise ValueError(f"'{name}' has its own weights. Received: weights={weights}")
    return load_external(name, in_keras=in_keras)


def _name(model):
    """Returns the name of a model in rows, which the layer cannot always have."""
    return getattr(model, "own_name", model.name)
