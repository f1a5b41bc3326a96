"""What a misspelled name was meant to be."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Returns the known word that is spelled the most like another one.

    Args:
        word: The word.
        known: The words to choose from.
        cutoff: The least similarity, in `[0, 1]`; see `difflib.get_close_matches`.

    Returns:
        One of the known words, or None if none is similar enough.

    Example:

    >>> nearest("resnet21", ["vgg16", "resnet20"])
    'resnet20'
    """
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), None)


def hint(word: str, known: Iterable[str]) -> str:
    """Returns the question for an error message, or `""` if no known word is near.

    Args:
        word: The unknown word.
        known: The words to choose from.

    Example:

    >>> hint("resnet21", ["vgg16", "resnet20"])
    " Did you mean 'resnet20'?"
    """
    close = nearest(word, known)
    return f" Did you mean '{close}'?" if close else ""
