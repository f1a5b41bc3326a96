"""Who trains together: the addresses of all workers, from the environment.

`TF_CONFIG` is TensorFlow's own variable. Under Slurm and in an indexed Kubernetes job
the addresses follow from the variables that these set.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping

_PORT = 2222  # Of each pod, which has an address of its own.
# Below the ports that Linux gives to outgoing connections.
_SLURM_PORTS = range(15_000, 30_000)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """All workers, and which of them this process is.

    Attributes:
        addresses: Host and port of each, such as `"node1:2222"`; the first is the
            chief, which writes.
        index: The number of this process among them.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """Returns what messages call a worker."""
        who = "the chief, worker 0" if index == 0 else f"worker {index}"
        return f"{who} ({self.addresses[index]})"


def find(environment: Mapping[str, str]) -> Cluster:
    """Returns the cluster that the variables of this process describe.

    Args:
        environment: `os.environ` or like it. What it is taken from, in this order:
            `TF_CONFIG`; Slurm's variables of a step that `srun` started, with one
            worker for each task; `JOB_COMPLETION_INDEX` and `HOSTNAME` of an indexed
            Kubernetes job, where `ZOO_WORKERS` is the number of completions and
            `ZOO_SERVICE` the headless service, by default of the name of the job.

    Raises:
        ValueError: If there are none of these, or they contradict each other.

    Example:

    >>> find({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}, '
    ...       '"task": {"type": "worker", "index": 1}}'})
    Cluster(addresses=('a:1', 'b:1'), index=1)
    """
    for name, read in (
        ("TF_CONFIG", _tf_config),
        ("SLURM_PROCID", _slurm),
        ("JOB_COMPLETION_INDEX", _kubernetes),
    ):
        if environment.get(name):
            return read(environment)
    raise ValueError(
        "`distribution` 'multi_worker' needs to know all workers: set TF_CONFIG for "
        "each of them, start them with srun, or as an indexed Kubernetes job. "
        "Received: no TF_CONFIG, no SLURM_PROCID and no JOB_COMPLETION_INDEX"
    )


def _tf_config(environment):
    text = environment["TF_CONFIG"]
    try:
        config = json.loads(text)
        task = config["task"]
        jobs = {job: list(config["cluster"][job]) for job in config["cluster"]}
        kind, index = task["type"], int(task["index"])
        if not set(jobs) <= {"chief", "worker"} or index < 0:
            raise KeyError(kind)
        if len(jobs.get("chief", ())) > 1 or index >= len(jobs[kind]):
            raise KeyError(kind)
    except (ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            'TF_CONFIG must be like {"cluster": {"worker": ["host1:2222", '
            '"host2:2222"]}, "task": {"type": "worker", "index": 0}}, with the index '
            "of this process, and possibly one chief. Received: "
            f"TF_CONFIG={text}"
        ) from None
    chiefs = jobs.get("chief", [])
    addresses = [*chiefs, *jobs.get("worker", [])]
    return _checked(addresses, index + (len(chiefs) if kind == "worker" else 0))


def _slurm(environment):
    rank = int(environment["SLURM_PROCID"])
    try:
        nodes = hosts(environment["SLURM_STEP_NODELIST"])
        counts = tasks(environment["SLURM_STEP_TASKS_PER_NODE"])
    except KeyError as error:
        raise ValueError(
            "Start the workers with srun, one task for each, such as `srun zoo-train` "
            f"in the script of sbatch. Received: SLURM_PROCID={rank} and no {error}"
        ) from None
    job, step = (
        int(environment.get(name, 0)) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")
    )
    port = _SLURM_PORTS[(job + 7 * step) % len(_SLURM_PORTS)]
    places = [
        (node, port + local)
        for node, count in zip(nodes, counts, strict=True)
        for local in range(count)
    ]
    own = nodes[int(environment.get("SLURM_NODEID", 0))]
    if rank >= len(places) or places[rank][0] != own:
        raise ValueError(
            "Slurm must give the tasks to the nodes in order; use "
            f"`srun --distribution=block`. Received: task {rank} on node {own}, of "
            f"{environment['SLURM_STEP_TASKS_PER_NODE']} tasks on "
            f"{environment['SLURM_STEP_NODELIST']}"
        )
    return _checked([f"{node}:{port}" for node, port in places], rank)


def hosts(text: str) -> list[str]:
    """Returns the names in a list of nodes as Slurm writes it.

    Example:

    >>> hosts("gpu[08-10,12],login")
    ['gpu08', 'gpu09', 'gpu10', 'gpu12', 'login']
    """
    names = re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text)
    return [host for name in names for host in _expanded(name)]


def _expanded(name):
    parts = re.split(r"\[([^\]]*)\]", name)
    # Every second part was in brackets.
    parts[1::2] = [_numbers(part) for part in parts[1::2]]
    parts[::2] = [[part] for part in parts[::2]]
    return map("".join, itertools.product(*parts))


def _numbers(text):
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        count = range(int(first), int(last or first) + 1)
        numbers += [str(number).zfill(len(first)) for number in count]
    return numbers


def tasks(text: str) -> list[int]:
    """Returns the number of tasks on each node, as Slurm writes it.

    Example:

    >>> tasks("2(x3),1")
    [2, 2, 2, 1]
    """
    counts = []
    for part in text.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts


def _kubernetes(environment):
    index = int(environment["JOB_COMPLETION_INDEX"])
    host, count = (environment.get(name, "") for name in ("HOSTNAME", "ZOO_WORKERS"))
    if not (count.isdecimal() and int(count)):
        raise ValueError(
            "In a Kubernetes job, set ZOO_WORKERS to the number of its completions. "
            f"Received: ZOO_WORKERS={count}"
        )
    job = host.removesuffix(f"-{index}")
    if job in (host, ""):
        raise ValueError(
            "A pod of an indexed Kubernetes job is called as the job, with its index "
            f"behind. Received: HOSTNAME={host}, JOB_COMPLETION_INDEX={index}"
        )
    service = environment.get("ZOO_SERVICE") or job
    pods = [f"{job}-{number}.{service}:{_PORT}" for number in range(int(count))]
    return _checked(pods, index)


def _checked(addresses, index):
    wrong = [
        address
        for address in addresses
        if not re.fullmatch(r"\S+:[0-9]{1,5}", str(address))
    ]
    if wrong or len(set(addresses)) < len(addresses) or index >= len(addresses):
        raise ValueError(
            "Each worker needs an address of its own, a host and a port such as "
            f"node1:2222. Received: {', '.join(map(str, addresses))} for worker {index}"
        )
    return Cluster(tuple(addresses), index)
