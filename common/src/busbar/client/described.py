"""Description of a path in a device's `info`."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET

from busbar.contract.messages import Info, PropertyInfo
from busbar.contract.names import LEVEL, family


def property_of(info: Info | None, path: str) -> PropertyInfo | None:
    """Return what describes a property.

    Its own entry, or that of its family (`digital/{join}`); None if nothing.
    """
    if info is None:
        return None
    own = info.properties.get(path)
    if own is not None:
        return own
    for template, about in info.properties.items():
        if "{" in template and _fits(template, about, path):
            return about
    return None


def named(info: Info | None, path: str) -> str | None:
    """Return the other name under which a member of a family is published.

    None if it is published under its own.
    """
    if info is None or path in info.properties:
        return None
    for name, about in info.properties.items():
        if about.original == path:
            return name
    return None


def _fits(template: str, about: PropertyInfo, path: str) -> bool:
    names, pattern = family(template)
    found = pattern.fullmatch(path)
    if found is None:
        return False
    allowed: Mapping[str, Any] = {}
    if about.parameters is not UNSET:
        allowed = about.parameters
    values = zip(names, found.groups(), strict=True)
    return all(_within(allowed.get(name), text) for name, text in values)


def _within(bounds: Any, text: str) -> bool:
    """Return whether the member of a family is among those that info names.

    Bounds that are none bound nothing.
    """
    if not LEVEL.fullmatch(text):
        return False
    limits = _limits(bounds)
    if limits is None:
        return True
    least, most = limits
    return text.isdigit() and str(int(text)) == text and least <= int(text) <= most


def _limits(bounds: Any) -> tuple[int, int] | None:
    if not isinstance(bounds, Mapping):
        return None
    least, most = bounds.get("minimum"), bounds.get("maximum")
    if not isinstance(least, int) or not isinstance(most, int):
        return None
    return least, most


def items(
    info: Info | None, name: str, fields: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the elements of an event that is a batch, else the event alone.

    A batch has one array of objects.
    """
    batches = [
        fields[key] for key in _keys(info, name, fields) if _is_batch(fields, key)
    ]
    if len(batches) != 1:
        return [fields]
    return list(batches[0])


def _keys(info: Info | None, name: str, fields: Mapping[str, Any]) -> Iterable[str]:
    """Return the fields that an event is described with, else those it has."""
    if info is None or name not in info.events:
        return fields
    schema = info.events[name].schema
    if schema is UNSET:
        return fields
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else fields


def _is_batch(fields: Mapping[str, Any], key: str) -> bool:
    array = fields.get(key)
    return isinstance(array, list) and all(isinstance(item, Mapping) for item in array)
