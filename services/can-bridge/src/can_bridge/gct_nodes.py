"""GCT on a bus: its messages as events, its nodes as devices."""

import asyncio
import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from busbar.bridge import (
    BusbarError,
    Command,
    Description,
    DeviceTimeout,
    Event,
    Outlet,
    Port,
    Property,
    ProtocolError,
    by_path,
)
from busbar.codecs import can, gct
from busbar.codecs.can import ERROR, EXTENDED, REMOTE, SENT, Frame
from can_bridge.interfaces.interface import log
from can_bridge.settings import Gct, Reading
from can_bridge.traffic import CanTraffic, Listeners

GCT_EVENT = Event("gct", gct.Message, title="GCT message")
LOST = Property(
    "_gct_lost",
    int,
    title="GCT messages of which parts came and that never became whole",
)
_READING = "reading/{group}/{reading}"
_KIND = EXTENDED | REMOTE | ERROR | SENT  # flags that tell received GCT frames


class GctNode:
    """One node, which is a device."""

    def __init__(self, outlet: Outlet, product: int, now: float) -> None:
        self.outlet = outlet
        self.product = product
        self.last_heartbeat = now  # loop time
        self.online = True


class GctNodes:
    """The nodes on one bus and their messages; `commands` are those of a node."""

    def __init__(
        self,
        name: str,
        port: Port,
        outlet: Outlet,
        traffic: CanTraffic,
        settings: Gct,
        commands: Mapping[str, Command],
    ) -> None:
        self.messages: Listeners[gct.Message] = Listeners()
        self.address = settings.address
        self.settings = settings
        self._name = name
        self._port = port
        self._outlet = outlet
        self._traffic = traffic
        self._commands = commands
        self._decoder = gct.Decoder()
        self._nodes: dict[int, GctNode] = {}
        self._refused: set[int] = set()
        self._readings = {
            (each.group, each.reading): each for each in settings.readings
        }
        self._loop = asyncio.get_running_loop()

    def take(self, frames: Sequence[Frame]) -> None:
        """Publish the messages in frames."""
        for frame in frames:
            if frame.flags & _KIND != EXTENDED:
                continue
            try:
                message = self._decoder.feed(frame.id, frame.data, frame.time)
                if message is not None:
                    self._take(message, frame.time)
            except Exception as error:  # it costs this frame only
                self._outlet.failed([], error)

    async def send(self, message: gct.Message) -> None:
        """Send a message; raise OutOfRange, or as the bus."""
        encoded = gct.encode(message)
        await self._traffic.send(
            [can.frame(id_, data, extended=True) for id_, data in encoded]
        )

    def node_of(self, device: str) -> int | None:
        """Return the address of a node by its device, None for the bus itself."""
        for src in self._nodes:
            if self.device(src) == device:
                return src
        return None

    def device(self, src: int) -> str:
        """Return the device of a node."""
        return f"{self._name}_node{src}"

    def report(self) -> None:
        """Publish the counter; take nodes offline that have fallen silent."""
        self._outlet.values({LOST.path: self._decoder.lost})
        limit = self.settings.silence
        now = self._loop.time()
        for node in self._nodes.values():
            if node.online and now - node.last_heartbeat > limit:
                node.online = False
                node.outlet.offline(DeviceTimeout(f"no heartbeat for {limit:g} s"))

    def _take(self, message: gct.Message, time: float) -> None:
        self._outlet.event("gct", msgspec.to_builtins(message), time)
        self.messages.take([message])
        if isinstance(message, gct.Heartbeat) and self.settings.devices:
            self._take_heartbeat(message, time)
        elif isinstance(message, gct.MonitoringData) and message.src in self._nodes:
            self._take_reading(self._nodes[message.src], message, time)

    def _take_heartbeat(self, message: gct.Heartbeat, time: float) -> None:
        node = self._nodes.get(message.src)
        if node is None:
            node = self._appear(message)
            if node is None:
                return
        node.last_heartbeat = self._loop.time()
        if node.product != message.product:
            node.product = message.product
            model = _model(message.product)
            node.outlet.describe(node.outlet.description.with_(model=model))
        if not node.online:
            node.online = True
            node.outlet.online()
        node.outlet.values({"product": message.product}, time)

    def _appear(self, message: gct.Heartbeat) -> GctNode | None:
        src = message.src
        if src in self._refused:
            return None
        about = describe(self.settings, src, message.product, self._commands)
        try:
            outlet = self._port.appear(self.device(src), about)
        except BusbarError as error:  # its name is taken, or there are too many
            self._refused.add(src)
            log.warning(
                "%s: GCT node %d cannot be a device: %s", self._name, src, error.message
            )
            return None
        node = GctNode(outlet, message.product, self._loop.time())
        self._nodes[src] = node
        return node

    def _take_reading(
        self, node: GctNode, message: gct.MonitoringData, time: float
    ) -> None:
        about = self._readings.get((message.group, message.reading))
        if about is None:
            path = _READING.format(group=message.group, reading=message.reading)
            node.outlet.values({path: base64.b64encode(message.data).decode()}, time)
            return
        try:
            value = decode(about.format, message.data)[0]
        except Exception as error:  # it costs this reading only
            node.outlet.failed([about.name], error)
        else:
            node.outlet.values({about.name: value}, time)


def speaks(frame: Frame) -> bool:
    """True for a frame whose identifier is one of GCT."""
    return frame.flags & (EXTENDED | REMOTE) == EXTENDED and gct.speaks(frame.id)


def decode(form: str, data: bytes) -> tuple[Any, ...]:
    """Return the values of a reading by a format of Python's struct.

    Raise ProtocolError if it does not fit.
    """
    try:
        return struct.unpack(form, data)
    except struct.error as error:
        raise ProtocolError(
            f"{len(data)} bytes do not fit the format {form!r}: {error}"
        ) from error


def describe(
    settings: Gct, src: int, product: int, commands: Mapping[str, Command]
) -> Description:
    """Describe a node."""
    any_reading = Property(
        _READING,
        bytes,
        title="Monitored reading",
        parameters={"group": range(32), "reading": range(64)},
    )
    own = [
        Property("product", int, title="Product id"),
        any_reading,
        *map(_named, settings.readings),
    ]
    return Description(
        kind="can",
        name=f"GCT node {src}",
        model=_model(product),
        properties=by_path(own),
        commands=commands,
    )


def _named(about: Reading) -> Property:
    return Property(
        about.name, bool | float | int, unit=about.unit, title=f"{about.name}, decoded"
    )


def _model(product: int) -> str:
    return f"product 0x{product:04X}"
