"""What drivers say to the same commands, without what differs from run to run.

Two conversations are the same if the elements that follow each command are: vector,
state, values and messages, in order. Left out are times, noise, telemetry that says the
same again, and how far a motion is on its way. A number is the wanted one, 0, or some
other one; numbers in messages do not count.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from busbar.codecs import indi
from busbar.codecs.indi import (
    DelProperty,
    Element,
    Message,
    NewVector,
    SetVector,
)
from tests.traces.indi_text import parsed
from tests.traces.trace import FROM_PEER, TO_PEER, Line

CLOSE = 0.01  # a wanted number is reached
_NUMBER = re.compile(r" *-?\d[\d:.]*(e[+-]?\d+)?")
_FILE = re.compile(r"(?<!\w)/\S+")


class Said(NamedTuple):
    """One element that a driver has said."""

    what: str  # vector, "message", or "gone" with a vector
    state: str = ""
    values: tuple[tuple[str, str], ...] = ()
    text: str = ""


class Exchange(NamedTuple):
    """A command, and what follows it."""

    command: str
    answers: list[Said]


class Listener:
    """Normalises one conversation."""

    def __init__(self, vectors: Iterable[str]) -> None:
        self._vectors = set(vectors)
        self._wanted: dict[str, dict[str, str]] = {}
        self._last: dict[str, Said] = {}
        self._before: dict[str, Said] = {}  # what had been said before the command
        self.exchanges: list[Exchange] = []

    def hear(self, line: Line) -> None:
        for element in parsed(line.data):
            if line.direction == TO_PEER and isinstance(element, NewVector):
                self._on_command(element)
            elif line.direction == FROM_PEER and line.connection == 1:
                self._on_answer(element)

    def _on_command(self, new: NewVector) -> None:
        self._wanted[new.name] = dict(new.members)
        self._before = dict(self._last)
        self._last.pop(new.name, None)
        members = " ".join(f"{name}={text}" for name, text in new.members.items())
        self.exchanges.append(Exchange(f"{new.name} {members}", []))

    def _on_answer(self, element: Element) -> None:
        said = self._said(element)
        if said is None or not self.exchanges:
            if said is not None:
                self._last[said.what] = said
            return
        if said.what not in ("message", "gone") and self._is_old(said):
            return
        answers = self.exchanges[-1].answers
        if said.what == "message" and said in answers:
            return  # the same text with each frame
        self._last[said.what] = said
        self._drop_old(said)
        if said.what == "message":
            self._drop_telemetry()
        answers.append(said)

    def _drop_telemetry(self) -> None:
        """Drop old values that came a moment before a message: they answer nothing.

        If they come again behind it, they are the answer.
        """
        answers = self.exchanges[-1].answers
        while answers and answers[-1].what in self._before and not answers[-1].text:
            if answers[-1][:3] != self._before[answers[-1].what][:3]:
                return
            self._last.pop(answers.pop().what, None)

    def _drop_old(self, said: Said) -> None:
        """Drop telemetry that came between a command and its first answer."""
        answers = self.exchanges[-1].answers
        old = self._before.get(said.what)
        if not answers or old is None or said.state == old.state:
            return
        if answers[0][:3] == old[:3]:
            del answers[0]

    def _is_old(self, said: Said) -> bool:
        """Return whether it says nothing new: it is under way, or as before."""
        before = self._last.get(said.what)
        if before is None or said.text:
            return False
        moving = said.state == "Busy" == before.state
        return said[:3] == before[:3] or (
            moving and _switches(said) == _switches(before)
        )

    def _said(self, element: Element) -> Said | None:
        match element:
            case Message(text=text):
                return Said("message", text=_plain(text))
            case DelProperty(name=name) if name in self._vectors or not name:
                return Said("gone", text=name)
            case SetVector(name=name) if name in self._vectors:
                values = tuple(self._value(element, each) for each in element.members)
                text = _plain(element.message)
                return Said(name, element.state or "", values, text)
        return None

    def _value(self, element: SetVector, member: str) -> tuple[str, str]:
        text = element.members[member]
        if element.kind != "Number":
            return member, _FILE.sub("FILE", text)
        number = indi.parse_number(text)
        if abs(number) < CLOSE:
            return member, "0"
        wanted = self._wanted.get(element.name, {}).get(member)
        if wanted is not None and abs(number - indi.parse_number(wanted)) < CLOSE:
            return member, "wanted"
        return member, "other"


def normalised(lines: Iterable[Line], vectors: Iterable[str]) -> list[Exchange]:
    """Return what follows each command."""
    listener = Listener(vectors)
    for line in lines:
        listener.hear(line)
    return listener.exchanges


def written(exchanges: Iterable[Exchange]) -> Iterator[str]:
    """Return it as rows, for a comparison that can be read."""
    for command, answers in exchanges:
        yield f"> {command}"
        for said in answers:
            values = " ".join(f"{name}={value}" for name, value in said.values)
            words = (said.what, said.state, values, said.text)
            yield "  " + " ".join(filter(None, words))


def _switches(said: Said) -> list[tuple[str, str]]:
    return [each for each in said.values if each[1] in ("On", "Off")]


def _plain(text: str) -> str:
    return _NUMBER.sub("#", _FILE.sub("FILE", text))
