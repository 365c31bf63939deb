"""Joins of one device on the bus: those received, those sent."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from busbar.bridge import (
    BadRequest,
    Description,
    Event,
    Outlet,
    Property,
    by_path,
    commands,
)
from busbar.codecs import cip
from busbar.codecs.cip import Command, Join, Style, Update
from cip_bridge.arguments import Get
from cip_bridge.join_state import DEFAULTS, JoinState, Value
from cip_bridge.paths import JoinPaths
from cip_bridge.settings import Device

SKIPPED = Property(
    "_skipped", int, title="Things received that mean nothing to us, or had no room"
)

_VERSION = re.compile(r"\[v\d+\.\d")


class Received(msgspec.Struct, frozen=True):
    """Fields of `event/received`: a message, of a value that may be as before."""

    path: str
    value: bool | float | str


RECEIVED = Event(
    "received", Received, "A message of a join; its value may be as before"
)


def describe(
    settings: Device, paths: JoinPaths, own: Iterable[Property], holder: type
) -> Description:
    """Describe a device: its joins, its role's own properties and commands."""
    events = {RECEIVED.name: RECEIVED} if paths.has_events else {}
    return Description(
        kind="cip",
        name=settings.title,
        properties={**paths.properties(), **by_path([*own, SKIPPED])},
        commands=commands(holder),
        events=events,
        model=f"IP-ID 0x{settings.ipid_number:02X}",
    )


def encode(message: Update | Command, style: Style) -> bytes:
    """Return a frame; raise BadRequest with the key that allows other characters."""
    try:
        return cip.encode(message, style)
    except BadRequest as error:
        raise BadRequest(
            f"{error.message}; `serial_encoding` of the configuration chooses another"
        ) from error


class JoinPublisher:
    """Publishes the joins of one device."""

    def __init__(
        self, outlet: Outlet, joins: JoinState, paths: JoinPaths, name: str = ""
    ) -> None:
        self.name = name  # of the device, for the log
        self.outlet = outlet
        self.joins = joins
        self.paths = paths
        self._skipped = -1

    def publish_received(self, updates: list[Update], as_events: bool = False) -> None:
        """Publish received values; every transition counts, also two of one join.

        as_events: also as `event/received`, where each message of a join is one.
        """
        values: dict[str, Any] = {}
        events: list[dict[str, Any]] = []
        for update in updates:
            path = self.paths.path(update.join)
            try:
                value = self.paths.shown(update.join, update.value)
            except Exception as error:  # it costs this join only
                self.outlet.failed([path], error)
                continue
            if path in values and values[path] != value:
                self.outlet.values(values)
                values = {}
            values[path] = value
            if as_events and self.paths.is_event(update.join):
                events.append({"path": path, "value": value})
        if values:
            self.outlet.values(values)
        for fields in events:
            self.outlet.event(RECEIVED.name, fields)

    def publish_all_received(self) -> None:
        """Publish every value that was received, and every named join."""
        values = {**_defaults(self.paths.shown_by), **self.joins.received.known}
        updates = []
        for join, value in values.items():
            updates.append(Update(join, value, cip.FORMS[join.kind]))
        self.publish_received(updates)

    def publish_sent(self, join: Join, value: Value) -> None:
        """Publish a value that we have sent."""
        path = self.paths.sent_path(join)
        try:
            self.outlet.values({path: self.paths.sent(join, value)})
        except Exception as error:  # it costs this join only
            self.outlet.failed([path], error)

    def publish_all_sent(self) -> None:
        """Publish every value that we have sent, and every named join."""
        values = {**_defaults(self.paths.named), **self.joins.sent.known}
        for join, value in values.items():
            self.publish_sent(join, value)

    def publish_skipped(self, skipped: int) -> None:
        """Publish how many things received meant nothing or had no room."""
        skipped += self.joins.ignored
        if skipped != self._skipped:
            self._skipped = skipped
            self.outlet.values({SKIPPED.path: skipped})

    def resolve(self, path: str, value: Any) -> tuple[Join, Value]:
        """Return join and raw value of a set; raise UnknownTarget, OutOfRange."""
        join, named = self.paths.find(path)
        if named is None:
            return join, value
        return join, named.raw(value)

    def read(self, arguments: Get) -> Any:
        """Return the value of a `get`: scaled by name, raw by number."""
        join, named = self.paths.find(arguments.join)
        sent = arguments.direction == "out"
        if named is not None and not sent:
            join = named.feedback
        value = self.joins.get(join, sent=sent)
        if named is None:
            return value
        return named.shown(value)


def _defaults(named: Iterable[Join]) -> dict[Join, Value]:
    """Return the defaults of named joins, which always have a value.

    Families say their default in `info`.
    """
    return {join: DEFAULTS[join.kind] for join in named}


def firmware(text: str) -> str | None:
    """Return a text of a processor if it holds a version, such as [v1.503.0027].

    Source: docs/protocols/cip.md, 6.7
    """
    if _VERSION.search(text) is None:
        return None
    return text[:100]
