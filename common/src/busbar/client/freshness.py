"""Whether what a bridge or device has said may still be believed: one rule.

No I/O, no clock: monotonic times (s) of the reader come with the messages.

    last sign of life | its newest `time`, by the clocks | listened for | verdict
    ------------------+----------------------------------+--------------+------------
    LIMIT ago at most | any                              | any          | FRESH
    earlier, or none  | LIMIT ago at most                | any          | FRESH
                      | earlier, in the future, or none  | LIMIT        | UNCONFIRMED
                      |                                  | longer       | LOST

A sign of life is a snapshot or a change that the broker did not keep for us, that is
newer (by `seq` or `time`) than all before it of the same device and boot, and whose
`time` agrees with the clock: ours, or that of its bridge as it was measured. A message
that was kept proves nothing, nor does the first of a boot, nor one that is old by the
clock: a broker that was restored, or one behind another, may send each of them long
after the bridge has died.

Where the clocks differ, two such messages that agree about the difference, STEADY s
apart, are a sign of life and measure it: only who lives keeps step with our clock.
From then on `time` is judged exactly.

Source: docs/contract.md, "A reader in ten lines".
"""

import math
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from busbar.contract.messages import Fault
from busbar.contract.topics import BRIDGE

LIMIT = 150.0  # s without a sign of life (contract 4); snapshots come every 60 s
TOLERANCE = 5.0  # s that two clocks may differ (contract 2, `_sent`)
STEADY = 1.0  # s; what waited in a queue comes faster than it happened
UNCONFIRMED = "unconfirmed"
OFFLINE = "offline"


def wall_clock() -> float:
    """Return Unix time (s), as well as this machine knows it."""
    return clock.time()


def asleep() -> float:
    """Return how long (s) this machine has slept: monotonic clocks stand still then."""
    if not hasattr(clock, "CLOCK_BOOTTIME"):
        return 0.0
    since_boot = clock.clock_gettime(clock.CLOCK_BOOTTIME)
    return since_boot - clock.clock_gettime(clock.CLOCK_MONOTONIC)


class Verdict(Enum):
    """Whether something may be believed."""

    FRESH = auto()
    UNCONFIRMED = auto()  # old, or our clocks differ: the next message will tell
    LOST = auto()


def judge(
    silence: float, age: float | None, listened: float, tolerance: float = TOLERANCE
) -> Verdict:
    """Judge by what is known, in s.

    silence: since the last sign of life, inf without one. age: since the newest `time`,
    None without one. listened: since we could have heard it. tolerance: of `age`.
    """
    if silence <= LIMIT:
        return Verdict.FRESH
    if age is not None and -TOLERANCE <= age <= LIMIT + tolerance:
        return Verdict.FRESH
    if listened > LIMIT:
        return Verdict.LOST
    return Verdict.UNCONFIRMED


@dataclass(slots=True, eq=False)
class BridgeLife:
    """What shows that the process of one bridge lives."""

    name: str
    since: float  # monotonic time (s) from which we could hear it
    heard: float = -math.inf  # of its last sign of life
    # our monotonic time less the bridge's clock (s), from a sign of life
    difference: float | None = None
    # the same as another message shows it, and when that came (monotonic s)
    _claimed: float = math.inf
    _claimed_at: float = math.inf

    def clocks(self, now: float) -> float:
        """Return our monotonic time less the bridge's clock (s).

        Until it is measured, less our own clock.
        """
        if self.difference is None:
            return now - wall_clock()
        return self.difference

    def confirm(self, difference: float, now: float) -> bool:
        """Take the difference that a new message shows.

        Return whether it is a sign of life.
        """
        if abs(difference - self.clocks(now)) > TOLERANCE:
            if abs(difference - self._claimed) > TOLERANCE:
                self._claimed = difference
                self._claimed_at = now
                return False
            if now - self._claimed_at < STEADY:
                return False
        self.difference = difference
        self.heard = now
        return True


@dataclass(slots=True, eq=False)
class DeviceLife:
    """What shows that one device is still published: heads of its messages."""

    name: str
    bridge: BridgeLife
    boot: str = ""
    seq: int = 0
    time: float | None = None  # Unix s, by the bridge's clock
    heard: float = -math.inf

    @property
    def of_bridge(self) -> bool:
        """True for the device that is the bridge itself."""
        return self.name.endswith(f"/{BRIDGE}")

    def take(self, boot: str, seq: int, time: float, *, kept: bool, now: float) -> None:
        """Take the head of a message.

        kept: the broker had retained it, so it may be of any age.
        """
        if boot != self.boot or self.time is None:
            self._start_over(boot)
        elif seq <= self.seq and time <= self.time:
            if seq == self.seq:
                self.time = time  # the clock was set back, or it is an old message
            return
        elif not kept and self.bridge.confirm(now - time, now):
            self.heard = now
        self.seq = seq
        self.time = time

    def _start_over(self, boot: str) -> None:
        """Begin with a process of which nothing shows yet that it lives."""
        self.boot = boot
        self.heard = -math.inf
        if self.of_bridge:
            self.bridge.heard = -math.inf
            self.bridge.difference = None


class Freshness:
    """The life of all bridges and devices that a reader has heard of."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.bridges: dict[str, BridgeLife] = {}
        self._devices: dict[str, DeviceLife] = {}
        self._awake = monotonic

    def of(self, name: str) -> DeviceLife:
        """Return the life of a device, from now on if not before."""
        life = self._devices.get(name)
        if life is None:
            bridge = name.partition("/")[0]
            if bridge not in self.bridges:
                self.bridges[bridge] = BridgeLife(bridge, self._monotonic())
            life = self._devices[name] = DeviceLife(name, self.bridges[bridge])
        return life

    def listen(self) -> None:
        """Take that we can hear everybody from now on."""
        for bridge in self.bridges.values():
            bridge.since = self._monotonic()

    def take(
        self, life: DeviceLife, boot: str, seq: int, time: float, *, kept: bool
    ) -> None:
        """Take the head of a snapshot or change: `time` is that of sending."""
        life.take(boot, seq, time, kept=kept, now=self._monotonic())

    def age(self, life: DeviceLife) -> float | None:
        """Return how old the newest message is by the clocks (s), None without one."""
        if life.time is None:
            return None
        now = self._monotonic()
        return now - life.bridge.clocks(now) - life.time

    def fault_of_bridge(self, bridge: str) -> Fault | None:
        """Return why a bridge that says it is online is not to be believed."""
        life = self.of(f"{bridge}/{BRIDGE}")
        return self._fault(life, life.bridge.heard, f"the bridge {bridge}")

    def fault_of_device(self, life: DeviceLife) -> Fault | None:
        """Return why the values of a device of a bridge that lives are too old."""
        if life.time is None or life.of_bridge:
            return None
        return self._fault(life, life.heard, life.name)

    def _monotonic(self) -> float:
        return self._awake() + asleep()

    def _fault(self, life: DeviceLife, heard: float, what: str) -> Fault | None:
        now = self._monotonic()
        tolerance = TOLERANCE
        if life.bridge.difference is not None:
            tolerance = 0.0
        listened = now - life.bridge.since
        verdict = judge(now - heard, self.age(life), listened, tolerance)
        if verdict is Verdict.FRESH:
            return None
        since = f"not heard since {shown(life.time)}"
        if verdict is Verdict.LOST:
            silent = f"no sign of life from {what} for {LIMIT:g} s, {since}"
            return Fault(OFFLINE, silent)
        return Fault(UNCONFIRMED, f"{what}: {since}; waiting for a sign of life")


def shown(time: float | None) -> str:
    """Return a time (Unix s) of a bridge's clock for people."""
    if time is None:
        return "we listen"
    try:
        return clock.strftime("%Y-%m-%d %H:%M:%S UTC (its clock)", clock.gmtime(time))
    except (OverflowError, ValueError, OSError):  # somebody's nonsense
        return f"{time:g} (its clock)"
