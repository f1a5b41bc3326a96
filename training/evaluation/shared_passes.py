"""What an evaluation passes images through, and what it scales of that."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from absl import logging
from keras import ops

from training.data import fingerprint
from training.evaluation import scaling
from training.evaluation.predictions import Predictions
from training.evaluation.sampling import Passes
from zoo.posterior import POSTERIORS, Posterior, Scaler


@dataclasses.dataclass
class Candidate:
    """A model that images are passed through, and the scalers of it.

    Attributes:
        passes: The compiled forward passes of the model.
        sizes: The ensemble sizes that the model itself is evaluated at; none if it is
            there for its scalers alone.
        scalers: Scalers of the model by name.
        asked: Ensemble sizes at which each of them is evaluated, by name.
        learned: What each scaler has learned, by name and ensemble size.
    """

    passes: Passes
    sizes: tuple[int, ...] = ()
    scalers: dict[str, Scaler] = dataclasses.field(default_factory=dict)
    asked: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    learned: dict[str, dict] = dataclasses.field(default_factory=dict)

    @property
    def unfitted(self) -> list[str]:
        """The names of scalers that have not been fitted."""
        return [name for name in self.scalers if not self.scalers[name].is_adapted]

    def fit(self, name: str, stored: Predictions):
        """Fits a scaler to labeled predictions, for each of its ensemble sizes.

        Raises:
            NoBestFitError: If nothing fits best.
        """
        found = scaling.fit(self.scalers[name], stored, self.asked[name])
        self.learned[name] = found
        for size, values in found.items():
            single = {k: v for k, v in values.items() if not np.ndim(v)}
            text = ", ".join(f"{k} {v:.3f}" for k, v in single.items()) or "fitted"
            logging.info("%s at N = %d: %s", name, size, text)


def group(
    models: Mapping[str, keras.Model | Posterior],
    sizes: Sequence[int],
    seed: int = 0,
    batch_size: int = 100,
    precision: str = "float32",
) -> list[Candidate]:
    """Returns what to pass images through, each once.

    Scalers of a model that is itself evaluated share its passes. One that was adapted
    before is evaluated at the number of passes that it was adapted with.

    Args:
        models: Models and posteriors by name.
        sizes: The ensemble sizes.
        seed: Seed of the samples.
        batch_size: Images per step.
        precision: As `Passes` takes it.
    """
    found = {}
    settings = {"seed": seed, "batch_size": batch_size, "precision": precision}
    for name, model in models.items():
        if isinstance(model, Scaler):
            continue
        asked = _sizes_for(model, sizes)
        more = [
            _limit(s.posterior)
            for n, s in models.items()
            if isinstance(s, Scaler) and unscaled(n) == name and s.is_adapted
        ]
        is_limited = isinstance(model, Posterior) and not model.repeats_itself
        limit = _limit(model) if is_limited else float("inf")
        every = {*asked, *(n for n in more if n <= limit)}
        passes = Passes(model, sorted(every), name=name, **settings)
        found[name] = Candidate(passes, asked)
    for name, scaler in models.items():
        if isinstance(scaler, Scaler):
            own = _of_scaler(name, scaler, found, sizes, **settings)
            own.scalers[name] = scaler
    return list(found.values())


def unscaled(name: str) -> str:
    """Returns the name of the model of a scaler; that of the second ends in `#2`."""
    for key, kind in POSTERIORS.items():
        if issubclass(kind, Scaler):
            name = re.sub(rf"@{key}(:[^@#]*)?(?=[@#]|$)", "", name)
    return name


def _of_scaler(name, scaler, found, sizes, **settings):
    """Returns the candidate of a scaler, a new one with these `settings` if need be."""
    inner, base = scaler.posterior, unscaled(name)
    asked = _sizes_for(inner, sizes)
    if scaler.is_adapted and not inner.repeats_itself:
        asked = (_limit(inner),)
    same = found.get(base)
    if same is not None and not _is_same(same.passes, inner, asked):
        base, same = f"{name} without", None
    if same is None:
        passes = Passes(inner, asked, name=base, **settings)
        same = found[base] = Candidate(passes)
    same.asked[name] = asked
    if scaler.is_adapted:
        values = {k: ops.convert_to_numpy(v) for k, v in scaler.values().items()}
        same.learned[name] = {size: values for size in asked}
    return same


def _is_same(passes, posterior, sizes):
    """Returns whether passes are of a posterior, at the ensemble sizes."""
    if not {*sizes} <= {*passes.sizes}:
        return False
    return fingerprint.of_posterior(passes.posterior) == fingerprint.of_posterior(
        posterior
    )


def _sizes_for(model, sizes):
    """Returns the sizes that a posterior has samples for, and that of all of them."""
    if not isinstance(model, Posterior) or model.repeats_itself:
        return tuple(sizes)
    limit, averaged = _limit(model), model.passes_per_sample
    found = [n for n in sizes if n <= limit and n % averaged == 0]
    if found and sizes[-1] <= limit:
        return tuple(found)
    return (*(n for n in found if n < limit), limit)


def _limit(posterior) -> int:
    """Returns how many forward passes there are."""
    return posterior.num_samples * posterior.passes_per_sample
