"""Recorded conversations: lines with a time, a connection, a direction and data.

The format is described in README.md.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parent
OPEN, TO_PEER, FROM_PEER = "open", ">", "<"
CLIENT_CLOSED, PEER_CLOSED = ">|", "<|"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened, `t` s after the start; `data` as bytes of the wire."""

    t: float
    direction: str
    data: bytes = b""
    connection: int = 1


class Trace(msgspec.Struct, frozen=True):
    """One conversation; `about` is its first line."""

    name: str
    about: dict[str, Any]
    lines: tuple[Line, ...]

    @property
    def others(self) -> set[int]:
        """Connections of other clients than the one that is tested."""
        return set(self.about.get("others", ()))


def names(folder: str) -> list[str]:
    """Return the traces in a folder, such as `indi`."""
    return sorted(each.stem for each in (FOLDER / folder).glob("*.jsonl"))


def load(name: str) -> Trace:
    """Return a trace by its name, such as `indi/mount-goto`."""
    rows = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    about = json.loads(rows[0])
    lines = [_line(json.loads(row), hexadecimal(about)) for row in rows[1:]]
    return Trace(name, about, tuple(lines))


def hexadecimal(about: dict[str, Any]) -> bool:
    return about.get("encoding") == "hex"


def rows(about: dict[str, Any], lines: Iterable[Line]) -> Iterable[str]:
    """Return the rows of a file."""
    yield json.dumps(about, ensure_ascii=False)
    for line in lines:
        yield row(line, hexadecimal(about))


def row(line: Line, as_hex: bool) -> str:
    """Return a line as JSON; text keeps bytes that are not UTF-8 as surrogates."""
    made: dict[str, Any] = {"t": round(line.t, 3), "direction": line.direction}
    if line.connection != 1:
        made["connection"] = line.connection
    if line.data:
        text = line.data.decode("utf-8", "surrogateescape")
        made["data"] = line.data.hex(" ") if as_hex else text
    return json.dumps(made)


def _line(found: dict[str, Any], as_hex: bool) -> Line:
    text = found.get("data", "")
    data = text.encode("utf-8", "surrogateescape")
    if as_hex:
        data = bytes.fromhex(text)
    return Line(found["t"], found["direction"], data, found.get("connection", 1))
