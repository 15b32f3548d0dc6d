"""The doctor looks at every server that may hold a queue."""

from __future__ import annotations

from redqueue import Queue
from redqueue.doctor import examine

from .servers import Cluster, Sentinels, admin


def test_all_primaries_of_a_cluster_are_looked_at_and_queues_on_all_are_found(cluster: Cluster) -> None:
    names = [cluster.queue_on(place) for place in range(3)]
    for name in names:
        with Queue(name, cluster.url) as queue:
            queue.add("t")
    with admin(cluster.primaries[1]) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            diagnosis = examine(cluster.url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    places = {f"server 127.0.0.1:{node.port}" for node in cluster.primaries}
    assert {one.where for one in diagnosis.findings} == {*places, *(f"queue {name}" for name in names), "prefix"}
    (evicting,) = [one for one in diagnosis.findings if one.check == "eviction" and one.level != "ok"]
    assert evicting.where == f"server 127.0.0.1:{cluster.primaries[1].port}"
    assert {one.level for one in diagnosis.findings if one.check in ("clock", "audit", "orphans")} == {"ok"}


def test_a_primary_that_would_go_on_alone_is_told(sentinels: Sentinels) -> None:
    (told,) = [one for one in examine(sentinels.url).findings if one.check == "replication"]
    assert (told.level, "min-replicas-to-write is 0" in told.says) == ("warning", True)
    with admin(sentinels.primary) as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            levels = [one.level for one in examine(sentinels.url).findings if one.check == "replication"]
        finally:
            client.config_set("min-replicas-to-write", 0)
    assert levels == ["ok"]
