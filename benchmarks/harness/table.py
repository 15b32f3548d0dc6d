"""A run as tables: what each entry reached, its cost, its promises, the spread of the rounds, and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from benchmarks.harness.figures import BY_KEY, KINDS, Entry, Figure, Kind, Run, factor

OURS: Final = "redqueue"
NOT_PEERS: Final = ("floor",)
SPEED: Final = (
    *("process_async", "process_plain", "process_ten", "add_one", "add_one_sync", "add_fifty", "add_bulk"),
    *("latency_p50", "latency_p99", "delayed"),
)
COST: Final = ("bytes", "redis_add", "redis_process", "worker_cpu", "commands", "reads")
SHORT: Final = ("process_async", "process_plain", "add_one", "add_bulk", "latency_p50", "bytes")
LEGEND: Final = (
    "Medians. (12x): redqueue is 12 times better; below 1 the peer is. n/a: it has no such thing, see the notes. "
    "*: some rounds failed."
)

Rows: TypeAlias = list[list[str]]
_Show: TypeAlias = Callable[[Kind, Figure, str], str]


def as_text(run: Run) -> str:
    """For a terminal."""
    parts = [_machine_line(run), LEGEND]
    parts += [_aligned(rows) for rows in (speed(run), cost(run), promises(run), spread(run)) if len(rows[0]) > 1]
    return "\n\n".join([*parts, "\n".join(notes(run))])


def as_markdown(run: Run) -> str:
    """For the documentation."""
    parts = [
        "![Jobs a second, logarithmic](../benchmarks/results/latest.svg)",
        f"{_machine_line(run)} {LEGEND}",
        *("**Speed**", markdown(speed(run)), "**Cost**", markdown(cost(run)), "**Promises**", markdown(promises(run))),
        f"<details><summary>Least to most of the rounds</summary>\n\n{markdown(spread(run))}\n\n</details>",
        "**Settings and notes**",
        "\n".join(f"* {note}" for note in notes(run)),
    ]
    return "\n\n".join(parts)


def as_short_markdown(run: Run) -> str:
    """Six figures: redqueue's, and the best of the Python peers and of the Node peers, by name."""
    ours = run.entry(OURS)
    rows: Rows = [["", OURS, "best Python peer", "best Node peer"]]
    for kind in (BY_KEY[key] for key in SHORT):
        mine = ours.figure(kind.key) if ours else Figure()
        best = [_best(run, kind, language, mine) for language in ("Python", "Node")]
        rows.append([_heading(kind), cell(kind, mine, None), *best])
    return markdown(rows)


def speed(run: Run) -> Rows:
    """Jobs a second and times."""
    return _figures(run, SPEED)


def cost(run: Run) -> Rows:
    """What a job takes of Redis and of the worker."""
    return _figures(run, COST)


def promises(run: Run) -> Rows:
    """What each one says of a job's safety, which is part of what it costs."""
    rows = [["", "acknowledged", "results", "retries", "lost on a crash"]]
    return rows + [[_named(one), one.acknowledged, one.results, one.retries, one.lost_on_crash] for one in run.entries]


def spread(run: Run) -> Rows:
    """The least and the most of the rounds."""
    return _rows(run, [kind for kind in KINDS if _measured(run, kind)], lambda kind, figure, _: _range(kind, figure))


def notes(run: Run) -> list[str]:
    """One line an entry: its settings and their page, and why figures are missing."""
    return [_note(entry) for entry in run.entries]


def cell(kind: Kind, figure: Figure, ours: Figure | None) -> str:
    """One figure, and how many times better ours is; "failed" and "n/a" are never left out."""
    if figure.median is None:
        return "n/a" if figure.unsupported else "failed" if figure.failed else "-"
    shown = number(figure.median) + (f" of {figure.jobs:,}" if kind.a_job else "")
    times = factor(kind, ours, figure) if ours is not None else None
    return shown + (f" ({number(times)}x)" if times is not None else "") + ("*" if figure.failed else "")


def number(value: float) -> str:
    """Three digits that say something, thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(rows: Rows) -> str:
    """A table of the Markdown that GitHub reads."""
    lines = ["| " + " | ".join(text.replace("|", r"\|") for text in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _machine_line(run: Run) -> str:
    facts = run.machine
    return (
        f"{run.date}, {facts['processor']}, {facts['cores']} cores, {facts['system']}, {facts['server']}, "
        f"Python {facts['python']}, Node {facts['node']}; {run.rounds} rounds, {run.seconds / 60:.0f} min."
    )


def _figures(run: Run, keys: Sequence[str]) -> Rows:
    ours = run.entry(OURS)
    kinds = [BY_KEY[key] for key in keys if _measured(run, BY_KEY[key])]
    return _rows(run, kinds, lambda kind, figure, name: cell(kind, figure, _yardstick(ours, kind, name)))


def _yardstick(ours: Entry | None, kind: Kind, name: str) -> Figure | None:
    return None if ours is None or name == OURS else ours.figure(kind.key)


def _rows(run: Run, kinds: Sequence[Kind], show: _Show) -> Rows:
    heading = ["", *(_heading(kind) for kind in kinds)]
    return [heading] + [
        [_named(one), *(show(kind, one.figure(kind.key), one.name) for kind in kinds)] for one in run.entries
    ]


def _measured(run: Run, kind: Kind) -> bool:
    return any(kind.key in one.figures for one in run.entries)


def _range(kind: Kind, figure: Figure) -> str:
    if not figure.rounds:
        return cell(kind, figure, None)
    return f"{number(min(figure.rounds))}..{number(max(figure.rounds))}"


def _best(run: Run, kind: Kind, language: str, ours: Figure) -> str:
    found = [
        (times, one)
        for one in run.entries
        if one.language == language and one.name not in NOT_PEERS and not one.name.startswith(OURS)
        if (times := factor(kind, ours, one.figure(kind.key))) is not None
    ]
    if not found:
        return "n/a"
    _, best = min(found, key=lambda pair: pair[0])
    return f"{cell(kind, best.figure(kind.key), ours)} {best.name}"


def _heading(kind: Kind) -> str:
    return f"{kind.title}, {kind.unit}"


def _named(entry: Entry) -> str:
    return f"{entry.name} (Node)" if entry.language == "Node" else entry.name


def _note(entry: Entry) -> str:
    missing: dict[str, list[str]] = {}
    for kind in KINDS:
        figure = entry.figure(kind.key)
        for why in (f"n/a: {figure.unsupported}" if figure.unsupported else "", *map(_failure, set(figure.failed))):
            if why:
                missing.setdefault(why, []).append(kind.title)
    told = [f"{'; '.join(titles)} {why}." for why, titles in missing.items()]
    settings = f"{_named(entry)}: {entry.package} {entry.version}. {entry.settings} [{entry.page}]."
    return " ".join([settings, *([entry.notes] if entry.notes else []), *told])


def _failure(why: str) -> str:
    return f"failed: {why}"


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
