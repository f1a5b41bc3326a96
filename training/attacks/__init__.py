"""Attacks: images near to others that a model is wrong about."""

from training.attacks.masking import Masking as Masking
from training.attacks.masking import gradient_masking as gradient_masking
from training.attacks.pgd import fgsm as fgsm
from training.attacks.pgd import pgd as pgd
