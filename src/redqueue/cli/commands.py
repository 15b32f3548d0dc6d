"""The commands: options in, text or JSON out. What they say is found elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click
import msgspec

from redqueue.client.scripts import load_all
from redqueue.core import acl as acl_rules
from redqueue.doctor import Diagnosis, Finding, examine
from redqueue.options import DEFAULT_PREFIX
from redqueue.settings import Settings

_WIDEST: Final = 12


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Look after redqueue's queues and the server that they are on."""


@app.command()
@click.option("--url", help="The server. By default REDQUEUE_URL, REDIS_URL or REDIS_HOST and the like say it.")
@click.option("--prefix", default=DEFAULT_PREFIX, show_default=True, help="What all keys begin with.")
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to look at, again for more. By default all.")
@click.option("--audit/--no-audit", default=True, show_default=True, help="Look for inconsistencies in each queue.")
@click.option("--strict", is_flag=True, help="What it may not look at is a warning, and no hint.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--all", "show_all", is_flag=True, help="Also show what is well.")
def doctor(
    url: str | None, prefix: str, queues: tuple[str, ...], audit: bool, strict: bool, as_json: bool, show_all: bool
) -> int:
    """Say what is wrong with the server and the queues, and what to do. Changes nothing.

    Exits with 0 when it found nothing worse than hints, 1 with warnings, 2 with errors, 3 when the server can't be
    reached or refuses. 0 doesn't mean that it might look at everything: that is what --strict is for.
    """
    diagnosis = examine(url, queues=queues or None, prefix=prefix, audit=audit, strict=strict)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(diagnosis.to_wire())).decode())
    else:
        click.echo("\n".join(lines_of(diagnosis, show_all=show_all)))
    return diagnosis.exit_code


@app.command()
@click.argument("role", type=click.Choice([*acl_rules.SCRIPTS]), required=False)
@click.option("--prefix", default=DEFAULT_PREFIX, show_default=True, help="What all keys begin with.")
@click.option(
    "-q", "--queue", "queues", multiple=True, help="A queue whose keys are allowed, again for more. Else all."
)
@click.option(
    "--no-eval", is_flag=True, help="Nobody but workers may send scripts: then load them, by redqueue scripts."
)
@click.option("--fsync", is_flag=True, help='For durability="fsync", on a server that has WAITAOF.')
@click.option("--cluster", is_flag=True, help="Also what a cluster's layout is asked by.")
def acl(role: str | None, prefix: str, queues: tuple[str, ...], no_eval: bool, fsync: bool, cluster: bool) -> None:
    """Print the line for redis-cli that makes a user with the least rights: producer, worker, reader or monitor.

    Without a role, all four. A monitor is for redqueue doctor. Put a password in the place of PASSWORD. Sends nothing.
    """
    for one in acl_rules.SCRIPTS:
        if role in (None, one):
            evals = not no_eval or one == "worker"
            options = {"evals": evals, "fsync": fsync, "cluster": cluster}
            click.echo(acl_rules.setuser(one, prefix=prefix, queues=queues, **options))


@app.command()
@click.option("--url", help="The server. By default REDQUEUE_URL, REDIS_URL or REDIS_HOST and the like say it.")
def scripts(url: str | None) -> None:
    """Load all scripts into the server, or each node of a cluster, for users who may not send them.

    Again after each start, failover, SCRIPT FLUSH and release. Exits with 3 when the server is away or refuses.
    """
    for place, count in load_all(url or Settings.from_env().url).items():
        click.echo(f"{place}: {count} scripts")


def lines_of(diagnosis: Diagnosis, *, show_all: bool) -> Iterator[str]:
    """The text, worst findings last, where a terminal shows them."""
    shown = [finding for finding in diagnosis.findings if show_all or finding.level != "ok"]
    for level in ("ok", "hint", "warning", "error"):
        for finding in shown:
            if finding.level == level:
                yield from _lines(finding)
    counts = [
        f"{n} {level}{'' if n == 1 else 's'}"
        for level in ("error", "warning", "hint")
        if (n := sum(finding.level == level for finding in diagnosis.findings))
    ]
    well = sum(finding.level == "ok" for finding in diagnosis.findings)
    yield ", ".join([*counts, f"{well} well"])


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.level:8}{finding.check:{_WIDEST}} {finding.where}: {finding.says}"
    if finding.do:
        yield f"{'':{8 + _WIDEST}} -> {finding.do}"
