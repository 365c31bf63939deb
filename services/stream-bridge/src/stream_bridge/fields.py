"""Named fields: what of a frame becomes a property."""

import json
import struct
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from busbar.bridge import Property, ProtocolError, config, values
from busbar.codecs.framing import Pattern

_WORD = "[A-Za-z0-9-][A-Za-z0-9_-]{0,63}"
Levels = Annotated[
    str,
    Meta(
        pattern=rf"^{_WORD}(/{_WORD})*(?!\n)$",
        description="levels of letters, digits, _ and -, none of them beginning with _",
    ),
]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
SOURCES = ("match", "column", "struct", "json", "whole")
ABSENT = UNSET  # the frame does not have it


class Frame:
    """One frame, and its text and columns once somebody wants them."""

    def __init__(self, data: bytes, charset: str) -> None:
        self.data = data
        self._charset = charset

    @cached_property
    def text(self) -> str:
        try:
            return self.data.decode(self._charset)
        except UnicodeDecodeError as error:
            said = f"{self.data[:40]!r} is not {self._charset} text"
            raise ProtocolError(said) from error

    @cached_property
    def document(self) -> Any:
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"{self.data[:40]!r} is not JSON") from error


class Field(
    config.Reported,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    dict=True,
    rename={"struct_": "struct", "json_": "json"},
):
    """One property: where in a frame its value is, what it means, how it is set."""

    path: Levels
    # of frames that begin so; others keep the value as it is
    starts: str | None = None
    match: Annotated[str, Meta(max_length=500)] | None = None
    # a group of it, by number or name; without groups all of the match
    capture: Annotated[int, Meta(ge=0)] | str = 1
    column: Annotated[int, Meta(ge=0)] | None = None  # the first one is 0
    separator: Annotated[str, Meta(min_length=1)] = ","
    struct_: str | None = None  # a format of Python's struct, such as "<hH"
    index: Annotated[int, Meta(ge=0)] = 0  # of its values
    json_: str | None = None  # such as sensors.0.door
    whole: bool = False  # the frame as text
    type: Literal["number", "integer", "boolean", "string"] = "number"
    scale: float = 1.0
    offset: float = 0.0
    # degrees and minutes (ddmm.mmm), the hemisphere in the column behind
    convert: Literal["nmea_degrees"] | None = None
    choices: dict[str, str] = msgspec.field(default_factory=dict)  # text -> value
    on: tuple[str, ...] = ("1", "true", "on", "ON", "True")  # of a boolean
    minimum: float | None = None
    maximum: float | None = None
    # s; without a frame that has it the value is stale
    max_age: Seconds | None = None
    # the payload that sets it; {value} stands for the value, {value:.2f} formats it
    set: Annotated[str, Meta(min_length=1)] | None = None
    # False: the device does not answer a set with a frame that has the field
    confirm: bool = True

    def __post_init__(self) -> None:
        given = {"match": self.match, "column": self.column, "struct": self.struct_}
        given |= {"json": self.json_, "whole": self.whole or None}
        count = sum(each is not None for each in given.values())
        if count > 1 or (not count and not self.set):
            raise ValueError(f"path: a field has one of {', '.join(SOURCES)}")
        self._check_source()
        if self.choices and self.type != "string":
            raise ValueError("choices: only of the type string")
        if self.set:
            known = list(self.choices.values())
            self.payload(known[0] if known else _EXAMPLES[self.type])

    def _check_source(self) -> None:
        if self.match is not None:
            pattern = self._pattern
            known = pattern.names if isinstance(self.capture, str) else range(99)
            if self.capture not in known or self._number > pattern.groups:
                raise ValueError(
                    f"capture: {self.match!r} has no group {self.capture!r}"
                )
        if self.struct_ is not None:
            try:
                count = len(struct.unpack(self.struct_, bytes(self._size)))
            except struct.error as error:
                raise ValueError(f"struct: {self.struct_!r}: {error}") from error
            if self.index >= count:
                raise ValueError(f"index: {self.struct_!r} has {count} values")

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(self.match or "")

    @cached_property
    def _number(self) -> int:
        if isinstance(self.capture, str):
            return self._pattern.names[self.capture]
        return self.capture if self._pattern.groups else 0

    @cached_property
    def _size(self) -> int:
        return struct.calcsize(self.struct_ or "")

    @property
    def readable(self) -> bool:
        """Whether frames have it."""
        return any(
            each is not None
            for each in (self.match, self.column, self.struct_, self.json_)
        ) or bool(self.whole)

    @property
    def value_type(self) -> Any:
        """The type that msgspec checks values against."""
        if self.choices:
            return values.choice(*dict.fromkeys(self.choices.values()))
        if self.type == "integer":
            return values.integer(_whole(self.minimum), _whole(self.maximum))
        if self.type == "number":
            return values.number(self.minimum, self.maximum)
        return {"boolean": bool, "string": str}[self.type]

    def declared(self) -> Property:
        """Return the property as the bus sees it."""
        access: Literal["r", "w", "rw"] = "r"
        if self.set:
            access = "rw" if self.readable else "w"
        return Property(
            self.path,
            self.value_type,
            access,
            title=self.title,
            unit=self.unit,
            group=self.group,
            class_=self.class_,
            readback="" if self.readable else None,
            deadband=self.deadband,
            min_interval=self.min_interval,
            max_silence=self.max_silence,
            max_age=self.max_age or 0.0,
        )

    def read(self, frame: Frame) -> Any:
        """Return the value in a frame, ABSENT if it has none; raise ProtocolError."""
        if self.starts is not None:
            head = self.starts.encode("latin1")
            if not frame.data.startswith(head):
                return ABSENT
        for given, read in (
            (self.match, self._matched),
            (self.column, self._in_column),
            (self.struct_, self._unpacked),
            (self.json_, self._in_document),
        ):
            if given is not None:
                return read(frame)
        return self._value(frame.text) if self.whole else ABSENT

    def payload(self, value: Any) -> bytes:
        """Return what sets a value; raise ValueError."""
        if isinstance(value, bool):
            value = int(value)
        if self.choices:
            texts = {each: text for text, each in self.choices.items()}
            value = texts[value]
        elif self.type in ("number", "integer"):
            value = (value - self.offset) / self.scale
            value = round(value) if self.type == "integer" else value
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"{value!r:.60} has characters that cannot be sent")
        try:
            return (self.set or "").format(value=value).encode()
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"set: {self.set!r}: {error}") from error

    def _matched(self, frame: Frame) -> Any:
        found = self._pattern.search(frame.text)
        if found is None:
            return ABSENT
        text = found[self._number]
        return ABSENT if text is None else self._value(text)

    def _in_column(self, frame: Frame) -> Any:
        columns = frame.text.split(self.separator)
        column = self.column or 0
        if column >= len(columns) or not columns[column].strip():
            return ABSENT
        if self.convert is None:
            return self._value(columns[column])
        hemisphere = columns[column + 1] if column + 1 < len(columns) else ""
        return _degrees(columns[column], hemisphere)

    def _unpacked(self, frame: Frame) -> Any:
        if len(frame.data) < self._size:
            got = len(frame.data)
            raise ProtocolError(f"{got} bytes, {self.struct_!r} has {self._size}")
        found = struct.unpack(self.struct_ or "", frame.data[: self._size])
        return self._value(found[self.index])

    def _in_document(self, frame: Frame) -> Any:
        found = frame.document
        for key in (self.json_ or "").split("."):
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                return ABSENT
        return ABSENT if found is None else self._value(found)

    def _value(self, raw: Any) -> Any:
        """Return what a raw value means; raise ProtocolError."""
        if isinstance(raw, bytes):
            raw = raw.rstrip(b"\0").decode("latin1")
        text = str(raw).strip()
        if self.choices:
            if text not in self.choices:
                raise ProtocolError(f"{text!r:.60} is none of the choices")
            return self.choices[text]
        return _MEANINGS[self.type](self, raw, text)


def _as_number(field: Field, raw: Any, text: str) -> Any:
    try:
        number = float(text)
    except ValueError as error:
        raise ProtocolError(f"{text!r:.60} is no number") from error
    return number * field.scale + field.offset


def _as_integer(field: Field, raw: Any, text: str) -> Any:
    number = _as_number(field, raw, text)
    whole = abs(number) < float("inf") and float(number).is_integer()
    return int(number) if whole else number


def _as_boolean(field: Field, raw: Any, text: str) -> Any:
    return raw if isinstance(raw, bool) else text in field.on


def _as_string(field: Field, raw: Any, text: str) -> Any:
    return text


_MEANINGS: dict[str, Callable[[Field, Any, str], Any]] = {
    "number": _as_number,
    "integer": _as_integer,
    "boolean": _as_boolean,
    "string": _as_string,
}
_EXAMPLES: dict[str, Any] = {
    "number": 1.5,
    "integer": 1,
    "boolean": True,
    "string": "text",
}


def _degrees(text: str, hemisphere: str) -> float:
    """Return degrees of ddmm.mmm and N, S, E or W. Source: NMEA 0183, 5.2."""
    try:
        degrees, minutes = divmod(float(text), 100)
    except ValueError as error:
        raise ProtocolError(f"{text!r:.60} is no position") from error
    found = round(degrees + minutes / 60, 8)
    return -found if hemisphere.strip() in ("S", "W") else found


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
