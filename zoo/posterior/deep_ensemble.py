"""An ensemble of models that were trained apart."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from layers.compilation import Compiled
from layers.random import fold
from zoo.classifier import match
from zoo.posterior.base import Posterior, at_least_one, joined_splits
from zoo.posterior.monte_carlo import MonteCarlo, as_posterior


@keras.saving.register_keras_serializable(package="zoo")
class DeepEnsemble(Posterior):
    """Concatenates the samples of several models.

    A model contributes one sample, the logits of one forward pass, and a posterior all
    of its own. Members draw independently of each other.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        members: Models from images to logits, or posteriors, for the same images and
            classes.
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(num_samples, batch, num_classes)`, where `num_samples` is the sum
    over the members.

    Example:

    >>> import zoo
    >>> models = [zoo.build("resnet20", (32, 32, 3), 10) for _ in range(3)]
    >>> tuple(DeepEnsemble(models)(ops.zeros((2, 32, 32, 3))).shape)
    (3, 2, 10)

    Reference:
        [Simple and Scalable Predictive Uncertainty Estimation](
        https://arxiv.org/abs/1612.01474) (Lakshminarayanan et al., 2017).
    """

    def __init__(
        self,
        members: Sequence[keras.Model | Posterior],
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.members = [as_posterior(member) for member in members]
        self.num_classes = _common(self.members, "num_classes")
        _common(self.members, "task")
        self.map_shape = _common(self.members, "map_shape")
        self.image_shape = _common(self.members, "image_shape")
        self.num_samples = sum(member.num_samples for member in self.members)
        self.takes_bytes = all(member.takes_bytes for member in self.members)
        _check_classes(self.members)
        self._compiled = None
        if all(type(member) is MonteCarlo for member in self.members):
            self._compiled = Compiled(self._draw, self, pure=not self.unknown_layers)

    @property
    def task(self) -> str:
        return self.members[0].task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return next(filter(None, (member.classes for member in self.members)), ())

    def sample(self, images, key, offset):
        if self._compiled is None:
            return self._draw(images, key, offset)
        # One program for all members takes less time for few images than one each.
        rows = at_least_one(images)
        self.probe_once(rows)
        version = tuple(member.noise_settings() for member in self.members)
        samples = self._compiled((rows, key, offset), (), version)
        return samples if rows is images else samples[:, : ops.shape(images)[0]]

    def _draw(self, images, key, offset):
        samples = [
            member(images, seed=fold(key, number), offset=offset)
            for number, member in enumerate(self.members)
        ]
        return ops.concatenate(samples, axis=0)

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        if len(models) < 2:
            raise ValueError(
                "An ensemble is made of several models, for example 'a+b@ensemble'. "
                f"Received: {len(models)} models"
            )
        return cls(models, **settings)

    @property
    def adapts_to(self) -> tuple[str, ...]:
        """What the members adapt to, together."""
        return joined_splits(self.members)

    def learned(self, dataset, labels, batch_size, seed, validation):
        if not self.adapts_to:
            return super().learned(dataset, labels, batch_size, seed, validation)
        found = {}
        for number, member in enumerate(self.members):
            if not member.adapts_to:
                continue
            images, own, more = self._part_for(member, dataset, labels, validation)
            values = member.learned(images, own, batch_size, seed, more)
            found |= {f"{number}/{name}": value for name, value in values.items()}
        return found

    def values(self) -> dict[str, keras.Variable]:
        """Returns those of the members, with the number of each before their names."""
        return {
            f"{number}/{name}": value
            for number, member in enumerate(self.members)
            for name, value in member.values().items()
        }

    def assign(self, values: Mapping[str, object]):
        of_members = [
            {name: values[f"{number}/{name}"] for name in member.values()}
            for number, member in enumerate(self.members)
        ]
        pairs = [p for p in zip(self.members, of_members, strict=True) if p[1]]
        for member, _ in pairs:
            member._is_fitted = False  # Should it be interrupted.
        for member, own in pairs:
            member.assign(own)

    @property
    def is_adapted(self) -> bool:
        return all(member.is_adapted for member in self.members)

    @property
    def ranks_by(self) -> str:
        """That of all members, if it is one score of their samples."""
        found = {member.ranks_by for member in self.members}
        own = {name for member in self.members for name in member.score_names}
        return found.pop() if len(found) == 1 and not found & own else super().ranks_by

    @property
    def draws(self) -> bool:
        return any(member.draws for member in self.members)

    @property
    def takes_gradients(self) -> bool:
        return any(member.takes_gradients for member in self.members)

    @property
    def unknown_layers(self) -> list[str]:
        return [name for member in self.members for name in member.unknown_layers]

    def probe_once(self, images):
        for member in self.members:
            member.probe_once(images)

    def is_deterministic(self, images) -> bool:
        return all([member.is_deterministic(images) for member in self.members])

    def settled(self, change=lambda model: model):
        members = [member.settled(change) for member in self.members]
        return DeepEnsemble(members, name=self.name)

    def with_models(self, change):
        members = [member.with_models(change) for member in self.members]
        return DeepEnsemble(members, name=self.name)

    def get_config(self):
        members = [keras.saving.serialize_keras_object(m) for m in self.members]
        return {**super().get_config(), "members": members}

    @classmethod
    def from_config(cls, config):
        members = keras.saving.deserialize_keras_object(config["members"])
        return cls(**{**config, "members": members})


def _common(members, attribute: str):
    values = [getattr(member, attribute) for member in members]
    if not values:
        raise ValueError("An ensemble needs members. Received: members=[]")
    if any(value != values[0] for value in values):
        raise ValueError(
            f"All members of an ensemble must have the same `{attribute}`. "
            f"Received: {attribute}={values}"
        )
    return values[0]


def _check_classes(members):
    """Checks that one logit is one class, where the names are known."""
    known = [member.classes for member in members if member.classes]
    for number, classes in enumerate(known):
        places = match(classes, known[0], f"member {number}", "member 0")
        if places != tuple(range(len(classes))):
            raise ValueError(
                "All members of an ensemble must have their classes in one order. "
                f"Received: classes={classes}, and before {known[0]}"
            )
