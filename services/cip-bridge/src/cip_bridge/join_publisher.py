"""Joins of one device on the bus: those received, those sent."""

import re
from typing import Any

from busbar.bridge import Description, Outlet, Property, by_path, commands
from busbar.codecs import cip
from busbar.codecs.cip import Join, Update
from cip_bridge.arguments import Get
from cip_bridge.join_state import DEFAULTS, JoinState, Value
from cip_bridge.paths import OUT, JoinPaths
from cip_bridge.settings import Device

SKIPPED = Property(
    "_skipped", int, title="Things received that mean nothing to us, or had no room"
)

_VERSION = re.compile(r"\[v\d+\.\d")


def describe(settings: Device, own: Property, holder: type) -> Description:
    """Describe a device: its joins, its role's own property and commands."""
    properties = JoinPaths(settings.joins).properties()
    return Description(
        kind="cip",
        name=settings.title,
        properties={**properties, **by_path([own, SKIPPED])},
        commands=commands(holder),
    )


class JoinPublisher:
    """Publishes the joins of one device."""

    def __init__(self, outlet: Outlet, joins: JoinState, paths: JoinPaths) -> None:
        self.outlet = outlet
        self.joins = joins
        self.paths = paths
        self._skipped = -1

    def publish_received(self, updates: list[Update]) -> None:
        """Publish received values; every transition counts, also two of one join."""
        values: dict[str, Any] = {}
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
        if values:
            self.outlet.values(values)

    def publish_all_received(self) -> None:
        """Publish every value that was received, and every named join."""
        values = {**self._named_defaults(), **self.joins.received.known}
        updates = []
        for join, value in values.items():
            updates.append(Update(join, value, cip.FORMS[join.kind]))
        self.publish_received(updates)

    def publish_sent(self, join: Join, value: Value) -> None:
        """Publish a value that we have sent."""
        path = OUT + self.paths.path(join)
        try:
            self.outlet.values({path: self.paths.shown(join, value)})
        except Exception as error:  # it costs this join only
            self.outlet.failed([path], error)

    def publish_all_sent(self) -> None:
        """Publish every value that we have sent, and every named join."""
        values = {**self._named_defaults(), **self.joins.sent.known}
        for join, value in values.items():
            self.publish_sent(join, value)

    def publish_skipped(self, skipped: int) -> None:
        """Publish how many things received meant nothing or had no room."""
        skipped += self.joins.ignored
        if skipped != self._skipped:
            self._skipped = skipped
            self.outlet.values({SKIPPED.path: skipped})

    def _named_defaults(self) -> dict[Join, Value]:
        """Return the defaults of named joins, which always have a value.

        Families say their default in `info`.
        """
        return {join: DEFAULTS[join.kind] for join in self.paths.named}

    def resolve(self, path: str, value: Any) -> tuple[Join, Value]:
        """Return join and raw value of a set; raise UnknownTarget, OutOfRange."""
        join, named = self.paths.find(path)
        if named is None:
            return join, value
        return join, named.raw(value)

    def read(self, arguments: Get) -> Any:
        """Return the value of a `get`: scaled by name, raw by number."""
        join, named = self.paths.find(arguments.join)
        value = self.joins.get(join, sent=arguments.direction == "out")
        if named is None:
            return value
        return named.shown(value)


def firmware(text: str) -> str | None:
    """Return a text of a processor if it holds a version, such as [v1.503.0027].

    Source: docs/protocols/cip.md, 6.7
    """
    if _VERSION.search(text) is None:
        return None
    return text[:100]
