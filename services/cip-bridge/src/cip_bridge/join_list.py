"""Joins with names of one device: those of the configuration, those of its CSV file."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from busbar.bridge import ConfigError
from cip_bridge.credentials import naming
from cip_bridge.named_joins import NamedJoin, check_joins, expanded
from cip_bridge.paths import JoinPaths
from cip_bridge.settings import Device

FILE_LIMIT = 1024 * 1024  # bytes
_KINDS = {"d": "digital", "a": "analog", "s": "serial"}
_COLUMNS = {"kind", *(each.encode_name for each in msgspec.structs.fields(NamedJoin))}


def named_joins(settings: Device) -> tuple[NamedJoin, ...]:
    """Return all joins with names, ranges as their members; raise ConfigError."""
    joins = expanded(settings.joins)
    if settings.joins_file is None:
        return tuple(joins)
    with naming(settings.name):
        joins += _read(Path(settings.joins_file))
        try:
            check_joins(joins)
        except ValueError as error:
            raise ConfigError(f"joins_file: {settings.joins_file}: {error}") from error
    return tuple(joins)


def join_paths(settings: Device, joins: tuple[NamedJoin, ...]) -> JoinPaths:
    """Return the properties of a device's joins."""
    resend = settings.resend if settings.mode == "panel" else None
    return JoinPaths(joins, resend=resend, received=settings.received)


def _read(file: Path) -> Iterator[NamedJoin]:
    """Yield the joins of a CSV file; raise ConfigError with its line."""
    rows = csv.DictReader(io.StringIO(_text(file)), delimiter=_delimiter(_text(file)))
    unknown = sorted(set(rows.fieldnames or ()) - _COLUMNS)
    if unknown:
        raise ConfigError(
            f"joins_file: {file}:1: unknown column {unknown[0]!r}; allowed: "
            f"{', '.join(sorted(_COLUMNS))}"
        )
    for row in rows:
        try:
            yield from msgspec.convert(_fields(row), NamedJoin, strict=False).members()
        except (msgspec.ValidationError, ValueError) as error:
            reason = error.__cause__ or error
            raise ConfigError(
                f"joins_file: {file}:{rows.line_num}: {reason}"
            ) from error


def _text(file: Path) -> str:
    """Return the text of a file; spreadsheets put a mark before it."""
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_LIMIT + 1)
        text = data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"joins_file: cannot read {file}: {why}") from error
    if len(data) > FILE_LIMIT:
        raise ConfigError(f"joins_file: {file} has more than {FILE_LIMIT} bytes")
    return text


def _delimiter(text: str) -> str:
    return ";" if ";" in text.partition("\n")[0] else ","


def _fields(row: dict[Any, Any]) -> dict[str, Any]:
    """Return the keys of a named join; an empty cell is a key that is not there."""
    if None in row:
        raise ValueError("more cells than the first line has")
    fields: dict[str, Any] = {key: value for key, value in row.items() if value}
    kind = fields.pop("kind", "").strip().lower()
    join = fields.get("join", "")
    if kind and "/" not in join:
        fields["join"] = f"{_KINDS.get(kind, kind)}/{join}"
    if "scale" in fields:
        fields["scale"] = fields["scale"].split()
    return fields
