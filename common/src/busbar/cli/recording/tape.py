"""Recordings as MCAP files: every message with its time, and the contract's schemas.

A channel of the file is a topic together with its MQTT properties; payloads are kept
byte by byte. Source: mcap.dev/spec.
"""

import json
import os
import struct
import threading
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader
from mcap.records import Channel, Message, Metadata
from mcap.stream_reader import StreamReader
from mcap.writer import Writer
from zstandard import ZstdError

from busbar.cli.schemas import generate
from busbar.contract.messages import CONTRACT
from busbar.contract.topics import REPLY
from busbar.errors import ConfigError
from busbar.mqtt.reconnect import Received

PROFILE = "busbar"
METADATA = "busbar"
CHUNK = 256 * 1024  # bytes that a power cut may cost, compressed together
CHANNELS_LIMIT = 65_535  # of the format
_BYTES = "application/octet-stream"
_BY_CHANNEL = {
    "status": "status",
    "info": "info",
    "state": "state",
    "reply": "reply",
    "set": "set",
}
_BY_PATH = {
    "event/change": "event-change",
    "event/progress": "event-progress",
    "event/log": "event-log",
    "state/_lock": "lock-state",
}
_BY_PREFIX = {"event/": "event", "set/": "set-property"}
# contract 1; a live message comes without its flag
_RETAINED = ("status", "info", "state")
# mcap passes on what it meets in a cut or damaged file.
_BROKEN = (
    McapError,
    ValueError,
    OSError,
    LookupError,
    struct.error,
    ZstdError,
    MemoryError,
    OverflowError,
)


class Taped(NamedTuple):
    """One recorded message; `time` is Unix time (s) of its arrival."""

    time: float
    topic: str
    payload: bytes
    retain: bool
    content_type: str | None


class Recorder:
    """A file being written: left = complete.

    What was flushed can be read whatever happens.
    """

    def __init__(self, path: Path, root: str, broker: str) -> None:
        self.messages = 0
        self.bytes = 0
        self._path = path
        self._root = root
        self._about = {
            "root": root,
            "broker": broker,
            "contract": str(CONTRACT),
            "started": f"{clock.time():.6f}",
        }
        self._channels: dict[tuple[Any, ...], int] = {}
        self._schemas: dict[str, int] = {}
        self._last = 0
        self._lock = threading.Lock()
        self._flushed = clock.monotonic()

    def __enter__(self) -> Self:
        # it holds all that was said, commands included: for its owner alone
        self._file = open(self._path, "xb", opener=_open_private)
        self._writer = Writer(self._file, chunk_size=CHUNK)
        self._writer.start(profile=PROFILE, library="busbar")
        self._writer.add_metadata(METADATA, self._about)
        self._texts = generate.documents(generate.services())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock, self._file:
            self._writer.finish()  # type: ignore[no-untyped-call]  # mcap has no annotation there

    def write(self, batch: Sequence[tuple[int, Received]], flush: float) -> None:
        """Add messages with their times (Unix ns), on any thread.

        Flush if the last time was `flush` s ago. Raise OSError, ConfigError.
        """
        with self._lock:
            for time, received in batch:
                self.take(received, time)
            if clock.monotonic() - self._flushed >= flush:
                self._flushed = clock.monotonic()
                self.flush()

    def take(self, received: Received, time: int | None = None) -> None:
        """Add a message with its time (Unix ns), now if None; raise OSError."""
        # the order of arrival, whatever the clock does
        now = max(self._last + 1, clock.time_ns() if time is None else time)
        self._last = now
        self.messages += 1
        self.bytes += len(received.payload)
        channel = self._channel(received)
        self._writer.add_message(
            channel,
            log_time=now,
            publish_time=now,
            data=received.payload,
            sequence=self.messages,
        )

    def flush(self) -> None:
        """Have the file hold all that came so far; raise OSError."""
        self._writer.flush()  # type: ignore[no-untyped-call]  # mcap has no annotation there

    def _channel(self, received: Received) -> int:
        below = received.topic.removeprefix(f"{self._root}/")
        path = "reply" if below.startswith(f"{REPLY}/") else below.split("/", 2)[-1]
        encoding = _encoding(received, path)
        retain = received.retain or path.split("/")[0] in _RETAINED
        key = (received.topic, encoding, retain, received.content_type)
        if key not in self._channels:
            if len(self._channels) >= CHANNELS_LIMIT:
                raise ConfigError(
                    f"more than {CHANNELS_LIMIT} topics do not fit into one "
                    "recording; choose fewer devices"
                )
            about = {
                "retain": str(retain).lower(),
                "content_type": received.content_type or "",
            }
            schema = self._schema(path) if encoding == "json" else 0
            self._channels[key] = self._writer.register_channel(
                received.topic, encoding, schema, about
            )
        return self._channels[key]

    def _schema(self, path: str) -> int:
        name = self._schema_name(path)
        if name not in self._texts:
            return 0
        if name not in self._schemas:
            text = json.dumps(self._texts[name]).encode()
            self._schemas[name] = self._writer.register_schema(
                f"busbar.{name}", "jsonschema", text
            )
        return self._schemas[name]

    def _schema_name(self, path: str) -> str:
        name = _BY_PATH.get(path) or _BY_CHANNEL.get(path) or path.replace("/", "-")
        if name in self._texts:
            return name
        for prefix, general in _BY_PREFIX.items():
            if path.startswith(prefix):
                return general
        return ""


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _encoding(received: Received, path: str) -> str:
    """Return the message encoding: what a payload is, not what it ought to be."""
    if not received.payload:
        return ""
    if path.startswith("blob/"):
        return received.content_type or _BYTES
    if received.content_type == "application/msgpack":
        return "msgpack"
    try:
        msgspec.json.decode(received.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _BYTES
    return "json"


def about(path: Path) -> tuple[Mapping[str, str], dict[str, int], bool]:
    """Return metadata, topics with counts, and whether a recording is complete.

    Raise ConfigError.
    """
    found: dict[str, str] = {}
    topics: dict[str, int] = {}
    complete = True
    with path.open("rb") as file:
        channels: dict[int, str] = {}
        try:
            for record in StreamReader(
                file, validate_crcs=True, record_size_limit=_size(path)
            ).records:
                if isinstance(record, Metadata):
                    if record.name == METADATA:
                        found |= record.metadata
                elif isinstance(record, Channel):
                    channels[record.id] = record.topic
                elif isinstance(record, Message):
                    topic = channels[record.channel_id]
                    topics[topic] = topics.get(topic, 0) + 1
        except _BROKEN as error:
            if not topics and not found:
                raise ConfigError(
                    f"{path} is no recording: {error or 'it ends too early'}"
                ) from error
            complete = False
    return found, topics, complete


def messages(path: Path) -> Iterator[Taped]:
    """Return the messages of a recording in order, as far as it can be read."""
    with path.open("rb") as file:
        try:
            reader = NonSeekingReader(
                file, validate_crcs=True, record_size_limit=_size(path)
            )
            for _, channel, message in reader.iter_messages(log_time_order=False):
                properties = channel.metadata
                yield Taped(
                    message.log_time / 1e9,
                    channel.topic,
                    message.data,
                    properties.get("retain") == "true",
                    properties.get("content_type") or None,
                )
        except _BROKEN:
            return  # it ends in the middle; `about` says so


def _size(path: Path) -> int:
    """Return how long a record can be (bytes).

    A length that is damaged must not fill the memory.
    """
    return path.stat().st_size
