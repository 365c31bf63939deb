"""Commands of one bridge: from a message on a command topic to its outcome.

Source: docs/contract.md, 2 and 3.5.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Protocol

from busbar.command.execution import Execution, ttl_of
from busbar.command.idempotency import SHORTEST_ID, RememberedOutcomes
from busbar.command.replies import Replies
from busbar.command.request import Claim, Job, Request, peek, read
from busbar.contract.messages import COMMAND_LIMIT
from busbar.contract.names import LEVEL
from busbar.contract.topics import Address
from busbar.errors import (
    BusbarError,
    Cancelled,
    Expired,
    Forbidden,
    InternalError,
    LinkLost,
    Offline,
    Overloaded,
    RetainedCommand,
    TooLarge,
    UnknownTarget,
)
from busbar.link.open_link import OpenLink
from busbar.link.session import is_cancelled
from busbar.mqtt.reconnect import Received
from busbar.publish.device import BridgeContext, DevicePublisher

log = logging.getLogger("busbar.commands")

SENT_MARGIN = 5.0  # s between clocks
PENDING_LIMIT = 2000  # commands of one bridge at once
SAFE_ROOM = 100  # more, for what must get through
MAYBE_EXECUTED = "the command may have been executed"


class Registry(Protocol):
    """Where commands find devices."""

    def find(self, device: str) -> tuple[DevicePublisher, OpenLink] | None: ...


class CommandDispatcher:
    """All commands of one bridge; `limit` is the most bytes that a command may have."""

    def __init__(
        self,
        context: BridgeContext,
        registry: Registry,
        clock_synchronised: Callable[[], bool],
        limit: int = COMMAND_LIMIT,
    ) -> None:
        self.limit = limit
        self.received = 0
        self._context = context
        self._registry = registry
        self._synchronised = clock_synchronised
        self._loop = asyncio.get_running_loop()
        self._outcomes = RememberedOutcomes(self._loop.time)
        self._replies = Replies(context)
        self._requests: set[Request] = set()
        self._closed = False

    def accept(self, received: Received, address: Address) -> None:
        """Take one message from a command topic; its outcome follows on `reply`."""
        if not received.payload:
            return  # how a retained message is cleared
        self.received += 1
        if not LEVEL.fullmatch(address.device):
            shown = address.device[:100]
            log.warning("command to %r ignored: not a device name", shown)
            return
        target = "/".join(part for part in (address.channel, address.path) if part)
        request = Request(received, address.device, target, self._loop.time())
        if self._closed:
            self._reply(request, error=Offline("the bridge stops"))
        elif self._is_full_for(request):
            error = Overloaded(f"{PENDING_LIMIT} commands are under way")
            self._reply(request, error=error)
        else:
            self._start(request)

    def cancel(self, device: str, id_: str | int) -> int:
        """End the waiting and running commands with an id; return how many."""
        count = 0
        for request in self._requests:
            if request.device == device and request.metadata.id == id_:
                request.end(Cancelled("cancelled by request"))
                count += 1
        return count

    def runs_on(self, link: OpenLink) -> bool:
        """Return whether a command runs on a session of this link."""
        return any(request.link is link for request in self._requests)

    def on_session_ended(self, link: OpenLink) -> None:
        """Fail what ran on a session that is over."""
        error = LinkLost(f"the connection to the device broke; {MAYBE_EXECUTED}")
        for request in self._requests:
            if request.link is link and request.started:
                request.end(error)

    def on_device_closed(self, device: str) -> None:
        """Fail the commands of a device that leaves the bus."""
        why = "the device leaves the bus"
        for request in self._requests:
            if request.device != device:
                continue
            if request.started:
                request.end(LinkLost(f"{why}; {MAYBE_EXECUTED}"))
            else:
                request.end(Offline(why))

    async def close(self, patience: float) -> None:
        """Let running commands finish for a moment, then fail the rest."""
        self._closed = True
        own = asyncio.current_task()
        others = [each for each in self._requests if each.task is not own]
        tasks = [each.task for each in others if each.task is not None]
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=patience)
        for request in others:
            request.end(Cancelled("the bridge stops"))
        await asyncio.wait(tasks, timeout=patience)

    def _is_full_for(self, request: Request) -> bool:
        limit = PENDING_LIMIT
        if self._passes(request):
            limit += SAFE_ROOM
        return len(self._requests) >= limit

    def _passes(self, request: Request) -> bool:
        """Return whether a command must get through a crowd.

        Safe commands must, and those that never queue.
        """
        found = self._registry.find(request.device)
        if found is None:
            return False
        name = request.target.removeprefix("call/")
        command = found[0].description.commands.get(name)
        return command is not None and (command.safe or not command.queued)

    def _start(self, request: Request) -> None:
        self._requests.add(request)
        name = f"{request.device}/{request.target}"
        request.task = self._loop.create_task(self._serve(request), name=name)

    async def _serve(self, request: Request) -> None:
        request.entered = True
        try:
            if request.ended_by is not None:
                raise request.ended_by
            result = await self._carry_out(request)
            if result is not _ANSWERED:
                self._reply(request, result=result)
        except asyncio.CancelledError:
            if request.ended_by is None and is_cancelled():
                raise
            awaited = InternalError("a task that it waited for was cancelled")
            self._reply(request, error=request.ended_by or awaited)
        except BusbarError as error:
            self._reply(request, error=error)
        except Exception as error:
            # `internal` is part of the contract: our bug costs this command only
            log.exception("%s %s failed", request.device, request.target)
            what = f"{type(error).__name__}: {error}"
            self._reply(request, error=InternalError(what))
        finally:
            self._requests.discard(request)

    async def _carry_out(self, request: Request) -> Any:
        try:
            device, link = self._admit(request)
            job, metadata = read(device, request)
        except BusbarError:
            request.metadata = peek(request.received.payload)
            with contextlib.suppress(Forbidden):  # the first reason counts
                self._replies.choose_topic(request)
            raise
        request.metadata = metadata
        self._replies.choose_topic(request)
        self._check_age(request)
        if await self._answer_again(request, job):
            return _ANSWERED
        if job.command is not None and not job.command.queued:
            return await job.run(None, Claim.of(request.metadata))
        execution = Execution(request, job, device, link, self._interrupt)
        return await execution.run()

    def _admit(self, request: Request) -> tuple[DevicePublisher, OpenLink]:
        """Return the device of a command; raise why it is refused unread."""
        received = request.received
        if received.retain:
            self._context.outbox.clear(received.topic)
            text = "a retained command is not executed; it has been cleared"
            raise RetainedCommand(text)
        if len(received.payload) > self.limit:
            size = len(received.payload)
            raise TooLarge(f"{size} bytes; a command may have {self.limit}")
        found = self._registry.find(request.device)
        if found is None:
            raise UnknownTarget(f"no device {request.device!r} on this bridge")
        return found

    def _check_age(self, request: Request) -> None:
        sent = request.metadata.sent
        if sent is None or not self._synchronised():
            return
        age, ttl = self._context.now() - sent, ttl_of(request)
        if age > ttl + SENT_MARGIN:
            text = f"sent {age:.1f} s ago, more than its time to live of {ttl:g} s"
            raise Expired(text)

    async def _answer_again(self, request: Request, job: Job) -> bool:
        """Send the outcome of a command with an id that has been used, if it has."""
        id_ = request.metadata.id
        if not isinstance(id_, str) or len(id_) < SHORTEST_ID:
            return False
        key = (request.device, request.target, id_)
        outcome = self._outcomes.begin(key, job.arguments)
        if outcome is None:
            request.key = key
            return False
        self._replies.send(request, await asyncio.shield(outcome))
        return True

    def _interrupt(self, link: OpenLink, name: str) -> None:
        """End what runs on a link: a command that interrupts wants it."""
        for request in self._requests:
            if request.link is link and request.started:
                request.end(Cancelled(f"interrupted by {name}"))

    def _reply(
        self, request: Request, *, result: Any = None, error: BusbarError | None = None
    ) -> None:
        reply = self._replies.build(request, result, error)
        if request.key is not None:
            keep = request.started or error is None
            self._outcomes.finish(request.key, reply, keep=keep)
        self._flush_changes(request.device)
        self._replies.send(request, reply)

    def _flush_changes(self, name: str) -> None:
        """Send what a command has changed before its outcome.

        Whoever has the outcome finds the new values.
        """
        found = self._registry.find(name)
        if found is not None:
            found[0].publish_change()


_ANSWERED = object()  # the outcome of an earlier command has been sent
