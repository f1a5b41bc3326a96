r"""Accuracies under PGD, against those of ART and foolbox on the same network.

    python -m venv peers
    peers/bin/pip install -c constraints.txt tensorflow keras safetensors absl-py \
        adversarial-robustness-toolbox foolbox
    python -m benchmarks.attack_peers --peers=peers/bin/python --data_dir=data

All begin at the images, the first ones of the test set of CIFAR-10, and take the same
steps of the same size. What each makes of them is judged by one network, so that a
difference is one of the images alone. Accuracies under two attacks of equal strength
agree within 0.3 points. The libraries, which are no dependencies of this project, run
in the Python of `--peers`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np

from benchmarks import rounds
from benchmarks.attacks_of_peers import LIBRARIES

# Norms, radii in gray levels, and steps, whose sizes together are 2.5 radii.
# At larger radii nothing is left to compare.
ATTACKS = (("linf", 0.5, 10), ("linf", 1.0, 10), ("l2", 16.0, 10), ("linf", 2.0, 1))
TARGET = 0.3  # Points.


def ours(name: str, images, labels, settings: dict):
    """Returns attacked images."""
    import zoo
    from training.attacks.pgd import Program

    program = Program(
        zoo.load(name),
        settings["steps"],
        norm=settings["norm"],
        draws=1,
        random_start=False,
    )
    sizes, batch = (settings["epsilon"], settings["step_size"]), settings["batch"]
    found = [
        np.asarray(program(images[i : i + batch], labels[i : i + batch], *sizes))
        for i in range(0, len(images), batch)
    ]
    return np.concatenate(found)


def theirs(python: str, library: str, name: str, images, labels, settings: dict):
    """Returns attacked images, made in another environment."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = (str(pathlib.Path(folder, n)) for n in ("in.npz", "out.npy"))
        np.savez(path, images=images, labels=labels)
        threads = str(len(os.sched_getaffinity(0)))
        arguments = threads, path, output, library, name
        command = [python, "-m", "benchmarks.attacks_of_peers", *arguments]
        command.append(json.dumps(settings))
        subprocess.run(command, check=True, cwd=rounds.ROOT)
        return np.load(output)


def main() -> None:
    """Prints an accuracy for each attack and library."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", required=True, help="Python of ART and foolbox.")
    parser.add_argument("--data_dir", required=True, help="Folder of CIFAR-10.")
    parser.add_argument("--network", default="resnet20.cifar10")
    parser.add_argument("--count", type=int, default=1000, help="Number of images.")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--libraries", nargs="+", default=list(LIBRARIES))
    flags = parser.parse_args()
    import zoo
    from training import data

    test = data.load("cifar10", "test", flags.data_dir).take(flags.count)
    images, labels = test.images, np.asarray(test.labels, "int32")
    model = zoo.load(flags.network)

    def accuracy(images):
        logits = model.predict(images, batch_size=flags.batch, verbose=0)
        return 100 * np.mean(np.argmax(logits, axis=1) == labels)

    print(f"{flags.network}, {len(labels)} images, clean {accuracy(images):.2f} %")
    for norm, epsilon, steps in ATTACKS:
        settings = {
            "norm": norm,
            "epsilon": epsilon,
            "step_size": epsilon if steps == 1 else 2.5 * epsilon / steps,
            "steps": steps,
            "draws": 1,
            "batch": flags.batch,
        }
        own = accuracy(ours(flags.network, images, labels, settings))
        texts = [f"ours {own:.2f} %"]
        for library in flags.libraries:
            if version := rounds.version(flags.peers, LIBRARIES[library]):
                made = theirs(
                    flags.peers, library, flags.network, images, labels, settings
                )
                other = accuracy(made)
                mark = "" if abs(own - other) <= TARGET else f", more than {TARGET}"
                texts.append(f"{library} {version} {other:.2f} %{mark}")
        print(f"{norm} {epsilon:g}, {steps} steps: {'; '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
