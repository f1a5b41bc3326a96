"""What weights have been through: other libraries, other methods, which images."""

import warnings
from collections.abc import Mapping

from zoo.registry import parse

CONVERTED = "converted"  # In the place of a recipe: trained by others, elsewhere.
_THEIRS = {"mlp", "aa", "blur"}  # Methods that networks of others may have.


def unlike(name: str, trained: str | None = None) -> str:
    """Says how the training of weights differs from that of a model with them.

    Args:
        name: Name of the model.
        trained: Our name of the network that was trained; by default it has those of
            the model's methods that networks of other libraries may have.

    Returns:
        Empty if in nothing.

    Example:

    >>> unlike("resnet50_smooth_mcdo", "resnet50_aa")
    'with aa, without smooth, mcdo'
    """
    own = parse(name).methods
    theirs = parse(trained).methods if trained else _THEIRS.intersection(own)
    kinds = {
        "with": [method for method in theirs if method not in own],
        "without": [method for method in own if method not in theirs],
    }
    return ", ".join(
        f"{kind} {', '.join(found)}" for kind, found in kinds.items() if found
    )


def warn_unlike(name: str, trained: str | None, source: str):
    """Warns if a model is not what its weights were trained in.

    Args:
        name: Name of the model.
        trained: Name of the model that the weights were trained in, or None for
            weights of other libraries.
        source: What the weights are.
    """
    if difference := unlike(name, trained):
        warnings.warn(
            f"'{source}' was trained {difference}: '{name}' has its weights, but is "
            "not a model that was trained that way. Train it on or evaluate it before "
            "you rely on it.",
            stacklevel=3,
        )


def seen_images(seen: Mapping[str, int]) -> str:
    """Says which images of their training set weights have seen.

    Args:
        seen: Numbers of training images, under `images` and `held_out`; empty if not
            known.

    Example:

    >>> seen_images({"images": 45000, "held_out": 5000})
    'saw 45,000 training images; 5,000 were held out as the validation set'
    """
    if not seen:
        return "saw images of which there is no record, so take it that it saw all"
    count, held_out = seen["images"], seen["held_out"]
    if held_out:
        return (
            f"saw {count:,} training images; {held_out:,} were held out as the "
            "validation set"
        )
    return f"saw all {count:,} training images, those of the validation set among them"
