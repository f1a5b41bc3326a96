r"""Time of a training step for labels of pixels over that of the network in PyTorch.

    python -m venv peers
    peers/bin/pip install torch
    python -m benchmarks.pixel_step --peers=peers/bin/python

A step is that of the recipe `camvid`: forward, the weighted cross-entropy of the
labeled pixels, gradients, and the update by AdamW; eight images of 180 x 240 pixels
with 11 classes. PyTorch's network has the same layers and weights as many, with its
usual memory format and channels last, in float32 and by `autocast` in bfloat16, in the
Python of `--peers`. Ratios are medians over the rounds of a round's time of ours over
the peer's; in brackets is the same for processor time, which other programs disturb
less. All have the same number of threads.
"""

import argparse
import functools

import numpy as np

from benchmarks import rounds
from training import processor

MOST = 1.1  # The largest ratio to accept.
SHAPE, CLASSES = (180, 240, 3), 11


def widths_of(name: str) -> list[int]:
    """Returns the filters of the stages of a chain such as `unet16`."""
    first = int(name.removeprefix("unet") or 64)
    return [first * 2**level for level in range(5)]


def ours(name: str, batch: int, policy: str):
    """Returns a function that takes a training step as `zoo-train` does.

    Args:
        name: Name of the model.
        batch: The number of images.
        policy: What layers compute in.
    """
    import zoo
    from benchmarks.train_ours import dtype_policy
    from training import trainer
    from training.recipes import camvid

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *SHAPE), "uint8")
    labels = rng.integers(-1, CLASSES, (batch, *SHAPE[:2]), "int32")
    weights = np.linspace(0.5, 1.5, CLASSES)[labels] * (labels >= 0)
    with dtype_policy(policy):
        model = zoo.build(name, SHAPE, CLASSES)
        trained = trainer.compile_model(model, camvid.RECIPE, 367 * 180 * 240)
    step = functools.partial(
        trained.train_on_batch,
        images,
        np.maximum(labels, 0),
        weights.astype("float32"),
    )
    return step, sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def compare(name: str, flags) -> None:
    """Prints how long steps take, and the ratios."""
    step, count = ours(name, flags.batch, "float32")
    half, _ = ours(name, flags.batch, "mixed_bfloat16")
    steps = {"ours": rounds.local(step), "ours, bfloat16": rounds.local(half)}
    peer, names = None, {"float32": [], "bfloat16": []}
    if flags.peers:
        threads = (str(processor.num_cores()),)
        peer = rounds.Remote(flags.peers, "benchmarks.pixel_step_torch", threads)
        job = {"widths": widths_of(name), "shape": SHAPE, "num_classes": CLASSES}
        for kind, found in names.items():
            for last in (False, True):
                other = f"PyTorch{', channels last' * last}, {kind}"
                found.append(other)
                steps[other] = peer.step(
                    other,
                    batch=flags.batch,
                    channels_last=last,
                    bfloat16=kind == "bfloat16",
                    **job,
                )
    times = rounds.measure(steps, flags.rounds, flags.seconds)
    print(f"`{name}`, {count:,} weights, {flags.batch} images:", flush=True)
    for key, measured in times.items():
        print(f"  {key}: {1e3 * np.median(measured[:, 0]):.0f} ms a step")
    for kind, others in names.items():
        own = "ours" + ", bfloat16" * (kind == "bfloat16")
        for other in others:
            wall, used = rounds.ratio(times, other, own)
            goal = f" (at most {MOST})" if "last" in other else ""
            print(f"  {own} over {other}: {wall:.2f} ({used:.2f}){goal}")
    if peer:
        peer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", help="A Python that has torch.")
    networks = {"nargs": "*", "default": ["unet16", "unet"]}
    parser.add_argument("--networks", **networks, help="Chains of convolutions.")
    parser.add_argument("--batch", type=int, default=8, help="Images.")
    parser.add_argument("--rounds", type=int, default=5, help="How often.")
    parser.add_argument("--seconds", type=float, default=1, help="Of a measurement.")
    settings = parser.parse_args()
    for network in settings.networks:
        compare(network, settings)
