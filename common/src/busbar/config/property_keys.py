"""Keys that every bridge has for a property.

How it is shown and how often it is reported.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

NotNegative = Annotated[float, Meta(ge=0)]


class Labels(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={"class_": "class"},
):
    """How a property is shown."""

    title: str | None = None
    unit: str | None = None
    group: str | None = None
    class_: str | None = None  # Home Assistant device class


class Reported(Labels, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a property is shown, and which of its readings are reported."""

    deadband: NotNegative = 0.0  # a smaller difference is not reported
    min_interval: NotNegative = 0.0  # s between reports
    # s after which an unchanged reading is reported again; 0 = never
    max_silence: NotNegative = 0.0


def joined(name: str, base: type[msgspec.Struct], keys: type[msgspec.Struct]) -> Any:
    """Return a struct with the fields of both, which msgspec cannot inherit from two.

    Methods are those of `base`. To type checkers it is a class of both bases.
    """
    fields: list[tuple[str, Any, Any]] = []
    renamed: dict[str, str] = {}
    for each in msgspec.structs.fields(keys):
        made: dict[str, Any] = {
            "default": each.default,
            "default_factory": each.default_factory,
        }
        fields.append((each.name, each.type, msgspec.field(**made)))
        renamed[each.name] = each.encode_name
    return msgspec.defstruct(
        name, fields, bases=(base,), frozen=True, kw_only=True, rename=renamed
    )


def check_choices(choices: dict[int, str]) -> None:
    """Raise ValueError when two raw values of `choices` have one name."""
    if len(set(choices.values())) < len(choices):
        raise ValueError("choices: two numbers have the same name")
