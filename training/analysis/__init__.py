"""Analyses of trained networks: why they predict as they do.

Each analysis is a function of a functional Keras model and a data set to a
`training.analysis.base.Finding`, and a line of `ANALYSES`, by which `zoo-analyze` has
it. `training.analysis.base` says how they are called.
"""

from training.analysis.base import Analysis as Analysis
from training.analysis.base import Finding as Finding

ANALYSES: dict[str, Analysis] = {}
