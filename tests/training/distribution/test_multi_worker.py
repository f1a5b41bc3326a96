"""Several processes on loopback train as one does."""

import json
import signal
import sys
import time

import numpy as np
import pytest

from tests.helpers import multi_worker
from tests.helpers.data_sets import stripes, write_idx

pytestmark = pytest.mark.slow


def results(processes, folder):
    """Returns what workers wrote, after all have ended well."""
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]
    return [
        json.loads((folder / f"{i}.json").read_text()) for i in range(len(processes))
    ]


def trained(num_workers, folder, **settings):
    folder.mkdir()
    processes = multi_worker.start_trainings(num_workers, folder, **settings)
    return results(processes, folder)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "one"
    return trained(1, folder, distribution="one", epochs=2)[0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_losses_and_weights_are_those_of_one_process(one_process, tmp_path, count):
    found = trained(count, tmp_path / "several", epochs=2)
    for own in found:
        for row, expected in zip(own["rows"], one_process["rows"], strict=True):
            assert row.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_allclose(row[name], value, 1e-6, 1e-7, err_msg=name)
        for path, value in one_process["weights"].items():
            np.testing.assert_allclose(
                own["weights"][path], value, rtol=1e-6, atol=1e-6, err_msg=path
            )
    last = found[0]["rows"][-1]
    np.testing.assert_allclose(last["test_loss"], found[0]["nll"], rtol=1e-6)
    masks = [np.array(own["mask"]) > 0 for own in found]
    for one, other in zip(masks, masks[1:], strict=False):
        assert 10 < np.sum(one != other) < 54  # Of 64; 2e-8 by chance.
    assert sorted(p.name for p in (tmp_path / "several").iterdir()) == [
        *(f"{i}.json" for i in range(count)),
        "chief",
    ]


@pytest.mark.parametrize("victim", [0, 1])
def test_the_same_command_goes_on_after_one_was_killed(tmp_path, victim):
    settings = {"epochs": 6, "rate": 0.3, "batch_size": 8, "count": 64}
    whole = trained(2, tmp_path / "whole", **settings)
    folder = tmp_path / "killed"
    folder.mkdir()
    settings["checkpoint_seconds"] = 0
    processes = multi_worker.start_trainings(2, folder, **settings)
    rows = folder / "chief" / "metrics.jsonl"
    while not rows.exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, errors = processes[1 - victim].communicate()
    assert time.monotonic() - killed < 30
    assert processes[1 - victim].returncode == 1
    (line,) = errors.splitlines()
    who = ["Error: The chief, worker 0", "Error: Worker 1"][victim]
    assert line.startswith(who)
    assert line.endswith("the training goes on from its last checkpoint.")
    again = results(multi_worker.start_trainings(2, folder, **settings), folder)
    for own, expected in zip(again, whole, strict=True):
        for row, other in zip(own["rows"], expected["rows"], strict=True):
            for name, value in other.items():
                np.testing.assert_allclose(row[name], value, 1e-6, 1e-7, err_msg=name)
        for path, value in expected["weights"].items():
            np.testing.assert_allclose(
                own["weights"][path], value, rtol=1e-6, atol=1e-6, err_msg=path
            )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, "seed is 0 on the chief and is 1 there"),
        ({"batch_size": 3}, "recipe.batch_size is 9 on the chief and is 3 there"),
        ({"inverted": True}, "training data is '"),
    ],
)
def test_a_worker_of_another_training_is_refused(tmp_path, change, message):
    processes = multi_worker.start_trainings(2, tmp_path, changes={1: change})
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 1
        assert "are not set up for the same training: on worker 1 (127." in errors
        assert message in errors
        assert "Traceback" not in errors


def test_several_devices_of_each_worker_train_as_one(one_process, tmp_path):
    found = trained(2, tmp_path / "several", epochs=2, devices=2)
    for name, value in one_process["rows"][-1].items():
        np.testing.assert_allclose(found[0]["rows"][-1][name], value, 1e-6, 1e-7, name)
    for path, value in one_process["weights"].items():
        for own in found:
            np.testing.assert_allclose(own["weights"][path], value, 1e-6, 1e-6, path)


def test_workers_with_unequal_devices_are_refused(tmp_path):
    changes = {0: {"devices": 2}, 1: {"devices": 1}}
    workers = multi_worker.start_trainings(2, tmp_path, changes)
    # They would wait for each other for ever, if they were not refused.
    ended = [(worker.communicate(45)[1], worker.returncode) for worker in workers]
    for errors, status in ended:
        assert status == 1
        (line,) = [line for line in errors.splitlines() if line.startswith("Error")]
        assert "the same number of GPUs" in line
        assert "Received: 2 on the chief, worker 0 (127.0.0.1:" in line
        assert ", 1 on worker 1 (" in line


def test_the_command_refuses_another_seed_in_one_line(tmp_path):
    data = stripes(320, 28)
    for split in ("train", "t10k"):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", data.images[..., 0])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", data.labels)
    command = [sys.executable, "-m", "training.cli.train", "--model=resnet20"]
    command += ["--recipe=fashion_mnist", "--distribution=multi_worker"]
    command += [f"--data_dir={tmp_path}"]
    both = [[*command, f"--workdir={tmp_path / str(i)}"] for i in range(2)]
    both[1] += ["--seed=7"]
    for process in multi_worker.start(both):
        output, errors = process.communicate()
        assert (process.returncode, output) == (1, "")
        lines = [line for line in errors.splitlines() if line.startswith("Error")]
        assert len(lines) == 1, errors
        assert "seed is 0 on the chief and is 7 there" in lines[0]
    assert not (tmp_path / "1").exists()
    assert not (tmp_path / "0" / "checkpoint.safetensors").exists()
