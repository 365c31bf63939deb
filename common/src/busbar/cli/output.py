"""What commands print.

Tables, plain values or JSON on stdout, everything else on stderr.

Text from the bus never reaches a terminal with its control characters.
"""

import io
import os
import sys
import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# characters of a name, in the first column, that a narrow terminal does not fold
WHOLE = 32
# columns of a table that is not for a terminal: nothing is wrapped or cut
WIDEST = 10_000

_STYLES = {
    "online": "green",
    "offline": "red",
    "stopped": "red",
    "connecting": "yellow",
    "gone": "red",
    "unknown": "red",
    "ok": "green",
    "warning": "yellow",
    "failed": "red",
    "error": "red",
    "critical": "red",
}
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


class Output:
    """Where a command prints, and whether as JSON."""

    def __init__(
        self, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.json = as_json
        self._out, self._err = stdout or sys.stdout, stderr or sys.stderr
        self.console = _console(self._out)
        self._notes = _console(self._err)

    @property
    def live(self) -> bool:
        """True where progress can be shown."""
        return self._notes.is_terminal

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        print(
            msgspec.json.format(msgspec.json.encode(value), indent=2).decode(),
            file=self._out,
            flush=True,
        )

    def record(self, value: Any, *cells: str, style: str = "") -> None:
        """Print one of many: a line of JSON, or its cells with two spaces between."""
        if self.json:
            print(msgspec.json.encode(value).decode(), file=self._out, flush=True)
            return
        line = Text(
            "  ".join(printable(cell) for cell in cells).rstrip(),
            _STYLES.get(style, ""),
        )
        self.console.print(line, soft_wrap=True)
        self._out.flush()

    def answer(self, value: Any, document: Any) -> None:
        """Print the result of a command: with --json a document.

        Text as it is, nothing for nothing.
        """
        if self.json:
            self.document(document)
        elif is_table(value):
            headings = list(dict.fromkeys(key for row in value for key in row))
            self.table(
                headings, [[shown(row.get(key)) for key in headings] for row in value]
            )
        elif isinstance(value, dict) and value:
            self.table([], [[key, shown(each)] for key, each in value.items()])
        elif value is not None:
            self.text(shown(value))

    def again(self) -> None:
        """Begin a picture that takes the place of the last one.

        On a terminal the screen is cleared.
        """
        if self.console.is_terminal:
            self.console.clear()

    def text(self, line: str = "", style: str = "") -> None:
        """Print a line for people."""
        self.console.print(Text(printable(line), style), soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns; a state is coloured by its name."""
        table = Table(
            box=None,
            pad_edge=False,
            show_header=bool(headings),
            header_style="dim",
            padding=(0, 2, 0, 0),
        )
        columns = headings or [""] * max(map(len, rows), default=0)
        names = all(len(row[0]) <= WHOLE for row in rows)
        for number, heading in enumerate(columns):
            whole = not self.console.is_terminal or (names and number == 0)
            table.add_column(heading, no_wrap=whole, overflow="fold")
        for row in rows:
            table.add_row(
                *(Text(printable(cell), _STYLES.get(cell, "")) for cell in row)
            )
        if self.console.is_terminal:
            self.console.print(table)
            return
        plain = Console(file=io.StringIO(), width=WIDEST, color_system=None)
        with plain.capture() as captured:
            plain.print(table)
        print(
            "\n".join(line.rstrip() for line in captured.get().splitlines()),
            file=self._out,
            flush=True,
        )

    def note(self, text: str) -> None:
        """Tell what is no result, on stderr."""
        self._notes.print(Text(printable(text)), soft_wrap=True)

    @contextmanager
    def progress(
        self, what: str, total: float | None = None
    ) -> Iterator[Callable[[float, str], None]]:
        """Show how far long work is, on stderr if that is a terminal.

        Call with what is done and a word on it.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[word]}"),
        )
        with Progress(
            *columns,
            TimeElapsedColumn(),
            console=self._notes,
            transient=True,
            disable=not self.live,
        ) as bar:
            task = bar.add_task(what, total=total, word="")
            yield lambda done, word: bar.update(
                task, completed=done, word=printable(word)
            )


def is_table(value: Any) -> bool:
    """Return whether a value is rows of a table: a list of objects."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) for row in value)
    )


def shown(value: Any) -> str:
    """Return a value for people: text as it is, everything else as JSON."""
    return (
        value
        if isinstance(value, str)
        else ""
        if value is None
        else msgspec.json.encode(value).decode()
    )


def age(time: float | None) -> str:
    """Return how long ago a Unix time (s) was."""
    if time is None:
        return ""
    seconds = max(0.0, clock.time() - time)
    if seconds < 1:
        return "now"
    size, unit = next(each for each in _UNITS if seconds >= each[0])
    return f"{seconds / size:.0f} {unit}"


def stamp(time: float) -> str:
    """Return a Unix time (s) as local time of day with milliseconds."""
    return f"{clock.strftime('%H:%M:%S', clock.localtime(time))}.{int(time % 1 * 1000):03d}"


def printable(text: str) -> str:
    """Return text in which what would steer a terminal is escaped."""
    return "".join(
        each if each.isprintable() or each == "\n" else repr(each)[1:-1]
        for each in text
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, as for everything else that is printed.

        Rich would exit with 1.
        """
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    plain = (
        os.environ.get("NO_COLOR")
        or os.environ.get("TERM") == "dumb"
        or not stream.isatty()
    )
    return _Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if plain else "auto",
    )
