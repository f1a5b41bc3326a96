"""Names with settings behind them, such as "duq:penalty=0.05"."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping

from zoo import spelling


def read(
    text: str,
    functions: Mapping[str, Callable],
    kind: str,
    skip: int = 0,
    others: Collection[str] = (),
    words: bool = False,
) -> tuple[str, dict]:
    """Returns a name, and the settings behind it.

    Args:
        text: A name, and arguments of its function behind a colon each: values in JSON,
            or fractions of two numbers, such as `8/255`.
        functions: By name, what takes the settings.
        kind: What the names are of, for messages.
        skip: How many of the first parameters of the functions are no settings.
        others: Names of further parameters that are none.
        words: Whether a value that is no number and no JSON is a word.

    Raises:
        ValueError: If the name is not known, or its function takes no such setting.

    Example:

    >>> read("mixup:alpha=0.2", {"mixup": lambda alpha=1.0: alpha}, "augmentation")
    ('mixup', {'alpha': 0.2})
    """
    name, *parts = text.split(":")
    if name not in functions:
        raise ValueError(
            f"Unknown {kind} '{name}'.{spelling.hint(name, functions)} Known {kind}s: "
            f"{', '.join(functions)}. Received: {kind}={text}"
        )
    parameters = list(inspect.signature(functions[name]).parameters)[skip:]
    taken, settings = [own for own in parameters if own not in others], {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in taken or key in settings:
            raise ValueError(
                f"Settings of the {kind} '{name}': {', '.join(taken) or 'none'}, each "
                f"once. Received: {kind}={text}"
            )
        try:
            settings[key] = _parse(value)
        except (ValueError, ZeroDivisionError):
            if words and value:
                settings[key] = value
                continue
            raise ValueError(
                f"The setting '{key}' of the {kind} '{name}' is no number. Received: "
                f"{kind}={text}"
            ) from None
    return name, settings


def _parse(text):
    above, line, below = text.partition("/")
    return float(above) / float(below) if line else json.loads(above)
