"""What a run leaves behind.

A table, a file with the figures, and what differs from the committed ones.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.figures import Row

COMMITTED = Path(__file__).with_name("committed.json")
PAGE = Path(__file__).parent.parent.parent / "docs" / "benchmarks.md"
BEGIN, END = (
    ("<!-- written by the benchmarks: begin -->\n"),
    "<!-- written by the benchmarks: end -->\n",
)
NOTABLE = 1.3  # a ratio that moved by less is the machine's mood

HEAD = ("what", "ours", "compared with", "", "ratio (all repetitions)", "budget", "")


def markdown(rows: Iterable[Row], *, short: bool = False) -> str:
    """Return a table; the short one has only the rows and columns for the README."""
    if short:
        return _table(
            ("", "Busbar", "compared with", "ratio"),
            [_short(row) for row in rows if row.short],
        )
    return _table(HEAD, [_long(row) for row in rows])


def page(report: Mapping[str, Any]) -> None:
    """Write the tables of a run into docs/benchmarks.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    moods = [mood for each in report["benchmarks"].values() for mood in each["moods"]]
    about = (
        f"{report['machine']}. Between the benchmarks: calibration loop "
        f"{_span(moods, 'loop')} ms, "
        f"load average {_span(moods, 'load')}.\n"
    )
    PAGE.write_text(f"{before}{BEGIN}{about}\n{markdown(rows(report))}{END}{after}")


def rows(report: Mapping[str, Any]) -> list[Row]:
    """All rows of a report."""
    return [
        Row.of(row) for each in report["benchmarks"].values() for row in each["rows"]
    ]


def save(report: Mapping[str, Any], file: Path) -> None:
    file.write_text(json.dumps(report, indent=1) + "\n")


def read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.exists() else {"benchmarks": {}}


def merged(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """The newer report, with the benchmarks that it did not run from the older one."""
    return {**newer, "benchmarks": {**older["benchmarks"], **newer["benchmarks"]}}


def differences(committed: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Say which ratios moved: against the committed run only ratios mean something."""
    known = {row.what: row for row in rows(committed)}
    return [_difference(known.get(row.what), row) for row in rows(present)]


def _difference(was: Row | None, now: Row) -> str:
    if was is None or not was.ratio or not now.ratio:
        return f"  new     {now.what}: {_number(now.ours)} {now.unit}"
    moved = now.ratio / was.ratio
    better = moved if now.unit != "1/s" else 1 / moved
    verdict = (
        "worse" if better > NOTABLE else "better" if better < 1 / NOTABLE else "same"
    )
    return f"  {verdict:7s} {now.what}: ratio {was.ratio:.2f} -> {now.ratio:.2f}"


def _long(row: Row) -> Sequence[str]:
    spread = (
        (f"{row.ratio:.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})")
        if row.ratio is not None
        else ""
    )
    verdict = "" if row.met is None else "kept" if row.met else "**missed**"
    return (
        row.what,
        _figure(row.ours, row.unit),
        _compared_with(row),
        row.against,
        spread,
        _budget(row),
        verdict,
    )


def _short(row: Row) -> Sequence[str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return (
        row.what,
        _figure(row.ours, row.unit),
        f"{_compared_with(row)} {row.against}".strip(),
        ratio,
    )


def _compared_with(row: Row) -> str:
    return "" if row.theirs is None else _figure(row.theirs, row.unit)


def _budget(row: Row) -> str:
    if row.budget is None:
        return ""
    return (
        f"ratio {row.budget.most:g}"
        if row.budget.ratio
        else f"{row.budget.most:g} {row.unit}"
    )


def _figure(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _span(moods: Sequence[Mapping[str, float]], key: str) -> str:
    values = [mood[key] for mood in moods]
    return f"{min(values):g} to {max(values):g}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    padded = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in (head, *lines)
    ]
    rule = "-|-".join("-" * width for width in widths)
    return "".join(f"| {line} |\n" for line in (padded[0], rule, *padded[1:]))
