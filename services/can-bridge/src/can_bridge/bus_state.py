"""State of a bus: controller, load, counters, error frames."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import msgspec

from busbar.bridge import Event, LinkLost, Outlet, Property
from busbar.codecs.can import ERROR, SENT, Frame, bits, error_report
from can_bridge.interfaces.interface import CanInterface, Health, log

PERIOD = 1.0  # s between reports
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
        title="State of the controller, null where the interface does not tell",
    ),
    Property("_bitrate", int | None, title="Bit rate", unit="bit/s"),
    Property(
        "_load",
        float | None,
        title="Bus load by the frames received and sent, without stuff bits",
        unit="%",
    ),
    Property("_rate", int, title="Frames received in the last second", unit="1/s"),
    Property("_received", int, title="Frames received"),
    Property("_sent", int, title="Frames sent"),
    Property("_dropped", int, title="Frames lost because they were not read in time"),
    Property("_skipped", int, title="Input that was no frame"),
    Property(
        "_refused", int, title="Commands and frames that the adapter did not take"
    ),
    Property("_errors", int, title="Error frames"),
    Property(
        "_tx_errors", int | None, title="Transmit error counter of the controller"
    ),
    Property("_rx_errors", int | None, title="Receive error counter of the controller"),
]


class BusMonitor:
    """Counts frames, and publishes the state of the bus once a second."""

    def __init__(
        self,
        name: str,
        outlet: Outlet,
        bus: CanInterface,
        bitrates: tuple[int | None, int | None],
        restart: float | None,
    ) -> None:
        self.sent = 0
        self._name = name
        self._outlet = outlet
        self._bus = bus
        self._bitrate, self._data_bitrate = bitrates
        self._restart = restart
        self._received = 0
        self._errors = 0
        # since the last report, which was at _reported_at
        self._before = 0  # of _received
        self._nominal = 0  # bits
        self._fast = 0  # bits of data phases
        self._state: str | None = None  # as the last error frame said
        self._off_since: float | None = None
        self._warned_dropped = 0
        self._warned_refused = 0
        self._events_left = float(ERROR_EVENTS)
        self._events_skipped = 0
        self._loop = asyncio.get_running_loop()
        self._reported_at = self._loop.time()

    def take(self, frames: Sequence[Frame]) -> None:
        """Count frames that came, our own ones among them where they are received."""
        nominal = 0
        fast = 0
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
        """Count frames that went out; `echoed` ones come back and are load there."""
        self.sent += len(frames)
        if echoed:
            return
        for frame in frames:
            nominal, fast = bits(frame)
            self._nominal += nominal
            self._fast += fast

    def _take_error(self, frame: Frame) -> None:
        report = error_report(frame)
        self._errors += 1
        if report.state is not None and report.state != self._state:
            self._state = report.state
            self._outlet.values({"_bus": report.state}, frame.time)
        if self._events_left < 1:
            self._events_skipped += 1
            return
        self._events_left -= 1
        fields = {**report._asdict(), "skipped": self._events_skipped}
        self._outlet.event("error", fields, frame.time)
        self._events_skipped = 0

    async def run(self) -> None:
        """Publish the state once a second.

        Raise LinkLost when the bus is down, or was off for the time of `restart`.
        """
        while True:
            await self.report()
            await asyncio.sleep(PERIOD)

    async def report(self) -> None:
        """Publish the state of the bus; raise LinkLost."""
        now = self._loop.time()
        passed = max(now - self._reported_at, 1e-3)
        self._reported_at = now
        events_left = self._events_left + passed * ERROR_EVENTS
        self._events_left = min(float(ERROR_EVENTS), events_left)
        health = await self._bus.health()
        state = health.state if health.state is not None else self._state
        self._outlet.values(
            {
                "_bus": state,
                "_bitrate": health.bitrate or self._bitrate,
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
        self._before = self._received
        self._nominal = 0
        self._fast = 0
        self._warn_of_losses()
        self._check_off(state, health)

    def _load(self, health: Health, passed: float) -> float | None:
        """Return the load in %, None where the bit rate is unknown."""
        rate = health.bitrate or self._bitrate
        if not rate:
            return None
        data_rate = health.data_bitrate or self._data_bitrate or rate
        busy = self._nominal / rate + self._fast / data_rate  # s
        return round(min(100.0, 100 * busy / passed), 1)

    def _warn_of_losses(self) -> None:
        dropped = self._bus.dropped - self._warned_dropped
        if dropped > 0:
            log.warning(
                "%s: %d frames were lost because they were not read in time",
                self._name,
                dropped,
            )
        self._warned_dropped = self._bus.dropped
        refused = self._bus.refused - self._warned_refused
        if refused > 0:
            log.warning(
                "%s: the adapter refused what we sent, %d times", self._name, refused
            )
        self._warned_refused = self._bus.refused

    def _check_off(self, state: str | None, health: Health) -> None:
        """Raise LinkLost to restart a controller, if the interface does not do so."""
        if state != "off":
            self._off_since = None
            return
        now = self._loop.time()
        if self._off_since is None:
            self._off_since = now
            more = "" if self._restart or health.restart else "; nothing restarts it"
            log.warning("%s: the controller is bus-off%s", self._name, more)
        if not self._restart or health.restart:
            return
        if now - self._off_since >= self._restart:
            raise LinkLost(f"bus-off for {self._restart:g} s: the bus is opened again")
