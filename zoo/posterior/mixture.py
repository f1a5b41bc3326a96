"""A mixture of Laplace's approximations around networks that were trained apart."""

from collections.abc import Sequence

import keras

from zoo.posterior.deep_ensemble import DeepEnsemble
from zoo.posterior.laplace import Laplace
from zoo.posterior.monte_carlo import MonteCarlo


@keras.saving.register_keras_serializable(package="zoo")
class Mixture(DeepEnsemble):
    """A mixture of Gaussian posteriors, one around each of several trained networks.

    Each network alone knows one mode of the posterior of the weights, and its Gaussian
    the neighborhood of that mode. All have the same part in the mixture, so the mean
    prediction is the mean of theirs, and one network's is that of `Laplace`.

    `adapt` gives all of them the same images, those that they were trained on. Each
    finds a prior precision of its own, where `Laplace` would.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        members: Models from images to logits, or `Laplace` posteriors with as many
            samples each, for the same images and classes.
        seed: Makes the calls without a seed reproducible.
        **settings: Arguments of `Laplace`, for the models.

    Raises:
        ValueError: If there are no members, they do not fit together, or one is another
            posterior.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(num_samples, batch, num_classes)`, where `num_samples` is the sum
    over the members: one each, or their number of draws.

    Example:

    >>> import numpy as np
    >>> import zoo
    >>> models = [zoo.build("resnet20", (32, 32, 3), num_classes=2) for _ in range(3)]
    >>> posterior = Mixture(models, prior_precision=1.0)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3))
    >>> posterior.adapt(images, labels=np.array([0, 1, 0, 1]))
    >>> tuple(posterior(images).shape)
    (3, 4, 2)

    Reference:
        [Mixtures of Laplace Approximations for Improved Post-Hoc Uncertainty in Deep
        Learning](https://arxiv.org/abs/2111.03577) (Eschenhagen et al., 2021).
    """

    def __init__(self, members: Sequence, seed: int | None = None, **settings):
        own = {k: settings.pop(k) for k in _OF_LAYERS if k in settings}
        super().__init__([_laplace(m, settings) for m in members], seed, **own)
        counts = [member.num_samples for member in self.members]
        if len(set(counts)) > 1:
            raise ValueError(
                "All members of a mixture must have the same number of samples, as all "
                f"have the same part in it. Received: num_samples={counts}"
            )

    @classmethod
    def known_settings(cls):
        return Laplace.known_settings()

    @classmethod
    def of_prediction(cls, settings):
        return Laplace.of_prediction(settings)

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        return cls(models, num_samples=num_samples, **settings)

    def settled(self, change=lambda model: model):
        return Mixture([m.settled(change) for m in self.members], name=self.name)

    def with_models(self, change):
        return Mixture([m.with_models(change) for m in self.members], name=self.name)


_OF_LAYERS = "name", "dtype", "trainable"  # What all layers of Keras take.


def _laplace(member, settings):
    """Returns a posterior as it is, and that of a model."""
    if isinstance(member, Laplace):
        return member
    if not isinstance(member, (keras.Model, MonteCarlo)):
        raise ValueError(
            "The members of a mixture are models or `Laplace` posteriors. Received: "
            f"member={getattr(member, 'name', member)} of {type(member).__name__}"
        )
    return Laplace(member, **settings)
