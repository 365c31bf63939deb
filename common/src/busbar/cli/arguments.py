"""What somebody typed, read and checked by what `info` says.

Before anything is sent, in words for people.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from busbar.cli.schemas.json_schema import problem
from busbar.contract.messages import CommandInfo
from busbar.contract.values import limit
from busbar.errors import BadRequest, OutOfRange

Schema = Any  # a mapping, or true or false

# contract 2
_WORDS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
_NAMES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_HEX = re.compile(r"-?0x[0-9a-f]{1,16}")
_ENDS = ("minimum", "maximum")
_FITS = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "object": dict,
    "array": list,
    "null": type(None),
}


def value(text: str, schema: Schema, what: str, root: Schema = None) -> Any:
    """Return what a text means to a schema (of `root`).

    Raise BadRequest, OutOfRange with `what` it is.
    """
    root = schema if root is None else root
    read = _read(text, kinds(schema, root), what)
    check(read, schema, what, root)
    return read


def check(read: Any, schema: Schema, what: str, root: Schema = None) -> None:
    """Raise OutOfRange for a value of the right kind that is not allowed, BadRequest for another kind."""
    root = schema if root is None else root
    wrong = problem(read, schema, root)
    if wrong is None:
        return
    wanted = kinds(schema, root)
    if wanted and not _is_one(read, wanted):
        raise BadRequest(f"{what}: expected {_listed(wanted)}, got {_shown(read)}")
    raise OutOfRange(f"{what}: {_out_of_range(read, schema, root) or wrong}")


def arguments(name: str, about: CommandInfo, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a command from one bare value and `key=value`, or one JSON object; raise BusbarError."""
    root = about.arguments
    fields, required = root.get("properties", {}), root.get("required", [])
    bare = required[0] if len(required) == 1 else None
    whole = _object(given, bare)
    texts = {} if whole is not None else _named(name, given, fields, bare)
    found = (
        whole
        if whole is not None
        else {key: value(text, fields[key], key, root) for key, text in texts.items()}
    )
    for key, each in found.items():
        if key not in fields:
            raise BadRequest(
                f"unknown argument {key!r} of {name}{suggestion(key, fields)}"
            )
        check(each, fields[key], key, root)
    missing = [key for key in required if key not in found]
    if missing:
        raise BadRequest(f"{name} needs {missing[0]!r}; its arguments: {usage(about)}")
    return found


def usage(about: CommandInfo) -> str:
    """Return the arguments of a command in one line, optional ones in brackets and without null."""
    fields, required = (
        about.arguments.get("properties", {}),
        about.arguments.get("required", []),
    )
    words = [(key, expected(field, about.arguments)) for key, field in fields.items()]
    return (
        " ".join(
            f"{k}={w}" if k in required else f"[{k}={w.removesuffix('|null')}]"
            for k, w in words
        )
        or "none"
    )


def expected(schema: Schema, root: Schema = None) -> str:
    """Return in short what a schema allows: `0..30`, `a|b`, `number|auto`."""
    root = schema if root is None else root
    return (
        "|".join(
            dict.fromkeys(word for part in parts(schema, root) for word in _words(part))
        )
        or "any"
    )


def _words(part: Mapping[str, Any]) -> list[str]:
    """Return in short what one alternative allows."""
    if "enum" in part or "const" in part:
        return [_shown(each) for each in part.get("enum", [part.get("const")])]
    low, high = (_number(part[key]) if key in part else "" for key in _ENDS)
    if low or high:
        return [f"{low}..{high}"]
    wanted = part.get("type", [])
    return [wanted] if isinstance(wanted, str) else list(wanted)


def suggestion(wrong: str, allowed: Iterable[str]) -> str:
    """Return what may have been meant, to end a message."""
    names = list(allowed)
    close = difflib.get_close_matches(wrong[:100], names[:1000], n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; {meant}there are: {listed}" if names else "; there are none"


def kinds(schema: Schema, root: Schema) -> set[str]:
    """Return the JSON types that a schema allows, none if it does not say."""
    found: set[str] = set()
    for part in parts(schema, root):
        wanted = part.get("type", [])
        found |= {wanted} if isinstance(wanted, str) else set(wanted)
        values = [*part.get("enum", []), *([part["const"]] if "const" in part else [])]
        found |= {_kind(each) for each in values if "type" not in part}
    return found


def parts(schema: Schema, root: Schema) -> list[Mapping[str, Any]]:
    """Return a schema and its alternatives, with references followed."""
    if not isinstance(schema, Mapping):
        return []
    if "$ref" in schema:
        found: Any = root
        for level in schema["$ref"].removeprefix("#").split("/")[1:]:
            found = found.get(level, {}) if isinstance(found, Mapping) else {}
        return parts(found, root)
    alternatives = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    return [schema, *(part for each in alternatives for part in parts(each, root))]


def _read(text: str, wanted: set[str], what: str) -> Any:
    """Read a text as a payload is read (contract 2).

    Text verbatim, words for booleans, else JSON; and 0x10.
    """
    word = text.strip().lower()
    if (
        "boolean" in wanted
        and word in _WORDS
        and not (word.isdigit() and wanted & {"integer", "number"})
    ):
        return _WORDS[word]
    if wanted == {"string"} and not text.lstrip().startswith('"'):
        return text
    if "integer" in wanted and _HEX.fullmatch(word):
        return int(word, 16)
    try:
        read = msgspec.json.decode(text)
    except msgspec.DecodeError:
        read = text
    if (
        isinstance(read, float)
        and read.is_integer()
        and "integer" in wanted
        and "number" not in wanted
    ):
        return int(read)
    if "string" in wanted and not _is_one(read, wanted):
        return text
    if wanted and not _is_one(read, wanted):
        raise BadRequest(f"{what}: expected {_listed(wanted)}, got {_shown(text)}")
    return read


def _named(
    name: str, given: Sequence[str], fields: Mapping[str, Any], bare: str | None
) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, sign, rest = text.partition("=")
        if not (sign and key in fields):
            if bare is None or bare in found or (sign and len(given) > 1):
                raise BadRequest(
                    f"unknown argument {key!r} of {name}{suggestion(key, fields)}"
                )
            if sign and difflib.get_close_matches(key[:100], fields, n=1):
                literally = f"to send it as it is: {bare}={text}"
                raise BadRequest(
                    f"unknown argument {key!r} of {name}{suggestion(key, fields)}; "
                    f"{literally:.200}"
                )
            key, rest = bare, text
        if key in found:
            raise BadRequest(f"argument {key!r} of {name} is there twice")
        found[key] = rest
    return found


def _object(given: Sequence[str], bare: str | None) -> dict[str, Any] | None:
    """Return all arguments as one JSON object, if that is what was given."""
    if len(given) != 1 or bare is not None or not given[0].lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(given[0], type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadRequest(f"{given[0]!r:.60} is no JSON object: {error}") from error


def _out_of_range(read: Any, schema: Schema, root: Schema) -> str:
    every = parts(schema, root)
    choices = [each for part in every for each in part.get("enum", [])]
    limits = [
        f"{word} {_number(part[key])}"
        for part in every
        for key, word in _LIMITS.items()
        if key in part
    ]
    told = [
        part["description"]
        for part in every
        if part.get("type") == "string" and "description" in part
    ]
    ranges = [" and ".join(limits)] if limits else []
    allowed = (
        ", ".join(map(_shown, choices))
        if choices
        else ", or ".join([*ranges, *(told if limits else [])])
    )
    return f"{_shown(read)} is out of range; allowed: {allowed}" if allowed else ""


def _is_one(read: Any, wanted: set[str]) -> bool:
    if isinstance(read, bool):
        return "boolean" in wanted
    return any(isinstance(read, _FITS[kind]) for kind in wanted if kind != "boolean")  # type: ignore[arg-type]  # mixed


def _kind(read: Any) -> str:
    return next(kind for kind in _FITS if _is_one(read, {kind}))


def _listed(wanted: set[str]) -> str:
    return " or ".join(_NAMES[kind] for kind in _NAMES if kind in wanted)


def _shown(read: Any) -> str:
    text = read if isinstance(read, str) else msgspec.json.encode(read).decode()
    return (
        f"{text!r}"
        if isinstance(read, str) and (not text or " " in text)
        else text[:60]
    )


def _number(bound: Any) -> str:
    return limit(bound) if isinstance(bound, int | float) else str(bound)
