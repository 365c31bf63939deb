"""Shapes of payloads (section 3), descriptions (3.2), events (3.4) and replies (3.5)."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from busbar.cli.check.conformance.checks import Verdict, passive
from busbar.cli.check.conformance.passive_topics import EVENTS, devices
from busbar.cli.check.conformance.record import (
    Device,
    Record,
    Told,
    may_have,
    parameters,
)
from busbar.cli.schemas.json_schema import problem
from busbar.contract import messages
from busbar.contract.messages import Info
from busbar.errors import BY_CODE

_CREDENTIALS = re.compile(
    r"\w+://[^/@\s]+@|(password|passwd|token|secret|api_?key)=[^*\s]", re.IGNORECASE
)
_SECONDS = (1e9, 4e9)  # 2001 to 2096: milliseconds are far beyond


def _shapes(record: Record, channel: str) -> Iterator[Verdict]:
    for device in [*devices(record), *record.unknown.values()]:
        paths = {
            "state": device.leaves,
            "event": device.events,
            "blob": device.blobs,
        }.get(channel, {})
        yield from (None for told in device.said[channel])
        yield from (None for told in paths.values() for _ in told)
        yield from (text for where, text in device.malformed if where == channel)


@passive(
    "3.1",
    ("A status has its shape: state, since, boot, revision, seq, reason"),
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
    "3.4", ("An event has its shape: boot, seq, time and its own fields"), "an event"
)
def event_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "event")


@passive("3.5", "A reply has its shape", "a reply")
def reply_shape(record: Record) -> Iterator[Verdict]:
    yield from _shapes(record, "reply")


@passive("3", "Times are Unix seconds", "a time")
def times(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel, field in (
            ("status", "since"),
            ("state", "time"),
            ("reply", "time"),
        ):
            for told in device.said[channel]:
                yield _time(told, getattr(told.said, field))
        for told in (each for events in device.events.values() for each in events):
            yield _time(told, told.said["time"])


def _time(told: Told, time: float | None) -> Verdict:
    fine = time is None or _SECONDS[0] < time < _SECONDS[1]
    return None if fine else f"{told.seen.topic}: {time} is no Unix time in seconds"


@passive(
    "2",
    ("Addresses, reasons and errors have no credentials"),
    "an address, reason or error",
)
def no_credentials(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for where, text in _texts(device):
            yield (
                (f"{device.name}: {where} looks like a secret")
                if _CREDENTIALS.search(text)
                else None
            )


def _texts(device: Device) -> Iterator[tuple[str, str]]:
    for told in device.said["info"]:
        yield "info.address", str(told.said.address)
    for told in device.said["status"]:
        if told.said.reason:
            yield "the reason in status", told.said.reason.message
    for told in device.said["state"]:
        yield from (
            (f"bad of {path}", fault.message) for path, fault in told.said.bad.items()
        )
    for told in device.said["reply"]:
        if not told.said.ok and told.said.error:
            yield "an error", f"{told.said.error.message} {told.said.error.detail}"


@passive(
    "3.2",
    (
        "Properties make sense: default fits, readback exists, a family to write has "
        "the "
        "range of its members"
    ),
    "info",
)
def properties(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        if (info := device.last("info")) is not None:
            for path in info.properties:
                wrong = _senseless(info, path)
                yield f"{device.name}: {path}: {wrong}" if wrong else None


def _senseless(info: Info, path: str) -> str | None:
    about = info.properties[path]
    if about.default is not UNSET and (wrong := problem(about.default, about.schema)):
        return f"default: {wrong}"
    if isinstance(about.readback, str) and not may_have(info, about.readback):
        return f"readback {about.readback!r} is no property"
    ranges = about.parameters if isinstance(about.parameters, dict) else {}
    # members that are only read may have any names
    named = parameters(path) if about.access != "r" else ranges
    unknown = [
        name
        for name in named
        if not {"minimum", "maximum"} <= (ranges.get(name) or {}).keys()
    ]
    return f"the range of {{{unknown[0]}}} is missing" if unknown else None


@passive("3.4", "seq counts 1, 2, 3 ... per topic: no gap", "two events of one topic")
def no_gap(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for told in device.events.values():
            for before, after in itertools.pairwise(told):
                # sent twice: QoS 1
                fine = (
                    after.said["seq"] - before.said["seq"] == 1
                    or after.said == before.said
                )
                found = f"seq {after.said['seq']} after {before.said['seq']}"
                yield (
                    None
                    if fine
                    else (
                        f"{after.seen.topic}: {found}; lost on "
                        f"the way, or counted wrongly"
                    )
                )


@passive("3.4", "Events are as info declares them", "a declared event")
def declared_events(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for name, told in device.events.items():
            for each in told if name not in EVENTS else ():
                info = device.info_at(each.place)
                if info is not None and name in info.events:
                    yield _fields(each, info.events[name])


def _fields(told: Told, about: messages.EventInfo) -> Verdict:
    packed = messages.is_msgpack_map(told.seen.payload)
    if packed != (about.encoding == "msgpack"):
        return (
            f"{told.seen.topic}: is {'' if packed else 'not '}MessagePack, unlike info"
        )
    wrong = (
        None if about.schema is UNSET or packed else problem(told.said, about.schema)
    )
    return f"{told.seen.topic}: {wrong}" if wrong else None


@passive(
    "3.5",
    ("A reply is ok, or has an error of the list that says rightly whether to retry"),
    "a reply",
)
def outcomes(record: Record) -> Iterator[Verdict]:
    for device in [*devices(record), *record.unknown.values()]:
        for told in device.said["reply"]:
            wrong = _wrong_outcome(told.said)
            yield (
                (f"{told.seen.topic}: {wrong}: {json.dumps(told.said.target)}")
                if wrong
                else None
            )


def _wrong_outcome(reply: messages.Reply) -> str | None:
    error: Any = reply.error
    if reply.ok or error is UNSET:
        return (
            None
            if reply.ok and error is UNSET
            else "ok and error contradict each other"
        )
    if error.code not in BY_CODE:
        return f"{error.code!r} is no error code"
    if error.retryable != BY_CODE[error.code].retryable:
        return f"{error.code!r} with retryable {error.retryable}"
    return None if error.message else f"{error.code!r} without a message"


@passive(
    "3.5",
    ("A reply names bridge and device of its topic and the target of the command"),
    "a reply",
)
def reply_identity(record: Record) -> Iterator[Verdict]:
    bridge = record.base.rstrip("/").rpartition("/")[2]
    for device in [*devices(record), *record.unknown.values()]:
        for told in device.said["reply"]:
            reply = told.said
            fine = (reply.bridge, reply.device) == (bridge, device.name)
            fine &= (
                reply.target.partition("/")[0] in ("set", "call") and reply.took >= 0
            )
            found = (
                f"{reply.bridge}/{reply.device}, target {reply.target!r}, took "
                f"{reply.took}"
            )
            yield None if fine else f"{told.seen.topic}: {found}"


@passive("2", "A publish on a reply topic has no Response Topic", "a reply")
def no_response_topic(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for told in device.said["reply"]:
            yield (
                (f"{told.seen.topic}: has a Response Topic")
                if told.seen.response_topic
                else None
            )
