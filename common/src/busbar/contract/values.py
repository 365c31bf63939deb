"""Values and their types: how a payload is read, what is in range, the JSON Schema.

Source: docs/contract.md, 2.

A type is anything msgspec understands: `bool`, `float`, `Annotated[int, Meta(ge=0)]`,
`Literal["a", "b"]`, a Struct.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect

from busbar.contract.messages import (
    METADATA,
    Metadata,
    decode,
    is_msgpack_map,
    shown,
    take_metadata,
)
from busbar.errors import BadRequest, BusbarError, OutOfRange, ProtocolError

_WORDS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
_RANGE = re.compile(
    r"(<=|>=|<|>) |multiple of|of "
    r"length|matching regex|Invalid enum value"
)
_NAMES = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false (1/0, on/off)",
    "null": "nothing",
    "object": "an object",
    "array": "a list",
    "bytes": "base64 text",
}
_JSON_NAMES = {
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
}
_SIMPLE = tuple(_JSON_NAMES)
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
        except BadRequest:
            if self._or_text:
                return self._text(payload)
            word = payload.strip().lower().decode(errors="replace")
            if word not in _WORDS and isinstance(self._info, _SIMPLE):
                raise BadRequest(
                    f"{shown(payload)}: expected "
                    f"{_wanted(_JSON_NAMES[type(self._info)])}"
                ) from None
            if word not in _WORDS:
                raise
            raw = word
        return self._unwrap(raw) if isinstance(raw, dict) else (raw, Metadata())

    def _text(self, payload: bytes) -> tuple[Any, Metadata]:
        """Text is taken verbatim unless it is a JSON string or an object with `_value`."""
        if payload.lstrip()[:1] in (b'"', b"{"):
            raw = _decoded(payload)
            if isinstance(raw, str):
                return raw, Metadata()
            if isinstance(raw, dict) and "_value" in raw:
                return self._unwrap(raw)
        try:
            return payload.decode(), Metadata()
        except UnicodeDecodeError as error:
            raise BadRequest(
                f"{shown(payload)} is not UTF-8 text: {error.reason} at byte "
                f"{error.start}"
            ) from error

    def _unwrap(self, fields: dict[str, Any]) -> tuple[Any, Metadata]:
        own, metadata = take_metadata(fields)
        if "_value" in own:
            value = own.pop("_value")
            if own:
                raise BadRequest(
                    f"unknown key {next(iter(own))!r} beside `_value`; allowed: "
                    f"metadata like `_id`"
                )
            return value, metadata
        unknown = [
            key
            for key in own
            if key.startswith("_") and not isinstance(self._info, inspect.StructType)
        ]
        if unknown:  # misspelt metadata; a Struct names its own keys
            raise BadRequest(
                f"unknown key {unknown[0]!r}; allowed: {', '.join(sorted(METADATA))}"
            )
        return own, metadata


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
    return _plain_type(info.type) if isinstance(info, inspect.Metadata) else info


def _coerce(raw: Any, info: inspect.Type) -> Any:
    """Return the value with the liberties that a payload has.

    Words for booleans, 5.0 for an integer.
    """
    info = _plain_type(info)
    if isinstance(info, inspect.BoolType):
        return (
            _WORDS.get(str(raw).lower(), raw)
            if isinstance(raw, bool | int | str)
            else raw
        )
    if (
        isinstance(info, inspect.IntType)
        and isinstance(raw, float)
        and raw.is_integer()
    ):
        return int(raw)
    if isinstance(info, inspect.StructType) and isinstance(raw, dict):
        return _members(raw, info)
    if isinstance(info, inspect.DictType) and isinstance(raw, dict):
        return {key: _coerce(value, info.value_type) for key, value in raw.items()}
    if isinstance(info, inspect.ListType) and isinstance(raw, list):
        return [_coerce(value, info.item_type) for value in raw]
    if isinstance(info, inspect.UnionType) and len(real := _without_null(info)) == 1:
        return _coerce(raw, real[0])
    return raw


def _members(raw: dict[str, Any], info: inspect.StructType) -> dict[str, Any]:
    fields = {field.encode_name: field.type for field in info.fields}
    for key in raw:
        if key not in fields and key != info.tag_field:
            raise BadRequest(f"unknown key {key!r:.100}; allowed: {', '.join(fields)}")
    return {
        key: _coerce(value, fields[key]) if key in fields else value
        for key, value in raw.items()
    }


def _without_null(info: inspect.UnionType) -> list[inspect.Type]:
    return [member for member in info.types if not isinstance(member, inspect.NoneType)]


def convert(
    raw: Any, type_: Any, refuse: Callable[[str], BusbarError] = BadRequest
) -> Any:
    """Convert to the type.

    Raise OutOfRange for a value of the right kind, `refuse` for another kind.
    """
    try:
        return msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        message = plain(str(error))
        if not _RANGE.search(str(error)):
            raise refuse(
                f"{raw!r:.60}: {message}"
                if not isinstance(raw, dict | list)
                else message
            ) from error
        info = _plain_info(type_)
        if isinstance(info, inspect.StructType) and isinstance(raw, dict):
            _convert_members(raw, info.cls, refuse)
        allowed = _allowed(info)
        raise OutOfRange(
            f"{raw!r:.60} is out of range; "
            f"{f'allowed: {allowed}' if allowed else message}"
        ) from error


def plain(message: str) -> str:
    """Return a message of msgspec in the words of a user."""
    where = re.search(r" - at `(?:key in )?\$\.?(.*)`$", message)
    text = message[: where.start()] if where else message
    text = re.sub(
        r"Expected `([^`]+)`", lambda match: f"expected {_wanted(match[1])}", text
    )
    text = re.sub(r"got `([^`]+)`", lambda match: f"got {_wanted(match[1])}", text)
    text = re.sub(r"^Object missing required field `(.+)`$", r"'\1' is missing", text)
    text = text.replace("Invalid base64 encoded string", "this is not base64")
    return f"{where[1]}: {text}" if where and where[1] else text


def _wanted(types: str) -> str:
    return " or ".join(_NAMES.get(each, each) for each in types.split(" | "))


def _convert_members(
    raw: dict[str, Any], cls: type, refuse: Callable[[str], BusbarError]
) -> None:
    """Raise OutOfRange with the name of the member that is."""
    for member in msgspec.structs.fields(cls):
        try:
            if member.encode_name in raw:
                convert(raw[member.encode_name], member.type, refuse)
        except OutOfRange as error:
            raise OutOfRange(f"{member.encode_name}: {error.message}") from error


def _allowed(info: inspect.Type) -> str:
    if isinstance(info, inspect.UnionType):
        return " or ".join(filter(None, map(_allowed, info.types)))
    if isinstance(info, inspect.LiteralType):
        return ", ".join(map(str, info.values))
    if isinstance(info, inspect.EnumType):
        return ", ".join(str(member.value) for member in info.cls)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        bounds = {
            "at least": info.ge,
            "above": info.gt,
            "at most": info.le,
            "below": info.lt,
        }
        return " and ".join(
            f"{word} {limit(bound)}"
            for word, bound in bounds.items()
            if bound is not None
        )
    return ""


def limit(number: float) -> str:
    """Return a limit for a message.

    Whole numbers in full, 2147483647 and not 2.14748e+09.
    """
    whole = float(number).is_integer() and abs(number) < 1e15
    return str(int(number)) if whole or isinstance(number, int) else f"{number:g}"


def reading(raw: Any, type_: Any) -> Any:
    """Convert what a device said.

    Raise ProtocolError for another kind, OutOfRange for an impossible value.
    """
    return convert(raw, type_, ProtocolError)
