"""Attacks: images near to others that a model is wrong about."""

from training.attacks.pgd import fgsm as fgsm
from training.attacks.pgd import pgd as pgd
