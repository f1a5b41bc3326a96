"""Objectives by their name in a recipe.

Each is a function of the model and the recipe to a `training.objective.Objective`. It
is called where the model was built, so that variables lie on its devices.
"""

import functools
import inspect
import json
from collections.abc import Callable

from training.objectives import (
    ada,
    adversarial,
    ar_adals,
    attacked,
    augmix,
    cross_entropy,
    duq,
    every_member,
    logit_norm,
    maximum_a_posteriori,
)

OBJECTIVES = {
    "cross_entropy": cross_entropy.cross_entropy,
    "augmix": augmix.augmix,
    "duq": duq.duq,
    "logit_norm": logit_norm.logit_norm,
    "map": maximum_a_posteriori.maximum_a_posteriori,
    "adversarial": adversarial.adversarial,
    "fgsm": attacked.fgsm,
    "pgd": attacked.pgd,
    "ar_adals": ar_adals.ar_adals,
    "ada": ada.ada,
    "every_member": every_member.every_member,
}


def read(text: str) -> Callable:
    """Returns the function that a recipe names, with its settings.

    Args:
        text: A key of `OBJECTIVES`, and arguments of the function behind a colon each:
            values in JSON, or fractions of two numbers.

    Raises:
        ValueError: If there is no such objective, or it has no such setting.

    Example:

    >>> read("duq:penalty=0.05").keywords
    {'penalty': 0.05}
    >>> read("pgd:epsilon=8/255:steps=7").keywords
    {'epsilon': 0.03137254901960784, 'steps': 7}
    """
    name, *parts = text.split(":")
    known = ", ".join(OBJECTIVES)
    if name not in OBJECTIVES:
        raise ValueError(f"Known objectives: {known}. Received: objective={text}")
    function, settings = OBJECTIVES[name], {}
    taken = list(inspect.signature(function).parameters)[2:]  # Behind the recipe.
    for part in parts:
        key, _, value = part.partition("=")
        if key not in taken or key in settings:
            raise ValueError(
                f"Settings of the objective '{name}': {', '.join(taken) or 'none'}, "
                f"each once. Received: objective={text}"
            )
        settings[key] = _parse(value)
    return functools.partial(function, **settings)


def _parse(text):
    above, line, below = map(str.strip, text.partition("/"))
    if not line:
        return json.loads(above)
    if not float(below):
        raise ValueError(f"A fraction has no zero below its line. Received: {text}")
    return float(above) / float(below)
