"""Values and their types: how a payload is read, what is in range, the JSON Schema.

Source: docs/contract.md, 2.

A type is anything msgspec understands: `bool`, `float`, `Annotated[int, Meta(ge=0)]`,
`Literal["a", "b"]`, a Struct.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect

from busbar.contract import mistakes
from busbar.contract.messages import (
    METADATA,
    Metadata,
    decode,
    is_msgpack_map,
    shown,
    take_metadata,
)
from busbar.contract.mistakes import WORDS, Mistake
from busbar.errors import BadRequest, BusbarError, OutOfRange, ProtocolError

_WORDS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
_JSON_NAMES: dict[type[inspect.Type], type] = {
    inspect.BoolType: bool,
    inspect.IntType: int,
    inspect.FloatType: float,
}
_OBJECTS = (
    inspect.StructType,
    inspect.DictType,
    inspect.TypedDictType,
    inspect.DataclassType,
)


def number(minimum: float | None = None, maximum: float | None = None) -> Any:
    """Return the type of a number within a range."""
    return Annotated[float, Meta(ge=minimum, le=maximum)]


def integer(minimum: int | None = None, maximum: int | None = None) -> Any:
    """Return the type of an integer within a range."""
    return Annotated[int, Meta(ge=minimum, le=maximum)]


def choice(*names: str) -> Any:
    """Return the type of a text that is one of the names."""
    return Literal[names]


def schema(type_: Any) -> dict[str, Any]:
    """Return the JSON Schema of a good value, without a reference at its top."""
    built = msgspec.json.schema(type_)
    definitions = built.pop("$defs", {})
    if "$ref" in built:  # what an annotation says stands beside it
        built = {**definitions.pop(built.pop("$ref").rpartition("/")[2]), **built}
    return {**built, "$defs": definitions} if definitions else built


class Reader:
    """Reads payloads and JSON values into one type."""

    def __init__(self, type_: Any) -> None:
        self._type = type_
        info = _plain_info(type_)
        self._info = info
        self.takes_object = isinstance(info, _OBJECTS)
        self.verbatim = _is_text(info)
        self._or_text = isinstance(info, inspect.UnionType) and any(
            map(_is_text, info.types)
        )

    def payload(self, payload: bytes) -> tuple[Any, Metadata]:
        """Return value and metadata of a payload; raise BadRequest or OutOfRange."""
        raw, metadata = self._raw(payload)
        return self.value(raw), metadata

    def value(self, raw: Any) -> Any:
        """Return a JSON value as the type has it; raise BadRequest or OutOfRange."""
        return convert(_coerce(raw, self._info), self._type)

    def _raw(self, payload: bytes) -> tuple[Any, Metadata]:
        if is_msgpack_map(payload):
            return self._unwrap(decode(payload))
        if self.verbatim:
            return self._text(payload)
        try:
            raw = decode(payload)
        except BadRequest as error:
            if self._or_text:
                return self._text(payload)
            return self._word(payload, error), Metadata()
        if isinstance(raw, dict):
            return self._unwrap(raw)
        return raw, Metadata()

    def _word(self, payload: bytes, refused: BadRequest) -> str:
        """Return one of the words for a boolean; raise what is wrong instead."""
        word = payload.strip().lower().decode(errors="replace")
        if word in _WORDS:
            return word
        name = _JSON_NAMES.get(type(self._info))
        if name is None:
            raise refused
        raise BadRequest(f"{shown(payload)}: expected {WORDS[name]}") from refused

    def _text(self, payload: bytes) -> tuple[Any, Metadata]:
        """Take text verbatim, unless it is a JSON string or an object with `_value`."""
        start = payload.lstrip()[:1]
        if start == b"{" and b'"_value"' in payload:
            raw = decode(payload)
            if "_value" in raw:
                return self._unwrap(raw)
        elif start == b'"':
            raw = _decoded(payload)
            if isinstance(raw, str):
                return raw, Metadata()
        try:
            return payload.decode(), Metadata()
        except UnicodeDecodeError as error:
            what = f"{error.reason} at byte {error.start}"
            text = f"{shown(payload)} is not UTF-8 text: {what}"
            raise BadRequest(text) from error

    def _unwrap(self, fields: dict[str, Any]) -> tuple[Any, Metadata]:
        own, metadata = take_metadata(fields)
        if "_value" in own:
            value = own.pop("_value")
            if own:
                key = next(iter(own))
                allowed = "allowed: metadata like `_id`"
                raise BadRequest(f"unknown key {key!r} beside `_value`; {allowed}")
            return value, metadata
        if not isinstance(self._info, inspect.StructType):  # it names its own keys
            _check_no_metadata(own)
        return own, metadata


def _check_no_metadata(fields: dict[str, Any]) -> None:
    """Raise BadRequest for a key that looks like misspelt metadata."""
    for key in fields:
        if key.startswith("_"):
            allowed = ", ".join(sorted(METADATA))
            raise BadRequest(f"unknown key {key!r}; allowed: {allowed}")


def _decoded(payload: bytes) -> Any:
    try:
        return decode(payload)
    except BadRequest:
        return None


def _is_text(info: inspect.Type) -> bool:
    if isinstance(info, inspect.LiteralType):
        return all(isinstance(value, str) for value in info.values)
    return isinstance(info, inspect.StrType | inspect.BytesType | inspect.EnumType)


def _plain_info(type_: Any) -> inspect.Type:
    """Return what a type is, without what only its schema tells."""
    return _plain_type(inspect.type_info(type_))


def _plain_type(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _coerce(raw: Any, info: inspect.Type) -> Any:
    """Return the value with the liberties that a payload has.

    Words for booleans, 5.0 for an integer.
    """
    info = _plain_type(info)
    match info, raw:
        case inspect.BoolType(), bool() | int() | str():
            return _WORDS.get(str(raw).lower(), raw)
        case inspect.IntType(), float() if raw.is_integer():
            return int(raw)
        case inspect.StructType(), dict():
            return _coerce_members(raw, info)
        case inspect.DictType(), dict():
            return {key: _coerce(raw[key], info.value_type) for key in raw}
        case inspect.ListType(), list():
            return [_coerce(value, info.item_type) for value in raw]
        case inspect.UnionType(), _:
            return _coerce_optional(raw, info)
    return raw


def _coerce_members(raw: dict[str, Any], info: inspect.StructType) -> dict[str, Any]:
    fields = {field.encode_name: field.type for field in info.fields}
    coerced = dict(raw)
    for key, value in raw.items():
        if key in fields:
            coerced[key] = _coerce(value, fields[key])
        elif key != info.tag_field:
            raise BadRequest(f"unknown key {key!r:.100}; allowed: {', '.join(fields)}")
    return coerced


def _coerce_optional(raw: Any, info: inspect.UnionType) -> Any:
    """Return the value as the one type that is not null has it."""
    real = [each for each in info.types if not isinstance(each, inspect.NoneType)]
    return _coerce(raw, real[0]) if len(real) == 1 else raw


def convert(
    raw: Any, type_: Any, refuse: Callable[[str], BusbarError] = BadRequest
) -> Any:
    """Convert to the type.

    Raise OutOfRange for a value of the right kind, `refuse` for another kind.
    """
    try:
        return msgspec.convert(raw, type_)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise _refusal(raw, _plain_info(type_), refuse, str(error)) from error


def _refusal(
    raw: Any,
    info: inspect.Type,
    refuse: Callable[[str], BusbarError],
    said: str = "",
) -> BusbarError:
    """Return the error for a value; `said` is what msgspec says."""
    mistake = mistakes.find(raw, info) or Mistake((), said)
    if not mistake.of_range:
        is_short = not isinstance(raw, dict | list)
        return refuse(f"{raw!r:.60}: {mistake}" if is_short else str(mistake))
    if isinstance(info, inspect.StructType):
        return _refusal_of_member(raw, info, refuse)
    allowed = _allowed(info)
    message = f"allowed: {allowed}" if allowed else str(mistake)
    return OutOfRange(f"{raw!r:.60} is out of range; {message}")


def _refusal_of_member(
    raw: dict[str, Any],
    info: inspect.StructType,
    refuse: Callable[[str], BusbarError],
) -> BusbarError:
    """Return the error for the first member that is wrong, with its name."""
    for field in info.fields:
        name = field.encode_name
        if name in raw and mistakes.find(raw[name], field.type) is not None:
            error = _refusal(raw[name], _plain_type(field.type), refuse)
            return type(error)(f"{name}: {error.message}")
    raise AssertionError("one of the members is out of range")


def _allowed(info: inspect.Type) -> str:
    if isinstance(info, inspect.UnionType):
        return " or ".join(filter(None, map(_allowed, info.types)))
    if isinstance(info, inspect.LiteralType):
        return ", ".join(map(str, info.values))
    if isinstance(info, inspect.EnumType):
        return ", ".join(str(member.value) for member in info.cls)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return _bounds(info)
    return ""


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    bounds = {
        "at least": info.ge,
        "above": info.gt,
        "at most": info.le,
        "below": info.lt,
    }
    given = {word: bound for word, bound in bounds.items() if bound is not None}
    return " and ".join(f"{word} {limit(bound)}" for word, bound in given.items())


def limit(number: float) -> str:
    """Return a limit for a message.

    Whole numbers in full, 2147483647 and not 2.14748e+09.
    """
    if isinstance(number, int) or (number.is_integer() and abs(number) < 1e15):
        return str(int(number))
    return f"{number:g}"


def reading(raw: Any, type_: Any) -> Any:
    """Convert what a device said.

    Raise ProtocolError for another kind, OutOfRange for an impossible value.
    """
    return convert(raw, type_, ProtocolError)
