"""Who trains together, from what launchers set."""

import itertools
import json

import pytest

from training import distribution
from training.distribution import cluster


def tf_config(index=0, kind="worker", **jobs):
    config = {"cluster": jobs, "task": {"type": kind, "index": index}}
    return {"TF_CONFIG": json.dumps(config)}


def test_the_workers_of_tf_config_have_its_order_behind_the_chief():
    found = cluster.find(tf_config(1, worker=["a:1", "b:1", "c:7"]))
    assert found == cluster.Cluster(("a:1", "b:1", "c:7"), 1)
    found = cluster.find(tf_config(1, chief=["z:1"], worker=["a:1", "b:1"]))
    assert found == cluster.Cluster(("z:1", "a:1", "b:1"), 2)
    found = cluster.find(tf_config(0, "chief", chief=["z:1"], worker=["a:1", "b:1"]))
    assert found.index == 0
    assert found.name(0) == "the chief, worker 0 (z:1)"
    assert found.name(2) == "worker 2 (b:1)"


@pytest.mark.parametrize(
    "config",
    [
        "worker0:2222",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
        tf_config(2, worker=["a:1", "b:1"])["TF_CONFIG"],
        tf_config(-1, worker=["a:1", "b:1"])["TF_CONFIG"],
        tf_config(0, "evaluator", worker=["a:1"])["TF_CONFIG"],
        tf_config(0, worker=["a:1"], ps=["b:1"])["TF_CONFIG"],
        tf_config(0, worker=["a:1"], chief=["b:1", "c:1"])["TF_CONFIG"],
    ],
)
def test_another_tf_config_is_refused_with_an_example(config):
    with pytest.raises(ValueError, match=r'must be like \{"cluster".*Received: TF_'):
        cluster.find({"TF_CONFIG": config})


@pytest.mark.parametrize("addresses", [["a:1", "a:1"], ["a:1", "b"], ["a:1", 7]])
def test_workers_need_addresses_of_their_own(addresses):
    with pytest.raises(ValueError, match="an address of its own"):
        cluster.find(tf_config(0, worker=addresses))


def slurm(rank=0, node=0, nodes="n[1-2]", tasks="2(x2)", **more):
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_JOB_ID": "31007",
        "SLURM_STEP_ID": "0",
        **more,
    }


def test_each_task_of_slurm_is_a_worker():
    port = 15_000 + 31_007 % 15_000
    for rank in range(4):
        found = cluster.find(slurm(rank, node=rank // 2))
        assert found.index == rank
        assert found.addresses == (
            f"n1:{port}",
            f"n1:{port + 1}",
            f"n2:{port}",
            f"n2:{port + 1}",
        )
    found = cluster.find(slurm(2, 1, nodes="a,b[09-10]-x", tasks="2,1(x2)"))
    hosts = [address.partition(":")[0] for address in found.addresses]
    assert hosts == ["a", "a", "b09-x", "b10-x"]


def test_steps_that_run_at_once_have_other_ports():
    jobs, steps = range(31_000, 31_050), range(4)
    ports = {
        (job, step): int(
            cluster.find(slurm(SLURM_JOB_ID=str(job), SLURM_STEP_ID=str(step)))
            .addresses[0]
            .partition(":")[2]
        )
        for job, step in itertools.product(jobs, steps)
    }
    for job in jobs:
        assert len({ports[job, step] for step in steps}) == 4
    assert {range(15_000, 30_000).count(port) for port in ports.values()} == {1}


@pytest.mark.parametrize(
    "text, names",
    [
        ("login", "login"),
        ("n[1-3]", "n1 n2 n3"),
        ("n[08-10,2],m", "n08 n09 n10 n2 m"),
        ("a,b[1,3]c,d", "a b1c b3c d"),
        ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
    ],
)
def test_lists_of_nodes_are_those_of_scontrol(text, names):
    assert cluster.hosts(text) == names.split()


def test_a_batch_script_without_srun_is_told():
    environment = slurm()
    del environment["SLURM_STEP_NODELIST"]
    with pytest.raises(ValueError, match="Start the workers with srun"):
        cluster.find(environment)


def test_tasks_in_another_order_than_the_nodes_are_refused():
    with pytest.raises(
        ValueError, match="srun --distribution=block.*task 1 on node n2"
    ):
        cluster.find(slurm(1, node=1))


def pod(index=2, **more):
    return {
        "JOB_COMPLETION_INDEX": str(index),
        "HOSTNAME": f"train-{index}",
        "ZOO_WORKERS": "3",
        **more,
    }


def test_each_pod_of_an_indexed_job_is_a_worker():
    pods = ("train-0.train:2222", "train-1.train:2222", "train-2.train:2222")
    assert cluster.find(pod()) == cluster.Cluster(pods, 2)
    assert cluster.find(pod(0, ZOO_SERVICE="net")).addresses[2] == "train-2.net:2222"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ZOO_WORKERS": ""}, "set ZOO_WORKERS to the number"),
        ({"ZOO_WORKERS": "two"}, "Received: ZOO_WORKERS=two"),
        ({"HOSTNAME": "laptop"}, "Received: HOSTNAME=laptop"),
        ({"ZOO_WORKERS": "2"}, "for worker 2"),
    ],
)
def test_a_job_that_does_not_say_enough_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        cluster.find(pod(**change))


def test_tf_config_counts_before_a_launcher():
    assert cluster.find({**slurm(), **tf_config(worker=["a:1"])}).addresses == ("a:1",)


def test_without_a_launcher_the_command_says_what_is_needed(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_PROCID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="set TF_CONFIG for each of them"):
        distribution.scope("multi_worker")
