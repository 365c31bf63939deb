"""Commands of a program to its panels."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from busbar.bridge import NoArguments, Turn, command
from busbar.codecs.cip import Join
from cip_bridge.arguments import Get, Pulse, Ramp, Send, parse_frames
from cip_bridge.join_publisher import JoinPublisher
from cip_bridge.join_state import Value
from cip_bridge.processor_role.program import Seat
from cip_bridge.pulses import PULSE_TIMEOUT, Pulses
from cip_bridge.ramps import RAMP_TIMEOUT, Ramps


class ProcessorCommands:
    """Commands to the panels of each device; `drive` gives a join a value."""

    def __init__(
        self,
        publishers: Mapping[str, JoinPublisher],
        seats: Mapping[str, Seat],
        drive: Callable[[str, Join, Value], None],
    ) -> None:
        self._publishers = publishers
        self._seats = seats
        self._drive = drive
        self._pulses = {device: Pulses() for device in seats}
        self._ramps: dict[str, Ramps] = {}
        for device, publisher in publishers.items():
            self._ramps[device] = Ramps(publisher, partial(self._send, device))

    @command(holds="exchange", timeout=PULSE_TIMEOUT)
    async def pulse(self, device: str, arguments: Pulse, turn: Turn) -> None:
        """Set a digital join true and then false again.

        Pulses of one join wait for each other: each is one press.
        """
        join = self._publishers[device].paths.button(arguments.join)
        await self.pulse_once(device, join, arguments.seconds, turn)

    @command(holds="exchange", timeout=RAMP_TIMEOUT)
    async def ramp(self, device: str, arguments: Ramp, turn: Turn) -> None:
        """Let an analog go to a value in so many seconds; a set takes over."""
        turn.release()
        await self._ramps[device].run(arguments)

    async def pulse_once(
        self, device: str, join: Join, seconds: float, turn: Turn
    ) -> None:
        """Set true and false again, after the pulses before; raise Overloaded."""
        async with self._pulses[device].turn(join, seconds, turn):
            self._drive(device, join, True)
            turn.release()
            try:
                await asyncio.sleep(seconds)
            finally:
                self._drive(device, join, False)

    def end_ramp(self, device: str, join: Join) -> None:
        """End the ramp of a join: it was set by other means."""
        self._ramps[device].forget(join)

    async def _send(self, device: str, join: Join, value: Value) -> None:
        self._drive(device, join, value)

    @command(holds="exchange")
    async def update_request(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Tell all panels everything again."""
        self._seats[device].request_updates()

    @command(holds="exchange")
    async def get(self, device: str, arguments: Get, turn: Turn) -> bool | float | str:
        """Return the newest value of a join; one that never came is at its default."""
        return self._publishers[device].read(arguments)  # type: ignore[no-any-return]  # one of these

    @command(holds="exchange")
    async def send(self, device: str, arguments: Send, turn: Turn) -> None:
        """Send raw frames, given in hex, to all panels."""
        self._seats[device].send(parse_frames(arguments.frames))
