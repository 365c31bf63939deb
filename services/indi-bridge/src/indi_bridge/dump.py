"""Everything that is known of a server, as indipyclient dumps it: exactly its keys.

Source: docs/protocols/indi.md, 3.
"""

import math
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from busbar.codecs.indi import format_number
from indi_bridge.vectors import Device, Member, Model, Told, Vector


class Dump:
    """Makes snapshots; `folder` is where BLOBs have been saved."""

    def __init__(self, folder: Path | None, *, blobs: bool, user_strings: bool) -> None:
        self._folder, self._blobs = folder, blobs
        self._extra: dict[str, str] = {"user_string": ""} if user_strings else {}

    def server(
        self, model: Model, host: str, port: int, *, connected: bool
    ) -> dict[str, Any]:
        return {
            "indihost": host,
            "indiport": port,
            "connected": connected,
            "messages": _messages(model.messages),
            "devices": {
                name: self.device(device) for name, device in model.devices.items()
            },
            **self._extra,
        }

    def device(self, device: Device) -> dict[str, Any]:
        return {
            "devicename": device.name,
            "enable": bool(device.vectors),
            "messages": _messages(device.messages),
            "vectors": {
                name: self.vector(vector) for name, vector in device.vectors.items()
            },
            **self._extra,
        }

    def vector(self, vector: Vector) -> dict[str, Any]:
        return {
            "vectortype": f"{vector.kind}Vector",
            "name": vector.name,
            "devicename": vector.device,
            "label": vector.label,
            "enable": True,
            "message": vector.told,
            "message_timestamp": _time(vector.told_at or vector.time),
            "group": vector.group,
            "state": vector.state,
            "timeout": None if vector.kind == "Light" else vector.timeout,
            "timestamp": _time(vector.time),
            **({"rule": vector.rule} if vector.rule else {}),
            "perm": vector.perm,
            **self._extra,
            "members": {
                name: self._member(vector, member)
                for name, member in vector.members.items()
            },
        }

    def _member(self, vector: Vector, member: Member) -> dict[str, Any]:
        if vector.kind == "Number":
            value = member.shown if math.isfinite(member.shown) else None
            return {
                "label": member.label,
                "format": member.format,
                "min": member.min,
                "max": member.max,
                "step": member.step,
                "value": member.value,
                "floatvalue": value,
                "formattedvalue": member.value
                if value is None
                else format_number(value, member.format),
                **self._extra,
            }
        if vector.kind == "BLOB":
            return {
                "label": member.label,
                "filename": member.filename,
                "blobsize": member.size,
                "blobformat": member.value,
                "value": self._content(member),
                **self._extra,
            }
        return {"label": member.label, "value": member.value, **self._extra}

    def _content(self, member: Member) -> str | None:
        """Return the BLOB in base64 if that is asked for and it was saved.

        It is not kept in memory.
        """
        if not self._blobs or self._folder is None or not member.filename:
            return None
        try:
            return b64encode((self._folder / member.filename).read_bytes()).decode(
                "ascii"
            )
        except OSError:
            return None  # somebody has taken it away


def _messages(messages: Iterable[Told]) -> list[list[str]]:
    return [[_time(each.time), each.text] for each in messages]


def _time(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(sep="T")
