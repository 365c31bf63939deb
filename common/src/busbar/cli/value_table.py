"""Table of a device's values, for people."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from busbar.cli.arguments import expected
from busbar.cli.output import age, shown
from busbar.cli.schemas.foreign import CheckedInfo
from busbar.client import DeviceView
from busbar.contract.messages import Info, PropertyInfo


def value_rows(
    device: DeviceView, described: CheckedInfo, tables: Collection[str]
) -> list[list[str]]:
    """Return a row for each value that is not among `tables`.

    Its path, value, unit, age, access, what is allowed, and title.
    """
    known = device.snapshot()
    rows = []
    for path in rows_of(described.info, known.values):
        if path in tables:
            continue
        value = readable(known.values.get(path))
        if path in known.bad:
            value += f" ({known.bad[path].code})"
        changed = age(known.times.get(path))
        rows.append([path, value, *_described(described, path, changed)])
    return rows


def rows_of(info: Info, values: Mapping[str, Any]) -> Iterable[str]:
    """Return properties in the order of info, then values of families, then families.

    Without families that only read back.
    """
    readbacks = {about.readback for about in info.properties.values()}
    single = []
    families = []
    for path in info.properties:
        if "{" not in path:
            single.append(path)
        elif path not in readbacks:
            families.append(path)
    return dict.fromkeys([*single, *values, *families])


def readable(value: Any) -> str:
    """Return a value for a cell, which is folded where there is room between words.

    Of an object with a `_state` its members, in the text that it has for people, of
    switches those that are on.
    """
    if isinstance(value, dict) and "_state" in value:
        return _members(value)
    if not isinstance(value, dict | list):
        return shown(value)
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _members(value: Mapping[str, Any]) -> str:
    own = {name: value[name] for name in value if not name.startswith("_")}
    if own and all(isinstance(member, bool) for member in own.values()):
        members = [name for name, on in own.items() if on] or ["off"]
    else:
        texts = value.get("_text") or {}
        members = [_member(name, texts.get(name, own[name])) for name in own]
    return f"{', '.join(members)} ({shown(value['_state'])})".strip()


def _member(name: str, value: Any) -> str:
    return f"{name} {shown(value)}".rstrip()


def _described(described: CheckedInfo, path: str, changed: str) -> list[str]:
    """Return the cells after a value: unit, age, access, what is allowed, title.

    What is allowed is `?` where the schema cannot be used.
    """
    about = described.info.properties.get(path)
    if about is None:
        return ["", changed, "r", "", ""]
    allowed = "?"
    if described.schema_fault(path) is None:
        allowed = _allowed(about).replace("|", " | ")
    title = about.title or ""
    if title == path:
        title = ""
    return [about.unit or "", changed, about.access, allowed, title]


def _allowed(about: PropertyInfo) -> str:
    """Return in short what a set takes, of an object its members."""
    if about.short is not UNSET:
        return expected(about.short)
    members = about.schema.get("properties")
    if not isinstance(members, dict):
        return expected(about.schema)
    names = [name for name in members if not name.startswith("_")]
    return f"{{{', '.join(names)}}}"
