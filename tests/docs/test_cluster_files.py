"""The files in docs/cluster: what they run exists, and the workers find each other."""

import pathlib
import re
import shlex

import pytest
import yaml

from tests.helpers.shown_commands import check_command
from training import corruptions
from training.distribution import cluster

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "cluster"


def read(name):
    return [*yaml.safe_load_all((FOLDER / name).read_text())]


COMPOSE = read("compose.yaml")[0]["services"]
SERVICE, TRAIN = read("train.yaml")
EVALUATE, REPORT = read("evaluate.yaml")


def container(job):
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return found


def script(command):
    """Returns the last command of a shell script, in words."""
    assert command[:2] == ["sh", "-c"]
    text = command[2].replace("\\\n", "").replace("$$", "$")
    return shlex.split(re.search(r"exec (.*)", text)[1])


COMMANDS = [
    *(COMPOSE[name]["command"] for name in ("worker0", "worker1")),
    script(COMPOSE["evaluate"]["command"]),
    container(TRAIN)["command"],
    script(container(EVALUATE)["command"]),
    container(REPORT)["command"],
]


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_the_commands_and_their_flags_exist(number):
    check_command(COMMANDS[number])


def test_the_containers_are_the_workers_of_one_training():
    found = [cluster.find(COMPOSE[f"worker{index}"]["environment"]) for index in (0, 1)]
    expected = "worker0:2222", "worker1:2222"
    assert found == [cluster.Cluster(expected, index) for index in (0, 1)]
    assert COMMANDS[0] == COMMANDS[1]


def test_the_pods_are_the_workers_of_one_training():
    spec = TRAIN["spec"]
    env = {entry["name"]: entry["value"] for entry in container(TRAIN)["env"]}
    # What Kubernetes sets and calls them.
    name, service = TRAIN["metadata"]["name"], spec["template"]["spec"]["subdomain"]
    assert SERVICE["metadata"]["name"] == service
    assert SERVICE["spec"]["selector"] == {"job-name": name}
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]  # All at once.
    (port,) = (entry["containerPort"] for entry in container(TRAIN)["ports"])
    hosts = tuple(f"{name}-{i}.{service}:{port}" for i in range(spec["completions"]))
    for index in range(spec["completions"]):
        pod = {"JOB_COMPLETION_INDEX": str(index), "HOSTNAME": f"{name}-{index}"}
        assert cluster.find({**pod, **env}) == cluster.Cluster(hosts, index)


def test_the_pods_evaluate_each_corruption_once_and_the_report_has_all():
    text = container(EVALUATE)["command"][2].replace("\\\n", "")
    names = re.search(r"set -- (.*)", text)[1].split()
    assert sorted(names) == sorted(corruptions.BENCHMARK)
    assert EVALUATE["spec"]["completions"] == len(names)

    def flags(words):
        return dict(word.removeprefix("--").split("=", 1) for word in words[1:])

    own, whole = flags(COMMANDS[-2]), flags(COMMANDS[-1])
    assert own.pop("dataset") == "fashion_mnist,fashion_mnist_c/$1/*"
    assert whole.pop("dataset") == "fashion_mnist,fashion_mnist_c/*/*"
    assert own == whole


def test_what_is_mounted_has_a_volume():
    for job in (TRAIN, EVALUATE, REPORT):
        volumes = {v["name"] for v in job["spec"]["template"]["spec"]["volumes"]}
        mounts = {m["name"]: m["mountPath"] for m in container(job)["volumeMounts"]}
        assert mounts.keys() == volumes
        words = " ".join(map(str, container(job)["command"]))
        paths = re.findall(r"=(/[a-z]+)/?", words)
        assert set(paths) <= set(mounts.values())


def test_services_with_a_command_are_in_a_profile():
    assert {name: COMPOSE[name]["profiles"] for name in COMPOSE} == {
        **dict.fromkeys(("worker0", "worker1"), ["train"]),
        **dict.fromkeys(("evaluate", "node"), ["evaluate"]),
    }
