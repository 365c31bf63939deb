"""Validation of a set before the driver is touched: INDI itself would stay silent.

Source: INDI 1.7; docs/protocols/indi.md, 4.7.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from busbar.bridge.errors import BadRequest, OutOfRange, ReadOnly
from busbar.codecs.indi import NewBlob, NewVector, format_time
from indi_bridge.vectors import Member, Vector

TEXT_LIMIT = 64 * 1024  # characters of one text
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Upload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A BLOB's member: format and size (bytes) of the newest.

    In a set format and `data` (base64, or MessagePack).
    """

    format: str = ""
    size: int = 0
    data: bytes | msgspec.UnsetType = msgspec.UNSET


def new_vector(
    vector: Vector, given: Mapping[str, Any], time: float | None, *, steps: bool
) -> NewVector:
    """Return the element that sets members (original name -> value).

    `time` (Unix s) is its timestamp. Raise BadRequest, OutOfRange, ReadOnly.
    """
    _check_names(vector, given)
    timestamp = _timestamp(time)
    values: dict[str, str] = {}
    uploads: dict[str, NewBlob] | None = None
    match vector.kind:
        case "BLOB":
            uploads = _uploads(given)
        case "Switch":
            values = _switches(vector, given)
        case _:
            values = _texts(vector, given, steps)
    return NewVector(
        vector.kind, vector.device, vector.name, values, timestamp, uploads
    )


def _check_names(vector: Vector, given: Mapping[str, Any]) -> None:
    if vector.perm == "ro":
        raise ReadOnly(f"{vector.name} is read-only")
    names = ", ".join(vector.members)
    if not given:
        raise BadRequest(f"{vector.name}: no member; there are: {names}")
    for name in given:
        if name not in vector.members:
            raise BadRequest(
                f"{vector.name} has no member {name}; there are: {names or 'none'}"
            )


def _timestamp(time: float | None) -> str:
    if time is None:
        return ""
    try:
        return format_time(time)
    except ValueError as error:
        raise BadRequest(f"_time: {error}") from error


def _texts(vector: Vector, given: Mapping[str, Any], steps: bool) -> dict[str, str]:
    """Return all numbers or texts to send; those not given stay as they are."""
    checked = {}
    for name, value in given.items():
        member = vector.members[name]
        if vector.kind == "Number":
            checked[name] = _number(member, value, steps)
        else:
            checked[name] = _text(member, value)
    texts = {}
    for name, member in vector.members.items():
        texts[name] = checked[name] if name in checked else _present(member)
    return texts


def _present(member: Member) -> str:
    """Return the value that a member has now.

    Numbers are sent as decimals. Source: docs/protocols/indi.md, 2.1 and 4.19 (the C
    library reads `12 30 15` as 123015).
    """
    known = isinstance(member.shown, float) and math.isfinite(member.shown)
    return repr(member.shown) if known else member.value


def _number(member: Member, value: float, steps: bool) -> str:
    if not math.isfinite(value):
        raise BadRequest(f"{member.name}: {value} is no number that INDI knows")
    _check_bounds(member, value)
    if steps:
        _check_steps(member, value)
    return repr(float(value))


def _check_bounds(member: Member, value: float) -> None:
    if member.bounds is None:
        return
    low, high = member.bounds
    if not low <= value <= high:
        raise OutOfRange(
            f"{member.name}: {value:g} is out of range; allowed: {low:g} to {high:g}"
        )


def _check_steps(member: Member, value: float) -> None:
    if member.steps is None or member.on_step(value):
        return
    first, step = member.steps
    raise OutOfRange(
        f"{member.name}: {value:.10g} is no whole number of steps of {step:g} "
        f"from {first:g}, which `steps: true` asks for"
    )


def _text(member: Member, value: str) -> str:
    if _CONTROL.search(value):
        raise BadRequest(f"{member.name}: control characters cannot be sent in XML")
    if len(value) > TEXT_LIMIT:
        raise BadRequest(
            f"{member.name}: {len(value)} characters; allowed: {TEXT_LIMIT}"
        )
    return value


def _switches(vector: Vector, given: Mapping[str, bool]) -> dict[str, str]:
    """Return the switches to send, those that go off first.

    None if all are off as they are wanted.
    """
    on = [name for name, value in given.items() if value]
    off = [name for name, value in given.items() if not value]
    states = {vector.members[name].value for name in given}
    if not on and states == {"Off"}:
        return {}
    names = ", ".join(vector.members)
    if vector.rule == "OneOfMany":
        if not on and len(vector.members) == 2:
            # one of two that goes off means the other one
            on = [name for name in vector.members if name not in off]
        if len(on) != 1:
            raise BadRequest(
                f"{vector.name}: exactly one of {names} is on; switch that one on"
            )
        # drivers that take members as they come need to hear who goes off
        off += _others_on(vector, on[0], off)
    if vector.rule == "AtMostOne" and len(on) > 1:
        raise BadRequest(
            f"{vector.name}: at most one of {names} can be on, not {', '.join(on)}"
        )
    return dict.fromkeys(off, "Off") | dict.fromkeys(on, "On")


def _others_on(vector: Vector, chosen: str, off: list[str]) -> list[str]:
    """Return the members that are on and go off with the choice of another."""
    others = []
    for name, member in vector.members.items():
        if name != chosen and name not in off and member.value == "On":
            others.append(name)
    return others


def _uploads(given: Mapping[str, Upload | None]) -> dict[str, NewBlob]:
    uploads = {}
    for name, blob in given.items():
        if blob is None or blob.data is msgspec.UNSET:
            raise BadRequest(
                f'{name}: no data; allowed: {{"format": ".fits", "data": base64}}'
            )
        uploads[name] = NewBlob(blob.data, blob.format, blob.size or len(blob.data))
    return uploads
