"""Conclusions of `busbar doctor` from what it has seen.

No I/O, so that every conclusion can be tested.
"""

import difflib
import re
import time as clock
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from busbar.cli.observe import Seen
from busbar.cli.settings import VARIABLES
from busbar.client.freshness import LIMIT, TOLERANCE
from busbar.contract.messages import CONTRACT, Info, Reply, State, Status
from busbar.contract.topics import BRIDGE

T = TypeVar("T")

LAG = 0.5  # s; a healthy event loop is a hundred times quicker
# in an address: the same words on two machines are two devices
LOCAL = ("127.", "localhost", "[::1]", "/dev/")
# HOST:PORT in an address; one without it is a part of a machine
HOST = re.compile(r"[^:]:\d{1,5}(::|$)")


KINDS: Mapping[str, type[Status] | type[Info] | type[State]] = {
    "status": Status,
    "info": Info,
    "state": State,
}


class Finding(msgspec.Struct, frozen=True):
    """Result of one check; `advice` where there is something to do."""

    check: str
    state: Literal["ok", "warning", "failed", "unknown"]
    text: str
    advice: str = ""


class ObservedBus:
    """Messages under one root; malformed ones are findings, too."""

    def __init__(self, root: str, seen: Sequence[Seen]) -> None:
        self.malformed: list[str] = []
        self.statuses: dict[str, list[Status]] = {}
        self.infos: dict[str, Info] = {}
        self.states: dict[str, State] = {}
        for each in seen:
            name, _, channel = each.topic.removeprefix(f"{root}/").rpartition("/")
            if channel in KINDS:
                self._keep(name, self._read(each, KINDS[channel]))

    def _keep(self, name: str, message: Status | Info | State | None) -> None:
        if isinstance(message, Status):
            self.statuses.setdefault(name, []).append(message)
        elif isinstance(message, Info):
            self.infos[name] = message
        elif isinstance(message, State):
            self.states[name] = message

    @property
    def bridges(self) -> list[str]:
        names = []
        for name in self.statuses:
            if _is_bridge(name):
                names.append(name.partition("/")[0])
        return sorted(names)

    def state(self, name: str) -> Status:
        """Return the newest status of a device that has one."""
        return self.statuses[name][-1]

    def online(self, bridge: str) -> bool:
        return self.state(f"{bridge}/{BRIDGE}").state == "online"

    def devices(self, bridge: str) -> list[str]:
        """Return the devices of a bridge, itself not among them."""
        names = []
        for name in sorted(self.statuses.keys() | self.infos.keys()):
            if name.startswith(f"{bridge}/") and not _is_bridge(name):
                names.append(name)
        return names

    def _read(self, seen: Seen, type_: type[T]) -> T | None:
        if not seen.payload:
            return None
        try:
            return msgspec.json.decode(seen.payload, type=type_)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.malformed.append(f"{seen.topic}: {error}")
            return None


def _is_bridge(name: str) -> bool:
    return name.endswith(f"/{BRIDGE}")


def variables(environment: Iterable[str]) -> Iterator[Finding]:
    """Judge the variables: one that is not read is a typing error."""
    wrong = False
    for name in sorted(environment):
        if name.startswith("BUSBAR_") and name not in VARIABLES:
            wrong = True
            text = f"{name} is read by nobody"
            yield Finding("environment", "warning", text, _meant(name))
    if not wrong:
        yield Finding("environment", "ok", "every BUSBAR_ variable is one that is read")


def _meant(name: str) -> str:
    """Return the variable that may have been meant, else all there are."""
    known = sorted(VARIABLES)
    close = [each for each in known if each.startswith(name)]
    close = close or difflib.get_close_matches(name, VARIABLES, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(known)}"


def own_clock(synchronised: bool) -> Finding:
    if synchronised:
        return Finding("clock", "ok", "the clock of this machine is synchronised")
    advice = "timedatectl; commands from a clock that is wrong are refused as expired"
    text = "the clock of this machine is not synchronised, or cannot be asked"
    return Finding("clock", "warning", text, advice)


def bridges(bus: ObservedBus) -> Iterator[Finding]:
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


def _bridge(bus: ObservedBus, bridge: str) -> Iterator[Finding]:
    check = f"bridge {bridge}"
    name = f"{bridge}/{BRIDGE}"
    status = bus.state(name)
    if status.state != "online":
        advice = f"start it, or remove what it left: busbar clean --gone {bridge}"
        yield Finding(check, "failed", _shown(status), advice)
        return
    problems = [*_own_values(bus.states.get(name)), *_contract(bus, bridge)]
    devices = bus.devices(bridge)
    good = 0
    for device in devices:
        if device in bus.statuses and bus.state(device).state == "online":
            good += 1
    silent = _silent(bus.states.get(name))
    if silent > LIMIT + TOLERANCE:
        text = (
            f"no sign of life for {silent:.0f} s: what the broker kept says online; it "
            f"is gone, or our clocks differ"
        )
        yield Finding(
            check, "failed", text, f"is it running? busbar clean --gone {bridge}"
        )
    else:
        text = f"online, {good} of {len(devices)} devices online"
        yield Finding(check, "ok", text)
    advice = f"busbar show {name}; busbar log {bridge}"
    for problem in problems:
        yield Finding(check, "warning", problem, advice)
    for device in devices:
        yield from _device(bus, device)


def _silent(state: State | None) -> float:
    """Return how long ago a bridge has said something, by our clock (s)."""
    return 0.0 if state is None else clock.time() - state.time


def _shown(status: Status) -> str:
    if status.reason is None:
        return status.state
    return f"{status.state}: {status.reason.message}"


def _own_values(state: State | None) -> Iterator[str]:
    if state is None:
        yield "it has published no state"
        return
    values = state.values
    if values.get("clock") is False:
        yield "its clock is not synchronised"
    if values.get("dropped"):
        yield f"it gave up {values['dropped']:g} messages since its start"
    if (values.get("loop_lag") or 0) > LAG:
        yield (
            f"its event loop was {values['loop_lag']:g} s late: too much to do, or "
            f"something blocks"
        )


def _contract(bus: ObservedBus, bridge: str) -> Iterator[str]:
    others = set()
    for name, info in bus.infos.items():
        if name.startswith(f"{bridge}/") and info.contract != CONTRACT:
            others.add(info.contract)
    if others:
        yield (
            f"it speaks version {min(others)} of the contract, this program version "
            f"{CONTRACT}"
        )


def _device(bus: ObservedBus, device: str) -> Iterator[Finding]:
    check = f"device {device}"
    if device not in bus.statuses:
        advice = f"busbar clean {device.partition('/')[0]}"
        yield Finding(check, "warning", "it has no status", advice)
        return
    status = bus.state(device)
    state = bus.states.get(device)
    if status.state != "online":
        yield Finding(check, "warning", _shown(status))
    elif state is not None and state.bad:
        path, fault = next(iter(state.bad.items()))
        text = f"{len(state.bad)} values are bad, as {path}: {fault.message}"
        yield Finding(check, "warning", text)


def duplicates(bus: ObservedBus, outcomes: Mapping[str, int]) -> Iterator[Finding]:
    """Judge whether two processes have one name, or two devices are one.

    `outcomes` are those of one command each.
    """
    found = [*_processes(bus, outcomes), *_leftovers(bus), *_twins(bus)]
    yield from found
    if not found and bus.bridges:
        text = "every bridge is one process, every device has one place"
        yield Finding("duplicates", "ok", text)


def _processes(bus: ObservedBus, outcomes: Mapping[str, int]) -> Iterator[Finding]:
    for bridge in bus.bridges:
        name = f"{bridge}/{BRIDGE}"
        boots = {each.boot for each in bus.statuses[name]}
        if name in bus.states:
            boots.add(bus.states[name].boot)
        if outcomes.get(bridge, 0) > 1 or len(boots) > 1:
            text = (
                f"more than one process speaks as the bridge {bridge} "
                f"({', '.join(sorted(boots))})"
            )
            advice = "each bridge on a broker needs a name of its own"
            yield Finding("duplicates", "failed", text, advice)


def _leftovers(bus: ObservedBus) -> Iterator[Finding]:
    for bridge in bus.bridges:
        boot = bus.state(f"{bridge}/{BRIDGE}").boot
        old = []
        for name in bus.devices(bridge):
            if name in bus.statuses and bus.state(name).boot != boot:
                old.append(name)
        if old and bus.online(bridge):
            text = f"left over from another process: {', '.join(old)}"
            yield Finding("duplicates", "warning", text, f"busbar clean {bridge}")


def _twins(bus: ObservedBus) -> Iterator[Finding]:
    serials: dict[str, list[str]] = {}
    # a device of each bridge: what one bridge has at an address it shares
    addresses: dict[str, dict[str, str]] = {}
    for name, info in bus.infos.items():
        if not _is_bridge(name):
            serials.setdefault(_serial(info), []).append(name)
            there = addresses.setdefault(_address(info), {})
            there.setdefault(name.partition("/")[0], name)
    for serial, names in serials.items():
        yield from _same(serial, names)
    for address, each in addresses.items():
        yield from _same(address, each.values())


def _same(key: str, names: Collection[str]) -> Iterator[Finding]:
    if key and len(names) > 1:
        text = f"{' and '.join(sorted(names))} are the same: {key}"
        advice = "two bridges that ask one device disturb each other"
        yield Finding("duplicates", "warning", text, advice)


def _serial(info: Info) -> str:
    if not isinstance(info.serial, str) or not info.serial.strip("0 "):
        return ""
    words = []
    for each in (info.manufacturer, info.model):
        if isinstance(each, str):
            words.append(each)
    words += ["serial", info.serial]
    return " ".join(words).strip()


def _address(info: Info) -> str:
    """Return the address of a device that others can reach."""
    address = info.address
    if not isinstance(address, str) or not HOST.search(address):
        return ""
    if any(each in address for each in LOCAL):
        return ""
    return address


class Asked(msgspec.Struct):
    """One command to a bridge, when (Unix s), and its outcomes as they came."""

    bridge: str
    sent: float
    private: list[tuple[float, Reply]] = []
    public: list[tuple[float, Reply]] = []


def round_trip(asked: Asked, private: str) -> Iterator[Finding]:
    """Judge what we may do by what came back: a broker denies without an error."""
    check = f"rights on {asked.bridge}"
    if asked.private:
        when, reply = asked.private[0]
        took = (when - asked.sent) * 1000
        text = f"commands reach it and we hear the outcome, in {took:.0f} ms"
        yield Finding(check, "ok", text)
        yield from _other_clock(asked, when, reply)
    elif asked.public:
        advice = f"grant our user: read {private}"
        text = "commands reach it, but we do not hear outcomes sent to us alone"
        yield Finding(check, "failed", text, advice)
    else:
        advice = (
            "grant our user: write <root>/+/+/set/# and call/#, read <root>/+/+/reply; "
            "or the bridge is gone or hangs"
        )
        text = "no outcome of a command: what we publish does not reach it"
        yield Finding(check, "failed", text, advice)


def _other_clock(asked: Asked, when: float, reply: Reply) -> Iterator[Finding]:
    off = max(asked.sent - reply.time, reply.time - when)
    if off > TOLERANCE:
        text = f"its clock and ours differ by {off:.0f} s"
        advice = "synchronise both; commands are refused as expired"
        yield Finding(f"bridge {asked.bridge}", "failed", text, advice)


def outcomes(asked: Iterable[Asked]) -> dict[str, int]:
    """Return how many outcomes one command to each bridge has had."""
    counted: Counter[str] = Counter()
    for each in asked:
        counted[each.bridge] = max(len(each.private), len(each.public))
    return dict(counted)
