"""Program behind the panels: its IP-IDs ("seats"), what it drives, who may sign on.

Source: docs/protocols/cip.md, 5.2
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Style, Update
from cip_bridge.join_publisher import encode
from cip_bridge.join_state import JoinState, Value
from cip_bridge.processor_role.presses import Presses


class SignedOnPanel(Protocol):
    """A panel that is signed on to a seat."""

    address: str
    presses: Presses

    def send(self, frames: bytes) -> None: ...
    def request_update(self) -> None: ...


def _ignore() -> None:
    """Do nothing: nobody wants to know who is signed on."""


class Seat:
    """One IP-ID of the program. All its panels show the same.

    `on_updates` is called with what they say, `on_panels_changed` when one comes or
    goes.
    """

    def __init__(
        self,
        ipid: int,
        on_updates: Callable[[list[Update]], None],
        *,
        name: str = "panels",
        joins: JoinState | None = None,
        room: str | None = None,
        credentials: tuple[str, str] | None = None,
        result: cip.ConnectResult = cip.ConnectResult(0),  # noqa: B008  # frozen
        style: Style = Style(),  # noqa: B008  # frozen
    ) -> None:
        self.ipid = ipid
        self.room = room
        self.credentials = credentials
        self.result = result
        self.style = style
        self.wire = logging.getLogger(f"busbar.wire.{name}")
        self.joins = joins or JoinState()
        self.panels: list[SignedOnPanel] = []
        self.skipped = 0  # things of its panels that meant nothing to us
        self.on_panels_changed: Callable[[], None] = _ignore
        self._on_updates = on_updates

    def drive(self, join: Join, value: Value) -> None:
        """Give a join a value and send it to all panels.

        Raise OutOfRange, TooLarge, BadRequest before anything is sent.
        """
        update = Update(join, value, cip.FORMS[join.kind])
        frame = encode(update, self.style)
        self.joins.drive(update)
        self.send(frame)

    def send(self, frames: bytes) -> None:
        """Send frames as they are to all panels."""
        for panel in list(self.panels):
            panel.send(frames)

    def request_updates(self) -> None:
        """Let every panel be sent all joins."""
        for panel in list(self.panels):
            panel.request_update()

    def receive(self, panel: SignedOnPanel, updates: Iterable[Update]) -> None:
        """Take what a panel says; it cannot release a button that another repeats."""
        taken: list[Update] = []
        for update in updates:
            digital = update.join.kind == "digital"
            if digital and not update.value and self._repeated(update.join, panel):
                panel.presses.watch(update)
                continue
            value = self.joins.receive(update)
            if value is None:
                continue
            if digital:
                panel.presses.watch(update)
            taken.append(update._replace(value=value, append=False))
        self._on_updates(taken)

    def release(self, panel: SignedOnPanel, joins: Iterable[Join]) -> None:
        """Release buttons that a panel no longer holds, unless another one does."""
        updates = []
        for join in joins:
            if not self._held(join, panel):
                updates.append(Update(join, False, Form.DIGITAL))
        self.receive(panel, updates)

    def _repeated(self, join: Join, panel: SignedOnPanel) -> bool:
        """Return whether a panel other than this one repeats a button."""
        return any(each.repeats(join) for each in self._others(panel))

    def _held(self, join: Join, panel: SignedOnPanel) -> bool:
        """Return whether a panel other than this one holds a join."""
        return any(each.holds(join) for each in self._others(panel))

    def _others(self, panel: SignedOnPanel) -> list[Presses]:
        return [each.presses for each in self.panels if each is not panel]


class Program(Protocol):
    """What a panel that connects finds."""

    state: int  # of the greeting

    def now(self) -> datetime:
        """Return date and time, without a zone."""
        ...

    def find(self, ipid: int) -> Seat | None:
        """Return the seat of an IP-ID, None if it is not ours."""
        ...

    def answer_update(self, panel: SignedOnPanel) -> None:
        """Answer a panel that asks for an update."""
        ...


class RunningProgram:
    """A program that is always ready, with the seats of one port."""

    state = cip.READY

    def __init__(
        self, seats: Iterable[Seat], now: Callable[[], datetime] = datetime.now
    ) -> None:
        self.now = now
        self.seats = {seat.ipid: seat for seat in seats}

    def find(self, ipid: int) -> Seat | None:
        return self.seats.get(ipid)

    def answer_update(self, panel: SignedOnPanel) -> None:
        panel.request_update()
