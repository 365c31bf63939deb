"""Vectors as properties of the bus: types, descriptions, names."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import BadRequest, BlobValue, Property, ProtocolError, collisions
from busbar.codecs.indi import is_sexagesimal, parse_number
from indi_bridge.validate import Upload
from indi_bridge.vectors import Member, Vector, number

SHORT_CHOICES = 50  # members that a short form may choose from
ANY_MEMBER = "{property}/{member}"
_SWITCHES = {
    "true": True,
    "on": True,
    "1": True,
    "1.0": True,
    "false": False,
    "off": False,
    "0": False,
    "0.0": False,
}
_WANTED = {"Number": "a number", "Switch": "true or false"}
# what labels of drivers end with
_UNIT = re.compile(r"\(([^()]{1,12})\)\s*$")
_UNITS = {
    "%": "%",
    "arcsec": '"',
    "arcsecs": '"',
    "c": "°C",
    "celsius": "°C",
    "deg": "°",
    "degrees": "°",
    "hpa": "hPa",
    "hz": "Hz",
    "kph": "km/h",
    "m": "m",
    "mm": "mm",
    "ms": "ms",
    "msec": "ms",
    "s": "s",
    "sec": "s",
    "secs": "s",
    "seconds": "s",
    "um": "µm",
    "v": "V",
    "w": "W",
    "°c": "°C",
}
_CLASSES = {"°C": "temperature", "hPa": "pressure", "V": "voltage", "W": "power"}

State = Literal["Idle", "Ok", "Busy", "Alert"]
ACCESS: dict[str, Literal["r", "w", "rw"]] = {"ro": "r", "wo": "w", "rw": "rw"}
TYPES: dict[str, Any] = {
    "Text": str,
    "Number": float,
    "Switch": bool,
    "Light": State,
    "BLOB": Upload | None,
}
_Text = Annotated[dict[str, str], Meta(title="As it is written")]
_Time = Annotated[float, Meta(title="Unix time (s)")]
_Timeout = Annotated[float, Meta(title="Longest time to Ok (s)")]
# fields of every vector, with an underscore before their names on the bus
_OWN: dict[str, Any] = {
    "state": State,
    "time": _Time,
    "timeout": _Timeout | None,
    "message": str | None,
}


class Image(BlobValue, frozen=True):
    """What the property of a BLOB says of the latest one.

    `size` and `sha256` are those of what is published.
    """

    format: str = ""
    sha256: str = ""
    time: float = 0.0  # Unix s
    fits: dict[str, str | float | bool | None] | None = None  # cards of its header
    preview: str | None = None  # name of the blob that is its preview


def vector_property(vector: Vector) -> Property:
    """Return the property of a vector."""
    about = {
        "type": vector.kind,
        "name": vector.name,
        "group": vector.group,
        "label": vector.label,
        "state": vector.state,
        "perm": vector.perm,
        "rule": vector.rule or None,
        "timeout": vector.timeout,
    }
    described = Meta(extra_json_schema={"indi": about})
    return Property(
        vector.path,
        Annotated[_vector_type(vector), described],
        ACCESS[vector.perm],
        title=vector.label,
        group=vector.group or None,
        original=vector.name,
        unit=_shared_unit(vector),
        short=_short_form(vector),
    )


def _short_form(vector: Vector) -> Any:
    """Return the type of the short form of a set; None: there is none."""
    keys = tuple(vector.keys.values())
    exclusive = vector.rule in ("OneOfMany", "AtMostOne")
    if vector.perm == "ro" or not keys or len(keys) > SHORT_CHOICES:
        return None
    if len(keys) == 1 and vector.kind in ("Number", "Text", "Switch"):
        return _member_type(vector.kind, next(iter(vector.members.values())))
    if vector.kind == "Switch" and exclusive:
        return Literal[keys]
    return None


def any_member() -> Property:
    """Return the property by which each member can be set by its own path."""
    return Property(
        ANY_MEMBER,
        float | bool | str,
        "w",
        title="One member of a property",
        readback=None,
    )


def _vector_type(vector: Vector) -> type[msgspec.Struct]:
    """Return the type of a vector's value: any of its members and its own fields."""
    types: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for place, (name, key) in enumerate(vector.keys.items()):
        field = _field(place)
        types[field] = _member_type(vector.kind, vector.members[name])
        keys[field] = key
    formats = [member.format for member in vector.members.values()]
    own = dict(_OWN)
    if any(map(is_sexagesimal, formats)):
        own = {"text": _Text, **_OWN}
    for field, type_ in own.items():
        types[field] = type_
        keys[field] = f"_{field}"
    return msgspec.defstruct(
        f"{vector.kind}Vector",
        [(field, type_ | UnsetType, UNSET) for field, type_ in types.items()],
        rename=keys,
        frozen=True,
        forbid_unknown_fields=True,
    )


def member_property(vector: Vector, member: Member, path: str) -> Property:
    """Return the property of one member, for dashboards."""
    return Property(
        path,
        _member_type(vector.kind, member),
        ACCESS[vector.perm],
        title=f"{vector.label}: {member.label}",
        group=vector.group or None,
        original=member.name,
        unit=unit_of(member.label) if vector.kind == "Number" else None,
        class_=_class(vector, member),
    )


def given_members(vector: Vector, value: Any) -> tuple[dict[str, Any], float | None]:
    """Return what a value of the property asks for.

    Original name -> value, and the time (Unix s) for the element. What only the driver
    can say (`_state`) is ignored, so that a value can be written back as it is.
    """
    if not isinstance(value, msgspec.Struct):
        return _short_members(vector, value), None
    members = {}
    for place, name in enumerate(vector.keys):
        found = getattr(value, _field(place), UNSET)
        if found is not UNSET:
            members[name] = found
    time = getattr(value, "time", UNSET)
    return members, None if time is UNSET else time


def _short_members(vector: Vector, value: Any) -> dict[str, Any]:
    """Return what the short form of a set asks for."""
    if len(vector.keys) == 1:
        return dict.fromkeys(vector.keys, value)
    return {name: True for name, key in vector.keys.items() if key == value}


def member_value(vector: Vector, member: Member, raw: float | bool | str) -> Any:
    """Return the value of a member that is set by its own path.

    Raise BadRequest for one of another type.
    """
    kind = vector.kind
    if kind == "Text":
        return raw if isinstance(raw, str) else str(raw)
    if kind == "Switch" and str(raw).lower() in _SWITCHES:
        return _SWITCHES[str(raw).lower()]
    if kind == "Number" and isinstance(raw, str):
        return _sexagesimal(member, raw)
    if kind == "Number" and not isinstance(raw, bool):
        return raw
    wanted = _WANTED.get(kind, "nothing: it is set as a whole")
    raise BadRequest(f"{member.name}: {raw!r:.60} is not {wanted}")


def _sexagesimal(member: Member, text: str) -> float:
    try:
        return parse_number(text)
    except ProtocolError as error:
        raise BadRequest(f"{member.name}: {text!r:.60} is not a number") from error


def unit_of(label: str) -> str | None:
    """Return the unit that a label ends with, as in `Temperature (C)`."""
    found = _UNIT.search(label)
    if found is None:
        return None
    return _UNITS.get(found[1].strip().lower())


def _shared_unit(vector: Vector) -> str | None:
    """Return the unit that all members of a vector have."""
    if vector.kind != "Number":
        return None
    units = {unit_of(member.label) for member in vector.members.values()}
    return units.pop() if len(units) == 1 else None


def _class(vector: Vector, member: Member) -> str | None:
    if vector.kind != "Number":
        return None
    return _CLASSES.get(unit_of(member.label) or "")


def blob_name(vector: Vector, member: str) -> str:
    return f"{vector.path}_{vector.keys[member]}"


def preview_name(name: str) -> str:
    return f"{name}_preview"


class Served(NamedTuple):
    """Vectors with a topic of their own, by path, and the names of the others.

    `colliding` has images, too, by the name of their blob.
    """

    vectors: dict[str, Vector]
    colliding: set[str]


def served(vectors: Mapping[str, Vector]) -> Served:
    """Return which vectors are served: none that shares its path with another.

    Nor with the name that we give to an image.
    """
    paths = {name: vector.path for name, vector in vectors.items()}
    for vector in vectors.values():
        if vector.kind == "BLOB" and vector.perm != "wo":
            for member in vector.keys:
                name = blob_name(vector, member)
                paths[f"image {name}"] = name
                paths[f"preview {name}"] = preview_name(name)
    colliding = collisions(paths)
    found = {}
    for name, vector in vectors.items():
        if name not in colliding:
            found[paths[name]] = vector
    return Served(found, colliding)


def _field(place: int) -> str:
    """Return the name of a member's field in the type of its vector."""
    return f"m{place}"


def _member_type(kind: str, member: Member) -> Any:
    about: dict[str, Any] = {"name": member.name}
    low = None
    high = None
    if kind == "Number":
        about["format"] = member.format
        about["min"] = _json(member.min)
        about["max"] = _json(member.max)
        about["step"] = _json(member.step)
        # sets are checked against the bounds anyway
        if member.bounds is not None and not member.leaves_bounds:
            low, high = member.bounds
    meta = Meta(ge=low, le=high, title=member.label, extra_json_schema={"indi": about})
    return Annotated[TYPES[kind], meta]


def _json(text: str) -> float | None:
    value = number(text)
    return value if math.isfinite(value) else None
