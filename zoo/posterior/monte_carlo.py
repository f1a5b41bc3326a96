"""Repeated forward passes of one stochastic model."""

import keras
from keras import ops

import layers
from zoo.posterior.base import Posterior


@keras.saving.register_keras_serializable(package="zoo")
class MonteCarlo(Posterior):
    """Samples the logits of a stochastic model.

    Every pass runs the model in inference mode: random layers such as
    `layers.MCDropout` draw anew, and batch normalization uses its moving statistics. A
    model that cannot draw runs once, and its logits are repeated.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        model: From images to logits.
        num_samples: The number of forward passes.
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(num_samples, batch, num_classes)`.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20_mcdo", (32, 32, 3), num_classes=10)
    >>> posterior = MonteCarlo(model, num_samples=5)
    >>> tuple(posterior(ops.zeros((2, 32, 32, 3)), seed=1).shape)
    (5, 2, 10)
    """

    def __init__(
        self,
        model: keras.Model,
        num_samples: int = 10,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        _check(model, num_samples)
        self.model = model
        self.num_samples = num_samples
        self.num_classes = model.output_shape[-1]
        self.image_shape = tuple(model.input_shape[1:])
        self.repeats_itself = _repeats_itself(model)

    def sample(self, images, key, offset, num_samples=None):
        """Returns the samples of one key; see `zoo.posterior.Posterior`.

        Args:
            images: Tensor of shape `(batch, height, width, channels)`.
            key: Integer or scalar integer tensor.
            offset: The number of the first image.
            num_samples: In place of that of the layer; in TensorFlow graphs it may be
                a scalar integer tensor.

        Returns:
            Tensor of shape `(num_samples, batch, num_classes)`.
        """
        num_samples = self.num_samples if num_samples is None else num_samples

        def run(number):
            # A loop traces this once, so each pass opens a stream of its own.
            with layers.stream(layers.random.fold(key, number), offset):
                logits = self.model(images, training=False)
            return ops.cast(logits, "float32")

        def body(number, samples):
            # LiteRT knows neither lists of tensors nor updates of slices.
            here = ops.equal(numbers, number)[:, None, None]
            return ops.where(here, run(number), samples)

        shape = (num_samples, ops.shape(images)[0], self.num_classes)
        if self.repeats_itself:
            return ops.broadcast_to(run(0), shape)
        numbers = ops.arange(num_samples, dtype="int32")
        return ops.fori_loop(0, num_samples, body, ops.zeros(shape, "float32"))

    def get_config(self):
        config = {
            "model": keras.saving.serialize_keras_object(self.model),
            "num_samples": self.num_samples,
        }
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def _check(model, num_samples):
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            "`model` must be a built Keras model from images to logits. "
            f"Received: model={model!r}"
        )
    if not isinstance(model.output_shape, tuple) or len(model.output_shape) != 2:
        raise ValueError(
            "`model` must return logits of shape (batch, num_classes). "
            f"Received: model={model.name} with output_shape={model.output_shape}"
        )
    if num_samples < 1:
        raise ValueError(
            f"`num_samples` must be positive. Received: num_samples={num_samples}"
        )


def _repeats_itself(model) -> bool:
    """Returns whether every layer is known to draw nothing in inference."""
    known = all(
        type(layer).__module__.partition(".")[0] in ("keras", "layers")
        and not isinstance(layer, keras.layers.Lambda)
        for layer in model._flatten_layers()
    )
    return known and not layers.is_stochastic(model)
