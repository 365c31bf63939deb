"""Arguments of the commands of both roles."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest
from busbar.codecs import cip

PULSE = 0.1  # s

JoinName = (
    Annotated[int, Meta(ge=1, le=32768)]
    | Annotated[str, Meta(min_length=1, max_length=200)]
)


class Pulse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `pulse`: `seconds` between press and release."""

    join: JoinName
    seconds: Annotated[float, Meta(gt=0, le=10)] = PULSE


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `ramp`: an analog goes to `value` within `seconds`.

    By name in its unit, else raw; from `start`, or from where it is.
    """

    join: JoinName
    value: float
    seconds: Annotated[float, Meta(gt=0, le=60)]
    start: float | None = None


class Get(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `get`: a path or name, as it came `in` or as we sent it `out`."""

    join: str
    direction: Literal["in", "out"] = "in"


class Send(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `send`: whole frames in hex, sent as they are."""

    frames: str


def parse_frames(text: str) -> bytes:
    """Return the frames of a `send`; raise BadRequest unless they are whole."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise BadRequest(
            f"frames: {text!r:.60} is not hexadecimal, two digits for each byte"
        ) from error
    if cip.split(data) is None:
        raise BadRequest(
            f"frames: {text!r:.60} are no whole frames: type, two bytes of length, "
            "that many bytes"
        )
    return data
