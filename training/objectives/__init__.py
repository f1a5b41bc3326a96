"""Objectives by their name in a recipe.

Each is a function of the model and the recipe to a `training.objective.Objective`. It
is called where the model was built, so that variables lie on its devices.
"""

from training.objectives import (
    adversarial,
    augmix,
    cross_entropy,
    duq,
    every_member,
    logit_norm,
)

OBJECTIVES = {
    "cross_entropy": cross_entropy.cross_entropy,
    "augmix": augmix.augmix,
    "duq": duq.duq,
    "logit_norm": logit_norm.logit_norm,
    "adversarial": adversarial.adversarial,
    "every_member": every_member.every_member,
}
