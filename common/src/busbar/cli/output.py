"""Output of commands: tables, plain values or JSON on stdout, all else on stderr.

Text from the bus never reaches a terminal with its control characters.
"""

import io
import os
import sys
import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TextIO

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
    "unconfirmed": "yellow",
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
        self._out = stdout or sys.stdout
        self.console = _console(self._out)
        self._notes = _console(stderr or sys.stderr)

    @property
    def live(self) -> bool:
        """True where progress can be shown."""
        return self._notes.is_terminal

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        print(text, file=self._out, flush=True)

    def record(self, value: Any, *cells: str, style: str = "") -> None:
        """Print one of many: a line of JSON, or its cells with two spaces between."""
        if self.json:
            print(msgspec.json.encode(value).decode(), file=self._out, flush=True)
            return
        text = "  ".join(map(in_line, cells)).rstrip()
        line = Text(text, _STYLES.get(style, ""))
        self.console.print(line, soft_wrap=True)
        self._out.flush()

    def answer(self, value: Any, document: Any) -> None:
        """Print the result of a command: with --json a document.

        Text as it is, nothing for nothing.
        """
        if self.json:
            self.document(document)
        elif is_table(value):
            self._answer_table(value)
        elif isinstance(value, dict) and value:
            self.table([], [[key, shown(each)] for key, each in value.items()])
        elif value is not None:
            self.text(shown(value))

    def _answer_table(self, rows: Sequence[dict[str, Any]]) -> None:
        headings: dict[str, None] = {}
        for row in rows:
            headings.update(dict.fromkeys(row))
        keys = list(headings)
        self.table(keys, [_cells(row, keys) for row in rows])

    def again(self) -> None:
        """Begin output that takes the place of the last one.

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
            table.add_row(*map(_styled, row))
        if self.console.is_terminal:
            self.console.print(table)
            return
        plain = Console(file=io.StringIO(), width=WIDEST, color_system=None)
        with plain.capture() as captured:
            plain.print(table)
        lines = map(str.rstrip, captured.get().splitlines())
        print("\n".join(lines), file=self._out, flush=True)

    def note(self, text: str) -> None:
        """Print what is no result, on stderr."""
        self._notes.print(Text(in_line(text)), soft_wrap=True)

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
    """Return whether a value is rows of a table: a list of objects, not all empty."""
    if not isinstance(value, list) or not any(value):
        return False
    return all(isinstance(row, dict) for row in value)


def shown(value: Any) -> str:
    """Return a value for people: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return msgspec.json.encode(value).decode()


def age(time: float | None) -> str:
    """Return how long ago a Unix time (s) was."""
    if time is None:
        return ""
    seconds = max(0.0, clock.time() - time)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"


def stamp(time: float) -> str:
    """Return a Unix time (s) as local time of day with milliseconds."""
    seconds = clock.strftime("%H:%M:%S", clock.localtime(time))
    return f"{seconds}.{int(time % 1 * 1000):03d}"


def printable(text: str) -> str:
    """Return text in which what would steer a terminal is escaped."""
    if text.isprintable():
        return text
    return "".join(map(_escaped, text))


def in_line(text: str) -> str:
    """Return text that stays on its line: nobody else's text can look like ours."""
    return printable(text).replace("\n", "\\n")


def _escaped(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return repr(character)[1:-1]


def _styled(cell: str) -> Text:
    return Text(in_line(cell), _STYLES.get(cell, ""))


def _cells(row: dict[str, Any], keys: Sequence[str]) -> list[str]:
    return [shown(row.get(key)) for key in keys]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, as for everything else that is printed.

        Rich would exit with 1.
        """
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    colors: Literal["auto"] | None = "auto"
    dumb = os.environ.get("TERM") == "dumb"
    if os.environ.get("NO_COLOR") or dumb or not stream.isatty():
        colors = None
    return _Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=colors,
    )
