"""Posteriors: layers from images to sampled logits."""

from zoo.posterior.base import Posterior as Posterior
from zoo.posterior.deep_ensemble import DeepEnsemble as DeepEnsemble
from zoo.posterior.density import Density as Density
from zoo.posterior.dirichlet import Dirichlet as Dirichlet
from zoo.posterior.isotonic import Isotonic as Isotonic
from zoo.posterior.laplace import Laplace as Laplace
from zoo.posterior.linear_laplace import LinearLaplace as LinearLaplace
from zoo.posterior.mixture import Mixture as Mixture
from zoo.posterior.monte_carlo import MonteCarlo as MonteCarlo
from zoo.posterior.prior_network import PriorNetwork as PriorNetwork
from zoo.posterior.scaler import Scaler as Scaler
from zoo.posterior.spread import Spread as Spread
from zoo.posterior.swag import SWA as SWA
from zoo.posterior.swag import SWAG as SWAG
from zoo.posterior.temperature import Temperature as Temperature
from zoo.posterior.temporal import Temporal as Temporal
from zoo.posterior.vector import Vector as Vector
from zoo.posterior.weight_samples import WeightSamples as WeightSamples

# What `model@name` means; see `Posterior.from_models`.
POSTERIORS = {
    "mc": MonteCarlo,
    "ensemble": DeepEnsemble,
    "temperature": Temperature,
    "laplace": Laplace,
    "density": Density,
    "swa": SWA,
    "swag": SWAG,
    "hmc": WeightSamples,
    "mixture": Mixture,
    "vector": Vector,
    "dirichlet": Dirichlet,
    "isotonic": Isotonic,
    "priornet": PriorNetwork,
    "temporal": Temporal,
    "spread": Spread,
}
