"""A worker process of a scenario. It ends with whoever started it: when its standard input does."""

from __future__ import annotations

import argparse
import logging
import threading
import time
from pathlib import Path

import msgspec
from chaos.ledger import STALLED, Ledger, now_us
from chaos.lifeline import end_with_parent
from chaos.patching import Change, change_scripts

STALL_SHARE = 0.6
"""Of a lease: a live worker has at least 0.63 of one left at any time, so what is shorter costs it nothing."""


def main() -> None:
    """Work until SIGTERM."""
    options = _options()
    end_with_parent()
    change_scripts(msgspec.json.decode(options.changes, type=list[Change]))
    from chaos.jobs import registry_of

    from redqueue import Keep, Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ledger = Ledger(options.ledger, options.name)
    ledger.note("limit", options.concurrency)
    threading.Thread(target=_watch_for_stalls, args=(ledger, options.lease), daemon=True).start()
    kept = Keep(count=options.keep)
    Worker(
        [options.queue],
        options.url,
        registry=registry_of(ledger),
        concurrency=options.concurrency,
        lease=options.lease,
        keep_completed=kept,
        keep_failed=kept,
    ).run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.work")
    parser.add_argument("--name", required=True)
    parser.add_argument("--ledger", required=True, type=Path)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--keep", type=int, required=True)
    parser.add_argument("--changes", default="[]", help="of the scripts, as JSON")
    return parser.parse_args()


def _watch_for_stalls(ledger: Ledger, lease: float) -> None:
    """A process that gets no time can't renew either: that is a fault, though nobody injected it."""
    while True:
        before = now_us()
        time.sleep(0.05)
        after = now_us()
        if after - before > STALL_SHARE * lease * 1_000_000:
            ledger.note("fault", STALLED, ledger.name, before, after)


if __name__ == "__main__":
    main()
