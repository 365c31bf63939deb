"""Commands under way.

Each has an id, and ends with its outcome, an error, or the end of our patience.
"""

import asyncio
import logging
import math
import secrets
import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from busbar.client.types import NotConnected, Options, error_of
from busbar.contract import messages
from busbar.contract.messages import Reply
from busbar.contract.names import LEVEL
from busbar.errors import (
    BadRequest,
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
# metadata that must not outlast the call
BOUNDED = ("_ttl", "_wait", "_timeout")
# of the time left, at most so many s: kept for the bridge's answer, which knows more
# than that there was none
WAY_BACK = (0.1, 0.5)

log = logging.getLogger("busbar.client")

_replies = msgspec.json.Decoder(Reply)
Declared = TypeVar("Declared")


def ending(began: float, patience: float, options: Options) -> float:
    """Return when a command has to have ended (loop time); raise BadRequest.

    A stated `timeout` or `deadline` counts as stated, the earlier of both, whatever
    else there is. Without one: after all that the command may take, of which `patience`
    (s) is the device's.
    """
    _check(options)
    timeout = options.get("timeout")
    ends = options.get("deadline")
    if timeout is not None:
        ends = min(began + timeout, math.inf if ends is None else ends)
    if ends is not None:
        return ends
    ttl = options.get("ttl")
    if ttl is None:
        ttl = TTL
    return began + MARGIN + ttl + (options.get("wait") or 0.0) + patience


def _check(options: Options) -> None:
    """Raise BadRequest for options that mean no time."""
    given = {
        "ttl": options.get("ttl"),
        "wait": options.get("wait"),
        "timeout": options.get("timeout"),
    }
    for key, seconds in given.items():
        if seconds is not None and not 0 <= seconds <= messages.LONGEST:
            raise BadRequest(f"{key}: {seconds} is not 0 to {messages.LONGEST} s")
    deadline = options.get("deadline")
    if deadline is not None and not math.isfinite(deadline):
        raise BadRequest(f"deadline: {deadline} is not a time")


class _Call:
    """One command under way."""

    def __init__(self, device: str, target: str) -> None:
        self.device = device
        self.target = target
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Calls:
    """The commands of one client; `strays` counts outcomes of none of them."""

    def __init__(
        self,
        put: Callable[[Message], None],
        root: str,
        reply: str,
        *,
        withdraw: Callable[[Message], bool] = lambda _: False,
        told_of_refusals: bool = True,
    ) -> None:
        self.strays = 0
        self._put = put
        self._withdraw = withdraw
        self._root = root
        self._reply = reply
        self._unknown = "it may have been done"
        if not told_of_refusals:
            self._unknown += (
                ", or the broker may have refused it, which MQTT 3.1.1 does not tell: "
                "look at this user's rights"
            )
        self._running: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def run(
        self, device: str, target: str, fields: Mapping[str, Any], ends: float
    ) -> Any:
        """Send a command and return its result.

        Raise its error, LinkLost, DeviceTimeout when it has not ended by then (loop
        time).

        The metadata in `fields` are those of contract 2; None stands for absent.
        """
        if not all(map(LEVEL.fullmatch, target.split("/"))):
            raise UnknownTarget(
                f"{target!r:.200} is the name of no property or command"
            )
        what = f"{device} {target}"
        left = ends - asyncio.get_running_loop().time()
        if left <= 0:
            raise DeviceTimeout(f"{what}: no time is left; it was not sent")
        sent = _without_absent(fields)
        _bound(sent, left)
        id_ = sent.setdefault("_id", secrets.token_hex(8))
        if len(self._running) >= LIMIT or id_ in self._running:
            raise Overloaded(
                f"a command with id {id_!r} is under way, or {LIMIT} others are"
            )
        sent["_sent"] = round(clock.time(), 3)
        sent["_reply"] = self._reply
        message = Message(f"{self._root}/{device}/{target}", _encoded(what, sent))
        call = self._running[id_] = _Call(device, target)
        try:
            self._put(message)
            async with asyncio.timeout_at(ends):
                return await call.answer
        except asyncio.CancelledError:
            self._withdraw(message)
            raise
        except TimeoutError:
            became = self._unknown
            if self._withdraw(message):
                became = "it was not sent, the broker takes nothing"
            raise DeviceTimeout(
                f"{what}: no outcome within {round(left, 3):g} s; {became}"
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
            _log_messages(call, reply)
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

    def take_refused(self, message: Message, why: BusbarError) -> None:
        """Take that the broker refused a command."""
        for id_, call in self._running.items():
            topic = f"{self._root}/{call.device}/{call.target}"
            if topic == message.topic and messages.encode(id_) in message.payload:
                what = f"{call.device} {call.target}"
                _fail(call, type(why)(f"{what}: {why.message}"))

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


def _bound(sent: dict[str, Any], left: float) -> None:
    """Have nothing of a command outlast its caller, who waits for `left` s more."""
    share, seconds = WAY_BACK
    most = max(0.001, round(left - min(share * left, seconds), 3))
    for key in BOUNDED:
        if key in sent:
            sent[key] = min(sent[key], most)
    if most < TTL:
        sent.setdefault("_ttl", most)


def _encoded(what: str, sent: Mapping[str, Any]) -> bytes:
    """Return a command's payload; raise BadRequest, naming what JSON cannot say."""
    try:
        for where, number in _not_finite(sent):
            raise BadRequest(f"{what}: {where}{number} is not a finite number")
        return messages.encode(sent)
    except RecursionError as error:
        raise BadRequest(f"{what}: nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{what}: {error}") from error


def _not_finite(item: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Return the numbers that would be null in JSON, and where they are."""
    if isinstance(item, float) and not math.isfinite(item):
        yield where, item
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(item, Mapping):
        parts = item.items()
    elif isinstance(item, list | tuple):
        parts = enumerate(item)
    for key, part in parts:
        inner = where if key == "_value" else f"{where}{key}: "
        yield from _not_finite(part, inner)


def _log_messages(call: _Call, reply: Reply) -> None:
    """Log what the device said although the command succeeded."""
    if reply.messages is not UNSET:
        for text in reply.messages:
            log.warning("%s %s: %s", call.device, call.target, text)


def _belongs(reply: Reply, call: _Call) -> bool:
    device = f"{reply.bridge}/{reply.device}"
    return device == call.device and reply.target == call.target


def _fail(call: _Call, error: BusbarError) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
        call.answer.exception()  # retrieved: whoever asked may have gone
