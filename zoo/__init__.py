"""Image classifiers by name: architectures, methods, weights and posteriors."""

from zoo import posterior as posterior
from zoo import predictive as predictive
from zoo.registry import ModelSpec as ModelSpec
from zoo.registry import build as build
from zoo.registry import parse as parse

__version__ = "0.1.0"
