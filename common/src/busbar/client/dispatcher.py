"""Messages of all bridges, handed to the tracked devices and the subscriptions.

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

from busbar.client.device_view import UNKNOWN
from busbar.client.freshness import OFFLINE, UNCONFIRMED, DeviceLife, Freshness
from busbar.client.subscriptions import Subscriptions
from busbar.client.tracked_device import FRESH, TrackedDevice
from busbar.client.types import Blob, Change, Event, Gap, Note, Presence
from busbar.contract import messages
from busbar.contract.messages import ChangeEvent, Fault, Info, LogEvent, State, Status
from busbar.contract.topics import BRIDGE
from busbar.mqtt.reconnect import Received

log = logging.getLogger("busbar.client")

HEALING = 1.0  # s that a device may be incomplete before we ask again
HEAD = ("boot", "seq", "time")  # fields that every event has


class _AnyStatus(Status, frozen=True):
    """A status with a state that we may not know: it is not `online` then."""

    state: str  # type: ignore[assignment]  # wider on purpose: we read, others write


class _Version(msgspec.Struct):
    """The one field of `info` that every version of the contract has."""

    contract: int


_statuses = msgspec.json.Decoder(_AnyStatus)
_versions = msgspec.json.Decoder(_Version)
_infos = msgspec.json.Decoder(Info)
_states = msgspec.json.Decoder(State)
_changes = msgspec.json.Decoder(ChangeEvent)
_logs = msgspec.json.Decoder(LogEvent)


class Dispatcher:
    """Takes every message of the devices.

    `on_lost` gets why commands under way fail, and the bridge; `on_message` is called
    when something may have changed.
    """

    def __init__(
        self,
        root: str,
        on_gap: Callable[[Gap], None],
        on_note: Callable[[Note], None],
        on_lost: Callable[[str, str], None],
        on_message: Callable[[], None],
    ) -> None:
        self.tracked: dict[str, TrackedDevice] = {}
        self.described: dict[str, TrackedDevice] = {}
        self.subscriptions = Subscriptions(self._forget_unread)
        self.malformed = 0
        self._prefix = f"{root}/"
        self._on_gap = on_gap
        self._on_note = on_note
        self._on_lost = on_lost
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._connection: Fault | None = Fault("link", "not connected to the broker")
        self._freshness = Freshness(self._loop.time)
        # bridge -> why its devices cannot be used
        self._faults: dict[str, Fault | None] = {}
        # devices that have shown themselves on this connection
        self._seen: set[str] = set()
        # device -> since when it is incomplete (loop time)
        self._incomplete: dict[str, float] = {}
        # device, event -> boot, seq
        self._seqs: dict[tuple[str, str], tuple[str, int]] = {}
        self._channels: dict[str, Callable[[str, str, Received], None]] = {
            "status": self._take_status,
            "info": self._take_info,
            "state": self._take_state,
            "event": self._take_event,
            "blob": self._take_blob,
        }

    def track(self, name: str) -> TrackedDevice:
        """Return what is known of a device, from now on if not before."""
        tracked = self.tracked.get(name)
        if tracked is None:
            tracked = self.tracked[name] = TrackedDevice(name)
            self._freshness.of(name)
            tracked.take_upstream(self._upstream(name))
        return tracked

    def reconnect(self) -> None:
        """Take that the connection is new: all that is retained comes again."""
        self._freshness.listen()
        self._seen.clear()
        for tracked in self.tracked.values():
            tracked.reconnect()

    def take_connection(
        self, fault: Fault | None, expected: Callable[[str], bool] = lambda name: False
    ) -> None:
        """Take how our connection is (None = joined).

        Forget devices that were expected and stayed away.
        """
        self._connection = fault
        if fault is None:
            self._take_joined(expected)
        for name, tracked in self.tracked.items():
            self._deliver(tracked.take_upstream(self._upstream(name)))
        self._on_message()

    def _take_joined(self, expected: Callable[[str], bool]) -> None:
        for name in list(self.tracked):
            if name not in self._seen and expected(name):
                self._remove(name)

    def take(self, received: Received) -> None:
        """Take one message of the bus; what cannot be read costs itself."""
        levels = received.topic.removeprefix(self._prefix).split("/", 3)
        if len(levels) < 3:
            return
        take = self._channels.get(levels[2])
        if take is None:
            return
        name = f"{levels[0]}/{levels[1]}"
        path = ""
        if len(levels) > 3:
            path = levels[3]
        try:
            take(name, path, received)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.malformed += 1
            log.warning("%s cannot be read: %s", received.topic, error)

    def settled(self) -> bool:
        """True when all that was promised has come, and nothing newer can follow."""
        for tracked in self.tracked.values():
            if tracked.status is not None and not tracked.settled:
                return False
        return True

    def confirmed(self) -> bool:
        """True unless a bridge has yet to show that it lives."""
        for fault in self._faults.values():
            if fault is not None and fault.code == UNCONFIRMED:
                return False
        return True

    def tick(self) -> list[str]:
        """Let a second pass.

        Return the devices whose messages are incomplete for too long.
        """
        now = self._loop.time()
        for bridge in list(self._freshness.bridges):
            self._check_bridge(bridge)
        for name, tracked in list(self.tracked.items()):
            tracked.late = self._freshness.fault_of_device(self._freshness.of(name))
            self._hand_on(tracked, tracked.take_time(now))
        overdue = []
        for name, since in self._incomplete.items():
            if now - since >= HEALING:
                overdue.append(name)
        return overdue

    def fault(self, bridge: str) -> Fault | None:
        """Return why the devices of a bridge cannot be used."""
        status = None
        tracked = self.tracked.get(f"{bridge}/{BRIDGE}")
        if tracked is not None:
            status = tracked.status
        if status is None:
            return Fault("unknown", f"nothing is known of the bridge {bridge}")
        if status.state != "online":
            return Fault(OFFLINE, f"the bridge {bridge} is {status.state}")
        return self._freshness.fault_of_bridge(bridge)

    def _upstream(self, name: str) -> Fault | None:
        return self._connection or self.fault(name.partition("/")[0])

    def _check_bridge(self, bridge: str) -> None:
        """Let the devices of a bridge know when it comes or goes."""
        fault = self.fault(bridge)
        if self._faults.get(bridge, UNKNOWN) == fault:
            return
        self._faults[bridge] = fault
        # a removed status soon comes again
        if fault is not None and fault.code == OFFLINE:
            self._on_lost(fault.message, bridge)
        for name, tracked in self.tracked.items():
            if name.startswith(f"{bridge}/"):
                self._deliver(tracked.take_upstream(self._upstream(name)))

    def _take_status(self, name: str, path: str, received: Received) -> None:
        tracked = self.track(name)
        if not received.payload:
            self._remove(name)
            return
        status = _statuses.decode(received.payload)
        self._seen.add(name)
        before = tracked.status
        self._hand_on(tracked, tracked.take_status(status))
        bridge, _, device = name.partition("/")
        if device == BRIDGE:
            self._check_bridge(bridge)
            if before is not None and before.boot != status.boot:
                self._on_lost("the bridge was restarted", bridge)
        shown = (status.state, status.reason)
        if before is None or (before.state, before.reason) != shown:
            self._put(name, "status", "", Presence(name, *shown))

    def _take_info(self, name: str, path: str, received: Received) -> None:
        tracked = self.track(name)
        if received.payload:
            version = _versions.decode(received.payload).contract
            self._hand_on(tracked, tracked.take_contract(version))
            tracked.take_info(_infos.decode(received.payload))
            self.described[name] = tracked
        else:
            tracked.take_info(None)
            self.described.pop(name, None)
        self._hand_on(tracked, [])

    def _take_state(self, name: str, path: str, received: Received) -> None:
        if path or not received.payload:
            return  # a value topic, or a device that is being removed
        tracked = self.track(name)
        state = _states.decode(received.payload)
        life = self._freshness.of(name)
        kept = received.retain
        head = (state.boot, state.seq, state.time)
        self._freshness.take(life, *head, kept=kept)
        tracked.late = self._freshness.fault_of_device(life)
        age = math.inf
        if kept:
            age = max(0.0, self._freshness.age(life) or 0.0)
        changes = tracked.take_state(state, self._loop.time(), age)
        self._hand_on(tracked, changes + tracked.recheck())
        if not tracked.settled:
            self._loop.call_later(FRESH, self._let_time_pass, tracked)
        self._check_life(life)

    def _check_life(self, life: DeviceLife) -> None:
        """Let the devices of a bridge know when it shows that it lives."""
        bridge = life.bridge.name
        if life.of_bridge or self._faults.get(bridge, UNKNOWN) is not None:
            self._check_bridge(bridge)

    def _let_time_pass(self, tracked: TrackedDevice) -> None:
        self._hand_on(tracked, tracked.take_time(self._loop.time()))

    def _take_event(self, name: str, path: str, received: Received) -> None:
        if path == "change":
            tracked = self.track(name)
            event = _changes.decode(received.payload)
            life = self._freshness.of(name)
            head = (event.boot, event.seq, event.time)
            self._freshness.take(life, *head, kept=received.retain)
            if tracked.late is not None:
                tracked.late = self._freshness.fault_of_device(life)
            self._hand_on(tracked, tracked.take_change(event))
            self._check_life(life)
        elif path == "log" and name.endswith(f"/{BRIDGE}"):
            self._take_log(name, received)
        queues = self.subscriptions.of(name, "event", path)
        if queues:
            self._put_event(name, path, received.payload)

    def _take_log(self, name: str, received: Received) -> None:
        line = _logs.decode(received.payload)
        device = None
        if line.device:
            device = f"{name.partition('/')[0]}/{line.device}"
        self._on_note(Note(line.time, line.level, line.message, device))

    def _put_event(self, name: str, path: str, payload: bytes) -> None:
        """Hand on an event unless it came twice; missing numbers are a gap."""
        fields = _decoded(payload)
        head = msgspec.convert(fields, messages.Event)
        key = (name, path)
        boot, last = self._seqs.get(key, (head.boot, head.seq - 1))
        missed = head.seq - last - 1
        if head.boot == boot:
            if missed < 0:
                return
            # those of `change` are reported by the tracked device
            if missed and path != "change":
                why = "messages did not reach us"
                self._on_gap(Gap(name, f"event/{path}", missed, why))
        self._seqs[key] = (head.boot, head.seq)
        for each in HEAD:
            fields.pop(each, None)
        event = Event(name, path, head.time, MappingProxyType(fields), head.seq)
        self._put(name, "event", path, event)

    def _forget_unread(self) -> None:
        """Forget the sequences of events without a subscription."""
        for name, event in list(self._seqs):
            if not self.subscriptions.of(name, "event", event):
                del self._seqs[name, event]

    def _take_blob(self, name: str, path: str, received: Received) -> None:
        data = received.payload
        if data:
            blob = Blob(name, path, data, received.content_type, clock.time())
            self._put(name, "blob", path, blob)

    def _remove(self, name: str) -> None:
        tracked = self.tracked[name]
        self.described.pop(name, None)
        self._incomplete.pop(name, None)
        was_there = tracked.status is not None
        self._deliver(tracked.remove())
        if was_there:
            self._put(name, "status", "", Presence(name, "gone"))
        bridge, _, device = name.partition("/")
        if device == BRIDGE:
            self._check_bridge(bridge)
        self._on_message()

    def _hand_on(self, tracked: TrackedDevice, changes: Iterable[Change]) -> None:
        """Hand on what a message has brought."""
        self._deliver(changes)
        for missed, reason in tracked.gaps:
            self._on_gap(Gap(tracked.device, "event/change", missed, reason))
        tracked.gaps.clear()
        if tracked.complete or tracked.status is None:
            self._incomplete.pop(tracked.device, None)
        else:
            self._incomplete.setdefault(tracked.device, self._loop.time())
        self._on_message()

    def _deliver(self, changes: Iterable[Change]) -> None:
        for change in changes:
            for queue in self.subscriptions.of(change.device, "state", change.path):
                queue.put(change)

    def _put(self, name: str, channel: str, path: str, item: Any) -> None:
        for queue in self.subscriptions.of(name, channel, path):
            queue.put(item)


def _decoded(payload: bytes) -> dict[str, Any]:
    """Decode an event: JSON or MessagePack, whatever Content Type and `info` say."""
    fields: dict[str, Any]
    if messages.is_msgpack_map(payload):
        fields = msgspec.msgpack.decode(payload, type=dict[str, Any])
    else:
        fields = msgspec.json.decode(payload, type=dict[str, Any])
    return fields
