"""Commands under way.

Each has an id, and ends with its outcome, an error, or the end of our patience.
"""

import asyncio
import secrets
import time as clock
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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
Declared = TypeVar("Declared")


class _Call:
    """One command under way."""

    def __init__(self, device: str, target: str) -> None:
        self.device = device
        self.target = target
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Calls:
    """The commands of one client; `strays` counts outcomes of none of them."""

    def __init__(self, put: Callable[[Message], None], root: str, reply: str) -> None:
        self.strays = 0
        self._put = put
        self._root = root
        self._reply = reply
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
        sent = _without_absent(fields)
        id_ = sent.setdefault("_id", secrets.token_hex(8))
        if len(self._running) >= LIMIT or id_ in self._running:
            raise Overloaded(
                f"a command with id {id_!r} is under way, or {LIMIT} others are"
            )
        sent["_sent"] = round(clock.time(), 3)
        sent["_reply"] = self._reply
        payload = messages.encode(sent)
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
        """Take an outcome from our reply topic.

        Raise msgspec.MsgspecError for one that cannot be read; a command of ours whose
        id it has fails at once.
        """
        try:
            reply = _replies.decode(payload)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueError
            why = str(error) or "nested too deeply"
            self._fail_unread(payload, why)
            raise msgspec.DecodeError(why) from error
        call = None
        if isinstance(reply.id, str):
            call = self._running.get(reply.id)
        if call is None or call.answer.done() or not _belongs(reply, call):
            self.strays += 1
        elif reply.ok:
            result = None
            if reply.result is not UNSET:
                result = reply.result
            call.answer.set_result(result)
        elif reply.error is not UNSET:
            _fail(call, error_of(reply.error))
        else:
            what = f"{call.device} {call.target}"
            wrong = f"{what}: the outcome has neither result nor error"
            _fail(call, ProtocolError(wrong))

    def _fail_unread(self, payload: bytes, why: str) -> None:
        for id_, call in self._running.items():
            if messages.encode(id_) in payload:
                what = f"{call.device} {call.target}"
                wrong = f"{what}: the outcome cannot be read: {why}; it may be done"
                _fail(call, ProtocolError(wrong))

    def take_refused(self, message: Message, why: str) -> None:
        """Take that the broker refused a command."""
        for id_, call in self._running.items():
            topic = f"{self._root}/{call.device}/{call.target}"
            if topic == message.topic and messages.encode(id_) in message.payload:
                _fail(call, LinkLost(f"{call.device} {call.target}: {why}"))

    def fail(self, why: str, bridge: str | None = None) -> None:
        """End what is under way, of one bridge or all.

        It may have been done, and can be repeated with the same id.
        """
        error: type[LinkLost] = LinkLost
        if bridge is None:
            error = NotConnected
        for call in list(self._running.values()):
            if bridge is None or call.device.partition("/")[0] == bridge:
                what = f"{call.device} {call.target}"
                _fail(call, error(f"{what}: {why}; it may have been done"))


def read_result(what: str, result: Any, declared: type[Declared]) -> Declared:
    """Return the result of a command of ours as it is declared.

    Raise ProtocolError.
    """
    try:
        return msgspec.convert(result, declared)
    except msgspec.ValidationError as error:
        shown = messages.shown(messages.encode(result))
        text = f"{what}: the result is not as declared: {error}: {shown}"
        raise ProtocolError(text) from error


def _without_absent(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without metadata that are None."""
    given = dict(fields)
    for key in messages.METADATA:
        if given.get(key, key) is None:
            del given[key]
    return given


def _belongs(reply: Reply, call: _Call) -> bool:
    device = f"{reply.bridge}/{reply.device}"
    return device == call.device and reply.target == call.target


def _fail(call: _Call, error: BusbarError) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
        call.answer.exception()  # retrieved: whoever asked may have gone
