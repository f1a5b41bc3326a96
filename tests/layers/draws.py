"""Draws on the backend of `KERAS_BACKEND`; as a command, writes those of JAX."""

import sys

import numpy as np

from layers import MCDropout, random, stream

SEEDS = 0, 7, -3, 2**31 - 1  # An int32, as of a LiteRT signature.
BATCH, COUNT = 3, 4001
DROPOUT = MCDropout(0.3, name="dropout")
CHANNELWISE = MCDropout(0.3, channelwise=True, name="channelwise")


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


def main(path):
    import jax

    compiled = jax.jit(draws)
    counter = MCDropout(0.5, seed=3)  # Outside a stream, keys are counted.
    results = {"counted": [np.asarray(counter(np.ones((2, 64)))) for _ in range(3)]}
    results |= {
        f"{kind}/{name}/{seed}": np.asarray(value)
        for kind, function in {"eager": draws, "jit": compiled}.items()
        for seed in SEEDS
        for name, value in function(np.int32(seed)).items()
    }
    assert "tensorflow" not in sys.modules
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
