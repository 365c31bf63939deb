"""Checks of values, quality and history of `state` (3.3, 3.4)."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from busbar.cli.check.conformance.checks import (
    NotTriedError,
    Verdict,
    passive,
    verdict,
)
from busbar.cli.check.conformance.passive_topics import devices
from busbar.cli.check.conformance.record import (
    SETTLED,
    DeviceRecord,
    ReadMessage,
    Record,
    described,
    may_have,
)
from busbar.cli.schemas.json_schema import problem, shown
from busbar.contract.messages import Change, Fault, Info, State
from busbar.errors import BY_CODE, OutOfRange

HEARTBEAT = 60.0  # s between snapshots at most
LATE = 5.0  # s that a heartbeat may be late on a busy machine
BAD_CODES = {*BY_CODE, "stale", "not_a_number"}
TIMES_LIMIT = 1000  # properties; above, `times` may be left out
_MISSING = object()


@dataclass
class Model:
    """A reader's copy of a state: a snapshot and the changes since."""

    seq: int
    values: dict[str, Any] = field(default_factory=dict)
    bad: dict[str, Fault] = field(default_factory=dict)

    @classmethod
    def of(cls, state: State) -> "Model":
        return cls(state.seq, dict(state.values), dict(state.bad))

    def apply(self, seq: int, changes: Iterable[Change]) -> None:
        """Take one event/change."""
        self.seq = seq
        for change in changes:
            if change.gone is True:
                self.values.pop(change.path, None)
                self.bad.pop(change.path, None)
                continue
            if change.value is not UNSET:
                self.values[change.path] = change.value
            if isinstance(change.bad, Fault):
                self.bad[change.path] = change.bad
            elif change.bad is None:
                self.bad.pop(change.path, None)

    def difference(self, state: State, truncated: bool) -> str | None:
        """Return where a snapshot of the same seq differs, None if it does not."""
        ours: dict[str, Any] = self.values
        if truncated:
            ours = {path: ours[path] for path in ours if path in state.values}
        different = _difference(ours, state.values, "")
        return different or _difference(self.bad, state.bad, "bad of ")


def _difference(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str
) -> str | None:
    if ours == theirs:
        return None
    for path in dict.fromkeys([*ours, *theirs]):
        mine = ours.get(path, _MISSING)
        other = theirs.get(path, _MISSING)
        if mine != other:
            return (
                f"{what}{path} is {_shown(other)}, after the changes it is "
                f"{_shown(mine)}"
            )
    return None


def _shown(value: Any) -> str:
    return "nothing" if value is _MISSING else shown(value)


@passive(
    "3.4",
    "A snapshot and the changes after it are the state",
    "a snapshot that follows a change",
)
def replay(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        events = [event for _, event in device.changes()]
        changes = {
            event.seq: event.changes for event in events if event.boot == record.boot
        }
        states = device.read["state"]
        snapshots = [each for each in states if each.content.boot == record.boot]
        snapshots.sort(key=lambda each: each.content.seq)
        yield from _replayed(device, snapshots, changes)


def _replayed(
    device: DeviceRecord,
    snapshots: list[ReadMessage],
    changes: dict[int, list[Change]],
) -> Iterator[Verdict]:
    model: Model | None = None
    for each in snapshots:
        state: State = each.content
        info = device.info_at(each.place)
        truncated = info is not None and info.truncated is not UNSET
        if model:
            _catch_up(model, state.seq, changes)
        if model and model.seq == state.seq:
            wrong = model.difference(state, truncated)
            yield verdict(wrong is None, f"{each.topic} with seq {state.seq}: {wrong}")
        if not model or model.seq < state.seq or not truncated:
            model = Model.of(state)


def _catch_up(model: Model, seq: int, changes: Mapping[int, list[Change]]) -> None:
    """Apply the changes up to a seq, as far as there are all."""
    following = model.seq + 1
    while following <= seq and following in changes:
        model.apply(following, changes[following])
        following += 1


@passive(
    "3.2", "A property comes only after the info that names it", "a value after info"
)
def named_before(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for message, path, _ in _values(device):
            info = device.info_at(message.place)
            if info is not None:
                yield verdict(
                    may_have(info, path),
                    f"{message.topic}: {path!r} is not in info revision "
                    f"{info.revision}",
                )


@passive(
    "3.3", "A value that is not bad is valid against its schema in info", "a value"
)
def valid(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for message, path, value in _values(device):
            info = device.info_at(message.place) or device.last("info")
            about = described(info, path) if info else None
            if about is not None:
                wrong = problem(value, about.schema)
                yield verdict(wrong is None, f"{message.topic}: {path}: {wrong}")


@passive(
    "3.3",
    "A value that is bad with `out_of_range` is published, and outside its schema",
    "a value out of range",
)
def out_of_range(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for message in device.read["state"]:
            for path, fault in message.content.bad.items():
                if fault.code == OutOfRange.code:
                    info = device.info_at(message.place) or device.last("info")
                    yield _out_of_range(message, path, info)


def _out_of_range(message: ReadMessage, path: str, info: Info | None) -> Verdict:
    value = message.content.values.get(path, UNSET)
    if value is UNSET:
        return f"{message.topic}: {path}: out of range, and its value is left out"
    about = described(info, path) if info else None
    fits = about is not None and problem(value, about.schema) is None
    return verdict(not fits, f"{message.topic}: {path}: {value!r} is within its range")


def _values(device: DeviceRecord) -> Iterator[tuple[ReadMessage, str, Any]]:
    """Yield every value that claims to be good, of snapshots and changes."""
    for message in device.read["state"]:
        for path, value in message.content.values.items():
            if path not in message.content.bad:
                yield message, path, value
    for message, event in device.changes():
        for change in event.changes:
            if change.value is not UNSET and not isinstance(change.bad, Fault):
                yield message, change.path, change.value


@passive(
    "3.3",
    "What is bad says why with a code of the contract, and is a property",
    "something bad",
)
def bad_codes(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info: Info | None = device.last("info")
        state: State | None = device.last("state")
        for message in device.read["state"]:
            for path, fault in message.content.bad.items():
                yield verdict(
                    fault.code in BAD_CODES and fault.message,
                    f"{message.topic}: {path}: bad with code {fault.code!r}",
                )
        if state is None or info is None:
            continue
        for path in state.bad:
            yield verdict(
                may_have(info, path), f"{device.name}: {path!r} is bad and not in info"
            )


@passive(
    "3.3",
    "While a device is offline or stopped all its values are bad with `offline`",
    "a device that is offline",
)
def offline_is_bad(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        status = device.last("status")
        state = device.last("state")
        if status is None or state is None:
            continue
        if status.state not in ("offline", "stopped") or record.is_recent(device):
            continue
        for path in state.values:
            if path.startswith("_"):  # what the bridge adds is not the device's
                continue
            fine = path in state.bad and state.bad[path].code == "offline"
            yield verdict(
                fine,
                f"{device.name} is {status.state}, and {path} is not bad with "
                "`offline`",
            )


@passive("3.3", "A leaf says what the snapshot says", "a leaf and a snapshot")
def leaves(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        history = _history(device)
        for path, messages in device.leaves.items():
            if path in history:
                yield _leaf(messages[-1], history[path], record.until)


def _history(device: DeviceRecord) -> dict[str, list[tuple[float, Any]]]:
    """Return all values of each path, from snapshots and changes, with their times."""
    came: list[tuple[ReadMessage, dict[str, Any]]] = []
    for message in device.read["state"]:
        came.append((message, message.content.values))
    for message, event in device.changes():
        came.append((message, _changed(event.changes)))
    came.sort(key=lambda each: each[0].place)
    found: dict[str, list[tuple[float, Any]]] = {}
    for message, values in came:
        for path, value in values.items():
            history = found.setdefault(path, [])
            if not history or history[-1][1] != value:
                history.append((message.seen.at, value))
    return found


def _changed(changes: Iterable[Change]) -> dict[str, Any]:
    return {each.path: each.value for each in changes if each.value is not UNSET}


def _leaf(leaf: ReadMessage, history: list[tuple[float, Any]], until: float) -> Verdict:
    """Compare a leaf; one that lags for a moment may have any earlier value."""
    since, value = history[-1]
    allowed = [value]
    if until - since < SETTLED:
        allowed = [earlier for _, earlier in history]
    return verdict(
        leaf.content in allowed,
        f"{leaf.topic} is {shown(leaf.content)}, the state has {shown(value)}",
    )


@passive(
    "3.3",
    "There is a snapshot at most once a second",
    "two snapshots with changes between them",
)
def seldom(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        times_of: dict[int, float] = {}
        for message in device.read["state"]:
            state: State = message.content
            if message.seen.at < record.listened and state.boot == record.boot:
                times_of[state.seq] = state.time
        if len(times_of) < 2:
            continue
        span = max(times_of.values()) - min(times_of.values())
        # what is announced again on a connect or refresh comes on top
        yield verdict(
            len(times_of) <= span + 2,
            f"{device.name}: {len(times_of)} snapshots within {span:.1f} s",
        )


@passive("3.3", "There is a snapshot at least every 60 s", "a device")
def heartbeat(record: Record) -> Iterator[Verdict]:
    if record.seconds < HEARTBEAT + LATE:
        raise NotTriedError(f"needs --seconds {HEARTBEAT + LATE:g}")
    for device in devices(record):
        seen = [each.seen for each in device.read["state"]]
        live = [each.at for each in seen if not each.retained]
        pauses = [
            after - before
            for before, after in itertools.pairwise([*live, record.until])
        ]
        longest = max(pauses, default=record.seconds)
        yield verdict(
            longest <= HEARTBEAT + LATE,
            f"{device.name}: no snapshot for {longest:.0f} s",
        )


@passive(
    "3.3",
    "`times` has nothing but values, and is there up to 1000 of them",
    "a state",
)
def times(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for message in device.read["state"]:
            yield _times(message)


def _times(message: ReadMessage) -> Verdict:
    state: State = message.content
    topic = message.topic
    if state.times is UNSET:
        return verdict(
            len(state.values) > TIMES_LIMIT,
            f"{topic}: {len(state.values)} values and no `times`",
        )
    unknown = min(state.times.keys() - state.values.keys(), default=None)
    return verdict(
        unknown is None, f"{topic}: times of {unknown!r}, which has no value"
    )
