"""What has come from all bridges: a picture of each device, and who is told what.

No I/O.
"""

import asyncio
import logging
import math
import time as clock
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any

import msgspec

from busbar.client.device_view import FRESH, UNKNOWN, Picture
from busbar.client.subscriptions import Readers
from busbar.client.types import Blob, Change, Event, Gap, Note, Presence
from busbar.contract import messages
from busbar.contract.messages import ChangeEvent, Fault, Info, LogEvent, State, Status
from busbar.contract.topics import BRIDGE
from busbar.mqtt.reconnect import Received

log = logging.getLogger("busbar.client")

LOST = 150.0  # s without a snapshot of a bridge (contract 4)
HEALING = 1.0  # s that a device may be incomplete before somebody asks again

_statuses = msgspec.json.Decoder(Status)
_infos = msgspec.json.Decoder(Info)
_states = msgspec.json.Decoder(State)
_changes = msgspec.json.Decoder(ChangeEvent)
_logs = msgspec.json.Decoder(LogEvent)


class Inbox:
    """Takes every message of the devices.

    `gap`, `told` (notes), `lost` (why, bridge) and `pulse` hear of it.
    """

    def __init__(
        self,
        root: str,
        gap: Callable[[Gap], None],
        told: Callable[[Note], None],
        lost: Callable[[str, str], None],
        pulse: Callable[[], None],
    ) -> None:
        self.pictures: dict[str, Picture] = {}
        self.known: dict[str, Picture] = {}  # those with a description
        self.readers = Readers(self._forget_unread)
        self.malformed = 0
        self._prefix = f"{root}/"
        self._gap, self._told, self._lost, self._pulse = gap, told, lost, pulse
        self._loop = asyncio.get_running_loop()
        self._link: Fault | None = Fault("link", "not connected to the broker")
        self._heard: dict[str, float] = {}  # bridge -> loop time of its last snapshot
        # bridge -> why its devices cannot be used
        self._faults: dict[str, Fault | None] = {}
        # devices that have shown themselves on this connection
        self._seen: set[str] = set()
        # device -> since when it is incomplete (loop time)
        self._lacking: dict[str, float] = {}
        # device, event -> boot, seq
        self._seqs: dict[tuple[str, str], tuple[str, int]] = {}
        self._channels: dict[str, Callable[[str, str, Received], None]] = {
            "status": self._take_status,
            "info": self._take_info,
            "state": self._take_state,
            "event": self._take_event,
            "blob": self._take_blob,
        }

    def picture(self, name: str) -> Picture:
        """Return the picture of a device, known or not."""
        if name not in self.pictures:
            self.pictures[name] = picture = Picture(name)
            picture.take_outside(self._outside(name))
        return self.pictures[name]

    def begin(self) -> None:
        """A new connection: everything is told again."""
        self._seen.clear()
        for picture in self.pictures.values():
            picture.forget()

    def connected(
        self, fault: Fault | None, expected: Callable[[str], bool] = lambda name: False
    ) -> None:
        """Take how our connection is (None = joined).

        Forget devices that were expected and stayed away.
        """
        self._link = fault
        if fault is None:
            for bridge in {name.partition("/")[0] for name in self.pictures}:
                self._heard.setdefault(bridge, self._loop.time())
            for name in [
                name
                for name in self.pictures
                if name not in self._seen and expected(name)
            ]:
                self._removed(name)
        for name, picture in self.pictures.items():
            self._deliver(picture.take_outside(self._outside(name)))
        self._pulse()

    def take(self, received: Received) -> None:
        """Take one message of the bus; what cannot be read costs itself."""
        levels = received.topic.removeprefix(self._prefix).split("/", 3)
        if len(levels) < 3 or levels[2] not in self._channels:
            return
        name, path = f"{levels[0]}/{levels[1]}", levels[3] if len(levels) > 3 else ""
        try:
            self._channels[levels[2]](name, path, received)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.malformed += 1
            log.warning("%s cannot be read: %s", received.topic, error)

    def settled(self) -> bool:
        """True when all has come that the devices' status promises, and nothing newer can be on its way."""
        return all(
            picture.settled or picture.status is None
            for picture in self.pictures.values()
        )

    def tick(self) -> list[str]:
        """Let a second pass.

        Return the devices whose messages are incomplete for too long.
        """
        now = self._loop.time()
        for bridge in list(self._heard):
            self._judge(bridge)
        for picture in list(self.pictures.values()):
            self._after(picture, picture.age(now))
        return [name for name, since in self._lacking.items() if now - since >= HEALING]

    def fault(self, bridge: str) -> Fault | None:
        """Return why the devices of a bridge cannot be used."""
        status = getattr(self.pictures.get(f"{bridge}/{BRIDGE}"), "status", None)
        if status is None:
            return Fault("unknown", f"nothing is known of the bridge {bridge}")
        if status.state != "online":
            return Fault("offline", f"the bridge {bridge} is {status.state}")
        if self._loop.time() - self._heard.get(bridge, self._loop.time()) > LOST:
            return Fault(
                "offline", (f"no sign of life from the bridge {bridge} for {LOST:g} s")
            )
        return None

    def _outside(self, name: str) -> Fault | None:
        return self._link or self.fault(name.partition("/")[0])

    def _judge(self, bridge: str) -> None:
        """Tell the devices of a bridge when it comes or goes."""
        fault = self.fault(bridge)
        if self._faults.get(bridge, UNKNOWN) == fault:
            return
        self._faults[bridge] = fault
        # a removed status is soon told again
        if fault is not None and fault.code == "offline":
            self._lost(fault.message, bridge)
        for name, picture in self.pictures.items():
            if name.startswith(f"{bridge}/"):
                self._deliver(picture.take_outside(self._outside(name)))

    def _take_status(self, name: str, path: str, received: Received) -> None:
        picture = self.picture(name)
        status = _statuses.decode(received.payload) if received.payload else None
        if status is None:
            self._removed(name)
            return
        self._seen.add(name)
        before = picture.status
        self._after(picture, picture.take_status(status))
        bridge, _, device = name.partition("/")
        if device == BRIDGE:
            self._judge(bridge)
            if before is not None and before.boot != status.boot:
                self._lost("the bridge was restarted", bridge)
        if before is None or (before.state, before.reason) != (
            status.state,
            status.reason,
        ):
            self._tell(name, "status", "", Presence(name, status.state, status.reason))

    def _take_info(self, name: str, path: str, received: Received) -> None:
        picture = self.picture(name)
        if received.payload:
            picture.take_info(_infos.decode(received.payload))
            self.known[name] = picture
        else:
            picture.take_info(None)
            self.known.pop(name, None)
        self._after(picture, [])

    def _take_state(self, name: str, path: str, received: Received) -> None:
        if path or not received.payload:
            return  # a leaf that somebody has subscribed to, or a device being removed
        picture = self.picture(name)
        bridge, _, device = name.partition("/")
        state = _states.decode(received.payload)
        age = max(0.0, clock.time() - state.time) if received.retain else math.inf
        self._after(picture, picture.take_state(state, self._loop.time(), age))
        if not picture.settled:
            self._loop.call_later(FRESH, self._settle, picture)
        if device == BRIDGE:
            self._heard[bridge] = self._loop.time()
            self._judge(bridge)

    def _settle(self, picture: Picture) -> None:
        self._after(picture, picture.age(self._loop.time()))

    def _take_event(self, name: str, path: str, received: Received) -> None:
        if path == "change":
            picture = self.picture(name)
            self._after(picture, picture.take_change(_changes.decode(received.payload)))
        elif path == "log" and name.endswith(f"/{BRIDGE}"):
            self._take_log(name, received)
        queues = self.readers.of(name, "event", path)
        if queues:
            event = self._event(name, path, received)
            for queue in queues if event else ():
                queue.put(event)

    def _take_log(self, name: str, received: Received) -> None:
        line = _logs.decode(received.payload)
        device = f"{name.partition('/')[0]}/{line.device}" if line.device else None
        self._told(Note(line.time, line.level, line.message, device))

    def _event(self, name: str, path: str, received: Received) -> Event | None:
        """Return an event, None if we have had it; a hole in its numbers is a gap."""
        packed = messages.is_msgpack_map(
            received.payload
        )  # whatever Content Type and `info` say, JSON begins otherwise
        fields = (msgspec.msgpack if packed else msgspec.json).decode(
            received.payload, type=dict[str, Any]
        )
        head = msgspec.convert(fields, messages.Event)
        boot, known = self._seqs.get((name, path), (head.boot, head.seq - 1))
        if head.boot == boot and head.seq <= known:
            return None
        # of those the picture tells
        if head.boot == boot and head.seq > known + 1 and path != "change":
            self._gap(
                Gap(
                    name,
                    f"event/{path}",
                    head.seq - known - 1,
                    "messages did not reach us",
                )
            )
        self._seqs[name, path] = (head.boot, head.seq)
        own = {
            key: value
            for key, value in fields.items()
            if key not in ("boot", "seq", "time")
        }
        return Event(name, path, head.time, MappingProxyType(own), head.seq)

    def _forget_unread(self) -> None:
        """What nobody reads is not missed."""
        self._seqs = {
            key: seq
            for key, seq in self._seqs.items()
            if self.readers.of(key[0], "event", key[1])
        }

    def _take_blob(self, name: str, path: str, received: Received) -> None:
        if received.payload:
            self._tell(
                name,
                "blob",
                path,
                Blob(name, path, received.payload, received.content_type, clock.time()),
            )

    def _removed(self, name: str) -> None:
        picture = self.pictures[name]
        self.known.pop(name, None)
        self._lacking.pop(name, None)
        was_there = picture.status is not None
        self._deliver(picture.remove())
        if was_there:
            self._tell(name, "status", "", Presence(name, "gone"))
        bridge, _, device = name.partition("/")
        if device == BRIDGE:
            self._judge(bridge)
        self._pulse()

    def _after(self, picture: Picture, changes: Iterable[Change]) -> None:
        """Hand on what a message has brought."""
        self._deliver(changes)
        for missed, reason in picture.news:
            self._gap(Gap(picture.device, "event/change", missed, reason))
        picture.news.clear()
        if picture.complete or picture.status is None:
            self._lacking.pop(picture.device, None)
        else:
            self._lacking.setdefault(picture.device, self._loop.time())
        self._pulse()

    def _deliver(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for queue in self.readers.of(change.device, "state", change.path):
                queue.put(change)

    def _tell(self, name: str, channel: str, path: str, item: Any) -> None:
        for queue in self.readers.of(name, channel, path):
            queue.put(item)
