"""What panels find with us.

The seats (IP-IDs) of a program, what is driven and what they said.
Source: docs/protocols/cip.md, 5.2.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Style, Update
from cip_bridge.join_state import Board, Value
from cip_bridge.processor_role.presses import Presses


class Shown(Protocol):
    """One panel that is signed on."""

    address: str
    presses: Presses

    def send(self, frames: bytes) -> None: ...
    def dump(self) -> None: ...


class Seat:
    """One IP-ID of our program: what panels there may see and do.

    All panels of a seat show the same.
    """

    def __init__(
        self,
        ipid: int,
        told: Callable[[list[Update]], None],
        *,
        name: str = "panels",
        board: Board | None = None,
        room: str | None = None,
        credentials: tuple[str, str] | None = None,
        result: cip.ConnectResult = cip.ConnectResult(0),  # noqa: B008  # frozen
        style: Style = Style(),  # noqa: B008  # frozen
    ) -> None:
        self.ipid, self.room, self.credentials, self.result, self.style = (
            ipid,
            room,
            credentials,
            result,
            style,
        )
        self.wire = logging.getLogger(f"busbar.wire.{name}")
        self.board = board or Board()
        self.panels: list[Shown] = []
        self.skipped = 0  # things of its panels that meant nothing to us
        self.came_or_went: Callable[[], None] = lambda: None
        self._told = told

    def drive(self, join: Join, value: Value) -> None:
        """Give a join a value and tell all panels.

        Raise OutOfRange, TooLarge, BadRequest before anything is sent.
        """
        update = Update(join, value, cip.FORMS[join.kind])
        frame = cip.encode(update, self.style)
        self.board.drive(update)
        self.send(frame)

    def send(self, frames: bytes) -> None:
        """Send frames as they are to all panels."""
        for panel in list(self.panels):
            panel.send(frames)

    def dump(self) -> None:
        """Tell all panels everything."""
        for panel in list(self.panels):
            panel.dump()

    def take(self, panel: Shown, updates: Iterable[Update]) -> None:
        """Take what a panel says.

        It does not release a button that another one repeats.
        """
        taken: list[Update] = []
        for update in updates:
            digital = update.join.kind == "digital"
            if (
                digital
                and not update.value
                and any(each.repeats(update.join) for each in self._others(panel))
            ):
                panel.presses.watch(update)
                continue
            value = self.board.take(update)
            if value is None:
                continue
            if digital:
                panel.presses.watch(update)
            taken.append(update._replace(value=value, append=False))
        self._told(taken)

    def let_go(self, panel: Shown, joins: Iterable[Join]) -> None:
        """A panel holds these no longer: those that no other one holds are released."""
        free = [
            join
            for join in joins
            if not any(each.holds(join) for each in self._others(panel))
        ]
        self.take(panel, [Update(join, False, Form.DIGITAL) for join in free])

    def _others(self, panel: Shown) -> list[Presses]:
        return [each.presses for each in self.panels if each is not panel]


class Program:
    """The program on our side.

    Who may sign on, and what becomes of a request for an update.
    """

    state = cip.READY  # what a panel is greeted with

    def __init__(
        self, seats: Iterable[Seat], now: Callable[[], datetime] = datetime.now
    ) -> None:
        self.seats = {seat.ipid: seat for seat in seats}
        self.now = now

    def find(self, ipid: int) -> Seat | None:
        """Return the seat of an IP-ID, None if it is not ours."""
        return self.seats.get(ipid)

    def update(self, panel: Shown) -> None:
        """Answer a panel that asks for an update."""
        panel.dump()
