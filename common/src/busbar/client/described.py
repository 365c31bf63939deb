"""What a device's `info` says of a path."""

from collections.abc import Mapping
from typing import Any

from busbar.contract import Info, PropertyInfo


def property_of(info: Info | None, path: str) -> PropertyInfo | None:
    """Return what describes a property: its own entry, or that of its family (`digital/{join}`); None if nothing."""
    if info is None:
        return None
    return info.properties.get(path) or next(
        (about for template, about in info.properties.items() if "{" in template and _fits(template, path)), None
    )


def _fits(template: str, path: str) -> bool:
    wanted, levels = template.split("/"), path.split("/")
    return len(wanted) == len(levels) and all(
        level == given or (level.startswith("{") and level.endswith("}"))
        for level, given in zip(wanted, levels, strict=True)
    )


def items(info: Info | None, name: str, fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the elements of an event that is a batch (its only array of objects), else the event alone."""
    about = info.events.get(name) if info else None
    known = about.schema.get("properties", fields) if about and isinstance(about.schema, dict) else fields
    batches = [fields[key] for key in known if isinstance(fields.get(key), list)]
    if len(batches) == 1 and all(isinstance(item, Mapping) for item in batches[0]):
        return list(batches[0])
    return [fields]
