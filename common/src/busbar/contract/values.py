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
    r"(<=|>=|<|>) |multiple of|of length|matching regex|Invalid enum value"
)
_WHERE = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")
_EXPECTED = re.compile(r"Expected `([^`]+)`")
_GOT = re.compile(r"got `([^`]+)`")
_MISSING = re.compile(r"^Object missing required field `(.+)`$")
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
_JSON_NAMES: dict[type[inspect.Type], str] = {
    inspect.BoolType: "bool",
    inspect.IntType: "int",
    inspect.FloatType: "float",
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
        raise BadRequest(f"{shown(payload)}: expected {_wanted(name)}") from refused

    def _text(self, payload: bytes) -> tuple[Any, Metadata]:
        """Take text verbatim, unless it is a JSON string or an object with `_value`."""
        if payload.lstrip()[:1] in (b'"', b"{"):
            raw = _decoded(payload)
            if isinstance(raw, str):
                return raw, Metadata()
            if isinstance(raw, dict) and "_value" in raw:
                return self._unwrap(raw)
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
    except msgspec.ValidationError as error:
        message = plain(str(error))
        if not _RANGE.search(str(error)):
            if not isinstance(raw, dict | list):
                message = f"{raw!r:.60}: {message}"
            raise refuse(message) from error
        info = _plain_info(type_)
        if isinstance(info, inspect.StructType) and isinstance(raw, dict):
            _convert_members(raw, info.cls, refuse)
        allowed = _allowed(info)
        if allowed:
            message = f"allowed: {allowed}"
        raise OutOfRange(f"{raw!r:.60} is out of range; {message}") from error


def plain(message: str) -> str:
    """Return a message of msgspec in the words of a user."""
    where = _WHERE.search(message)
    text = _WHERE.sub("", message)
    text = _EXPECTED.sub(lambda match: f"expected {_wanted(match[1])}", text)
    text = _GOT.sub(lambda match: f"got {_wanted(match[1])}", text)
    text = _MISSING.sub(r"'\1' is missing", text)
    text = text.replace("Invalid base64 encoded string", "this is not base64")
    if where is None or not where[1]:
        return text
    return f"{where[1]}: {text}"


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
    whole = float(number).is_integer() and abs(number) < 1e15
    if whole or isinstance(number, int):
        return str(int(number))
    return f"{number:g}"


def reading(raw: Any, type_: Any) -> Any:
    """Convert what a device said.

    Raise ProtocolError for another kind, OutOfRange for an impossible value.
    """
    return convert(raw, type_, ProtocolError)
