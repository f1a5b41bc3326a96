"""What every backend computes alike; as a command, writes what others compute."""

import contextlib
import sys

import keras
import numpy as np

import layers
from layers import random, stream

SEEDS = 0, 7, -3, 2**31 - 1  # An int32, as of a LiteRT signature.
BATCH, COUNT = 3, 4001
EPOCHS = 5
array = keras.ops.convert_to_numpy
DROPOUT = layers.MCDropout(0.3, name="dropout")
CHANNELWISE = layers.MCDropout(0.3, channelwise=True, name="channelwise")


def draws(seed):
    """Returns one of each kind of draw.

    Args:
        seed: Scalar int32 tensor.
    """
    keys = random.fold(seed, np.arange(BATCH))
    shape = (BATCH, COUNT)
    with stream(seed, offset=5):
        x = CHANNELWISE(DROPOUT(np.ones((BATCH, 5, 7, 8), "float32")))
    return {
        "bits": random.bits(keys, COUNT),
        "bernoulli": random.bernoulli(keys, shape, 0.3),
        "signs": random.signs(keys, shape),
        "normal": random.normal(keys, shape),
        "dropout": x,
    }


def arrays():
    """Returns of each seed the draws, by name, as arrays."""
    return {
        seed: {name: array(value) for name, value in draws(np.int32(seed)).items()}
        for seed in SEEDS
    }


def images():
    x = np.random.default_rng(0).normal(size=(4, 9, 10, 3), scale=4)
    return x.astype("float32")


def outputs():
    """Returns the outputs of layers for `images`, by name."""
    noisy = {"kernel_initializer": "ones", "initial_scale": 1.0}
    cases = {
        "adaptive": layers.AdaptiveAveragePooling2D(7),
        "blur_pool": layers.BlurPool2D(),
        "blur_pool_any": layers.BlurPool2D((1, 5, 2), 3, "same"),
        "low_cut": layers.FLCPooling2D(),
        "frequency_training": layers.FrequencyDropout(seed=3),
        "quantile": layers.QuantileReLU(),
        "filtered": layers.FilteredReLU(),
        "filtered_max": layers.FilteredMaxPooling2D(3),
        "smoothing": layers.SpatialSmoothing(),
        "smoothing_full": layers.SpatialSmoothing(2.0, (1, 2, 1), "full", "softmax"),
        "smoothing_norm": layers.SpatialSmoothing(batch_norm=True),
        "dropout": layers.MCDropout(seed=3),
        "dropout_training": layers.Dropout(0.5, seed=3),
        "depth_training": layers.StochasticDepth(0.5, seed=3),
        "dense": layers.DenseFlipout(3, seed=3, **noisy),
        "conv": layers.Conv2DFlipout(3, 3, 2, "same", seed=3, **noisy),
        "process": layers.GaussianProcess(
            3, 50, 2.0, kernel_initializer="ones", seed=3
        ),
    }
    members = {
        "film": layers.FiLMBatchNormalization(3),
        "ensemble": layers.Conv2DBatchEnsemble(2, 3, num_members=3),
        "rank1": layers.DenseRank1(2, num_members=3, initial_scale=0.5, seed=3),
        "masks": layers.Masksembles(2, seed=3),
        "attention": layers.LocalAttention(2, 2, 5, 4),
    }
    for name, layer in members.items():
        layer.build((*images().shape[:-1], 12 if name == "masks" else 3))
        rng = np.random.default_rng(0)
        for weight in layer.trainable_weights:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    results = {"masks": np.array(members.pop("masks").masks)}
    cases |= members
    for name, layer in cases.items():
        kwargs = {"training": True} if name.endswith("_training") else {}
        results[name] = array([layer(images(), **kwargs) for _ in range(3)])
        if layer.losses:
            results[f"{name}_kl"] = array(layer.losses)
    return results


def train():
    """Trains a model of every layer, and returns how that went."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((9, 10, 3)),
            layers.Conv2DFlipout(8, 3, padding="same"),
            layers.SpatialSmoothing(batch_norm=True),
            layers.BlurPool2D(),
            layers.LocalAttention(8, 2, 4, 3),
            layers.MCDropout(0.1),
            keras.layers.Flatten(),
            layers.Dropout(0.1),
            layers.DenseFlipout(2),
        ]
    )
    model.compile("adam", "mse")
    x = images()
    before = [np.array(w) for w in model.get_weights()]
    history = model.fit(x, x[:, 0, :2, 0], epochs=EPOCHS, verbose=0)
    moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    calls = [
        int(layer.random_state[1])
        for layer in model.layers
        if isinstance(layer, layers.RandomLayer)
    ]
    return {
        "losses": history.history["loss"],
        "moved": moved,
        "calls": calls,
    }


def one_pass():
    """Trains layers of one-pass uncertainty, and returns what they know then."""
    inputs = keras.Input((9, 10, 3))
    conv = layers.SpectralConv2D(4, 3, 2, "same", max_norm=0.5)
    process = layers.GaussianProcess(2, num_features=16, length_scale=2.0, seed=5)
    x = keras.layers.GlobalAveragePooling2D()(conv(inputs))
    model = keras.Model(inputs, process(x))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x = images()
    settings = {"shuffle": False, "epochs": 3, "batch_size": 2, "verbose": 0}
    events = layers.EpochEvents()
    fit = model.fit(x, x[:, 0, :2, 0], callbacks=[events], **settings)
    return {
        "losses": fit.history["loss"],
        "norm": array(conv.spectral_norm),
        "vector": array(conv.singular_vector),
        "kernel": array(conv.kernel),
        "precision": array(process.precision),
        "logits": array(model(x)),
    }


def fitted(model, x, y):
    return model.fit(x, y, shuffle=False, verbose=0).history["loss"]


def around():
    """Returns what Keras computes inside of a stream, then without, and always without.

    Returns:
        For each call the values of one model and those of its twin.
    """
    x = images()
    y = x[:, 0, :2, 0]
    calls = {
        "fit": lambda model: fitted(model, x, y),
        "evaluate": lambda model: model.evaluate(x, y, verbose=0),
        "predict": lambda model: model.predict(x, verbose=0),
    }
    results = {}
    for name, call in calls.items():
        twins = [
            keras.Sequential(
                [
                    keras.Input((9, 10, 3)),
                    keras.layers.Flatten(),
                    layers.MCDropout(0.5, name="dropout", seed=1),
                    keras.layers.Dense(2, kernel_initializer="ones"),
                ]
            )
            for _ in range(2)
        ]
        for twin in twins:
            twin.compile("sgd", "mse")
        with stream(0):
            values = [call(twins[0]) for _ in range(2)]
        results[f"{name}/inside"] = [*values, call(twins[0])]
        results[f"{name}/outside"] = [call(twins[1]) for _ in range(3)]
    return results


def refusal():
    """Returns what a function of JAX says that cannot count."""
    import jax

    dropout, messages = layers.MCDropout(0.5, name="dropout", seed=1), []
    for context in (contextlib.nullcontext(), stream(0)):
        with context:
            try:
                jax.jit(dropout)(images())
            except ValueError as error:
                messages.append(str(error))
    return {"messages": messages, "state": np.asarray(dropout.random_state)}


def main(path):
    backend = keras.backend.backend()
    assert backend != "tensorflow"
    assert "tensorflow" not in sys.modules
    sys.modules["tensorflow"] = None  # As where it is not installed.
    counter = layers.MCDropout(0.5, seed=3)  # Outside a stream, keys are counted.
    results = {"counted": [array(counter(np.ones((2, 64)))) for _ in range(3)]}
    kinds, parts = {"eager": draws}, [outputs, train, one_pass, around]
    if backend == "jax":
        import jax

        kinds["jit"] = jax.jit(draws)
        parts.append(refusal)
    for kind, function in kinds.items():
        for seed in SEEDS:
            for name, value in function(np.int32(seed)).items():
                results[f"{kind}/{name}/{seed}"] = array(value)
    if backend == "jax":
        # What follows is equal up to rounding, so it is compiled in half the time.
        jax.config.update("jax_disable_most_optimizations", True)
    for function in parts:
        for name, value in function().items():
            results[f"{function.__name__}/{name}"] = value
    np.savez(path, kinds=[*kinds], **results)


if __name__ == "__main__":
    main(sys.argv[1])
