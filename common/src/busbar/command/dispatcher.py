"""From a message on a command topic to its outcome.

Parse, validate, lock, queue, run, reply.

Source: docs/contract.md, 2 and 3.5.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from busbar.command.idempotency import SHORTEST_ID, Outcomes
from busbar.command.request import Claim, Job, Request, peek, read
from busbar.contract import messages
from busbar.contract.messages import Reply, ReplyError
from busbar.contract.names import LEVEL
from busbar.contract.topics import Address
from busbar.errors import (
    BusbarError,
    Cancelled,
    DeviceTimeout,
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
from busbar.link.arbiter import Priority, Turn, held
from busbar.link.open_link import Channel
from busbar.link.session import is_cancelled
from busbar.mqtt.outbox import OVERHEAD, Message
from busbar.mqtt.reconnect import Received
from busbar.publish.device import Bus, Device

log = logging.getLogger("busbar.commands")

TTL = 10.0  # s that a command may wait unless it says otherwise
SENT_MARGIN = 5.0  # s between clocks
# s beyond the caller's `_timeout`, in which a session can say more than "no answer"
GRACE = 2.0
PENDING_LIMIT = 2000  # commands of one bridge at once
SAFE_ROOM = 100  # more, for what must get through
# bytes of a result that goes to the public reply beside a private one
PUBLIC_RESULT = 4096


class Registry(Protocol):
    """Where commands find devices."""

    def find(self, device: str) -> tuple[Device, Channel] | None: ...


class Commands:
    """All commands of one bridge."""

    def __init__(
        self, bus: Bus, registry: Registry, clock_synchronised: Callable[[], bool]
    ) -> None:
        self.limit = messages.COMMAND_LIMIT
        self.received = 0
        self._bus, self._registry, self._synchronised = (
            bus,
            registry,
            clock_synchronised,
        )
        self._loop = asyncio.get_running_loop()
        self._outcomes = Outcomes(self._loop.time)
        self._requests: set[Request] = set()
        self._closed = False

    def accept(self, received: Received, address: Address) -> None:
        """Take one message from a command topic; its outcome follows on `reply`."""
        if not received.payload:
            return  # how a retained message is cleared
        self.received += 1
        target = (
            f"{address.channel}/{address.path}" if address.path else address.channel
        )
        request = Request(received, address.device, target, self._loop.time())
        if not LEVEL.fullmatch(address.device):
            log.warning(
                ("command to %r ignored: not a device name"), address.device[:100]
            )
            return
        if self._closed:
            self._reply(request, error=Offline("the bridge stops"))
            return
        if len(self._requests) >= PENDING_LIMIT + (
            SAFE_ROOM if self._passes(request) else 0
        ):
            self._reply(
                request, error=Overloaded(f"{PENDING_LIMIT} commands are under way")
            )
            return
        self._requests.add(request)
        request.task = self._loop.create_task(
            self._serve(request), name=f"{request.device}/{target}"
        )

    def _passes(self, request: Request) -> bool:
        """True for what must get through a crowd.

        Safe commands, and those that never queue.
        """
        found = self._registry.find(request.device)
        command = (
            found[0].description.commands.get(request.target.removeprefix("call/"))
            if found
            else None
        )
        return command is not None and (command.safe or not command.queued)

    def cancel(self, device: str, id_: str | int) -> int:
        """End the waiting and running commands with an id; return how many."""
        found = [
            r for r in self._requests if r.device == device and r.metadata.id == id_
        ]
        for request in found:
            request.end(Cancelled("cancelled by request"))
        return len(found)

    def channel_ended(self, channel: Channel) -> None:
        """Fail what ran on a session that is over."""
        for request in self._requests:
            if request.channel is channel and request.started:
                request.end(
                    LinkLost(
                        "the connection to the device broke; the command may have "
                        "been "
                        "executed"
                    )
                )

    def run_on(self, channel: Channel) -> bool:
        """True while a command runs on a session of this link."""
        return any(request.channel is channel for request in self._requests)

    def device_closed(self, device: str) -> None:
        """Fail the commands of a device that leaves the bus."""
        for request in self._requests:
            if request.device == device:
                why = "the device leaves the bus"
                request.end(
                    LinkLost(f"{why}; the command may have been executed")
                    if request.started
                    else Offline(why)
                )

    async def close(self, patience: float) -> None:
        """Let running commands finish for a moment, then fail the rest."""
        self._closed = True
        own = asyncio.current_task()
        tasks = [r.task for r in self._requests if r.task and r.task is not own]
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for request in list(self._requests):
            if request.task is not own:
                request.end(Cancelled("the bridge stops"))
        if tasks:
            await asyncio.wait(tasks, timeout=patience)

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
            self._reply(
                request,
                error=request.ended_by
                or InternalError("a task that it waited for was cancelled"),
            )
        except BusbarError as error:
            self._reply(request, error=error)
        except Exception as error:
            # `internal` is part of the contract: our bug costs this command only
            log.exception("%s %s failed", request.device, request.target)
            self._reply(
                request, error=InternalError(f"{type(error).__name__}: {error}")
            )
        finally:
            self._requests.discard(request)

    async def _carry_out(self, request: Request) -> Any:
        received = request.received
        try:
            if received.retain:
                self._bus.outbox.clear(received.topic)
                raise RetainedCommand(
                    "a retained command is not executed; it has been cleared"
                )
            if len(received.payload) > self.limit:
                raise TooLarge(
                    f"{len(received.payload)} bytes; a command may have {self.limit}"
                )
            found = self._registry.find(request.device)
            if found is None:
                raise UnknownTarget(f"no device {request.device!r} on this bridge")
            device, channel = found
            job, metadata = read(device, request)
        except BusbarError:
            request.metadata = peek(received.payload)
            with contextlib.suppress(Forbidden):  # the first reason counts
                self._take_reply_topic(request)
            raise
        request.metadata = metadata
        self._take_reply_topic(request)
        self._check_age(request)
        if await self._is_repeated(request, job):
            return _ANSWERED
        if job.command is not None and not job.command.queued:
            return await job.run(None, Claim.of(request.metadata))
        return await self._queue(request, job, device, channel)

    def _take_reply_topic(self, request: Request) -> None:
        wanted = (
            request.metadata.reply
            if request.metadata.reply is not None
            else request.received.response_topic
        )
        if wanted is not None:
            request.private = self._bus.topics.private_reply(wanted, request.device)

    def _ttl(self, request: Request) -> float:
        if request.metadata.ttl is not None:
            return request.metadata.ttl
        return request.received.expiry if request.received.expiry is not None else TTL

    def _check_age(self, request: Request) -> None:
        sent = request.metadata.sent
        if sent is not None and self._synchronised():
            age = self._bus.now() - sent
            if age > self._ttl(request) + SENT_MARGIN:
                raise Expired(
                    f"sent {age:.1f} s ago, more than its time to live of "
                    f"{self._ttl(request):g} s"
                )

    async def _is_repeated(self, request: Request, job: Job) -> bool:
        """Answer a command with an id that has been used: its outcome is sent again."""
        id_ = request.metadata.id
        if not isinstance(id_, str) or len(id_) < SHORTEST_ID:
            return False
        key = (request.device, request.target, id_)
        outcome = self._outcomes.begin(key, job.arguments)
        if outcome is None:
            request.key = key
            return False
        self._send(request, await asyncio.shield(outcome))
        return True

    async def _queue(
        self, request: Request, job: Job, device: Device, channel: Channel
    ) -> Any:
        metadata, wait = request.metadata, request.metadata.wait or 0.0
        ttl = self._ttl(request)
        deadline = request.began + ttl
        while True:
            if not job.safe:
                asked = self._loop.time()
                await channel.leases.admit(device.name, metadata.lease, wait)
                waited = self._loop.time() - asked
                deadline, wait = deadline + waited, max(0.0, wait - waited)
            limit = asyncio.timeout_at(deadline)
            try:
                async with limit:
                    await channel.ready(device)
                    self._interrupt(job, channel)
                    await channel.arbiter.acquire(
                        Priority.SAFE if job.safe else Priority.COMMAND
                    )
            except TimeoutError as error:
                raise Expired(f"waited {ttl:g} s and was not started") from error
            if (
                job.safe
                or wait <= 0
                or channel.leases.admits(device.name, metadata.lease)
            ):
                return await self._run(request, job, device, channel)
            channel.arbiter.release()

    def _interrupt(self, job: Job, channel: Channel) -> None:
        if job.command is not None and job.command.interrupts:
            for request in self._requests:
                if request.channel is channel and request.started:
                    request.end(Cancelled(f"interrupted by {job.command.name}"))

    async def _run(
        self, request: Request, job: Job, device: Device, channel: Channel
    ) -> Any:
        """Run with the channel in our hands."""
        async with held(channel.arbiter) as release:
            if not job.safe:
                channel.leases.check(device.name, request.metadata.lease)
            if channel.session is None or device.refused or device.silent:
                raise Offline("the device went offline before the command could start")
            asked = request.metadata.timeout and min(
                job.timeout, request.metadata.timeout
            )
            timeout = min(job.timeout, (asked or job.timeout) + GRACE)
            turn = Turn(
                asked,
                release,
                lambda fraction, message: self._progress(
                    request, device, fraction, message
                ),
                lambda key, then: channel.leases.when_ended(
                    request.metadata.lease, key, then
                ),
            )
            request.channel, request.started = channel, True
            limit = asyncio.timeout(timeout)
            try:
                async with limit:
                    return await job.run(channel.session, turn)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise DeviceTimeout(f"no outcome within {timeout:g} s") from error
            finally:
                channel.used()

    def _progress(
        self, request: Request, device: Device, fraction: float | None, message: str
    ) -> None:
        fields = {
            "id": request.metadata.id,
            "target": request.target,
            "fraction": fraction,
            "message": message,
        }
        device.event("progress", fields)

    def _reply(
        self, request: Request, *, result: Any = None, error: BusbarError | None = None
    ) -> None:
        reply = Reply(
            bridge=self._bus.topics.bridge,
            device=request.device,
            id=request.metadata.id,
            target=request.target,
            ok=error is None,
            time=round(self._bus.now(), 6),
            took=round(self._loop.time() - request.began, 6),
            result=UNSET if error else result,
            error=ReplyError.of(error) if error else UNSET,
        )
        reply = self._fitting(request, reply)
        if request.key is not None:
            self._outcomes.finish(
                request.key, reply, keep=request.started or error is None
            )
        self._flush(request.device)
        self._send(request, reply)

    def _flush(self, name: str) -> None:
        """Send what a command has changed before its outcome.

        Who has the outcome finds the new values.
        """
        found = self._registry.find(name)
        if found is not None:
            found[0].publish_change()

    def _fitting(self, request: Request, reply: Reply) -> Reply:
        """Replace a result that is too large to send."""
        size = len(messages.encode(reply))
        longest = max(len(topic.encode()) for topic in self._reply_topics(request))
        room = (
            self._bus.outbox.limit
            - OVERHEAD
            - longest
            - len(request.received.correlation or b"")
        )
        if size <= room:
            return reply
        error = TooLarge(
            (f"the result has {size} bytes; {room} can be sent"), size=size, limit=room
        )
        return msgspec.structs.replace(
            reply, ok=False, result=UNSET, error=ReplyError.of(error)
        )

    def _reply_topics(self, request: Request) -> list[str]:
        own = self._bus.topics.topic(request.device, "reply")
        return [own] if request.private is None else [request.private, own]

    def _send(self, request: Request, reply: Reply) -> None:
        public = messages.encode(reply)
        topics = self._bus.topics
        if request.private is not None:
            self._put(request, request.private, public)
            if len(public) > PUBLIC_RESULT and reply.ok:
                public = messages.encode(
                    msgspec.structs.replace(reply, result=UNSET, size=len(public))
                )
        self._put(request, topics.topic(request.device, "reply"), public)

    def _put(self, request: Request, topic: str, payload: bytes) -> None:
        correlation = request.received.correlation
        self._bus.outbox.put(
            Message(topic, payload, correlation=correlation, born=self._loop.time())
        )


_ANSWERED = object()  # the outcome of an earlier command has been sent
