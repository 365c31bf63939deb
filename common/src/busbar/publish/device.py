"""One device on the bus.

Its status, info, state, events and blobs, and when each is published.

Source: docs/contract.md, 3. It knows MQTT topics and the contract, no protocol.
"""

import asyncio
import time as clock
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from busbar.contract import messages
from busbar.contract.describe import Description
from busbar.contract.messages import Change, ChangeEvent, Fault, Status, StatusState
from busbar.contract.names import LEVEL_LIMIT
from busbar.contract.topics import Topics
from busbar.errors import BusbarError, InternalError, LinkLost, Offline
from busbar.mqtt.outbox import OVERHEAD, Message, Outbox
from busbar.net.two_way_event import TwoWayEvent
from busbar.publish.blobs import BlobOutcome, BlobPublisher
from busbar.publish.change_rate import ChangeRate
from busbar.publish.files import FileWriter
from busbar.publish.own_errors import OwnErrors
from busbar.publish.retained_topics import RetainedTopics
from busbar.publish.size_limits import fit, fit_info
from busbar.publish.state import State
from busbar.publish.value_topics import ValueTopics

# s that changes wait at most, for the acknowledgement of those before them or when
# there are many
FLUSH = 0.02
BATCH_BYTES = 16 * 1024
BATCH_COUNT = 200
EVENT_HEAD = 100  # bytes of boot, seq and time, in JSON
SNAPSHOT_INTERVAL = 1.0  # s
SNAPSHOT_RATE = 64 * 1024  # bytes/s
SNAPSHOT_HEARTBEAT = 60.0  # s
# properties, s, s
LEAVES_SMALL = 100
LEAVES_OFTEN = 60.0
LEAVES_RARELY = 600.0
INFO_QUIET, INFO_LATEST = 0.2, 1.0  # s
REVISION = "the revision of info"  # counted like the events
NOTHING: Mapping[str, Any] = MappingProxyType({})
LEFT_LIMIT = 10_000  # devices that left and whose counts are remembered


@dataclass
class BridgeContext:
    """Things that all devices of one bridge share."""

    topics: Topics
    outbox: Outbox
    blobs: Outbox  # the same, or one with a connection of its own
    pace: ChangeRate
    boot: str
    leaf: Callable[[str], bool] = lambda path: True  # which properties have leaves
    now: Callable[[], float] = clock.time  # Unix s
    folder: Path | None = None  # where blobs too large for the bus go
    errors: OwnErrors = field(default_factory=OwnErrors)
    files: FileWriter = field(default_factory=FileWriter)
    # set while we are connected
    broker: TwoWayEvent = field(default_factory=TwoWayEvent)
    # counts of devices that may come back in this boot
    left: dict[str, dict[str, int]] = field(default_factory=dict)


class DevicePublisher:
    """One device; the Outlet that a session writes to."""

    def __init__(
        self,
        context: BridgeContext,
        name: str,
        description: Description,
        complete: Callable[[Description], Description],
    ) -> None:
        self.name = name
        self.state = State(
            lambda path: self.description.find(path),
            self._changed,
            partial(context.errors.note, name),
        )
        self.status: StatusState = "offline"
        self.since = context.now()
        self.reason: Fault | None = None
        self.refused: Fault | None = None  # set while the device is to stay offline
        self.silent: Fault | None = None  # set while the device, not the link, is dead
        # the link is closed: what a session says late would pass for confirmed
        self.link_closed = False
        self._context = context
        self._complete = complete  # adds what every device has
        self._description = complete(description)
        self._loop = asyncio.get_running_loop()
        # of each event; within one boot they never start again
        self._seqs = context.left.pop(name, {})
        self._revision = self._next_seq(REVISION)
        self._make_publishers(context)
        self._timers: dict[str, asyncio.TimerHandle | asyncio.Handle] = {}
        self._info_deadline: float | None = None
        self._closed = False
        self._truncated = 0
        self._snapshot_size = 0
        self._snapshot_last = self._loop.time() - SNAPSHOT_INTERVAL
        self._leaves_last = self._status_last = self._loop.time()

    def _make_publishers(self, context: BridgeContext) -> None:
        """Make what publishes retained topics, value topics and blobs."""
        payloads = {
            "status": self.status_payload,
            "info": self._info_payload,
            "state": self._state_payload,
        }
        self._retained = RetainedTopics(context.outbox, self.topic, payloads)
        self._leaves = ValueTopics(
            context.outbox,
            context.pace,
            context.leaf,
            partial(self.topic, "state"),
            self.state.values,
        )
        self._blobs = BlobPublisher(
            context.blobs,
            context.files,
            context.folder,
            partial(self.topic, "blob"),
            self._file,
        )

    @property
    def description(self) -> Description:
        return self._description

    @property
    def room(self) -> int:
        return max(0, self._room("event", "x" * LEVEL_LIMIT) - EVENT_HEAD)

    def topic(self, channel: str, path: str = "") -> str:
        return self._context.topics.topic(self.name, channel, path)

    def values(self, values: Mapping[str, Any], time: float | None = None) -> None:
        if self.refused is None and not (self._closed or self.link_closed):
            self.state.read(values, self._time(time))

    def bad(self, paths: Iterable[str], error: BusbarError) -> None:
        if self.refused is None and not (self._closed or self.link_closed):
            self.state.mark_bad(
                paths, Fault(error.code, error.message), self._time(None)
            )

    def failed(self, paths: Iterable[str], error: Exception) -> BusbarError:
        if isinstance(error, LinkLost | OSError | ExceptionGroup):
            raise error
        paths = list(paths)
        if not isinstance(error, BusbarError):
            self._context.errors.note(self.name, ", ".join(paths) or "event", error)
            error = InternalError(f"{type(error).__name__}: {error}")
        self.bad(paths, error)
        return error

    def gone(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        self.state.remove(paths, self._time(None))
        for path in paths:
            self._leaves.remove(path)

    def event(
        self, name: str, fields: Mapping[str, Any], time: float | None = None
    ) -> None:
        if self._closed:
            return
        seq = self._next_seq(name)
        body = {
            "boot": self._context.boot,
            "seq": seq,
            "time": self._time(time),
            **fields,
        }
        topic = self.topic("event", name)
        declared = self._description.events.get(name)
        try:
            if declared is None or declared.encoding != "msgpack":
                message = Message(topic, messages.encode(body))
            else:
                packed = msgspec.msgpack.encode(body)
                message = Message(topic, packed, content_type="application/msgpack")
        except (TypeError, ValueError, RecursionError) as error:
            # what cannot be said costs this event; the gap in `seq` shows it
            self._context.errors.note(self.name, f"event {name}", error)
            return
        self._context.outbox.put(message)

    def blob(
        self,
        name: str,
        data: bytes,
        content_type: str,
        *,
        retain: bool = False,
        file: str | None = None,
        about: Mapping[str, Any] = NOTHING,
    ) -> "asyncio.Future[BlobOutcome]":
        outcome: asyncio.Future[BlobOutcome] = self._loop.create_future()
        if self._closed:  # nobody would clear it
            left = Offline("the device has left the bus")
            outcome.set_result(BlobOutcome(error=left))
            return outcome
        latest = {**about, "size": len(data), "content_type": content_type}

        def on_done(found: BlobOutcome) -> None:
            self.values({name: {**latest, "file": found.file}})
            if found.error is not None:
                self.bad([name], found.error)
            if not outcome.done():  # whoever waited may have gone
                outcome.set_result(found)

        self._blobs.put(name, data, content_type, on_done, retain=retain, file=file)
        return outcome

    def describe(self, description: Description) -> None:
        description = self._complete(description)
        if description == self._description or self._closed:
            return
        self._description = description
        self.state.described()
        self.gone(
            [
                path
                for path in self.state.values.keys() | self.state.bad.keys()
                if not description.find(path)
            ]
        )
        self._info_changed()

    def online(self) -> None:
        self.silent = None
        if self.status != "online" and self.refused is None:
            self.set_status("online")

    def offline(self, error: BusbarError) -> None:
        self.silent = Fault(error.code, error.message)
        if self.refused is None:  # else it is offline already, and says why
            self.set_status("offline", self.silent)

    def set_status(self, status: StatusState, reason: Fault | None = None) -> None:
        """Change the availability; values become bad when the device goes away."""
        if (status, reason) == (self.status, self.reason) or self._closed:
            return
        if status != self.status:
            self.since = self._time(None)
        self.status = status
        self.reason = reason
        if status in ("offline", "stopped"):
            fault = Fault(
                Offline.code, reason.message if reason else f"the device is {status}"
            )
            self.state.mark_bad(
                [path for path in self.state.values if not path.startswith("_")],
                fault,
                self.since,
            )
        self._retained.publish("status")

    def announce(self, *, status: bool = True) -> None:
        """Publish status, info and state, whatever the broker has.

        The bridge's own status follows all devices.
        """
        if self._info_deadline is not None:
            self._publish_info()
        if status:
            self._retained.publish("status")
        self._retained.publish("info", "state")

    def announce_status(self) -> None:
        """Publish the status."""
        self._retained.publish("status")

    def holds(self, channel: str, path: str, payload: bytes) -> bool:
        """Return whether a retained topic holds what it should, as far as we know."""
        if path:
            return self._leaves.is_newest(path, payload)
        return self._retained.is_newest(channel, payload)

    def republish(self, channel: str, path: str) -> None:
        """Publish a retained topic again: somebody else has published on it."""
        if path:
            self._leaves.republish(path)
        else:
            self._retained.publish(channel)

    def announce_leaves(self) -> None:
        """Publish the leaf of every value."""
        if self._info_deadline is not None:
            return  # each follows the info that names it
        self._leaves_last = self._loop.time()
        self._leaves.announce()

    def withdraw(self) -> None:
        """Remove every retained topic of this device."""
        self.close()
        if len(self._context.left) >= LEFT_LIMIT:
            del self._context.left[next(iter(self._context.left))]
        self._context.left[self.name] = self._seqs
        self._leaves.remove_all()
        self._blobs.remove_all()
        for channel in ("state", "info", "status"):
            self._context.outbox.clear(self.topic(channel))

    def finish(self) -> None:
        """Say `stopped`, with the last changes and snapshot."""
        if self._info_deadline is not None:
            self._publish_info()
        self.set_status("stopped")
        self.publish_change()
        self._leaves.flush()
        self._publish_snapshot()

    def close(self) -> None:
        """Publish nothing more."""
        self._closed = True
        self._leaves.close()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def tick(self) -> None:
        """Do what time asks for: heartbeats, staleness. Called every second."""
        now = self._loop.time()
        self.state.age(self._time(None))
        if now - self._snapshot_last >= SNAPSHOT_HEARTBEAT:
            self._publish_snapshot()
        if now - self._status_last >= SNAPSHOT_HEARTBEAT:
            # somebody may have cleared it, and we may not be allowed to see that
            self._status_last = now
            self._retained.publish("status")
        often = len(self.state.values) <= LEAVES_SMALL
        if now - self._leaves_last >= (LEAVES_OFTEN if often else LEAVES_RARELY):
            self.announce_leaves()
            self._retained.publish("info")

    def status_payload(self) -> bytes:
        return messages.encode(
            Status(
                self.status,
                self.since,
                self._context.boot,
                self._revision,
                self._seqs.get("change", 0),
                self.reason,
            )
        )

    def publish_change(self) -> None:
        """Send the changes so far as one `event/change`, or several.

        They wait for the info that names them.
        """
        self._cancel("flush")
        if self._info_deadline is not None:
            return
        changes = self.state.take_changes()
        if changes:
            self._context.pace.count(len(changes))
            try:
                self._send_changes(changes, self._time(None))
            except (TypeError, ValueError, RecursionError):
                # nothing has been sent of them
                self._send_changes(self.state.sayable(changes), self._time(None))
            self._leaves.changed(
                change.path for change in changes if change.value is not msgspec.UNSET
            )
            self._want_snapshot()

    def _send_changes(self, changes: list[Change], time: float) -> None:
        seq = self._seqs.get("change", 0) + 1
        payload = messages.encode(ChangeEvent(self._context.boot, seq, time, changes))
        if (
            len(payload) > min(BATCH_BYTES, self._room("event", "change"))
            and len(changes) > 1
        ):
            half = len(changes) // 2
            self._send_changes(changes[:half], time)
            self._send_changes(changes[half:], time)
        else:
            self._seqs["change"] = seq
            self._context.outbox.put(Message(self.topic("event", "change"), payload))

    def _changed(self) -> None:
        if not self._closed and "flush" not in self._timers:
            self._timers["flush"] = self._loop.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        """Flush at once when nothing is in flight, else with its acknowledgement.

        Above the limit of the change rate, gather for a moment.
        """
        self._cancel("flush")
        topic, fast = self.topic("event", "change"), self._context.pace.fast
        if (
            not (fast or self._context.outbox.busy(topic))
            or len(self.state.changes) >= BATCH_COUNT
        ):
            self.publish_change()
            return
        self._timers["flush"] = self._loop.call_later(FLUSH, self.publish_change)
        if not fast:
            self._context.outbox.when_idle(topic, self._acknowledged)

    def _acknowledged(self) -> None:
        """Flush what has gathered: the broker keeps up."""
        if "flush" in self._timers:
            self.publish_change()

    def _want_snapshot(self) -> None:
        if "snapshot" not in self._timers:
            pause = max(SNAPSHOT_INTERVAL, self._snapshot_size / SNAPSHOT_RATE)
            self._timers["snapshot"] = self._loop.call_at(
                self._snapshot_last + pause, self._publish_snapshot
            )

    def _publish_snapshot(self) -> None:
        self._cancel("snapshot")
        self._snapshot_last = self._loop.time()
        self._retained.publish("state")

    def _state_payload(self) -> bytes | None:
        """The snapshot as it is when it can be sent.

        Changes before it are flushed first, so its seq covers them.
        """
        if self._info_deadline is not None:
            self._want_snapshot()
            return None
        if self.state.changes:
            self.publish_change()
        snapshot = self.state.snapshot(
            self._context.boot, self._seqs.get("change", 0), self._time(None)
        )
        payload, left_out = fit(snapshot, self._room("state"))
        self._snapshot_size = len(payload)
        if left_out != self._truncated:
            self._truncated = left_out
            self._loop.call_soon(self._info_changed)
        return payload

    def _info_payload(self) -> bytes:
        info = self._description.info(
            self._context.topics.bridge,
            self.name,
            self._revision,
            self._context.boot,
            self._truncated,
        )
        return fit_info(info, self._room("info"))

    def _info_changed(self) -> None:
        now = self._loop.time()
        if self._info_deadline is None:
            self._info_deadline = now + INFO_LATEST
        self._cancel("info")
        self._timers["info"] = self._loop.call_at(
            min(now + INFO_QUIET, self._info_deadline), self._publish_info
        )

    def _publish_info(self) -> None:
        self._cancel("info")
        self._info_deadline = None
        self._revision = self._next_seq(REVISION)
        self._retained.publish("info", "status")
        if self.state.changes:
            self._changed()

    def _file(self, blob: str) -> str:
        """Return a file name that no other blob has."""
        number = self._next_seq(f"saved {blob}")
        words = (
            self.name,
            blob.replace("/", "."),
            self._context.boot,
            str(number),
            "bin",
        )
        return ".".join(words)

    def _room(self, channel: str, path: str = "") -> int:
        """Bytes of a payload that the broker takes on this topic."""
        return self._context.outbox.limit - len(self.topic(channel, path)) - OVERHEAD

    def _next_seq(self, name: str) -> int:
        self._seqs[name] = seq = self._seqs.get(name, 0) + 1
        return seq

    def _time(self, time: float | None) -> float:
        return round(self._context.now() if time is None else time, 6)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
