"""Weights of other libraries: in what their training differs from a model with them."""

import warnings

from zoo.registry import parse

CONVERTED = "converted"  # In the place of a recipe: trained by others, elsewhere.
_THEIRS = {"mlp", "aa", "blur"}  # Methods that networks of others may have.


def unlike(name: str, trained: str | None = None) -> str:
    """Says how the training of weights differs from that of a model with them.

    Args:
        name: Of the model.
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


def warn_unlike(name: str, trained: str | None, origin: str):
    """Warns if a model is not what its weights were trained in.

    Args:
        name: Of the model.
        trained: As `unlike` takes it.
        origin: What the weights are.
    """
    if difference := unlike(name, trained):
        warnings.warn(
            f"'{origin}' was trained {difference}: '{name}' has its weights, but is "
            "not a model that was trained that way. Train it on or evaluate it before "
            "you rely on it.",
            stacklevel=3,
        )
