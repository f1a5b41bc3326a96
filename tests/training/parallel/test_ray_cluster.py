import sys
import types

import pytest

from tests.helpers import pools
from training.parallel import ray_cluster
from training.parallel.pool import Pool


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_calls_outlive_a_node(monkeypatch):
    ray = pytest.importorskip("ray", reason="needs `pip install smoothzoo[cluster]`")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")
    settings = {"num_cpus": 1, "include_dashboard": False}
    # This process is connected before there is another node.
    cluster = Cluster(initialize_head=True, connect=True, head_node_args=settings)
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    engine = ray_cluster.Cluster(cluster.address)
    assert engine.num_workers == 2
    with Pool(engine) as pool:
        pids = set()
        while len(pids) < 2:  # The other one may come up later.
            both = [pool.submit(pools.sleep, 0.5) for _ in range(2)]
            pids |= {future.result() for future in both}
        calls = [pool.submit(pools.sleep, 0.5) for _ in range(12)]
        calls[3].result()
        cluster.remove_node(second, allow_graceful=False)
        found = [call.result() for call in calls]
        assert len(set(found[-3:])) == 1
        with pytest.raises(FileNotFoundError, match="There is no 'x'"):
            pool.submit(pools.fail, "x").result()
    ray.shutdown()
    cluster.shutdown()


def test_no_cluster_at_an_address_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=int))
    with pytest.raises(ConnectionError, match="no Ray cluster at '127.0.0.1:1'"):
        ray_cluster.Cluster("127.0.0.1:1")
