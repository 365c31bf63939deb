"""Analogs on their way from one value to another."""

import asyncio
from collections.abc import Awaitable, Callable

from busbar.bridge import BadRequest, Cancelled, OutOfRange
from busbar.codecs.cip import ANALOG_LIMIT, Join
from cip_bridge.arguments import Ramp
from cip_bridge.join_publisher import JoinPublisher
from cip_bridge.paths import JoinProperty

STEP = 0.1  # s between values: ten a second, which processors are known to take
RAMP_TIMEOUT = 70.0  # s for the longest


class Ramps:
    """Ramps of one device; `send` sends a raw value.

    A set, or another ramp, of the same join takes over.
    """

    def __init__(
        self, publisher: JoinPublisher, send: Callable[[Join, int], Awaitable[None]]
    ) -> None:
        self._publisher = publisher
        self._send = send
        self._newest: dict[Join, object] = {}
        self._loop = asyncio.get_running_loop()

    def forget(self, join: Join) -> None:
        """End the ramp of a join: it was set by other means."""
        self._newest.pop(join, None)

    async def run(self, arguments: Ramp) -> None:
        """Send values until the last one.

        Raise UnknownTarget, BadRequest, OutOfRange, or Cancelled if it was overtaken.
        """
        join, named = self._find(arguments)
        first = arguments.start
        if first is None:
            first = self._present(join, named)
        mine = self._newest[join] = object()
        began = self._loop.time()
        done = 0.0
        try:
            while done < 1:
                done = min(1.0, (self._loop.time() - began + STEP) / arguments.seconds)
                value = first + (arguments.value - first) * done
                await self._send(join, named.analog(value) if named else round(value))
                if done < 1:
                    await asyncio.sleep(STEP)
                if self._newest.get(join) is not mine:
                    raise Cancelled("a set or another ramp of this join has taken over")
        finally:
            if self._newest.get(join) is mine:
                self.forget(join)

    def _find(self, arguments: Ramp) -> tuple[Join, JoinProperty | None]:
        path = arguments.join
        if isinstance(path, int):
            path = f"analog/{path}"
        join, named = self._publisher.paths.find(path)
        if join.kind != "analog":
            raise BadRequest(f"{path!r} is a {join.kind} join; only analogs can ramp")
        low, high = named.range if named else (0, ANALOG_LIMIT)
        for value in (arguments.value, arguments.start):
            if value is not None and not low <= value <= high:
                raise OutOfRange(f"{value:g} is not {low:g} to {high:g}")
        return join, named

    def _present(self, join: Join, named: JoinProperty | None) -> float:
        """Return the value that feedback has, else what we have sent."""
        joins = self._publisher.joins
        feedback = named.feedback if named else join
        known = feedback in joins.received.known
        value = joins.get(feedback) if known else joins.get(join, sent=True)
        return float(named.shown(value) if named else value)
