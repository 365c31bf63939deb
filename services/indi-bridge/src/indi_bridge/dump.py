"""Dump of a server with the keys of indipyclient's snapshot.

Source: docs/protocols/indi.md, 3.
"""

import math
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from busbar.codecs.indi import format_number
from indi_bridge.model import IndiDevice, ServerModel, TimedMessage
from indi_bridge.vectors import Member, Vector


class Dump:
    """Dumps servers, devices and vectors; `folder` has the saved BLOBs."""

    def __init__(self, folder: Path | None, *, blobs: bool, user_strings: bool) -> None:
        self._folder = folder
        self._blobs = blobs
        self._extra: dict[str, str] = {"user_string": ""} if user_strings else {}

    def server(
        self, model: ServerModel, host: str, port: int, *, connected: bool
    ) -> dict[str, Any]:
        devices = model.devices.items()
        return {
            "indihost": host,
            "indiport": port,
            "connected": connected,
            "messages": _messages(model.messages),
            "devices": {name: self.device(device) for name, device in devices},
            **self._extra,
        }

    def device(self, device: IndiDevice) -> dict[str, Any]:
        vectors = device.vectors.items()
        return {
            "devicename": device.name,
            "enable": bool(device.vectors),
            "messages": _messages(device.messages),
            "vectors": {name: self.vector(vector) for name, vector in vectors},
            **self._extra,
        }

    def vector(self, vector: Vector) -> dict[str, Any]:
        dump: dict[str, Any] = {
            "vectortype": f"{vector.kind}Vector",
            "name": vector.name,
            "devicename": vector.device,
            "label": vector.label,
            "enable": True,
            "message": vector.last_message,
            "message_timestamp": _time(vector.last_message_time or vector.time),
            "group": vector.group,
            "state": vector.state,
            "timeout": None if vector.kind == "Light" else vector.timeout,
            "timestamp": _time(vector.time),
        }
        if vector.rule:
            dump["rule"] = vector.rule
        dump["perm"] = vector.perm
        members = {}
        for name, member in vector.members.items():
            members[name] = {**self._member(vector, member), **self._extra}
        return {**dump, **self._extra, "members": members}

    def _member(self, vector: Vector, member: Member) -> dict[str, Any]:
        if vector.kind == "Number":
            return _number(member)
        if vector.kind == "BLOB":
            return {
                "label": member.label,
                "filename": member.filename,
                "blobsize": member.size,
                "blobformat": member.value,
                "value": self._content(member),
            }
        return {"label": member.label, "value": member.value}

    def _content(self, member: Member) -> str | None:
        """Return the BLOB in base64 if it is asked for and was saved.

        It is not kept in memory.
        """
        if not self._blobs or self._folder is None or not member.filename:
            return None
        try:
            content = (self._folder / member.filename).read_bytes()
        except OSError:
            return None  # somebody has removed it
        return b64encode(content).decode("ascii")


def _number(member: Member) -> dict[str, Any]:
    value = None
    formatted = member.value
    if math.isfinite(member.shown):
        value = member.shown
        formatted = format_number(member.shown, member.format)
    return {
        "label": member.label,
        "format": member.format,
        "min": member.min,
        "max": member.max,
        "step": member.step,
        "value": member.value,
        "floatvalue": value,
        "formattedvalue": formatted,
    }


def _messages(messages: Iterable[TimedMessage]) -> list[list[str]]:
    return [[_time(each.time), each.text] for each in messages]


def _time(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(sep="T")
