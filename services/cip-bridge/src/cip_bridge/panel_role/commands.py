"""Commands of a panel: its buttons, an update, raw frames."""

import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import NoArguments, Turn, command
from busbar.codecs.cip import Join
from cip_bridge.arguments import Get, JoinName, Pulse, Ramp, Send, parse_frames
from cip_bridge.join_publisher import JoinPublisher
from cip_bridge.panel_role.conversation import PanelConversation
from cip_bridge.panel_role.holds import Holds
from cip_bridge.pulses import PULSE_TIMEOUT, Pulses
from cip_bridge.ramps import RAMP_TIMEOUT, Ramps

HOLD = 10.0  # s
HOLD_LONGEST = 3600.0  # s


class Press(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `press`.

    A digital join by number, path or name, and how long to hold it (s).
    """

    join: JoinName
    hold: Annotated[float, Meta(gt=0, le=HOLD_LONGEST)] | Literal["forever"] = HOLD

    @property
    def seconds(self) -> float:
        return math.inf if self.hold == "forever" else self.hold


class Button(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `release`."""

    join: JoinName


class PanelCommands:
    """Commands to one processor; `update` asks for all joins and waits for them."""

    def __init__(
        self,
        publisher: JoinPublisher,
        conversation: PanelConversation,
        holds: Holds,
        ramps: Ramps,
        update: Callable[[float | None], Awaitable[None]],
    ) -> None:
        self._publisher = publisher
        self._conversation = conversation
        self._holds = holds
        self._ramps = ramps
        self._pulses = Pulses()
        self._update = update

    @command(holds="exchange")
    async def press(self, device: str, arguments: Press, turn: Turn) -> None:
        """Press a button and hold it; pressing again renews."""
        join = self._publisher.paths.button(arguments.join)
        hold = await self._holds.press(join, arguments.seconds)
        turn.when_unlocked(("hold", join), lambda: self._holds.end(hold))

    @command(holds="exchange")
    async def release(self, device: str, arguments: Button, turn: Turn) -> None:
        """Release a button."""
        await self._holds.release(self._publisher.paths.button(arguments.join))

    @command(holds="exchange", timeout=PULSE_TIMEOUT)
    async def pulse(self, device: str, arguments: Pulse, turn: Turn) -> None:
        """Press a button and release it; not while somebody holds it.

        Pulses of one button wait for each other: each is one press.
        """
        join = self._publisher.paths.button(arguments.join)
        await self.pulse_once(join, arguments.seconds, turn)

    @command(holds="exchange", timeout=RAMP_TIMEOUT)
    async def ramp(self, device: str, arguments: Ramp, turn: Turn) -> None:
        """Let an analog go to a value in so many seconds; a set takes over."""
        turn.release()
        await self._ramps.run(arguments)

    async def pulse_once(self, join: Join, seconds: float, turn: Turn) -> None:
        """Press and release, after the pulses before; raise Locked, Overloaded."""
        async with self._pulses.turn(join, seconds, turn):
            await self._holds.wait_free(join)
            hold = await self._holds.press(join, seconds, pulse=True)
            turn.release()
            try:
                await hold.over.wait()
            finally:
                self._holds.end(hold)

    @command(timeout=30.0)
    async def update_request(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Ask the processor for all joins; done when they have come."""
        await self._update(turn.asked)

    @command(holds="exchange")
    async def get(self, device: str, arguments: Get, turn: Turn) -> bool | float | str:
        """Return the newest value of a join; one that never came is at its default."""
        return self._publisher.read(arguments)  # type: ignore[no-any-return]  # one of these

    @command(holds="exchange")
    async def send(self, device: str, arguments: Send, turn: Turn) -> None:
        """Send raw frames, given in hex."""
        await self._conversation.send(parse_frames(arguments.frames))
