"""Events and messages of a device."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from busbar.bridge import Event, Property
from indi_bridge.model import TimedMessage

_SEVERITY = re.compile(r"\s*\[(INFO|WARNING|WARN|ERROR|DEBUG)\]\s*", re.IGNORECASE)


class Note(msgspec.Struct, frozen=True):
    """One message of the driver: Unix time (s), info, warning, error or debug, text."""

    time: float
    severity: str
    text: str


class Commanded(msgspec.Struct, frozen=True):
    """Fields of `event/command`: another client has asked for this."""

    vector: str
    members: dict[str, str]


class Late(msgspec.Struct, frozen=True):
    """Fields of `event/late`: how a set ended after its timeout; `took` in s."""

    vector: str
    state: str
    took: float
    messages: list[str]


class Unheard(msgspec.Struct, frozen=True):
    """Fields of `event/timeout`.

    Nothing of the vector came within so many s after a set.
    """

    vector: str
    seconds: float


Notes = Annotated[list[Note], Meta(title="The last messages, newest first")]
MESSAGES = Property("messages", Notes, title="The last messages, newest first")
EVENTS = {
    "message": Event("message", Note, "A message of the driver"),
    "command": Event("command", Commanded, "Another client has set a property"),
    "late": Event("late", Late, "How a set ended after its timeout"),
    "timeout": Event("timeout", Unheard, "A set was not answered"),
}
RECEIVED = Event(
    "received", dict[str, Any], "A set has come, of values that may be as before"
)


def is_complaint(text: str) -> bool:
    """Return whether a message of a driver is a warning or an error."""
    found = _SEVERITY.match(text)
    return found is not None and found[1].upper() in ("WARNING", "WARN", "ERROR")


def note(message: TimedMessage) -> dict[str, Any]:
    """Return a message as a Note.

    Its severity is a prefix of its text. Source: docs/protocols/indi.md, 4.11.
    """
    severity = "info"
    text = message.text
    found = _SEVERITY.match(text)
    if found is not None:
        severity = found[1].lower()
        text = text[found.end() :]
    if severity == "warn":
        severity = "warning"
    return {"time": round(message.time, 6), "severity": severity, "text": text}


def notes(messages: Iterable[TimedMessage]) -> dict[str, Any]:
    """Return the value of `messages` by its path."""
    return {MESSAGES.path: [note(each) for each in messages]}
