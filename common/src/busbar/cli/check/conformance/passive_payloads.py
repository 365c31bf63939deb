"""Checks of payloads (3), descriptions (3.2), events (3.4) and replies (3.5)."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from busbar.cli.check.conformance.checks import Verdict, passive, verdict
from busbar.cli.check.conformance.passive_topics import EVENTS, devices
from busbar.cli.check.conformance.record import (
    DeviceRecord,
    ReadMessage,
    Record,
    may_have,
    parameters,
)
from busbar.cli.check.conformance.validation import Validator
from busbar.cli.schemas.json_schema import problem
from busbar.contract import messages
from busbar.contract.messages import Info
from busbar.errors import BY_CODE

_CREDENTIALS = re.compile(
    r"\w://[^/@\s]+@|(password|passwd|token|secret|api_?key)=[^*\s]", re.IGNORECASE
)
_SECONDS = (1e9, 4e9)  # 2001 to 2096: milliseconds are far beyond


def _shapes(record: Record, channel: str) -> Iterator[Verdict]:
    for device in [*devices(record), *record.unknown.values()]:
        read = [*device.read[channel]]
        for messages_ in device.with_path(channel).values():
            read += messages_
        for _ in read:
            yield None
        for where, text in device.malformed:
            if where == channel:
                yield text


@passive(
    "3.1",
    "A status has its shape: state, since, boot, revision, seq, reason",
    "a status",
)
def status_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "status")


@passive("3.2", "An info has its shape", "an info")
def info_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "info")


@passive("3.3", "A state has its shape, and a leaf is JSON", "a state")
def state_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "state")


@passive(
    "3.4", "An event has its shape: boot, seq, time and its own fields", "an event"
)
def event_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "event")


@passive("3.5", "A reply has its shape", "a reply")
def reply_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "reply")


@passive("3", "Times are Unix seconds", "a time")
def times(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for status in device.read["status"]:
            yield _time(status, status.content.since)
        for message in [*device.read["state"], *device.read["reply"]]:
            yield _time(message, message.content.time)
        for events in device.events.values():
            for event in events:
                yield _time(event, event.content["time"])


def _time(message: ReadMessage, time: float | None) -> Verdict:
    fine = time is None or _SECONDS[0] < time < _SECONDS[1]
    return verdict(fine, f"{message.topic}: {time} is no Unix time in seconds")


@passive(
    "2",
    "Addresses, reasons and errors have no credentials",
    "an address, reason or error",
)
def no_credentials(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for where, text in _texts(device):
            secret = _CREDENTIALS.search(text)
            yield verdict(not secret, f"{device.name}: {where} looks like a secret")


def _texts(device: DeviceRecord) -> Iterator[tuple[str, str]]:
    for message in device.read["info"]:
        yield "info.address", str(message.content.address)
    for message in device.read["status"]:
        if message.content.reason:
            yield "the reason in status", message.content.reason.message
    for message in device.read["state"]:
        for path, fault in message.content.bad.items():
            yield f"bad of {path}", fault.message
    for message in device.read["reply"]:
        error = message.content.error
        if not message.content.ok and error:
            yield "an error", f"{error.message} {error.detail}"


@passive(
    "3.2",
    "Schemas in info are JSON Schemas, and refer to nothing outside",
    "a schema",
)
def schemas(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for info in device.infos:
            for _ in range(_count(info.info)):
                yield None
            for place, why in info.faults.items():
                yield f"{device.name}: {_fault(place, why)}"


def _count(info: Info) -> int:
    """Return how many schemas a description has."""
    return len(info.properties) + 2 * len(info.commands) + len(info.events)


def _fault(place: str, why: str) -> str:
    if place.startswith("parameters"):
        return f"{place}: {why}"
    return f"{place} is no JSON Schema that can be used: {why}"


@passive(
    "3.2",
    (
        "Properties make sense: default fits, readback exists, a family to write has "
        "the range of its members"
    ),
    "info",
)
def properties(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info = device.last("info")
        if info is None:
            continue
        for path in info.properties:
            wrong = _senseless(info, path)
            yield verdict(wrong is None, f"{device.name}: {path}: {wrong}")


def _senseless(info: Info, path: str) -> str | None:
    about = info.properties[path]
    if about.default is not UNSET:
        wrong = problem(about.default, about.schema)
        if wrong:
            return f"default: {wrong}"
    if isinstance(about.readback, str) and not may_have(info, about.readback):
        return f"readback {about.readback!r} is no property"
    ranges = about.parameters if isinstance(about.parameters, dict) else {}
    # members that are only read or only written may have any names
    named = parameters(path) if about.access == "rw" else ranges
    for name in named:
        bounds = ranges.get(name, {})
        if not {"minimum", "maximum"} <= bounds.keys():
            return f"the range of {{{name}}} is missing"
    return None


@passive("3.4", "seq counts 1, 2, 3 ... per topic: no gap", "two events of one topic")
def no_gap(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for events in device.events.values():
            for before, after in itertools.pairwise(events):
                yield _follows(before, after)


def _follows(before: ReadMessage, after: ReadMessage) -> Verdict:
    if after.content == before.content:  # sent twice: QoS 1
        return None
    last = before.content["seq"]
    seq = after.content["seq"]
    return verdict(
        seq == last + 1,
        f"{after.topic}: seq {seq} after {last}; lost on the way, or counted wrongly",
    )


@passive("3.4", "Events are as info declares them", "a declared event")
def declared_events(record: Record) -> Iterator[Verdict]:
    validator = Validator()
    for device in devices(record):
        for name, events in device.events.items():
            if name in EVENTS:
                continue
            for event in events:
                info = device.info_at(event.place)
                if info is not None and name in info.events:
                    yield _fields(event, info.events[name], validator)


def _fields(
    event: ReadMessage, about: messages.EventInfo, validator: Validator
) -> Verdict:
    packed = messages.is_msgpack_map(event.seen.payload)
    if packed != (about.encoding == "msgpack"):
        encoding = "MessagePack" if packed else "not MessagePack"
        return f"{event.topic}: is {encoding}, unlike info"
    if packed or about.schema is UNSET:
        return None
    wrong = validator.problem(event.content, about.schema)
    return verdict(wrong is None, f"{event.topic}: {wrong}")


@passive(
    "3.5",
    "A reply is ok, or has an error of the list that says rightly whether to retry",
    "a reply",
)
def outcomes(record: Record) -> Iterator[Verdict]:
    for device in [*devices(record), *record.unknown.values()]:
        for message in device.read["reply"]:
            wrong = _wrong_outcome(message.content)
            target = json.dumps(message.content.target)
            yield verdict(wrong is None, f"{message.topic}: {wrong}: {target}")


def _wrong_outcome(reply: messages.Reply) -> str | None:
    error: Any = reply.error
    if reply.ok != (error is UNSET):
        return "ok and error contradict each other"
    if reply.ok:
        return None
    if error.code not in BY_CODE:
        return f"{error.code!r} is no error code"
    if error.retryable != BY_CODE[error.code].retryable:
        return f"{error.code!r} with retryable {error.retryable}"
    return verdict(error.message, f"{error.code!r} without a message")


@passive(
    "3.5",
    "A reply names bridge and device of its topic and the target of the command",
    "a reply",
)
def reply_identity(record: Record) -> Iterator[Verdict]:
    bridge = record.base.rstrip("/").rpartition("/")[2]
    for device in [*devices(record), *record.unknown.values()]:
        for message in device.read["reply"]:
            reply = message.content
            fine = (reply.bridge, reply.device) == (bridge, device.name)
            channel, _, _ = reply.target.partition("/")
            fine &= channel in ("set", "call") and reply.took >= 0
            yield verdict(
                fine,
                f"{message.topic}: {reply.bridge}/{reply.device}, "
                f"target {reply.target!r}, took {reply.took}",
            )


@passive("2", "A publish on a reply topic has no Response Topic", "a reply")
def no_response_topic(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for message in device.read["reply"]:
            seen = message.seen
            yield verdict(
                not seen.response_topic, f"{seen.topic}: has a Response Topic"
            )
