"""Objectives by their name in a recipe.

Each is a function of the model and the recipe to a `training.objective.Objective`. It
is called where the model was built, so that variables lie on its devices.
"""

import functools
from collections.abc import Callable

from training import named_settings
from training.objectives import (
    ada,
    adversarial,
    ar_adals,
    attacked,
    augmix,
    cross_entropy,
    dign,
    distillation,
    duq,
    every_member,
    gaussian,
    logit_norm,
    maximum_a_posteriori,
    nomu,
    vat,
)

OBJECTIVES = {
    "cross_entropy": cross_entropy.cross_entropy,
    "augmix": augmix.augmix,
    "dign": dign.dign,
    "distillation": distillation.distillation,
    "distribution_distillation": distillation.distribution_distillation,
    "duq": duq.duq,
    "logit_norm": logit_norm.logit_norm,
    "map": maximum_a_posteriori.maximum_a_posteriori,
    "adversarial": adversarial.adversarial,
    "fgsm": attacked.fgsm,
    "pgd": attacked.pgd,
    "ar_adals": ar_adals.ar_adals,
    "ada": ada.ada,
    "every_member": every_member.every_member,
    "vat": vat.vat,
    "gaussian": gaussian.gaussian,
    "quantile": gaussian.quantile,
    "nomu": nomu.nomu,
}

# The corruptions of the benchmark that an objective makes images like.
OVERLAPS = {"dign": dign.OVERLAPS}


def overlaps(text: str) -> tuple[str, ...]:
    """Returns the corruptions of the benchmark whose like an objective trains on.

    Args:
        text: As for `read`.
    """
    return OVERLAPS.get(text.partition(":")[0], ())


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
    # Behind the model and the recipe.
    name, settings = named_settings.read(text, OBJECTIVES, "objective", skip=2)
    function = OBJECTIVES[name]
    return functools.partial(function, **settings)
