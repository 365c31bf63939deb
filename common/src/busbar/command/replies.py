"""Outcomes on their way out: the reply of a command, and where it goes.

Source: docs/contract.md, 3.5.
"""

import asyncio
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from busbar.command.request import Request
from busbar.contract import messages
from busbar.contract.messages import Reply, ReplyError
from busbar.errors import BusbarError, TooLarge
from busbar.mqtt.outbox import OVERHEAD, Message
from busbar.publish.device import BridgeContext

# bytes of a result that goes to the public reply beside a private one
PUBLIC_RESULT = 4096


class Replies:
    """Builds and sends the replies of one bridge."""

    def __init__(self, context: BridgeContext) -> None:
        self._context = context
        self._outbox = context.outbox
        self._topics = context.topics
        self._loop = asyncio.get_running_loop()

    def choose_topic(self, request: Request) -> None:
        """Note where the caller wants the reply; raise Forbidden elsewhere."""
        wanted = request.metadata.reply
        if wanted is None:
            wanted = request.received.response_topic
        if wanted is not None:
            request.private = self._topics.private_reply(wanted, request.device)

    def build(self, request: Request, result: Any, error: BusbarError | None) -> Reply:
        """Return the reply to a command, without its result where that is too large."""
        took = self._loop.time() - request.began
        failed: ReplyError | UnsetType = UNSET
        if error is not None:
            result = UNSET
            failed = ReplyError.of(error)
        reply = Reply(
            bridge=self._topics.bridge,
            device=request.device,
            id=request.metadata.id,
            target=request.target,
            ok=error is None,
            time=round(self._context.now(), 6),
            took=round(took, 6),
            result=result,
            error=failed,
            messages=tuple(request.messages) or UNSET,
        )
        return self._fitting(request, reply)

    def send(self, request: Request, reply: Reply) -> None:
        """Send a reply to the caller's own topic, if there is one, and the device's."""
        payload = messages.encode(reply)
        if request.private is not None:
            self._put(request, request.private, payload)
            if reply.ok and len(payload) > PUBLIC_RESULT:
                payload = messages.encode(_without_result(reply, len(payload)))
        self._put(request, self._public(request), payload)

    def _fitting(self, request: Request, reply: Reply) -> Reply:
        size = len(messages.encode(reply))
        room = self._room(request)
        if size <= room:
            return reply
        text = f"the result has {size} bytes; {room} can be sent"
        error = ReplyError.of(TooLarge(text, size=size, limit=room))
        return msgspec.structs.replace(reply, ok=False, result=UNSET, error=error)

    def _room(self, request: Request) -> int:
        """Return the bytes that a reply may have."""
        longest = len(self._public(request).encode())
        if request.private is not None:
            longest = max(longest, len(request.private.encode()))
        correlation = len(request.received.correlation or b"")
        return self._outbox.limit - OVERHEAD - longest - correlation

    def _public(self, request: Request) -> str:
        return self._topics.topic(request.device, "reply")

    def _put(self, request: Request, topic: str, payload: bytes) -> None:
        correlation = request.received.correlation
        born = self._loop.time()
        self._outbox.put(Message(topic, payload, correlation=correlation, born=born))


def _without_result(reply: Reply, size: int) -> Reply:
    return msgspec.structs.replace(reply, result=UNSET, size=size)
