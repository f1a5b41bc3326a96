r"""Evaluates on a Ray cluster of two nodes, one of which is killed.

    RAY_worker_niceness=0 python -m benchmarks.ray_nodes --workers=1,2,4 --limit=1000

Two nodes of Ray run on this machine, each with a raylet of its own and two places. The
command `zoo-evaluate --cluster=ray:<address>` evaluates a model there by each number of
workers; then once more, and the second node is killed when the first predictions are
stored. All predictions must have the bits of `--jobs=1`. Prints Markdown: the seconds,
and how many files differ. Needs `pip install smoothzoo[cluster]`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def command(flags, folder, *more):
    """Returns the command that evaluates into a folder."""
    return [
        *(sys.executable, "-m", "training.cli.evaluate", f"--model={flags.model}"),
        *(f"--dataset={flags.dataset}", f"--num_samples={flags.num_samples}"),
        *(f"--limit={flags.limit}", f"--output={folder}", *more),
    ]


def arrays(folder):
    """Returns the contents of all arrays by their names."""
    paths = pathlib.Path(folder).rglob("*.npy")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def count_done(folder):
    """Returns how many images are stored."""
    metas = pathlib.Path(folder).rglob("meta.json")
    return sum(json.loads(path.read_text())["done"] for path in metas)


def run(words, folder, when_begun=None):
    """Runs a command; returns its seconds, and calls a function when it has begun."""
    begin = time.monotonic()
    # Caches of the command are its own, so that workers make the corrupted sets.
    env = {**os.environ, "ZOO_CACHE": f"{folder}-cache"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        while process.poll() is None:
            time.sleep(0.2)
            if when_begun is not None and count_done(folder):
                when_begun()
                when_begun = None
        log.seek(0)
        text = log.read()
    if process.returncode:
        raise SystemExit(text)
    lines = [line for line in text.splitlines() if "done again" in line]
    return time.monotonic() - begin, [line.partition("] ")[2] for line in lines]


def main():
    """Evaluates, kills and compares."""
    from ray.cluster_utils import Cluster

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet20_smooth_mcdo.fashion_mnist")
    parser.add_argument("--dataset", default="fashion_mnist,fashion_mnist_c/fog/3")
    parser.add_argument("--num_samples", default="1,5")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--workers", default="1,2,4")
    flags = parser.parse_args()
    settings = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    second = cluster.add_node(num_cpus=2)
    print("| workers | seconds | other files |\n|---|---:|---:|")

    def evaluate(name, *more, when_begun=None):
        folder = f"{root}/{name}"
        seconds, lines = run(command(flags, folder, *more), folder, when_begun)
        found = arrays(folder)
        expected = arrays(f"{root}/1")
        odd = [k for k in {*found, *expected} if found.get(k) != expected.get(k)]
        print(f"| {name} | {seconds:.0f} | {len(odd)} of {len(expected)} |", flush=True)
        for line in lines:
            print(f"> {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as root:
        evaluate("1", "--jobs=1")
        place = f"--cluster=ray:{cluster.address}"
        for count in flags.workers.split(","):
            evaluate(f"{count} of Ray", place, f"--jobs={count}")
        evaluate(
            "4 of Ray, a node killed",
            place,
            "--jobs=4",
            when_begun=lambda: cluster.remove_node(second, allow_graceful=False),
        )
    cluster.shutdown()


if __name__ == "__main__":
    main()
