"""Checks of what a value claims to be: its time, its type, out of range (3.3)."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from busbar.cli.arguments import kinds, parts
from busbar.cli.check.conformance.checks import Verdict, passive, verdict
from busbar.cli.check.conformance.passive_topics import devices
from busbar.cli.check.conformance.record import (
    DeviceRecord,
    ReadMessage,
    Record,
    described,
)
from busbar.cli.check.conformance.validation import Validator
from busbar.cli.schemas.json_schema import TYPES, Schema, shown
from busbar.contract.messages import PropertyInfo
from busbar.errors import OutOfRange

CLOCKS = 5.0  # s that times of one clock may seem to differ on the way to us


@passive(
    "3.3",
    "A snapshot has the time at which it is sent: none is ahead of the others, or old",
    "two snapshots that came while we listened",
)
def time_of_sending(record: Record) -> Iterator[Verdict]:
    found = []
    for device in devices(record):
        found += _offsets(device)
    if len(found) < 2:
        return
    clock = median(offset for _, offset in found)
    for message, offset in found:
        yield verdict(
            abs(clock - offset) < CLOCKS,
            f"{message.topic}: its time is {clock - offset:+.1f} s off the others",
        )


def _offsets(device: DeviceRecord) -> list[tuple[ReadMessage, float]]:
    """Return our loop's time less the time (s) of each snapshot that came alive."""
    found = []
    for message in device.read["state"]:
        if not message.seen.retained:
            found.append((message, message.seen.at - float(message.content.time)))
    return found


@passive(
    "3.3",
    "What is bad with `out_of_range` is published, and outside its schema",
    "something out of range",
)
def out_of_range(record: Record) -> Iterator[Verdict]:
    validator = Validator()
    for device in devices(record):
        for message, path, about in _of_snapshots(device):
            fault = message.content.bad.get(path)
            if fault is None or fault.code != OutOfRange.code or not about.schema:
                continue
            value = message.content.values.get(path)
            wrong = validator.problem(value, about.schema)
            yield verdict(
                value is not None and wrong is not None,
                f"{message.topic}: {path}: {shown(value)} is out_of_range, and its "
                "schema allows it",
            )


@passive(
    "3.3",
    "A value is of the type that info declares, or null; also one that is bad",
    "a value",
)
def declared_type(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for message, path, about in _of_snapshots(device):
            value = message.content.values.get(path)
            wanted = _kinds(about.schema)
            if value is None or not wanted:
                continue
            yield verdict(
                any(TYPES[kind](value) for kind in wanted),
                f"{message.topic}: {path}: {shown(value)} is no "
                f"{' or '.join(sorted(wanted))}",
            )


def _kinds(schema: Schema) -> set[str]:
    """Return the types that a schema allows, none if one alternative allows any."""
    found: set[str] = set()
    for part in parts(schema, schema):
        if "anyOf" in part or "oneOf" in part:
            continue
        own = kinds(part, schema)
        if not own:
            return set()
        found |= own
    return found


def _of_snapshots(
    device: DeviceRecord,
) -> Iterator[tuple[ReadMessage, str, PropertyInfo]]:
    """Yield every property in a snapshot, with what info says of it then."""
    for message in device.read["state"]:
        info = device.info_at(message.place) or device.last("info")
        if info is None:
            continue
        named: Mapping[str, Any] = message.content.values | message.content.bad
        for path in named:
            about = described(info, path)
            if about is not None:
                yield message, path, about
