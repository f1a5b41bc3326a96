"""Image classifiers by name: architectures, methods, weights and posteriors."""

from zoo import posterior as posterior
from zoo import predictive as predictive
from zoo.catalog import list_models as list_models
from zoo.catalog import load as load
from zoo.description import describe as describe
from zoo.registry import ModelSpec as ModelSpec
from zoo.registry import build as build
from zoo.registry import parse as parse

__version__ = "0.1.0"
