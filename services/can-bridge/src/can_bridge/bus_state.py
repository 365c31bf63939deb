"""How a bus is: state, load, counters, error frames."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import msgspec

from busbar.bridge import Event, LinkLost, Outlet, Property
from busbar.codecs.can import ERROR, SENT, Frame, bits, error_report
from can_bridge.interfaces.interface import Bus, Health, log

PERIOD = 1.0  # s between looks
ERROR_EVENTS = 10  # a second; a broken bus has thousands
State = Literal["active", "warning", "passive", "off"]


class ErrorEvent(msgspec.Struct, frozen=True):
    """Payload of event/error: an error frame in words.

    `skipped` were left out since the last one.
    """

    text: str
    kinds: list[str]
    state: State | None
    tx_errors: int | None
    rx_errors: int | None
    skipped: int


ERROR_EVENT = Event("error", ErrorEvent, title="Error frame")
PROPERTIES = [
    Property(
        "_bus",
        State | None,
        title=("State of the controller, null where the interface does not tell"),
    ),
    Property("_bitrate", int | None, title="Bit rate", unit="bit/s"),
    Property(
        "_load",
        float | None,
        title=("Bus load by the frames received and sent, without stuff bits"),
        unit="%",
    ),
    Property("_rate", int, title="Frames received in the last second", unit="1/s"),
    Property("_received", int, title="Frames received"),
    Property("_sent", int, title="Frames sent"),
    Property("_dropped", int, title="Frames lost because they were not read in time"),
    Property("_skipped", int, title="Input that was no frame"),
    Property(
        "_refused", int, title=("Commands and frames that the adapter did not take")
    ),
    Property("_errors", int, title="Error frames"),
    Property(
        "_tx_errors", int | None, title=("Transmit error counter of the controller")
    ),
    Property("_rx_errors", int | None, title="Receive error counter of the controller"),
]


class Watch:
    """Counts what goes by, and looks at the interface once a second."""

    def __init__(
        self,
        name: str,
        outlet: Outlet,
        bus: Bus,
        bitrates: tuple[int | None, int | None],
        restart: float | None,
    ) -> None:
        self.sent = 0
        self._name, self._outlet, self._bus = name, outlet, bus
        self._bitrates, self._restart = bitrates, restart
        self._received = self._errors = self._before = 0
        self._nominal = self._fast = 0  # bits since the last look
        self._state: str | None = None  # as the last error frame said
        self._off_since: float | None = None
        self._told_dropped = self._told_refused = 0
        self._left, self._left_out = float(ERROR_EVENTS), 0
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()

    def take(self, frames: Sequence[Frame]) -> None:
        """Count frames, ours among them where they are received, too."""
        nominal, fast = 0, 0
        for frame in frames:
            if frame.flags & ERROR:
                self._take_error(frame)
                continue
            one, two = bits(frame)
            nominal += one
            fast += two
            self._received += not frame.flags & SENT
        self._nominal += nominal
        self._fast += fast

    def count_sent(self, frames: Sequence[Frame], echoed: bool) -> None:
        """Count frames that went out.

        `echoed`: they come back and are counted for the load there.
        """
        self.sent += len(frames)
        if not echoed:
            self._nominal += sum(bits(frame)[0] for frame in frames)
            self._fast += sum(bits(frame)[1] for frame in frames)

    def _take_error(self, frame: Frame) -> None:
        found = error_report(frame)
        self._errors += 1
        if found.state is not None and found.state != self._state:
            self._state = found.state
            self._outlet.values({"_bus": found.state}, frame.time)
        if self._left < 1:
            self._left_out += 1
            return
        self._left -= 1
        self._outlet.event(
            "error", {**found._asdict(), "skipped": self._left_out}, frame.time
        )
        self._left_out = 0

    async def run(self) -> None:
        """Look once a second.

        Raise LinkLost when the bus is down, or has been off for so long.
        """
        while True:
            await self.look()
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """Publish how the bus is."""
        now = self._loop.time()
        passed, self._last = max(now - self._last, 1e-3), now
        self._left = min(float(ERROR_EVENTS), self._left + passed * ERROR_EVENTS)
        health = await self._bus.health()
        state = health.state if health.state is not None else self._state
        self._outlet.values(
            {
                "_bus": state,
                "_bitrate": health.bitrate or self._bitrates[0],
                "_load": self._load(health, passed),
                "_rate": round((self._received - self._before) / passed),
                "_received": self._received,
                "_sent": self.sent,
                "_dropped": self._bus.dropped,
                "_skipped": self._bus.skipped,
                "_refused": self._bus.refused,
                "_errors": self._errors,
                "_tx_errors": health.tx_errors,
                "_rx_errors": health.rx_errors,
            }
        )
        self._before, self._nominal, self._fast = self._received, 0, 0
        self._tell_lost()
        self._check_off(state, health)

    def _load(self, health: Health, passed: float) -> float | None:
        rate = health.bitrate or self._bitrates[0]
        if not rate:
            return None
        fast = health.data_bitrate or self._bitrates[1] or rate
        return round(
            min(100.0, 100 * (self._nominal / rate + self._fast / fast) / passed), 1
        )

    def _tell_lost(self) -> None:
        dropped = self._bus.dropped
        if dropped > self._told_dropped:
            lost = dropped - self._told_dropped
            log.warning(
                ("%s: %d frames were lost because they were not read in time"),
                self._name,
                lost,
            )
        self._told_dropped = dropped
        if self._bus.refused > self._told_refused:
            times = self._bus.refused - self._told_refused
            log.warning(
                ("%s: the adapter refused what we sent, %d times"), self._name, times
            )
        self._told_refused = self._bus.refused

    def _check_off(self, state: str | None, health: Health) -> None:
        """A controller that is off is started again by opening the bus anew, unless the interface does so itself."""
        if state != "off":
            self._off_since = None
            return
        now = self._loop.time()
        if self._off_since is None:
            self._off_since = now
            more = "" if self._restart or health.restart else "; nothing restarts it"
            log.warning("%s: the controller is bus-off%s", self._name, more)
        if (
            self._restart
            and not health.restart
            and now - self._off_since >= self._restart
        ):
            raise LinkLost(f"bus-off for {self._restart:g} s: the bus is opened anew")
