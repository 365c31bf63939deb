"""How the wrong bridge reads commands; and its faults there."""

import json
import math
from typing import Any

import msgpack

METADATA = ("_id", "_reply", "_ttl", "_sent", "_timeout", "_wait", "_lease")
WORDS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


class Refused(Exception):
    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code, self.detail = code, detail


def read_call(device: Any, target: str, payload: bytes) -> tuple[Any, dict[str, Any]]:
    """Return arguments and metadata of a call."""
    known = device.commands.get(target.removeprefix("call/"))
    if known is None:
        raise Refused("unknown", "no such command")
    bare = target == "call/cancel" and not device.has("bare arguments refused")
    if payload[:1] not in (b"{", *map(_byte, range(0x80, 0x90))) and bare:
        return {"id": payload.decode()}, {}
    fields, metadata = _split(device, _decode(device, payload))
    if bare and "_value" in fields:
        fields["id"] = fields.pop("_value")
    if unknown := fields.keys() - known.keys():
        raise Refused("bad_request", f"unknown argument {sorted(unknown)}")
    if target == "call/cancel" and "id" not in fields:
        raise Refused("bad_request", "id is missing")
    return fields, metadata


def read_set(device: Any, target: str, payload: bytes) -> tuple[Any, dict[str, Any]]:
    """Return values by path and metadata of a set."""
    path = target.partition("/")[2]
    if not path:
        fields, metadata = _split(device, _decode(device, payload))
        values = {}
        try:
            for key, value in fields.items():
                values[key] = _checked(device, key, value)
        except Refused as error:
            if device.has("half a set applied"):
                error.detail["applied"] = list(values)
            raise
        if not values:
            raise Refused("bad_request", "no property")
        return values, metadata
    _writable(device, path)
    value, metadata = _value(device, path, payload)
    return {path: _checked(device, path, value)}, metadata


def _writable(device: Any, path: str) -> dict[str, Any]:
    about = device.properties.get(path)
    if about is None:
        raise Refused("unknown", "no such property")
    if "w" not in about["access"] and not device.has("read-only written"):
        raise Refused("read_only", "read-only")
    return about


def _value(device: Any, path: str, payload: bytes) -> tuple[Any, dict[str, Any]]:
    """Return the value of one property and the metadata."""
    if b"NaN" in payload and device.has("what is no JSON taken"):
        return device.values[path], {}
    if payload[:1] in (b"{", *map(_byte, range(0x80, 0x90))):
        fields, metadata = _split(device, _decode(device, payload))
        if set(fields) != {"_value"}:
            raise Refused("bad_request", "only _value and metadata")
        return fields["_value"], metadata
    try:
        return json.loads(payload), {}
    except ValueError:
        return payload.decode(errors="replace"), {}


def _checked(device: Any, path: str, value: Any) -> Any:
    """Return the value that a property takes."""
    schema = _writable(device, path)["schema"]
    if schema.get("type") == "boolean":
        value = (
            WORDS.get(str(value).lower(), value)
            if not device.has("words for booleans refused")
            else value
        )
        if not isinstance(value, bool):
            raise Refused("bad_request", "no boolean")
    if schema.get("type") == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused("bad_request", "no number")
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            if not device.has("a range not checked"):
                raise Refused("out_of_range", "out of range")
            return device.values[path]
    if "enum" in schema and value not in schema["enum"]:
        raise Refused("out_of_range", "none of these")
    return value


def _decode(device: Any, payload: bytes) -> dict[str, Any]:
    if payload[:1] > b"\x7f" and device.has("MessagePack refused"):
        raise Refused("bad_request", "not JSON")
    try:
        found = (
            msgpack.unpackb(payload) if payload[:1] > b"\x7f" else json.loads(payload)
        )
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise Refused("bad_request", str(error)) from error
    if not isinstance(found, dict) or _depth(found) > 16:
        raise Refused("bad_request", "no object, too deep, or not finite")
    return found


def _depth(value: Any) -> float:
    children = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list)
        else ()
    )
    if isinstance(value, float) and not math.isfinite(value):
        return math.inf
    return 1 + max(map(_depth, children), default=0)


def _split(
    device: Any, fields: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    metadata = {key: value for key, value in fields.items() if key in METADATA}
    for key in ("_ttl", "_sent", "_timeout", "_wait"):
        if not isinstance(metadata.get(key, 0), int | float):
            raise Refused("bad_request", f"{key} is no number")
    own = {key: value for key, value in fields.items() if key not in METADATA}
    if device.has("misspelt metadata taken"):
        own = {
            key: value for key, value in own.items() if key[0] != "_" or key == "_value"
        }
    return own, metadata


def _byte(number: int) -> bytes:
    return bytes([number])
