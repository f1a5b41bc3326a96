"""`zoo-evaluate --jobs` as a user meets it, with processes of its own."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import processes
from tests.helpers.commands import environment

MODELS = "resnet20_smooth_mcdo.fashion_mnist,resnet20.fashion_mnist"
SETS = "fashion_mnist,fashion_mnist_c/fog/3"


def command(folder, *flags):
    own = [f"--model={MODELS}", f"--dataset={SETS}", "--num_samples=1,5"]
    own += ["--limit=1033", "--batch_size=50", f"--output={folder}"]
    return [sys.executable, "-m", "training.cli.evaluate", *own, *flags]


def start(folder, *flags):
    """Starts it in a group of processes of its own, as a terminal does."""
    return subprocess.Popen(
        command(folder, *flags),
        env=environment(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def group(process):
    """Returns the numbers of the processes that a command has started, and its own."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == process.pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def wait(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def done(folder):
    metas = (folder / "predictions").rglob("meta.json")
    return sum(json.loads(path.read_text())["done"] for path in metas)


def contents(folder):
    paths = [p for p in (folder / "predictions").rglob("*.npy")]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_an_interrupt_ends_all_and_the_same_command_goes_on(tmp_path):
    process = start(tmp_path / "two", "--jobs=2")
    wait(lambda: done(tmp_path / "two") > 0, process)
    assert len(group(process)) == 3
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate()
    *notes, last = stderr.splitlines()
    assert (process.returncode, last) == (130, "Error: interrupted")
    assert all(line.startswith("I") for line in notes), stderr
    assert not group(process)

    begun = done(tmp_path / "two")
    process = start(tmp_path / "two", "--jobs=2")
    wait(lambda: done(tmp_path / "two") > begun, process)
    process.kill()
    process.communicate()
    end = time.monotonic() + 60  # They see it when they have passed a slice.
    while group(process):
        assert time.monotonic() < end
        time.sleep(0.1)

    for folder, jobs in (("two", 2), ("one", 1)):
        flags = command(tmp_path / folder, f"--jobs={jobs}")
        processes.run(flags, check=True, env=environment())
    assert done(tmp_path / "two") == 4 * 1033
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_cluster_that_is_none_is_told_at_once(tmp_path):
    process = processes.run(command(tmp_path, "--cluster=slurm"), env=environment())
    assert process.returncode == 1
    assert process.stderr == (
        "Error: `--cluster` must be ray, or ray:<host>:<port> for the address of a "
        "head node. Received: cluster=slurm\n"
    )


def test_a_cluster_without_its_package_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None; "
        "from training.cli import evaluate; sys.modules['__main__'] = evaluate; "
        f"sys.argv = {command(tmp_path, '--cluster=ray')[2:]}; evaluate.run()"
    )
    process = processes.run([sys.executable, "-c", code], env=environment())
    assert process.returncode == 1
    assert process.stderr == (
        "Error: The workers of a cluster are those of Ray: "
        "`pip install smoothzoo[cluster]`.\n"
    )
