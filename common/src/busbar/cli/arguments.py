"""Typed text, read and checked by a device's `info` before anything is sent."""

import difflib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from busbar.cli.schemas.json_schema import UndecidedError, problem, referred
from busbar.contract.messages import CommandInfo
from busbar.contract.values import limit
from busbar.errors import BadRequest, OutOfRange

log = logging.getLogger("busbar.cli")

Schema = Any  # a mapping, or true or false

SHOWN = 12  # names in a suggestion
CHOICES = 50  # alternatives of a value

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
_FITS: Mapping[str, type | tuple[type, ...]] = {
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
    if root is None:
        root = schema
    read = _read(text, kinds(schema, root), what)
    check(read, schema, what, root)
    return read


def check(read: Any, schema: Schema, what: str, root: Schema = None) -> None:
    """Check a value.

    Raise OutOfRange for one that is not allowed, BadRequest for one of another kind.
    """
    if root is None:
        root = schema
    try:
        wrong = problem(read, schema, root)
    except UndecidedError as error:
        log.warning("%s: %s; it is sent unchecked", what, error)
        return
    if wrong is None:
        return
    wanted = kinds(schema, root)
    if wanted and not _is_one(read, wanted):
        raise BadRequest(f"{what}: expected {_listed(wanted)}, got {_shown(read)}")
    raise OutOfRange(f"{what}: {_out_of_range(read, schema, root) or wrong}")


def arguments(name: str, about: CommandInfo, given: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a command from words and `key=value`.

    Words without a name are its arguments in their order, the required ones first.
    Or from one JSON object. Raise BusbarError.
    """
    root = about.arguments
    required = root.get("required", [])
    fields = _fields(root)
    bare = None
    if len(required) == 1:
        bare = required[0]
    found = _object(given, bare)
    if found is None:
        found = {}
        for key, text in _named(name, given, fields, required).items():
            found[key] = value(text, fields[key], key, root)
    for key, each in found.items():
        if key not in fields:
            raise BadRequest(
                f"unknown argument {key!r} of {name}{suggestion(key, fields)}"
            )
        check(each, fields[key], key, root)
    for key in required:
        if key not in found:
            raise BadRequest(f"{name} needs {key!r}; its arguments: {usage(about)}")
    return found


class _Anything(dict[str, Schema]):
    """The fields of a command that does not say which it takes: any, of any type."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Schema:
        return True


def _fields(root: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the schemas of the arguments of a command."""
    if "properties" not in root:
        return _Anything()
    fields = dict(root["properties"])
    for key in root.get("required", []):
        fields.setdefault(key, True)
    return fields


def usage(about: CommandInfo) -> str:
    """Return the arguments of a command in one line.

    Optional ones are in brackets and without null.
    """
    required = about.arguments.get("required", [])
    words = []
    for key, field in about.arguments.get("properties", {}).items():
        allowed = expected(field, about.arguments)
        if key in required:
            words.append(f"{key}={allowed}")
        else:
            words.append(f"[{key}={allowed.removesuffix('|null')}]")
    return " ".join(words) or "none"


def expected(schema: Schema, root: Schema = None) -> str:
    """Return in short what a schema allows: `0..30`, `a|b`, `number|auto`."""
    if root is None:
        root = schema
    words: dict[str, None] = {}
    for part in parts(schema, root):
        words.update(dict.fromkeys(_words(part)))
    return _few("|", words, CHOICES) or "any"


def _few(between: str, words: Iterable[str], most: int) -> str:
    """Return words in one line, `...` for those that are too many."""
    listed = list(words)
    if len(listed) > most:
        listed[most:] = ["..."]
    return between.join(listed)


def _words(part: Mapping[str, Any]) -> list[str]:
    """Return in short what one alternative allows."""
    if "enum" in part or "const" in part:
        return list(map(_shown, part.get("enum", [part.get("const")])))
    if "minimum" in part or "maximum" in part:
        return [f"{_end(part, 'minimum')}..{_end(part, 'maximum')}"]
    return _types(part)


def _end(part: Mapping[str, Any], key: str) -> str:
    if key not in part:
        return ""
    return _number(part[key])


def _types(part: Mapping[str, Any]) -> list[str]:
    """Return the JSON types that one alternative names."""
    wanted = part.get("type", [])
    if isinstance(wanted, str):
        return [wanted]
    return list(wanted)


def suggestion(wrong: str, allowed: Iterable[str]) -> str:
    """Return what may have been meant, to end a message."""
    names = list(allowed)
    if not names:
        return "; there are none"
    listed = _few(", ", names, SHOWN)
    close = difflib.get_close_matches(wrong[:100], names[:1000], n=1)
    if close:
        return f"; did you mean {close[0]!r}? there are: {listed}"
    return f"; there are: {listed}"


def kinds(schema: Schema, root: Schema) -> set[str]:
    """Return the JSON types that a schema allows, none if it does not say."""
    found: set[str] = set()
    for part in parts(schema, root):
        if "type" in part:
            found.update(_types(part))
            continue
        found.update(map(_kind, part.get("enum", [])))
        if "const" in part:
            found.add(_kind(part["const"]))
    return found


def parts(schema: Schema, root: Schema) -> list[Mapping[str, Any]]:
    """Return a schema and its alternatives, with references followed."""
    if not isinstance(schema, Mapping):
        return []
    if "$ref" in schema:
        return parts(referred(schema["$ref"], root), root)
    found = [schema]
    for each in (*schema.get("anyOf", []), *schema.get("oneOf", [])):
        found += parts(each, root)
    return found


def _read(text: str, wanted: set[str], what: str) -> Any:
    """Read a text as a payload is read (contract 2).

    Text verbatim, words for booleans, else JSON; and 0x10.
    """
    word = text.strip().lower()
    is_number = word.isdigit() and wanted & {"integer", "number"}
    if "boolean" in wanted and word in _WORDS and not is_number:
        return _WORDS[word]
    if wanted == {"string"} and not text.lstrip().startswith('"'):
        return text
    if "integer" in wanted and _HEX.fullmatch(word):
        return int(word, 16)
    try:
        read = msgspec.json.decode(text)
    except msgspec.DecodeError:
        read = text
    whole = "integer" in wanted and "number" not in wanted
    if whole and isinstance(read, float) and read.is_integer():
        return int(read)
    if "string" in wanted and not _is_one(read, wanted):
        return text
    if wanted and not _is_one(read, wanted):
        raise BadRequest(f"{what}: expected {_listed(wanted)}, got {_shown(text)}")
    return read


def _named(
    name: str, given: Sequence[str], fields: Mapping[str, Any], required: Sequence[str]
) -> dict[str, str]:
    """Return text by argument; words without a name come in the declared order."""
    found: dict[str, str] = {}
    words = []
    for text in given:
        key, sign, rest = text.partition("=")
        if not (sign and key in fields):
            words.append(text)
        elif key in found:
            raise BadRequest(f"argument {key!r} of {name} is there twice")
        else:
            found[key] = rest
    places = list(dict.fromkeys((*required, *fields)))
    for place, text in enumerate(words):
        _check_word(name, text, fields, required, given)
        if place >= len(places):
            raise BadRequest(
                f"unknown argument {text!r:.60} of {name}{suggestion(text, fields)}"
            )
        if places[place] in found:
            raise BadRequest(f"argument {places[place]!r} of {name} is there twice")
        found[places[place]] = text
    return found


def _check_word(
    name: str,
    text: str,
    fields: Mapping[str, Any],
    required: Sequence[str],
    given: Sequence[str],
) -> None:
    """Raise BadRequest for a word that is meant as an argument that there is not."""
    key, sign, _ = text.partition("=")
    if not sign:
        return
    if len(required) != 1 or len(given) > 1:
        raise BadRequest(f"unknown argument {key!r} of {name}{suggestion(key, fields)}")
    if difflib.get_close_matches(key[:100], fields, n=1):
        literally = f"to send it as it is: {required[0]}={text}"
        raise BadRequest(
            f"unknown argument {key!r} of {name}{suggestion(key, fields)}; "
            f"{literally:.200}"
        )


def _object(given: Sequence[str], bare: str | None) -> dict[str, Any] | None:
    """Return all arguments as one JSON object, if that is what was given."""
    if len(given) != 1 or bare is not None or not given[0].lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(given[0], type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadRequest(f"{given[0]!r:.60} is no JSON object: {error}") from error


def _out_of_range(read: Any, schema: Schema, root: Schema) -> str:
    choices: list[Any] = []
    limits: list[str] = []
    words: list[str] = []  # that stand for a value, such as "auto"
    for part in parts(schema, root):
        choices += part.get("enum", [])
        for key, word in _LIMITS.items():
            if key in part:
                limits.append(f"{word} {_number(part[key])}")
        if part.get("type") == "string" and "description" in part:
            words.append(part["description"])
    if choices:
        allowed = _few(", ", map(_shown, choices), CHOICES)
    elif limits:
        allowed = ", or ".join([" and ".join(limits), *words])
    else:
        return ""
    return f"{_shown(read)} is out of range; allowed: {allowed}"


def _is_one(read: Any, wanted: set[str]) -> bool:
    if isinstance(read, bool):
        return "boolean" in wanted
    others = wanted - {"boolean"}
    return any(isinstance(read, _FITS[kind]) for kind in others)


def _kind(read: Any) -> str:
    for kind in _FITS:
        if _is_one(read, {kind}):
            return kind
    raise TypeError(f"{type(read).__name__} is no type of JSON")


def _listed(wanted: set[str]) -> str:
    return " or ".join(_NAMES[kind] for kind in _NAMES if kind in wanted)


def _shown(read: Any) -> str:
    if not isinstance(read, str):
        return msgspec.json.encode(read).decode()[:60]
    if not read or " " in read:
        return repr(read)
    return read[:60]


def _number(bound: Any) -> str:
    if isinstance(bound, int | float):
        return limit(bound)
    return str(bound)
