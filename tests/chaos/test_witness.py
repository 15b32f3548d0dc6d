"""Whether Redis forgot what it had acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.ledger import EVERYBODY, Fault, Ledger, read
from chaos.witness import FORGOT, KEY, Witness

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from redqueue.embedded import PrivateServer


def test_numbers_that_come_again_were_forgotten(server: PrivateServer, tmp_path: Path) -> None:
    with Ledger(tmp_path, "driver") as ledger:
        witness = Witness(server.url, ledger)
        for number, at in ((1, 10), (2, 20), (4, 40), (5, 50)):
            witness.take(number, at)
        assert read(tmp_path).faults == []
        witness.take(3, 100)
    assert read(tmp_path).faults == [Fault(FORGOT, EVERYBODY, 20, 100)]


def test_it_counts_in_redis_and_sees_it_forget(server: PrivateServer, tmp_path: Path, client: redis.Redis) -> None:
    with Ledger(tmp_path, "driver") as ledger, Witness(server.url, ledger):
        while int(client.get(KEY) or 0) < 5:
            pass
        client.delete(KEY)
        while not read(tmp_path).faults:
            pass
    (fault,) = read(tmp_path).faults
    assert fault.kind == FORGOT
    client.delete(KEY)
