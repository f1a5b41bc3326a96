"""Objectives by their name in a recipe.

Each is a function of the model and the recipe to a `training.objective.Objective`. It
is called where the model was built, so that variables lie on its devices.
"""

from training.objectives import (
    augmix,
    cross_entropy,
    duq,
    logit_norm,
    maximum_a_posteriori,
)

OBJECTIVES = {
    "cross_entropy": cross_entropy.cross_entropy,
    "augmix": augmix.augmix,
    "duq": duq.duq,
    "logit_norm": logit_norm.logit_norm,
    "map": maximum_a_posteriori.maximum_a_posteriori,
}
