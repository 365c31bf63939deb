"""Values, quality and history of `state` (3.3, 3.4)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from busbar.cli.check.conformance.checks import NotTriedError, Verdict, passive
from busbar.cli.check.conformance.passive_topics import SETTLED, devices
from busbar.cli.check.conformance.record import (
    Device,
    Record,
    Told,
    described,
    may_have,
)
from busbar.cli.schemas.json_schema import problem, shown
from busbar.contract.messages import Change, Fault, Info, State
from busbar.errors import BY_CODE

HEARTBEAT = 60.0  # s between snapshots at most
LATE = 5.0  # s that a heartbeat may be late on a busy machine
BAD_CODES = {*BY_CODE, "stale", "not_a_number"}
TIMES_LIMIT = 1000  # properties; above, `times` may be left out


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
            ours = {path: value for path, value in ours.items() if path in state.values}
        return _difference(ours, state.values, "") or _difference(
            self.bad, state.bad, "bad of "
        )


def _difference(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str
) -> str | None:
    missing = object()
    for path in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(path, missing), theirs.get(path, missing)
        if mine != other:
            told, said = (
                "nothing" if each is missing else shown(each) for each in (mine, other)
            )
            return f"{what}{path} is {said}, after the changes it is {told}"
    return None


@passive(
    "3.4",
    ("A snapshot and the changes after it are the state"),
    "a snapshot that follows a change",
)
def replay(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        changes = {
            event.seq: event.changes
            for _, event in device.changes()
            if event.boot == record.boot
        }
        told = sorted(
            (each for each in device.said["state"] if each.said.boot == record.boot),
            key=lambda t: t.said.seq,
        )
        yield from _replayed(device, told, changes)


def _replayed(
    device: Device, told: list[Told], changes: dict[int, list[Change]]
) -> Iterator[Verdict]:
    model: Model | None = None
    for each in told:
        state: State = each.said
        info = device.info_at(each.place)
        truncated = info is not None and info.truncated is not UNSET
        while model and model.seq < state.seq and model.seq + 1 in changes:
            model.apply(model.seq + 1, changes[model.seq + 1])
        if model and model.seq == state.seq:
            wrong = model.difference(state, truncated)
            yield f"{each.seen.topic} with seq {state.seq}: {wrong}" if wrong else None
        if not model or model.seq < state.seq or not truncated:
            model = Model.of(state)


@passive(
    "3.2", ("A property comes only after the info that names it"), "a value after info"
)
def named_before(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for told, path, _ in _values(device):
            if (info := device.info_at(told.place)) is not None:
                fine = may_have(info, path)
                yield (
                    None
                    if fine
                    else (
                        f"{told.seen.topic}: {path!r} is not in info revision "
                        f"{info.revision}"
                    )
                )


@passive(
    "3.3", ("A value that is not bad is valid against its schema in info"), "a value"
)
def valid(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for told, path, value in _values(device):
            info = device.info_at(told.place) or device.last("info")
            about = described(info, path) if info else None
            if about is not None:
                wrong = problem(value, about.schema)
                yield f"{told.seen.topic}: {path}: {wrong}" if wrong else None


def _values(device: Device) -> Iterator[tuple[Told, str, Any]]:
    """Yield every value that claims to be good, of snapshots and changes."""
    for told in device.said["state"]:
        yield from (
            (told, path, value)
            for path, value in told.said.values.items()
            if path not in told.said.bad
        )
    for told, event in device.changes():
        good = (
            each
            for each in event.changes
            if each.value is not UNSET and not isinstance(each.bad, Fault)
        )
        yield from ((told, each.path, each.value) for each in good)


@passive(
    "3.3",
    ("What is bad says why with a code of the contract, and is a property"),
    "something bad",
)
def bad_codes(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info: Info | None = device.last("info")
        for told in device.said["state"]:
            for path, fault in told.said.bad.items():
                fine = fault.code in BAD_CODES and fault.message
                yield (
                    None
                    if fine
                    else (f"{told.seen.topic}: {path}: bad with code {fault.code!r}")
                )
        for path in device.last("state").bad if device.last("state") and info else {}:
            fine = info is not None and may_have(info, path)
            yield None if fine else f"{device.name}: {path!r} is bad and not in info"


@passive(
    "3.3",
    ("While a device is offline or stopped all its values are bad with `offline`"),
    "a device that is offline",
)
def offline_is_bad(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        status, state = device.last("status"), device.last("state")
        if (
            status is None
            or state is None
            or status.state not in ("offline", "stopped")
        ):
            continue
        if record.until - device.said["status"][-1].seen.at < SETTLED:
            continue
        for path in state.values:
            if not path.startswith("_"):  # what the bridge adds is not the device's
                fine = path in state.bad and state.bad[path].code == "offline"
                yield (
                    None
                    if fine
                    else (
                        f"{device.name} is {status.state}, and {path} is not bad with "
                        f"`offline`"
                    )
                )


@passive("3.3", "A leaf says what the snapshot says", "a leaf and a snapshot")
def leaves(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        history = _history(device)
        for path, told in device.leaves.items():
            if path in history:
                yield _leaf(told[-1], history[path], record.until)


def _history(device: Device) -> dict[str, list[tuple[float, Any]]]:
    """Return all values of each path with the time they came, from snapshots and changes in order of arrival."""
    found: dict[str, list[tuple[float, Any]]] = {}
    told = [
        (each.place, each.seen.at, each.said.values) for each in device.said["state"]
    ]
    for each, event in device.changes():
        values = {
            change.path: change.value
            for change in event.changes
            if change.value is not UNSET
        }
        told.append((each.place, each.seen.at, values))
    for _, at, values in sorted(told, key=lambda each: each[0]):
        for path, value in values.items():
            if path not in found or found[path][-1][1] != value:
                found.setdefault(path, []).append((at, value))
    return found


def _leaf(told: Told, history: list[tuple[float, Any]], until: float) -> Verdict:
    """A leaf may lag behind for a moment: then it has to be a value that was."""
    since, value = history[-1]
    fine = told.said == value
    if not fine and until - since < SETTLED:
        fine = any(told.said == earlier for _, earlier in history)
    return (
        None
        if fine
        else (f"{told.seen.topic} is {shown(told.said)}, the state has {shown(value)}")
    )


@passive(
    "3.3",
    ("There is a snapshot at most once a second"),
    "two snapshots with changes between them",
)
def seldom(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        early = (
            each.said for each in device.said["state"] if each.seen.at < record.listened
        )
        ordered = sorted(
            {
                state.seq: state.time for state in early if state.boot == record.boot
            }.values()
        )
        if len(ordered) > 1:
            # what is announced anew on a connect or refresh comes on top
            most = ordered[-1] - ordered[0] + 2
            found = f"{len(ordered)} snapshots within {ordered[-1] - ordered[0]:.1f} s"
            yield None if len(ordered) <= most else f"{device.name}: {found}"


@passive("3.3", "There is a snapshot at least every 60 s", "a device")
def heartbeat(record: Record) -> Iterator[Verdict]:
    if record.seconds < HEARTBEAT + LATE:
        raise NotTriedError(f"needs --seconds {HEARTBEAT + LATE:g}")
    for device in devices(record):
        live = [each.seen.at for each in device.said["state"] if not each.seen.retained]
        pauses = [
            after - before
            for before, after in zip(live, [*live[1:], record.until], strict=True)
        ]
        longest = max(pauses, default=record.seconds)
        yield (
            None
            if longest <= HEARTBEAT + LATE
            else (f"{device.name}: no snapshot for {longest:.0f} s")
        )


@passive(
    "3.3",
    ("`times` has nothing but values, and is there up to 1000 of them"),
    "a state",
)
def times(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for told in device.said["state"]:
            yield _times(told)


def _times(told: Told) -> Verdict:
    state: State = told.said
    if state.times is UNSET:
        fine = len(state.values) > TIMES_LIMIT
        return (
            None
            if fine
            else (f"{told.seen.topic}: {len(state.values)} values and no `times`")
        )
    unknown = state.times.keys() - state.values.keys()
    return (
        (f"{told.seen.topic}: times of {sorted(unknown)[0]!r}, which has no value")
        if unknown
        else None
    )
