"""Vectors as properties of the bus: types, descriptions, names."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

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
    numbered = {f"m{place}": name for place, name in enumerate(vector.keys)}
    fields: list[tuple[str, Any, Any]] = [
        (field, _member_type(vector.kind, vector.members[name]) | UnsetType, UNSET)
        for field, name in numbered.items()
    ]
    if any(is_sexagesimal(member.format) for member in vector.members.values()):
        fields.append(
            (
                "text",
                Annotated[dict[str, str], Meta(title="As it is written")] | UnsetType,
                UNSET,
            )
        )
    about = {
        "state": vector.state,
        "perm": vector.perm,
        "rule": vector.rule or None,
        "timeout": vector.timeout,
    }
    fields += [
        ("state", State | UnsetType, UNSET),
        ("time", Annotated[float, Meta(title="Unix time (s)")] | UnsetType, UNSET),
        (
            "timeout",
            Annotated[float, Meta(title="Longest time to Ok (s)")] | None | UnsetType,
            UNSET,
        ),
        ("message", str | None | UnsetType, UNSET),
    ]
    rename = {field: vector.keys[name] for field, name in numbered.items()}
    rename |= {
        field: f"_{field}" for field in ("text", "state", "time", "timeout", "message")
    }
    made = msgspec.defstruct(
        vector.kind + "Vector",
        fields,
        rename=rename,
        frozen=True,
        forbid_unknown_fields=True,
    )
    extra = {
        "indi": {
            "type": vector.kind,
            "name": vector.name,
            "group": vector.group,
            "label": vector.label,
            **about,
        }
    }
    return Property(
        vector.path,
        Annotated[made, Meta(extra_json_schema=extra)],
        ACCESS[vector.perm],
        title=vector.label,
        group=vector.group or None,
        original=vector.name,
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


def given(vector: Vector, value: Any) -> tuple[dict[str, Any], float | None]:
    """Return what a value of the property says.

    Original name -> value, and the time (s) for the element.

    What only the driver can say (`_state`) is ignored, so that a value can be written
    back as it is.
    """
    members = {}
    for place, name in enumerate(vector.keys):
        if (found := getattr(value, f"m{place}", UNSET)) is not UNSET:
            members[name] = found
    time = getattr(value, "time", UNSET)
    return members, None if time is UNSET else time


def blob_name(vector: Vector, member: str) -> str:
    return f"{vector.path}_{vector.keys[member]}"


def preview_name(name: str) -> str:
    return f"{name}_preview"


def served(vectors: Mapping[str, Vector]) -> tuple[dict[str, Vector], set[str]]:
    """Return the vectors with a topic of their own, by path, and the names of those that share one."""
    doubled = collisions({name: vector.path for name, vector in vectors.items()})
    return {
        vector.path: vector for name, vector in vectors.items() if name not in doubled
    }, doubled


def _member_type(kind: str, member: Member) -> Any:
    about: dict[str, Any] = {"name": member.name}
    bounds = member.bounds if kind == "Number" else None
    if kind == "Number":
        about |= {
            "format": member.format,
            **{k: _json(getattr(member, k)) for k in ("min", "max", "step")},
        }
    # sets are checked against them anyway
    low, high = bounds if bounds and not member.strays else (None, None)
    return Annotated[
        TYPES[kind],
        Meta(ge=low, le=high, title=member.label, extra_json_schema={"indi": about}),
    ]


def _json(text: str) -> float | None:
    value = number(text)
    return value if math.isfinite(value) else None
