r"""Ratios on one accelerator, under JAX: networks, trainer and evaluation.

    KERAS_BACKEND=jax XLA_PYTHON_CLIENT_MEM_FRACTION=.5 python -m benchmarks.accelerator

Each round measures all rows of a part one after the other, in turning order; a ratio is
the median of those within a round, above 1 where ours is the faster one. PyTorch and
torchvision are compared where they are installed beside JAX; the memory fraction leaves
them room. The networks compute in bfloat16 on random images.

* `networks`: training steps and predictions of three networks, against torchvision's
  `resnet50`, eager and compiled, and ten passes of a posterior against ten predictions.
* `trainer`: the trainer of `zoo-train` against a bare loop of the same steps.
* `evaluation`: predictions of `zoo-evaluate`, clean and corrupted, against the bare
  forward pass.

`--seconds` ends it after the part in which they are over. On a CPU, a small case shows
that all of it runs:

    KERAS_BACKEND=jax python -m benchmarks.accelerator --network=resnet20 --side=32 \
        --small=resnet20 --batch=8 --images=64 --rounds=1 --wait=0
"""

import argparse
import dataclasses
import functools
import importlib.util
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import rounds

TARGETS = {
    "train over torchvision, eager": 1.35,
    "train over torchvision, compiled": 1.3,
    "train smooth over plain": 0.98,
    "train mcdo over plain": 0.98,
    "predict over torchvision, compiled": 1.1,
    "ten passes of mcdo over ten predictions": 1.15,
    "zoo-train over the bare loop": 0.9,
    "zoo-evaluate over the bare pass": 0.8,
    "zoo-evaluate, corrupted, over the bare pass": 0.8,
}
PASSES = 10


def images_of(count: int, side: int):
    """Returns random images and labels of ten classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, 3), "uint8")
    return images, rng.integers(0, 10, count, "int32")


def built(name: str, side: int):
    """Returns one of our networks in bfloat16."""
    import keras

    import zoo

    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(0)
    return zoo.build(name, (side, side, 3), 10)


def update(model, state, images, labels):
    """Returns the state of a model after a bare step of gradient descent."""
    import jax

    def loss(trainable, fixed):
        logits, fixed = model.stateless_call(trainable, fixed, images, training=True)
        logs = jax.nn.log_softmax(logits.astype("float32"))
        return -jax.numpy.take_along_axis(logs, labels[:, None], 1).mean(), fixed

    trainable, fixed, momenta = state
    (_, fixed), grads = jax.value_and_grad(loss, has_aux=True)(trainable, fixed)
    grads = [g + 5e-4 * v for g, v in zip(grads, trainable, strict=True)]
    momenta = [0.9 * m + g for m, g in zip(momenta, grads, strict=True)]
    steps = zip(trainable, momenta, grads, strict=True)
    return [v - 0.01 * (g + 0.9 * m) for v, m, g in steps], fixed, momenta


def state_of(model):
    """Returns weights, other variables and zero momenta, as new arrays."""
    import jax.numpy as jnp

    trainable = [jnp.array(v.value) for v in model.trainable_variables]
    fixed = [jnp.array(v.value) for v in model.non_trainable_variables]
    return trainable, fixed, [jnp.zeros_like(v) for v in trainable]


def repeated(function, *state):
    """Returns a function of a count of calls to seconds and processor seconds of one.

    Each call gets what the last returned; the clock stops when the device has ended.
    """
    import jax

    def run(count):
        nonlocal state
        start, used = time.perf_counter(), time.process_time()
        for _ in range(count):
            state = function(*state)
        jax.block_until_ready(state)
        wall, used = time.perf_counter() - start, time.process_time() - used
        return wall / count, used / count

    run(1)
    return run


def training_step(name, flags):
    """Returns a bare training step of one of our networks."""
    import jax

    model = built(name, flags.side)
    images, labels = map(jax.device_put, images_of(flags.batch, flags.side))
    step = jax.jit(functools.partial(update, model), donate_argnums=0)
    return repeated(lambda state: (step(state, images, labels),), state_of(model))


def prediction(model, flags, passes: int = 0):
    """Returns a call of a network, or of its posterior of several passes."""
    import jax

    from zoo.posterior import MonteCarlo

    images = jax.device_put(images_of(flags.batch, flags.side)[0])
    network = MonteCarlo(model, passes, seed=0) if passes else model
    trainable, fixed, _ = state_of(network)

    @jax.jit
    def predict(fixed):
        logits, fixed = network.stateless_call(trainable, fixed, images)
        return fixed, logits

    return repeated(lambda fixed, *_: predict(fixed), fixed)


def torch_steps(flags):
    """Returns training steps and predictions of torchvision, eager and compiled."""
    found = map(importlib.util.find_spec, ("torch", "torchvision"))
    if not all(found) or flags.network != "resnet50":
        return {}
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = images_of(flags.batch, flags.side)
    channels_last = {"memory_format": torch.channels_last}
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device, **channels_last)
    y = torch.from_numpy(labels).long().to(device)

    def made(compiled):
        network = torchvision.models.resnet50(num_classes=10)
        network = network.to(device, **channels_last)
        optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True)
        run = torch.compile(network) if compiled else network

        def train():
            network.train()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(run(x / 255.0), y)
            loss.backward()
            optimizer.step()

        def predict():
            network.eval()
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
                run(x / 255.0)

        return train, predict

    def clocked(step):
        def run(count):
            start, used = time.perf_counter(), time.process_time()
            for _ in range(count):
                step()
            if device == "cuda":
                torch.cuda.synchronize()
            wall, used = time.perf_counter() - start, time.process_time() - used
            return wall / count, used / count

        run(2)
        return run

    steps = {}
    for kind in ("eager", "compiled"):
        train, predict = made(kind == "compiled")
        steps[f"train torchvision, {kind}"] = clocked(train)
        steps[f"predict torchvision, {kind}"] = clocked(predict)
    return steps


def networks(flags):
    """Yields rows of the networks: a name, images per second, and the ratio."""
    forms = {"plain": "", "smooth": "_smooth", "mcdo": "_mcdo"}
    steps = {
        f"train {form}": training_step(f"{flags.network}{ending}", flags)
        for form, ending in forms.items()
    }
    dropout = built(f"{flags.network}_mcdo", flags.side)
    steps["predict plain"] = prediction(built(flags.network, flags.side), flags)
    steps["predict mcdo"] = prediction(dropout, flags)
    steps["ten passes"] = prediction(dropout, flags, PASSES)
    steps |= torch_steps(flags)
    times = rounds.measure(dict(steps), flags.rounds, flags.wait)

    def rate(name):
        return flags.batch / np.median(times[name][:, 0])

    for form in ("smooth", "mcdo"):
        ratio = rounds.ratio(times, f"train {form}", "train plain")[0]
        yield f"train {form} over plain", rate(f"train {form}"), ratio
    for what in ("train", "predict"):
        for kind in ("eager", "compiled"):
            if f"{what} torchvision, {kind}" in times:
                peer = f"{what} torchvision, {kind}"
                ratio = rounds.ratio(times, f"{what} plain", peer)[0]
                yield f"{what} over torchvision, {kind}", rate(f"{what} plain"), ratio
    times["ten calls"] = PASSES * times["predict mcdo"]
    ratio = rounds.ratio(times, "ten passes", "ten calls")[0]
    yield "ten passes of mcdo over ten predictions", rate("ten passes"), ratio


def trained_rate(flags):
    """Returns the images per second of an epoch of `training.trainer.train`."""
    from training import data, trainer
    from training.recipes import cifar10

    images, labels = images_of(flags.images, 32)
    recipe = dataclasses.replace(
        cifar10.RECIPE, batch_size=flags.batch, epochs=3, milestones=(), holdout=0
    )
    model = built(flags.small, 32)
    whole = data.ImageData("noise", images, labels, tuple("0123456789"))
    with tempfile.TemporaryDirectory() as folder:
        rows = trainer.train(model, recipe, whole, pathlib.Path(folder))
    # The first epoch has the compiling in it.
    seconds = rows[-1]["seconds"] - rows[0]["seconds"]
    count = flags.images // flags.batch * flags.batch
    return (recipe.epochs - 1) * count / seconds


def bare_rate(flags):
    """Returns the images per second of a bare loop of the same steps in one call."""
    import jax

    from training import batches

    model = built(flags.small, 32)
    images, labels = map(jax.device_put, images_of(flags.images, 32))
    prepare = batches.preparation(("flip", "crop4"), ((),), 10)
    steps = flags.images // flags.batch
    order = np.random.default_rng(0).permutation(flags.images)
    order = order[: steps * flags.batch].reshape(steps, -1).astype("uint32")

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state, images, labels, order):
        def step(number, state):
            index = order[number]
            key = np.uint32(0)
            examples = prepare(key, images[index], labels[index], index)
            return update(model, state, *examples)

        return jax.lax.fori_loop(0, steps, step, state)

    run = repeated(
        lambda state: (epoch(state, images, labels, order),), state_of(model)
    )
    return steps * flags.batch / run(2)[0]


def training(flags):
    """Yields the row of the trainer."""
    pairs = [(trained_rate(flags), bare_rate(flags)) for _ in range(flags.rounds)]
    rate = np.median([ours for ours, _ in pairs])
    ratio = np.median([ours / bare for ours, bare in pairs])
    yield "zoo-train over the bare loop", rate, ratio


def evaluation(flags):
    """Yields the rows of the evaluation."""
    from training import corruptions
    from training.evaluation.sampling import Passes

    model = built(f"{flags.small}_mcdo", 32)
    forward = prediction(model, argparse.Namespace(**{**vars(flags), "side": 32}))
    images = images_of(flags.images, 32)[0]
    passes = Passes(model, (PASSES,), batch_size=flags.batch)

    def clean():
        for _ in passes.batches(images):
            pass

    def corrupted():
        for _ in passes.batches(corruptions.corrupt_all(images, "fog", 3)):
            pass

    steps = {"": rounds.local(clean), ", corrupted,": rounds.local(corrupted)}
    times = rounds.measure({**steps, "bare": forward}, flags.rounds, 0)
    # As many images pass as a call of the network has, ten times each.
    times["bare"] *= PASSES * flags.images / flags.batch
    for name in steps:
        ratio = rounds.ratio(times, name, "bare")[0]
        rate = PASSES * flags.images / np.median(times[name][:, 0])
        yield f"zoo-evaluate{name} over the bare pass", rate, ratio


PARTS = {"networks": networks, "trainer": training, "evaluation": evaluation}


def main():
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="resnet50", help="of the first part")
    parser.add_argument("--side", type=int, default=224, help="of its images")
    parser.add_argument("--small", default="resnet18", help="network of the others")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=12_800, help="of 32 x 32 pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--wait", type=float, default=1.0, help="seconds a row and round"
    )
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    flags = parser.parse_args()
    import jax

    start = time.monotonic()
    device = jax.devices()[0]
    print(f"{device.device_kind}, jax {jax.__version__}, batch {flags.batch}\n")
    print("| | images/s or passes/s | ratio | target |\n|---|---:|---:|---:|")
    for name in flags.parts:
        if time.monotonic() - start > flags.seconds:
            print(f"\n`{name}` was left out: {flags.seconds:.0f} s were over.")
            continue
        for row, rate, ratio in PARTS[name](flags):
            target = TARGETS.get(row, "")
            print(f"| {row} | {rate:,.0f} | {ratio:.3f} | {target} |", flush=True)


if __name__ == "__main__":
    main()
