"""What was done to a network to make it smaller, and a new one to which it is done.

It is known of a model, of the file of its weights and of a preset, so that a smaller
network is loaded by its name as others are.
"""

from collections.abc import Mapping

import keras

from zoo.channels import Channels
from zoo.classifier import Classifier
from zoo.quantization import quantized

# What is known, in the order in which it is done: how many filters are left of each
# group, and the bits of weights.
FILTERS, WEIGHT_BITS = "filters", "weight_bits"


def compression_of(model: keras.Model) -> dict:
    """Returns what was done to a model: some of `filters` and `weight_bits`.

    Args:
        model: Keras model.
    """
    return _known(model).get("compression", {})


def _known(model):
    return model.knows() if isinstance(model, Classifier) else {}


def noted(made: Classifier, model: keras.Model, done: Mapping) -> Classifier:
    """Returns a network that knows what another one does, and how it was made of it.

    Args:
        made: What was made of the model, which is changed.
        model: Keras model.
        done: What was done to it, on top of what had been done before.
    """
    compression = {**compression_of(model), **done}
    made.know(**{**_known(model), "compression": compression})
    return made


def compressed(model: Classifier, compression: Mapping) -> Classifier:
    """Returns a network of the layers that a smaller one has.

    Args:
        model: As `zoo.build` makes it.
        compression: What `compression_of` returns.

    Raises:
        ValueError: If it cannot be done to this model.
    """
    if not compression:
        return model
    if odd := compression.keys() - {FILTERS, WEIGHT_BITS}:
        raise ValueError(
            "The weights are of a network that was made smaller in a way that this "
            f"version of smoothzoo does not know. Received: {', '.join(sorted(odd))}"
        )
    made = model
    if left := compression.get(FILTERS):
        channels = Channels(made)
        made = channels.narrowed(channels.like(left))
    if bits := compression.get(WEIGHT_BITS):
        made = quantized(made, bits)
    return noted(made, model, compression)
