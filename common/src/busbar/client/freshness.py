"""Whether what a bridge or device has said may still be believed: one rule.

No I/O, no clock: monotonic times (s) of the reader come with the messages.

    last sign of life | its newest `time`, by the clocks | listened for | verdict
    ------------------+----------------------------------+--------------+------------
    LIMIT ago at most | any                              | any          | FRESH
    earlier, or none  | LIMIT ago at most                | any          | FRESH
                      | earlier, in the future, or none  | LIMIT        | UNCONFIRMED
                      |                                  | longer       | LOST

A sign of life is a snapshot or a change that the broker did not keep for us and that
is newer (by `seq` or `time`) than the message before it, of the same device and boot.
A message that was kept proves nothing, nor does the first of a boot: a broker that was
restored, or one behind another, may send both long after the bridge has died.

Until the first sign of life `time` is compared with our own clock, TOLERANCE for the
difference. A snapshot that is a sign of life shows how far the clocks differ: from then
on `time` is judged exactly, whatever either clock is set to. Source: docs/contract.md,
"A reader in ten lines".
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

    def take(self, boot: str, seq: int, time: float, *, kept: bool, now: float) -> bool:
        """Take the head of a message; return whether it is a sign of life.

        kept: the broker had retained it, so it may be of any age.
        """
        if boot != self.boot:
            self._start_over(boot)
        newer = self.time is not None and (seq > self.seq or time > self.time)
        self.seq = seq
        self.time = time
        if kept or not newer:
            return False
        self.heard = self.bridge.heard = now
        return True

    def _start_over(self, boot: str) -> None:
        """Begin with a process of which nothing shows yet that it lives."""
        self.boot = boot
        self.time = None
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

    def take_snapshot(
        self, life: DeviceLife, boot: str, seq: int, time: float, *, kept: bool
    ) -> None:
        """Take a snapshot: its `time` is that of sending, so it shows the clocks."""
        now = self._monotonic()
        if life.take(boot, seq, time, kept=kept, now=now):
            life.bridge.difference = now - time

    def take_change(self, life: DeviceLife, boot: str, seq: int, time: float) -> None:
        """Take a change, which no broker keeps."""
        life.take(boot, seq, time, kept=False, now=self._monotonic())

    def age(self, life: DeviceLife) -> float | None:
        """Return how old the newest message is by the clocks (s), None without one."""
        if life.time is None:
            return None
        if life.bridge.difference is None:
            return wall_clock() - life.time
        return self._monotonic() - life.bridge.difference - life.time

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
