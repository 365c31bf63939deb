"""One command: what came, what it asks for, validated before the device is touched.

Source: docs/contract.md, 2.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from busbar.command.idempotency import Key
from busbar.contract import messages
from busbar.contract.describe import Command, Description
from busbar.contract.messages import Metadata
from busbar.errors import BadRequest, BusbarError
from busbar.link.arbiter import Turn
from busbar.link.open_link import OpenLink
from busbar.mqtt.reconnect import Received
from busbar.publish.device import DevicePublisher

MESSAGES = 8  # of a device that go with an outcome
MESSAGE_LENGTH = 1000  # characters of one


@dataclass(eq=False)
class Request:
    """One command from receipt to outcome."""

    received: Received
    device: str
    target: str
    began: float  # loop time
    metadata: Metadata = field(default_factory=Metadata)
    private: str | None = None
    # the task runs; cancelled before that it could not give an outcome
    entered: bool = False
    started: bool = False  # the device may have been touched
    link: OpenLink | None = None  # that it runs on
    task: "asyncio.Task[None] | None" = None
    ended_by: BusbarError | None = None
    key: Key | None = None
    messages: list[str] = field(default_factory=list)  # of the device meanwhile

    def keep_message(self, text: str) -> None:
        """Keep what the device said, for the outcome; the first few."""
        if len(self.messages) < MESSAGES:
            self.messages.append(text[:MESSAGE_LENGTH])

    def end(self, error: BusbarError) -> None:
        """Stop it; the error becomes its outcome."""
        if self.ended_by is None:
            self.ended_by = error
            if self.task is not None and self.entered:
                self.task.cancel()


@dataclass
class Job:
    """A validated command: what to run once the channel is ours."""

    run: Callable[[Any, Any], Awaitable[Any]]  # (session, turn)
    timeout: float  # s at most
    arguments: object  # for the comparison of ids
    command: Command | None = None  # None: a set

    @property
    def safe(self) -> bool:
        return self.command is not None and self.command.safe


@dataclass(frozen=True)
class Claim:
    """The caller's lease and patience (s), for what the bridge itself answers."""

    lease: str | None
    wait: float

    @classmethod
    def of(cls, metadata: Metadata) -> "Claim":
        return cls(metadata.lease, metadata.wait or 0.0)


def read(device: DevicePublisher, request: Request) -> tuple[Job, Metadata]:
    """Validate everything that can be known before the device is touched."""
    kind, _, path = request.target.partition("/")
    if kind == "call":
        return _read_call(device, path, request)
    values, metadata = _read_set(device, path, request.received.payload)

    async def run(session: Any, turn: Turn) -> Any:
        if path:
            return await session.set(device.name, path, values[path], turn)
        return await _set_all(session, device.name, values, turn)

    return Job(run, device.description.timeout, values), metadata


def _read_call(
    device: DevicePublisher, name: str, request: Request
) -> tuple[Job, Metadata]:
    command = device.description.command(name)
    arguments, metadata = command.read(request.received.payload)

    async def run(session: Any, turn: Any) -> Any:
        return await command.run(session, device.name, arguments, turn)

    async def answer(_session: None, turn: Any) -> Any:
        return await command.run(device.name, arguments, turn)

    return Job(
        run if command.queued else answer, command.timeout, arguments, command
    ), metadata


def _read_set(
    device: DevicePublisher, path: str, payload: bytes
) -> tuple[dict[str, Any], Metadata]:
    description = device.description
    if path:
        value, metadata = description.writable(path).set_reader.payload(payload)
        return {path: value}, metadata
    fields = messages.decode(payload)
    if not isinstance(fields, dict):
        raise BadRequest(
            f"`set` takes an object of property paths and values, not "
            f"{messages.shown(payload)}"
        )
    own, metadata = messages.take_metadata(fields)
    if not own:
        raise BadRequest("`set` names no property")
    return {
        key: _value(description, key, value) for key, value in own.items()
    }, metadata


def _value(description: Description, path: str, value: Any) -> Any:
    try:
        return description.writable(path).set_reader.value(value)
    except BusbarError as error:
        raise type(error)(f"{path}: {error.message}", failed=path) from error


async def _set_all(
    session: Any, device: str, values: Mapping[str, Any], turn: Turn
) -> dict[str, Any]:
    """Write several properties in order.

    The first failure stops and tells what had been applied.
    """
    results: dict[str, Any] = {}
    for path, value in values.items():
        try:
            results[path] = await session.set(device, path, value, turn)
        except BusbarError as error:
            error.detail.update(applied=list(results), failed=path)
            raise
    return results


def peek(payload: bytes) -> Metadata:
    """Return what can be read of the metadata of a command that is refused.

    So its outcome finds its sender.
    """
    if payload[:1] != b"{" and not messages.is_msgpack_map(payload):
        return Metadata()
    try:
        fields = messages.decode(payload[: messages.COMMAND_LIMIT])
        found = {key: fields[key] for key in ("_id", "_reply") if key in fields}
        return messages.take_metadata(found)[1]
    except (BadRequest, TypeError):
        return Metadata()
