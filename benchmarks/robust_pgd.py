r"""Time of PGD in expectation over draws, against the loops of ART and foolbox.

    python -m venv peers
    peers/bin/pip install -c constraints.txt tensorflow keras safetensors absl-py \
        adversarial-robustness-toolbox foolbox
    python -m benchmarks.robust_pgd --peers=peers/bin/python

All take the same number of gradients, of the same network and batch: ART averages the
gradients of single draws, and foolbox has a wrapper that averages the logits of
several. A round measures all of them one after the other; a ratio is the median over
the rounds of a round's time over that of `ours`, and in brackets of processor time,
which other programs disturb less. The libraries, which are no dependencies of this
project, run in the Python of `--peers`. `--steps=2` has the ratios of 20 steps, for
what each step takes is the same.
"""

import argparse
import os

import numpy as np

from benchmarks import rounds
from benchmarks.attacks_of_peers import LIBRARIES

EPSILON = 8.0
TARGET = 2.0


def ours(name: str, settings: dict):
    """Returns a function that attacks a batch of noise."""
    import zoo
    from training.attacks.attacked import Attack
    from zoo.posterior import MonteCarlo

    model = zoo.load(name) if "." in name else zoo.build(name, (32, 32, 3), 10)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (settings["batch"], 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 10, settings["batch"]).astype("int32")
    own = {k: settings[k] for k in ("norm", "epsilon", "step_size", "steps", "draws")}
    program = Attack("pgd", **own).program(MonteCarlo(model, settings["draws"]))
    sizes = settings["epsilon"], settings["step_size"]
    return lambda: np.asarray(program(images, labels, *sizes))


def main() -> None:
    """Prints seconds of an attack, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", help="Python of ART and foolbox.")
    parser.add_argument("--network", default="resnet18_mcdo")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    flags = parser.parse_args()
    settings = {
        "norm": "linf",
        "epsilon": EPSILON,
        "step_size": 2.5 * EPSILON / flags.steps,
        "steps": flags.steps,
        "draws": flags.draws,
        "batch": flags.batch,
    }
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(flags.threads)
    steps = {"ours": rounds.local(ours(flags.network, settings))}
    remotes = []
    for library, package in LIBRARIES.items() if flags.peers else ():
        if found := rounds.version(flags.peers, package):
            remotes.append(
                rounds.Remote(
                    flags.peers, "benchmarks.attacks_of_peers", (str(flags.threads),)
                )
            )
            job = {"library": library, "model": flags.network, "settings": settings}
            steps[f"{library} {found}"] = remotes[-1].step(library, **job)
    times = rounds.measure(steps, flags.rounds, 0)
    print(
        f"{flags.network}, batch {flags.batch}, {flags.steps} steps, {flags.draws} "
        f"draws, {flags.threads} threads, load {os.getloadavg()[0]:.1f}"
    )
    for name, seconds in times.items():
        wall, used = np.median(seconds, axis=0)
        ratio = rounds.ratio(times, "ours", name)
        print(
            f"{name:16s} {wall:8.2f} s ({used:.2f})  {ratio[0]:5.2f} ({ratio[1]:.2f})"
            + ("" if name == "ours" else f"  target {TARGET:.1f}")
        )
    for remote in remotes:
        remote.stop()


if __name__ == "__main__":
    main()
