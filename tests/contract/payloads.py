"""Every payload that was seen is valid against `schemas/`."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from tests.watcher import Seen

FOLDER = Path(__file__).parents[2] / "schemas"
EVENTS = {"change": "event-change", "progress": "event-progress", "log": "event-log"}


@cache
def _validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(
        json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    )


def schema_of(topic: str) -> str | None:
    """Return the name of the schema of a topic below <root>, None for what has none.

    Leaves, blobs, commands.
    """
    _, bridge, *rest = topic.split("/")
    if bridge == "reply":
        return "reply"
    channel, path = rest[1], rest[2:]
    if channel == "event":
        return EVENTS.get(path[0], "event")
    return (
        channel
        if channel in ("status", "info", "state", "reply") and not path
        else None
    )


def check(seen: Iterable[Seen]) -> int:
    """Validate every payload; return how many there were."""
    count = 0
    for each in seen:
        name = schema_of(each.topic)
        if name is not None and each.payload:
            error = next(_validator(name).iter_errors(each.json), None)
            assert error is None, (
                f"{each.topic}: {error.message if error else ''}: "
                f"{each.payload[:200]!r}"
            )
            count += 1
    return count
