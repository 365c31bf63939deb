"""What `busbar doctor` concludes from what it has seen.

No I/O, so that every conclusion can be tested.
"""

import difflib
import re
import time as clock
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from busbar.cli.observe import Seen
from busbar.cli.settings import VARIABLES
from busbar.contract.messages import CONTRACT, Info, Reply, State, Status
from busbar.contract.topics import BRIDGE

T = TypeVar("T")

OFF = 5.0  # s that two clocks may differ: contract 2, `_sent`
SILENT = 150.0  # s without a snapshot of a bridge: contract 4
LAG = 0.5  # s; a healthy event loop is a hundred times quicker
# in an address: the same words on two machines are two devices
LOCAL = ("127.", "localhost", "[::1]", "/dev/")
# HOST:PORT in an address; one without it is a part of a machine
HOST = re.compile(r"[^:]:\d{1,5}(::|$)")


class Finding(msgspec.Struct, frozen=True):
    """What one check came to; `advice` where somebody can do something."""

    check: str
    state: Literal["ok", "warning", "failed", "unknown"]
    text: str
    advice: str = ""


class Bus:
    """What was said under one root; malformed messages are findings, too."""

    def __init__(self, root: str, seen: Sequence[Seen]) -> None:
        self.malformed: list[str] = []
        self.statuses: dict[str, list[Status]] = {}
        self.infos: dict[str, Info] = {}
        self.states: dict[str, State] = {}
        for each in seen:
            name, _, channel = each.topic.removeprefix(f"{root}/").rpartition("/")
            if channel == "status" and (status := self._read(each, Status)):
                self.statuses.setdefault(name, []).append(status)
            elif channel == "info" and (info := self._read(each, Info)):
                self.infos[name] = info
            elif channel == "state" and (state := self._read(each, State)):
                self.states[name] = state

    @property
    def bridges(self) -> list[str]:
        return sorted(
            name.partition("/")[0]
            for name in self.statuses
            if name.endswith(f"/{BRIDGE}")
        )

    def state(self, name: str) -> Status:
        """Return the newest status of a device that has one."""
        return self.statuses[name][-1]

    def online(self, bridge: str) -> bool:
        return self.state(f"{bridge}/{BRIDGE}").state == "online"

    def devices(self, bridge: str) -> list[str]:
        """Return the devices of a bridge, itself not among them."""
        names = {*self.statuses, *self.infos}
        return sorted(
            name
            for name in names
            if name.startswith(f"{bridge}/") and not name.endswith(f"/{BRIDGE}")
        )

    def _read(self, seen: Seen, type_: type[T]) -> T | None:
        if not seen.payload:
            return None
        try:
            return msgspec.json.decode(seen.payload, type=type_)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.malformed.append(f"{seen.topic}: {error}")
            return None


def variables(environment: Iterable[str]) -> Iterator[Finding]:
    """Judge the variables: one that nobody reads is a slip of the pen."""
    wrong = sorted(
        name
        for name in environment
        if name.startswith("BUSBAR_") and name not in VARIABLES
    )
    for name in wrong:
        close = [each for each in sorted(VARIABLES) if each.startswith(name)]
        close = close or difflib.get_close_matches(name, VARIABLES, n=1)
        meant = (
            f"did you mean {close[0]}?"
            if close
            else (f"there are: {', '.join(sorted(VARIABLES))}")
        )
        yield Finding("environment", "warning", f"{name} is read by nobody", meant)
    if not wrong:
        yield Finding("environment", "ok", "every BUSBAR_ variable is one that is read")


def own_clock(synchronised: bool) -> Finding:
    if synchronised:
        return Finding("clock", "ok", "the clock of this machine is synchronised")
    advice = "timedatectl; commands from a clock that is wrong are refused as expired"
    return Finding(
        "clock",
        "warning",
        ("the clock of this machine is not synchronised, or cannot be asked"),
        advice,
    )


def bridges(bus: Bus) -> Iterator[Finding]:
    """Judge which bridges there are, and how each one is."""
    if not bus.bridges:
        advice = (
            "is one running, with this root, and may we read <root>/#? A broker that "
            "denies it stays silent"
        )
        yield Finding("bridges", "warning", "no bridge has said anything", advice)
    for topic in bus.malformed:
        yield Finding(
            "bridges", "failed", f"cannot be read: {topic}", "busbar conformance BRIDGE"
        )
    for bridge in bus.bridges:
        yield from _bridge(bus, bridge)


def _bridge(bus: Bus, bridge: str) -> Iterator[Finding]:
    check, name = f"bridge {bridge}", f"{bridge}/{BRIDGE}"
    status = bus.state(name)
    if status.state != "online":
        reason = f": {status.reason.message}" if status.reason else ""
        advice = f"start it, or remove what it left: busbar clean --gone {bridge}"
        yield Finding(check, "failed", f"{status.state}{reason}", advice)
        return
    problems = [*_own_values(bus.states.get(name)), *_contract(bus, bridge)]
    devices = bus.devices(bridge)
    good = sum(
        bus.state(each).state == "online" for each in devices if each in bus.statuses
    )
    yield Finding(check, "ok", f"online, {good} of {len(devices)} devices online")
    for problem in problems:
        yield Finding(
            check, "warning", problem, (f"busbar show {name}; busbar log {bridge}")
        )
    for device in devices:
        yield from _device(bus, device)


def _own_values(state: State | None) -> Iterator[str]:
    if state is None:
        yield "it has published no state"
        return
    values = state.values
    if clock.time() - state.time > SILENT:
        yield (
            f"no sign of life for {clock.time() - state.time:.0f} s, or our clocks "
            f"differ"
        )
    if values.get("clock") is False:
        yield "its clock is not synchronised"
    if values.get("dropped"):
        yield f"it gave up {values['dropped']:g} messages since its start"
    if (values.get("loop_lag") or 0) > LAG:
        yield (
            f"its event loop was {values['loop_lag']:g} s late: too much to do, or "
            f"something blocks"
        )


def _contract(bus: Bus, bridge: str) -> Iterator[str]:
    others = {
        bus.infos[name].contract for name in bus.infos if name.startswith(f"{bridge}/")
    } - {CONTRACT}
    if others:
        yield (
            f"it speaks version {min(others)} of the contract, this program version "
            f"{CONTRACT}"
        )


def _device(bus: Bus, device: str) -> Iterator[Finding]:
    status = bus.statuses[device][-1] if device in bus.statuses else None
    if status is None:
        yield Finding(
            f"device {device}",
            "warning",
            "it has no status",
            (f"busbar clean {device.partition('/')[0]}"),
        )
    elif status.state != "online":
        reason = f": {status.reason.message}" if status.reason else ""
        yield Finding(f"device {device}", "warning", f"{status.state}{reason}")
    elif (state := bus.states.get(device)) and state.bad:
        worst = next(iter(state.bad.items()))
        yield Finding(
            f"device {device}",
            "warning",
            (f"{len(state.bad)} values are bad, as {worst[0]}: {worst[1].message}"),
        )


def duplicates(bus: Bus, outcomes: Mapping[str, int]) -> Iterator[Finding]:
    """Judge whether two processes have one name, or two devices are one.

    `outcomes` are those of one command each.
    """
    found = [*_processes(bus, outcomes), *_leftovers(bus), *_twins(bus)]
    yield from found
    if not found and bus.bridges:
        yield Finding(
            "duplicates",
            "ok",
            ("every bridge is one process, every device has one place"),
        )


def _processes(bus: Bus, outcomes: Mapping[str, int]) -> Iterator[Finding]:
    for bridge in bus.bridges:
        boots = {each.boot for each in bus.statuses[f"{bridge}/{BRIDGE}"]}
        boots |= {
            state.boot
            for name, state in bus.states.items()
            if name == f"{bridge}/{BRIDGE}"
        }
        if outcomes.get(bridge, 0) > 1 or len(boots) > 1:
            text = (
                f"more than one process speaks as the bridge {bridge} "
                f"({', '.join(sorted(boots))})"
            )
            yield Finding(
                "duplicates",
                "failed",
                text,
                ("each bridge on a broker needs a name of its own"),
            )


def _leftovers(bus: Bus) -> Iterator[Finding]:
    for bridge in bus.bridges:
        boot = bus.state(f"{bridge}/{BRIDGE}").boot
        old = [
            name
            for name in bus.devices(bridge)
            if name in bus.statuses and bus.state(name).boot != boot
        ]
        if old and bus.online(bridge):
            text = f"left over from another process: {', '.join(old)}"
            yield Finding("duplicates", "warning", text, f"busbar clean {bridge}")


def _twins(bus: Bus) -> Iterator[Finding]:
    serials: dict[str, list[str]] = {}
    # a device of each bridge: what one bridge has at an address it shares
    addresses: dict[str, dict[str, str]] = {}
    for name, info in bus.infos.items():
        if not name.endswith(f"/{BRIDGE}"):
            serials.setdefault(_serial(info), []).append(name)
            addresses.setdefault(_address(info), {}).setdefault(
                name.partition("/")[0], name
            )
    for key, names in [
        *serials.items(),
        *((key, list(each.values())) for key, each in addresses.items()),
    ]:
        if key and len(names) > 1:
            text = f"{' and '.join(sorted(names))} are the same: {key}"
            yield Finding(
                "duplicates",
                "warning",
                text,
                ("two bridges that ask one device disturb each other"),
            )


def _serial(info: Info) -> str:
    if not isinstance(info.serial, str) or not info.serial.strip("0 "):
        return ""
    maker = " ".join(
        each for each in (info.manufacturer, info.model) if isinstance(each, str)
    )
    return f"{maker} serial {info.serial}".strip()


def _address(info: Info) -> str:
    """Return the address of a device that others can reach."""
    address = info.address if isinstance(info.address, str) else ""
    return (
        address
        if HOST.search(address) and not any(each in address for each in LOCAL)
        else ""
    )


class Asked(msgspec.Struct):
    """One command to a bridge, when (Unix s), and its outcomes as they came."""

    bridge: str
    sent: float
    private: list[tuple[float, Reply]] = []
    public: list[tuple[float, Reply]] = []


def round_trip(asked: Asked, private: str) -> Iterator[Finding]:
    """Judge what we may do by what came back; None of it is told by an error."""
    check = f"rights on {asked.bridge}"
    if asked.private:
        when, reply = asked.private[0]
        yield Finding(
            check,
            "ok",
            (
                f"commands reach it and we hear the outcome, in "
                f"{(when - asked.sent) * 1000:.0f} ms"
            ),
        )
        yield from _other_clock(asked, when, reply)
    elif asked.public:
        advice = f"grant our user: read {private}"
        yield Finding(
            check,
            "failed",
            ("commands reach it, but we do not hear outcomes sent to us alone"),
            advice,
        )
    else:
        advice = (
            "grant our user: write <root>/+/+/set/# and call/#, read <root>/+/+/reply; "
            "or the bridge hangs"
        )
        yield Finding(
            check,
            "failed",
            ("no outcome of a command: what we publish does not reach it"),
            advice,
        )


def _other_clock(asked: Asked, when: float, reply: Reply) -> Iterator[Finding]:
    off = max(asked.sent - reply.time, reply.time - when)
    if off > OFF:
        text = f"its clock and ours differ by {off:.0f} s"
        yield Finding(
            f"bridge {asked.bridge}",
            "failed",
            text,
            ("synchronise both; commands are refused as expired"),
        )


def outcomes(asked: Iterable[Asked]) -> dict[str, int]:
    """Return how many outcomes one command to each bridge has had."""
    counted: Counter[str] = Counter()
    for each in asked:
        counted[each.bridge] = max(len(each.private), len(each.public))
    return dict(counted)
