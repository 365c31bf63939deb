"""Keys that every bridge has for a property.

How it is shown and how often it is reported.
"""

from typing import Annotated

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


def check_choices(choices: dict[int, str]) -> None:
    """Raise ValueError when two raw values of `choices` have one name."""
    if len(set(choices.values())) < len(choices):
        raise ValueError("choices: two numbers have the same name")
