"""Training steps of our networks, of plain Keras and of layers with random weights."""

import contextlib
import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

import layers
import zoo
from layers import compilation
from training import trainer
from training.recipes.base import Recipe
from zoo import registry
from zoo.models import parts
from zoo.quantization import quantized

EXAMPLES = 60_000


@contextlib.contextmanager
def dtype_policy(name: str):
    """Makes layers that are built inside compute in another type."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _batch(shape, batch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *shape), "uint8")
    return images, rng.integers(0, 10, batch, "int32")


def ours(
    name: str,
    shape: tuple,
    batch: int,
    jit_compile: bool | str = "auto",
    policy: str = "float32",
    **settings,
) -> Callable:
    """Returns a function that takes a training step as `zoo-train` does.

    Args:
        name: Name of the model.
        shape: Height, width and channels of the images.
        batch: The number of images.
        jit_compile: Whether to compile with XLA; "auto" leaves it to Keras.
        policy: What layers compute in.
        **settings: Others of the recipe.
    """
    recipe = Recipe("none", batch_size=batch, **settings)
    with dtype_policy(policy):
        model = zoo.build(name, shape, 10)
        if recipe.weight_bits:
            model = quantized(model, recipe.weight_bits)
        trained = trainer.compile_model(model, recipe, EXAMPLES, jit_compile)
    return functools.partial(trained.train_on_batch, *_batch(shape, batch))


def plain(network: str, shape: tuple, batch: int, dropout: float = 0.0) -> Callable:
    """Returns a function that takes a training step of plain Keras.

    The same network of Keras' own layers, with Keras' optimizer and `compile`.
    """
    batch_norm = functools.partial(
        keras.layers.BatchNormalization, momentum=0.9, epsilon=1e-5
    )
    own = parts.Parts(norm=batch_norm)
    if dropout:
        layer = functools.partial(keras.layers.Dropout, dropout)
        own = parts.Parts(norm=batch_norm, dropout=layer)
    pixels = (127.5,) * shape[-1], (4096.0,) * shape[-1]
    model = registry.ARCHITECTURES[network](own, shape, 10, pixels)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return functools.partial(model.train_on_batch, *_batch(shape, batch))


def convolution(
    kind: str, shape: tuple, filters: int, batch: int, training: bool
) -> Callable:
    """Returns a function that calls 3x3 convolutions without bias, as TFP's are called.

    Args:
        kind: `"flipout"`, `"one draw"`, or plain ones: `"convolution"`, and the sum of
            `"two convolutions"`.
        shape: Height, width and channels of the inputs.
        filters: The number of outputs.
        batch: The number of examples.
        training: Whether to compute the gradients too.
    """
    import tensorflow as tf

    inputs = keras.random.normal((batch, *shape), seed=0)
    settings = {"padding": "same", "use_bias": False}
    if kind in ("flipout", "one draw"):
        made = layers.Conv2DFlipout
        if kind == "one draw":
            made = layers.Conv2DReparameterization
        built = [made(filters, 3, seed=0, **settings)]
    else:
        count = 2 if kind == "two convolutions" else 1
        built = [keras.layers.Conv2D(filters, 3, **settings) for _ in range(count)]
    for layer in built:
        layer.build(inputs.shape)
    weights = [w.value for layer in built for w in layer.trainable_weights]

    def forward():
        with compilation.fused():
            outputs = [layer(inputs, training=True) for layer in built]
        return functools.reduce(ops.add, outputs)

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = ops.mean(ops.square(forward()))
            loss += sum(x for layer in built for x in layer.losses) / EXAMPLES
        return tape.gradient(loss, [inputs, *weights])

    return tf.function(gradients if training else forward, autograph=False)
