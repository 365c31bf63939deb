"""What a device's `info` says of a path."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import UNSET

from busbar.contract.messages import Info, PropertyInfo
from busbar.contract.names import LEVEL

_PARAMETER = re.compile(r"\{(\w+)\}")


def property_of(info: Info | None, path: str) -> PropertyInfo | None:
    """Return what describes a property.

    Its own entry, or that of its family (`digital/{join}`); None if nothing.
    """
    if info is None:
        return None
    return info.properties.get(path) or next(
        (
            about
            for template, about in info.properties.items()
            if "{" in template and _fits(template, about, path)
        ),
        None,
    )


def named(info: Info | None, path: str) -> str | None:
    """Return the name under which a member of a family is published instead, None if under its own."""
    if info is None or path in info.properties:
        return None
    return next(
        (name for name, about in info.properties.items() if about.original == path),
        None,
    )


def _fits(template: str, about: PropertyInfo, path: str) -> bool:
    names, pattern = _family(template)
    found = pattern.fullmatch(path)
    allowed = {} if about.parameters is UNSET else about.parameters
    return found is not None and all(
        _within(allowed.get(n), text)
        for n, text in zip(names, found.groups(), strict=True)
    )


@lru_cache(maxsize=1000)
def _family(template: str) -> tuple[list[str], re.Pattern[str]]:
    """Return the parameters of a family and the pattern of its members, with a group for each."""
    parts = _PARAMETER.split(template)
    return parts[1::2], re.compile(
        "".join(
            "([^/]+)" if odd % 2 else re.escape(part) for odd, part in enumerate(parts)
        )
    )


def _within(bounds: Mapping[str, int] | None, text: str) -> bool:
    if not LEVEL.fullmatch(text):
        return False
    if not bounds:
        return True
    return (
        text.isdigit()
        and str(int(text)) == text
        and bounds["minimum"] <= int(text) <= bounds["maximum"]
    )


def items(
    info: Info | None, name: str, fields: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the elements of an event that is a batch (its only array of objects), else the event alone."""
    about = info.events.get(name) if info else None
    known = (
        about.schema.get("properties", fields)
        if about and isinstance(about.schema, dict)
        else fields
    )
    arrays = [fields[key] for key in known if isinstance(fields.get(key), list)]
    batches = [
        array for array in arrays if all(isinstance(item, Mapping) for item in array)
    ]
    return list(batches[0]) if len(batches) == 1 else [fields]
