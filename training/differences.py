"""In what two descriptions differ: of trainings, or of predictions."""

import json
from collections.abc import Mapping, Sequence

_SHOWN = 3  # Maximal number of differences in a message.


# With a value and without one, of the first description and of the second.
_THEN_AND_NOW = ("was {}", "was not set", "is now {}", "is not set now")


def differences(
    old: Mapping, new: Mapping, words: Sequence[str] = _THEN_AND_NOW
) -> str:
    """Says which values of two nested descriptions differ.

    Args:
        old: The earlier description, of values that JSON has.
        new: The later description.
        words: What is said of a value of `old`, of one that only `new` has, of a value
            of `new`, and of one that only `old` has.

    Returns:
        For example `"recipe.epochs was 2 and is now 3"`; empty if they agree.

    Example:

    >>> differences({"classes": ["cat", "dog"]}, {"classes": ("cat", "wolf")})
    "classes[1] was 'dog' and is now 'wolf'"
    """
    before, after = (_flat(json.loads(json.dumps(value))) for value in (old, new))
    found = [
        f"{name} {_said(before, name, *words[:2])} and {_said(after, name, *words[2:])}"
        for name in {**after, **before}
        if name not in before or name not in after or before[name] != after[name]
    ]
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _said(values, name, of_value, of_none):
    return of_value.format(repr(values[name])) if name in values else of_none


def _flat(value, name="") -> dict:
    """Returns the values of nested lists and dicts by their paths."""
    if isinstance(value, Mapping) and value:
        parts = {f"{name}.{key}" if name else key: v for key, v in value.items()}
    elif isinstance(value, list) and value:
        parts = {f"{name}[{i}]": v for i, v in enumerate(value)}
    else:
        return {name: value}
    return {k: v for path, part in parts.items() for k, v in _flat(part, path).items()}
