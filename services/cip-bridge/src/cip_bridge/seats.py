"""What panels find with us: the seats (IP-IDs) of a program, what is driven and what they said. Source: 1.4."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from busbar.codecs import cip
from busbar.codecs.cip import Join, Style, Update
from cip_bridge.board import Board, Value


class Shown(Protocol):
    """One panel that is signed on."""

    address: str

    def send(self, frames: bytes) -> None: ...
    def dump(self) -> None: ...


class Seat:
    """One IP-ID of our program: what panels there may see and do. All panels of a seat show the same."""

    def __init__(
        self,
        ipid: int,
        told: Callable[[list[Update]], None],
        *,
        board: Board | None = None,
        room: str | None = None,
        credentials: tuple[str, str] | None = None,
        result: cip.ConnectResult = cip.ConnectResult(0),  # noqa: B008  # frozen
        style: Style = Style(),  # noqa: B008  # frozen
    ) -> None:
        self.ipid, self.room, self.credentials, self.result, self.style = ipid, room, credentials, result, style
        self.board = board or Board()
        self.panels: list[Shown] = []
        self.came_or_went: Callable[[], None] = lambda: None
        self._told = told

    def drive(self, join: Join, value: Value) -> None:
        """Give a join a value and tell all panels; raise OutOfRange, TooLarge, BadRequest before anything is sent."""
        self.board.admit(join)
        frame = cip.encode(Update(join, value, cip.FORMS[join.kind]), self.style)
        self.board.outs[join] = value
        self.send(frame)

    def send(self, frames: bytes) -> None:
        """Send frames as they are to all panels."""
        for panel in list(self.panels):
            panel.send(frames)

    def dump(self) -> None:
        """Tell all panels everything."""
        for panel in list(self.panels):
            panel.dump()

    def take(self, updates: Iterable[Update]) -> None:
        """Take what a panel says."""
        taken: list[Update] = []
        for each in updates:
            value = self.board.take(each)
            if value is not None:
                taken.append(each._replace(value=value, append=False))
        self._told(taken)


class Program:
    """The program on our side: its seats, and what is wrong with it at present."""

    def __init__(self, seats: Iterable[Seat], now: Callable[[], datetime] = datetime.now) -> None:
        self.seats = {seat.ipid: seat for seat in seats}
        self.now = now
        self.booting = False  # panels are asked to wait
        self.refusing = False  # every IP-ID is unknown
        self.slow = 0.0  # s before the answer to an update request
        self.asked = 0  # update requests since the start
        self.skipped = 0  # things of panels that meant nothing to us
