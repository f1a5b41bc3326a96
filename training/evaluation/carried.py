"""What rows carry beside values, so that others can check and compare them."""

import os
from collections.abc import Iterable, Mapping, Sequence

from training.evaluation import external_models, seen
from training.versions import current_commit
from zoo import finding
from zoo.presets.provenance import CARD, chosen_on
from zoo.registry import split_posterior
from zoo.storage import files


def of_models(
    models: Iterable[str],
    names: Sequence[str],
    weights: Sequence[str | None] | None = None,
) -> dict[str, dict]:
    """Returns what is known of the models of an evaluation, by their names in rows.

    Args:
        models: These names, first those of the models that were named.
        names: What was named, as `training.evaluation.models.load` takes it.
        weights: A path or nothing for each of them.

    Returns:
        What `of_model` says of each model that was named.
    """
    pairs = zip(names, weights or [None] * len(names), strict=True)
    named = zip(models, pairs, strict=False)
    return {model: of_model(*pair) for model, pair in named}


def with_facts(rows: Iterable[Mapping], facts: Mapping[str, Mapping]) -> list[dict]:
    """Returns rows with the commit of this package, and what is known of their models.

    Args:
        rows: Rows of an evaluation.
        facts: What `of_models` returns; it is of posteriors of these models, too.
    """
    commit, found = current_commit(), []
    for row in rows:
        model = row["model"]
        of_posterior = facts.get(model.rpartition("@")[0], {})
        known = facts.get(model, of_posterior)
        found.append({**row, "commit": commit, **known})
    return found


def of_model(name: str, weights: str | None = None) -> dict[str, object]:
    """Returns what a leaderboard wants to know of a model, as far as that is recorded.

    Args:
        name: Name of the model, of several joined by `+`, or a file.
        weights: Place of the weights, or None.

    Returns:
        `bytes`, the size of the files of its weights; `chosen_on`, the images that
        choices of its training could be made on; `card`, where its model card is.
    """
    pairs = finding.members(split_posterior(name)[0], weights or None)
    found = {}
    if sizes := [_bytes(*pair) for pair in pairs]:
        found["bytes"] = None if None in sizes else sum(sizes)
    trained = seen.find(name, weights or None)
    choices = dict.fromkeys(chosen_on(one.seen) for one in trained)
    if len(trained) == len(pairs) and None not in choices:
        found["chosen_on"] = "; ".join(choices)
    (first, place), *others = pairs
    if not (place or others or external_models.is_external(first)):
        packaged = finding.find(first)
        if packaged.place is None:
            found["card"] = f"{CARD}{packaged.preset.name}"
    return {field: value for field, value in found.items() if value}


def _bytes(name, weights) -> int | None:
    """Returns the size of a model's files; None of one that is elsewhere."""
    if not external_models.is_external(name):
        return os.path.getsize(finding.find(name, weights).path)
    return files.size(name) if os.path.exists(name) else None
