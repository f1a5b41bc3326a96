"""Image classifiers by name: architectures, methods, weights and posteriors."""

import importlib.util
import pathlib

# Others have modules called `layers` too; ours lies beside this package.
_spec = importlib.util.find_spec("layers")
_ours = pathlib.Path(__file__).parent.with_name("layers")
if _spec and pathlib.Path(_spec.origin or "").parent != _ours:
    raise ImportError(
        f"`zoo` needs the package {_ours}, but another module called `layers` comes "
        f"first on sys.path: {_spec.origin}; rename it or take its folder off sys.path."
    )

from zoo import conformal as conformal
from zoo import posterior as posterior
from zoo import predictive as predictive
from zoo.bayesian import bayesianize as bayesianize
from zoo.catalog import describe as describe
from zoo.catalog import list_models as list_models
from zoo.folding import fold as fold
from zoo.kept_weights import kept_weights as kept_weights
from zoo.loading import load as load
from zoo.model_name import ModelSpec as ModelSpec
from zoo.optimization import optimize as optimize
from zoo.registry import build as build
from zoo.registry import parse as parse

__version__ = "0.1.0"
