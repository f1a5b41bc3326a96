"""Base class of posteriors that make something else of another one."""

import keras

from zoo.posterior.base import Posterior


class Around(Posterior):
    """Base class of posteriors around one other, whose task and inputs it has.

    A subclass calls `wrap` in its constructor, and implements `of`.

    Attributes:
        posterior: The other one.
    """

    def wrap(self, posterior: Posterior):
        """Takes over what is asked of the other one; one sample comes out.

        Args:
            posterior: The other one.

        Raises:
            ValueError: If it is for another task.
        """
        self.posterior = posterior
        self.num_samples = 1
        self.num_classes = posterior.num_classes
        self.map_shape = posterior.map_shape
        self.image_shape = posterior.image_shape
        self.takes_bytes = posterior.takes_bytes
        self.check_task()

    def of(self, posterior: Posterior | keras.Model) -> "Around":
        """Returns the same around another posterior."""
        raise NotImplementedError

    @property
    def task(self) -> str:
        return self.posterior.task

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return self.posterior.classes

    @property
    def repeats_itself(self) -> bool:
        return self.posterior.repeats_itself

    @property
    def unknown_layers(self) -> list[str]:
        return self.posterior.unknown_layers

    def probe_once(self, images):
        self.posterior.probe_once(images)

    def is_deterministic(self, images) -> bool:
        return self.posterior.is_deterministic(images)

    def settled(self, change=lambda model: model):
        return self.of(self.posterior.settled(change))

    def with_models(self, change):
        return self.of(self.posterior.with_models(change))
