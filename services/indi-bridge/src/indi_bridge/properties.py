"""Vectors as properties of the bus: types, descriptions, names."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import BlobValue, Property, collisions
from busbar.codecs.indi import is_sexagesimal
from indi_bridge.validate import Upload
from indi_bridge.vectors import Member, Vector, number

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
    )


def given_members(vector: Vector, value: Any) -> tuple[dict[str, Any], float | None]:
    """Return what a value of the property asks for.

    Original name -> value, and the time (Unix s) for the element. What only the driver
    can say (`_state`) is ignored, so that a value can be written back as it is.
    """
    members = {}
    for place, name in enumerate(vector.keys):
        found = getattr(value, _field(place), UNSET)
        if found is not UNSET:
            members[name] = found
    time = getattr(value, "time", UNSET)
    return members, None if time is UNSET else time


def blob_name(vector: Vector, member: str) -> str:
    return f"{vector.path}_{vector.keys[member]}"


def preview_name(name: str) -> str:
    return f"{name}_preview"


class Served(NamedTuple):
    """Vectors with a topic of their own, by path, and the names of the others."""

    vectors: dict[str, Vector]
    colliding: set[str]


def served(vectors: Mapping[str, Vector]) -> Served:
    """Return which vectors are served: none that shares its path with another."""
    paths = {name: vector.path for name, vector in vectors.items()}
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
