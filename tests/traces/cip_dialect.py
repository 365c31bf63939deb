"""CIP in recorded conversations: its messages, heartbeats, held buttons."""

from collections.abc import Iterator
from typing import Any

import msgspec

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Message, Update
from tests.traces.trace import FROM_PEER, TO_PEER, Trace

HEARTBEATS = (cip.Ping, cip.Pong)


def messages(data: bytes) -> list[Message]:
    """Return the messages of whole frames."""
    reader = cip.Reader()
    reader.feed(data)
    return list(reader.messages())


class CipDialect:
    """What counts of the words of a panel: not how often it repeats a press."""

    def __init__(self) -> None:
        self._reader = cip.Reader()
        self._held: set[Join] = set()

    def feed(self, data: bytes) -> Iterator[Message]:
        self._reader.feed(data)
        for message in self._reader.messages():
            if not self._repeats(message):
                yield message

    def _repeats(self, message: Message) -> bool:
        if not isinstance(message, Update) or message.form is not Form.BUTTON:
            return False
        held = message.join in self._held
        if message.value:
            self._held.add(message.join)
        else:
            self._held.discard(message.join)
        return held and bool(message.value)

    def same(self, recorded: Any, said: Any) -> bool:
        return bool(recorded == said)

    def answer(self, said: Any) -> bytes | None:
        if isinstance(said, cip.Ping):
            return cip.encode(cip.Pong())
        return b"" if isinstance(said, cip.Pong) else None

    def adapted(self, data: bytes, asked: Any) -> bytes:
        return data


def without_repeats(trace: Trace) -> Trace:
    """Leave out heartbeats and repeated presses, which have times of their own."""
    dialect = CipDialect()
    lines = []
    for line in trace.lines:
        if line.direction == TO_PEER:
            said = list(dialect.feed(line.data))
        elif line.direction == FROM_PEER:
            said = messages(line.data)
        else:
            lines.append(line)
            continue
        if not all(isinstance(each, HEARTBEATS) for each in said):
            lines.append(line)
    return msgspec.structs.replace(trace, lines=tuple(lines))
