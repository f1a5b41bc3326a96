"""What weights have been through: other libraries, other methods, which images."""

import warnings
from collections.abc import Collection, Mapping

from zoo.registry import ModelSpec

CARD = "zoo:"  # Before the name of a packaged model, in place of the URL of a card.
CONVERTED = "converted"  # In the place of a recipe: trained by others, elsewhere.
_THEIRS = {"mlp", "aa", "blur"}  # Methods that networks of others may have.


def unlike(methods: Collection[str], trained: Collection[str] | None = None) -> str:
    """Says how the training of weights differs from that of a model with them.

    Args:
        methods: Methods of the model.
        trained: Those of the network that was trained; by default the ones of the
            model that networks of other libraries may have.

    Returns:
        Empty if in nothing.

    Example:

    >>> unlike(("smooth", "mcdo"), ("aa",))
    'with aa, without smooth, mcdo'
    """
    theirs = _THEIRS.intersection(methods) if trained is None else trained
    kinds = {
        "with": [method for method in theirs if method not in methods],
        "without": [method for method in methods if method not in theirs],
    }
    return ", ".join(
        f"{kind} {', '.join(found)}" for kind, found in kinds.items() if found
    )


def warn_unlike(spec: ModelSpec, trained: Collection[str] | None, source: str):
    """Warns if a model is not what its weights were trained in.

    Args:
        spec: Specification of the model.
        trained: Methods of the network that was trained; see `unlike`.
        source: What the weights are.
    """
    if difference := unlike(spec.methods, trained):
        warnings.warn(
            f"'{source}' was trained {difference}: '{spec}' has its weights, but is "
            "not a model that was trained that way. Train it on or evaluate it before "
            "you rely on it.",
            stacklevel=3,
        )


def seen_images(seen: Mapping[str, int]) -> str:
    """Says which images of their training set weights have seen.

    Args:
        seen: Numbers of training images, under `images` and `held_out`, and under
            `labels` that of those with a label, unless all have; empty if not known.

    Example:

    >>> seen_images({"images": 45000, "held_out": 5000})
    'saw 45,000 training images; 5,000 were held out as the validation set'
    """
    if not seen:
        return "saw images of which there is no record, so take it that it saw all"
    count, held_out = seen["images"], seen["held_out"]
    labels = f", and the labels of {seen['labels']:,}" if seen.get("labels") else ""
    if held_out:
        return (
            f"saw {count:,} training images{labels}; {held_out:,} were held out as the "
            "validation set"
        )
    return (
        f"saw all {count:,} training images{labels}, those of the validation set among "
        "them"
    )


def chosen_on(seen: Mapping[str, int]) -> str | None:
    """Says on which images choices of a training could be made: epochs, temperatures.

    Args:
        seen: As `seen_images` takes it.

    Returns:
        A word and what it stands for; None if there is no record.

    Example:

    >>> chosen_on({"images": 45000, "held_out": 5000})
    'validation: 5,000 held-out training images'
    """
    if not seen:
        return None
    if held_out := seen.get("held_out"):
        return f"validation: {held_out:,} held-out training images"
    return "nothing: no training images were held out"
