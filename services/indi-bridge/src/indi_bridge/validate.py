"""What is sent for a set: checked before the driver is touched, for INDI stays silent.

Source: INDI 1.7.
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


def wanted(
    vector: Vector, given: Mapping[str, Any], time: float | None, *, steps: bool
) -> NewVector:
    """Return the element that sets members (original name -> value).

    Raise BadRequest, OutOfRange, ReadOnly.
    """
    if vector.perm == "ro":
        raise ReadOnly(f"{vector.name} is read-only")
    if not given:
        raise BadRequest(
            f"{vector.name}: no member; there are: {', '.join(vector.members)}"
        )
    for name in given:
        if name not in vector.members:
            raise BadRequest(
                f"{vector.name} has no member {name}; there are: "
                f"{', '.join(vector.members) or 'none'}"
            )
    timestamp = _timestamp(time)
    if vector.kind == "BLOB":
        return NewVector(
            "BLOB", vector.device, vector.name, {}, timestamp, _uploads(given)
        )
    if vector.kind == "Switch":
        values = _switches(vector, given)
    else:
        check = _number_text if vector.kind == "Number" else _text
        own = {
            name: check(vector.members[name], value, steps)
            for name, value in given.items()
        }
        values = {
            name: own[name] if name in own else _as_it_is(member)
            for name, member in vector.members.items()
        }
    return NewVector(vector.kind, vector.device, vector.name, values, timestamp)


def _timestamp(time: float | None) -> str:
    try:
        return "" if time is None else format_time(time)
    except ValueError as error:
        raise BadRequest(f"_time: {error}") from error


def _as_it_is(member: Member) -> str:
    """Return the value that a member has.

    A number as decimal: the C library reads `12 30 15` as 123015.
    """
    known = isinstance(member.shown, float) and math.isfinite(member.shown)
    return repr(member.shown) if known else member.value


def _number_text(member: Member, value: float, steps: bool) -> str:
    if not math.isfinite(value):
        raise BadRequest(f"{member.name}: {value} is no number that INDI knows")
    bounds = member.bounds
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        raise OutOfRange(
            f"{member.name}: {value:g} is out of range; allowed: {bounds[0]:g} to "
            f"{bounds[1]:g}"
        )
    if steps and member.steps and not member.between and not member.on_step(value):
        start, step = member.steps
        why = (
            f"{value:.10g} is no whole number of steps of {step:g} from {start:g}; "
            f"`steps: false` lets it through"
        )
        raise OutOfRange(f"{member.name}: {why}")
    return repr(float(value))


def _text(member: Member, value: str, _steps: bool) -> str:
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
    if not on and all(vector.members[name].value == "Off" for name in given):
        return {}
    if vector.rule == "OneOfMany" and len(on) != 1:
        raise BadRequest(
            f"{vector.name}: exactly one of {', '.join(vector.members)} is on; "
            f"switch "
            f"that one on"
        )
    if vector.rule == "AtMostOne" and len(on) > 1:
        raise BadRequest(
            f"{vector.name}: at most one of {', '.join(vector.members)} can be "
            f"on, not "
            f"{', '.join(on)}"
        )
    return {name: "Off" for name, value in given.items() if not value} | dict.fromkeys(
        on, "On"
    )


def _uploads(given: Mapping[str, Upload | None]) -> dict[str, NewBlob]:
    uploads = {}
    for name, blob in given.items():
        if blob is None or blob.data is msgspec.UNSET:
            raise BadRequest(
                f'{name}: no data; allowed: {{"format": ".fits", "data": base64}}'
            )
        uploads[name] = NewBlob(blob.data, blob.format, blob.size or len(blob.data))
    return uploads
