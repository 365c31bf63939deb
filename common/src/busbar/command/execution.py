"""A validated command on its way to the device: lock, queue, session, run.

Source: docs/contract.md, 2.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from busbar.command.request import Job, Request
from busbar.errors import DeviceTimeout, Expired, Offline
from busbar.link.arbiter import Priority, Turn, held
from busbar.link.open_link import OpenLink
from busbar.publish.device import DevicePublisher

TTL = 10.0  # s that a command may wait unless it says otherwise
# s beyond the caller's `_timeout`, in which a session can say more than "no answer"
GRACE = 2.0


def ttl_of(request: Request) -> float:
    """Return the seconds that a command may wait for its start."""
    if request.metadata.ttl is not None:
        return request.metadata.ttl
    if request.received.expiry is not None:
        return request.received.expiry
    return TTL


class Execution:
    """One command and the device that it is for."""

    def __init__(
        self,
        request: Request,
        job: Job,
        device: DevicePublisher,
        link: OpenLink,
        interrupt: Callable[[OpenLink, str], None],
    ) -> None:
        self._request = request
        self._job = job
        self._device = device
        self._link = link
        self._interrupt = interrupt  # (link, name): ends what runs on it
        self._lease = request.metadata.lease
        self._wait = request.metadata.wait or 0.0  # s left, for a lock of others
        self._ttl = ttl_of(request)
        self._deadline = request.began + self._ttl  # loop time

    async def run(self) -> Any:
        """Wait for lock, session and turn, then run; return the result."""
        safe = self._job.safe
        while True:
            if not safe:
                await self._wait_for_lock()
            await self._wait_for_turn()
            if safe or self._may_run():
                return await self._run()
            self._link.arbiter.release()  # locked meanwhile: wait again

    def _may_run(self) -> bool:
        admitted = self._link.locks.admits(self._device.name, self._lease)
        return admitted or self._wait <= 0

    async def _wait_for_lock(self) -> None:
        """Wait until no lock of others keeps us out; that does not use up the ttl."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        await self._link.locks.admit(self._device.name, self._lease, self._wait)
        waited = loop.time() - asked
        self._deadline += waited
        self._wait = max(0.0, self._wait - waited)

    async def _wait_for_turn(self) -> None:
        """Wait for the session and the arbiter; raise Expired after the ttl."""
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._link.ready(self._device)
                command = self._job.command
                if command is not None and command.interrupts:
                    self._interrupt(self._link, command.name)
                await self._link.arbiter.acquire(self._priority())
        except TimeoutError as error:
            text = f"waited {self._ttl:g} s and was not started"
            raise Expired(text) from error

    def _priority(self) -> Priority:
        return Priority.SAFE if self._job.safe else Priority.COMMAND

    async def _run(self) -> Any:
        """Run with the arbiter's turn in our hands."""
        async with held(self._link.arbiter) as release:
            if not self._job.safe:
                self._link.locks.check(self._device.name, self._lease)
            session = self._link.session
            if session is None or self._device.refused or self._device.silent:
                text = "the device went offline before the command could start"
                raise Offline(text)
            self._request.link = self._link
            self._request.started = True
            return await self._run_on(session, release)

    async def _run_on(self, session: Any, release: Callable[[], None]) -> Any:
        asked, timeout = self._timeouts()
        turn = Turn(
            asked,
            release,
            self._report_progress,
            self._when_unlocked,
            self._request.keep_message,
        )
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._job.run(session, turn)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeviceTimeout(f"no outcome within {timeout:g} s") from error
        finally:
            self._link.touch()

    def _timeouts(self) -> tuple[float | None, float]:
        """Return the seconds that the caller asks for, and those that it gets."""
        most = self._job.timeout
        wanted = self._request.metadata.timeout
        if not wanted:
            return None, most
        asked = min(most, wanted)
        return asked, min(most, asked + GRACE)

    def _report_progress(self, fraction: float | None, message: str) -> None:
        fields = {
            "id": self._request.metadata.id,
            "target": self._request.target,
            "fraction": fraction,
            "message": message,
        }
        self._device.event("progress", fields)

    def _when_unlocked(self, key: Any, then: Callable[[], None]) -> None:
        self._link.locks.when_ended(self._lease, key, then)
