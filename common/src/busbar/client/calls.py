"""Commands under way.

Each has an id of ours, and ends with its outcome, an error, or the end of our patience.
"""

import asyncio
import secrets
import time as clock
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from busbar.client.types import NotConnected, error_of
from busbar.contract import messages
from busbar.contract.messages import Reply
from busbar.contract.names import LEVEL
from busbar.errors import (
    BusbarError,
    DeviceTimeout,
    LinkLost,
    Overloaded,
    ProtocolError,
    UnknownTarget,
)
from busbar.mqtt.outbox import Message

LIMIT = 10_000  # commands under way
MARGIN = 5.0  # s for the way there and back
# s that a command may wait before it starts, unless it says otherwise (contract 2)
TTL = 10.0

_replies = msgspec.json.Decoder(Reply)


class _Call:
    """One command under way."""

    def __init__(self, device: str, target: str) -> None:
        self.device, self.target = device, target
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Calls:
    """The commands of one client; `strays` counts outcomes that none of them asked for."""

    def __init__(self, put: Callable[[Message], None], root: str, reply: str) -> None:
        self.strays = 0
        self._put, self._root, self._reply = put, root, reply
        self._running: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def run(
        self, device: str, target: str, fields: Mapping[str, Any], patience: float
    ) -> Any:
        """Send a command and return its result.

        Raise its error, LinkLost, DeviceTimeout after `patience` (s).

        The metadata in `fields` are those of contract 2; None stands for absent.
        """
        if not all(map(LEVEL.fullmatch, target.split("/"))):
            raise UnknownTarget(
                f"{target!r:.200} is the name of no property or command"
            )
        absent = {
            key
            for key, value in fields.items()
            if value is None and key in messages.METADATA
        }
        metadata = {key: value for key, value in fields.items() if key not in absent}
        id_ = metadata.setdefault("_id", secrets.token_hex(8))
        if len(self._running) >= LIMIT or id_ in self._running:
            raise Overloaded(
                f"a command with id {id_!r} is under way, or {LIMIT} others are"
            )
        payload = messages.encode(
            {**metadata, "_sent": round(clock.time(), 3), "_reply": self._reply}
        )
        call = self._running[id_] = _Call(device, target)
        try:
            self._put(Message(f"{self._root}/{device}/{target}", payload))
            async with asyncio.timeout(patience):
                return await call.answer
        except TimeoutError:
            raise DeviceTimeout(
                f"{device} {target}: no outcome within {patience:g} s; it may have "
                f"been done"
            ) from None
        finally:
            del self._running[id_]

    def take(self, payload: bytes) -> None:
        """Take an outcome from our reply topic; raise msgspec.MsgspecError."""
        try:
            reply = _replies.decode(payload)
        except RecursionError as error:
            raise msgspec.DecodeError("nested too deeply") from error
        call = self._running.get(reply.id) if isinstance(reply.id, str) else None
        if (
            call is None
            or call.answer.done()
            or (call.device, call.target) != (_name(reply), reply.target)
        ):
            self.strays += 1
        elif reply.ok:
            call.answer.set_result(None if reply.result is UNSET else reply.result)
        elif reply.error is not UNSET:
            _fail(call, error_of(reply.error))
        else:
            _fail(
                call,
                ProtocolError(
                    f"{call.device} {call.target}: the outcome "
                    f"has neither result nor error"
                ),
            )

    def refused(self, message: Message, why: str) -> None:
        """Take that the broker did not take a command."""
        for id_, call in self._running.items():
            if (
                f"{self._root}/{call.device}/{call.target}" == message.topic
                and messages.encode(id_) in message.payload
            ):
                _fail(call, LinkLost(f"{call.device} {call.target}: {why}"))

    def fail(self, why: str, bridge: str | None = None) -> None:
        """End what is under way, of one bridge or all.

        It may have been done, and can be repeated with the same id.
        """
        for call in list(self._running.values()):
            if bridge is None or call.device.partition("/")[0] == bridge:
                error = NotConnected if bridge is None else LinkLost
                _fail(
                    call,
                    error(f"{call.device} {call.target}: {why}; it may have been done"),
                )


def _name(reply: Reply) -> str:
    return f"{reply.bridge}/{reply.device}"


def _fail(call: _Call, error: BusbarError) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
        call.answer.exception()  # retrieved: whoever asked may have gone
