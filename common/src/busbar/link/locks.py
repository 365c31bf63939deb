"""Locks with owner and end, on one device or a whole channel.

Source: docs/contract.md, 2.

A lease protects against accidents, not attackers. It ends by itself on the monotonic
clock.
"""

import asyncio
import secrets
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Literal

from busbar.errors import Locked

LONGEST = 3600.0  # s
WAITERS_LIMIT = 1000

Scope = Literal["device", "channel"]


@dataclass
class Lease:
    """A granted lock; `ends` is loop time."""

    token: str
    owner: str
    scope: Scope
    device: str
    polls: bool
    ends: float
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    # what to do at the end
    ended: dict[Hashable, Callable[[], None]] = field(default_factory=dict, repr=False)

    def covers(self, device: str) -> bool:
        return self.scope == "channel" or self.device == device

    def overlaps(self, device: str, scope: Scope) -> bool:
        return scope == "channel" or self.covers(device)


@dataclass
class _Waiter:
    device: str
    scope: Scope
    locks: bool  # a lock, not just a command that passes
    grant: Callable[[], None]
    future: asyncio.Future[None]


class Locks:
    """The leases of one channel; calls `changed` after each change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._leases: dict[str, Lease] = {}
        self._waiters: list[_Waiter] = []

    def on(self, device: str) -> Lease | None:
        """Return the lease that covers a device."""
        return next(
            (lease for lease in self._leases.values() if lease.covers(device)), None
        )

    @property
    def polls_paused(self) -> bool:
        return any(not lease.polls for lease in self._leases.values())

    def left(self, lease: Lease) -> float:
        """Return the seconds until a lease ends."""
        return max(0.0, lease.ends - self._loop.time())

    def when_ended(
        self, token: str | None, key: Hashable, then: Callable[[], None]
    ) -> None:
        """Call `then` when this lease ends, now if it has.

        Of one `key` the last counts; without a lease never.
        """
        if token is None:
            return
        lease = self._leases.get(token)
        if lease is None:
            then()
        else:
            lease.ended[key] = then

    async def admit(self, device: str, token: str | None, wait: float) -> None:
        """Return when a command may enter the queue.

        Raise Locked after `wait` seconds, at once for a dead lease.
        """
        self._check_alive(device, token)
        if self._conflict(device, "device", token) is not None:
            await self._wait(device, "device", wait)

    def admits(self, device: str, token: str | None) -> bool:
        """Return whether a command may pass now."""
        return self._conflict(device, "device", token) is None

    def check(self, device: str, token: str | None) -> None:
        """Raise Locked if the device is locked for the caller.

        That is also so for a caller whose own lease has ended.
        """
        self._check_alive(device, token)
        conflict = self._conflict(device, "device", token)
        if conflict is not None:
            raise self._locked(conflict)

    async def lock(
        self,
        device: str,
        owner: str,
        scope: Scope,
        ttl: float,
        polls: bool,
        token: str | None,
        wait: float,
    ) -> Lease:
        """Grant or renew a lease.

        Raise Locked when another one overlaps for longer than `wait` seconds.
        """
        if token is not None:
            return self._renew(device, token, owner, ttl, polls)
        granted: list[Lease] = []

        def grant() -> None:
            granted.append(self._grant(device, owner, scope, ttl, polls))

        if self._conflict(device, scope, None) is None and not self._behind(
            device, scope, self._waiters
        ):
            grant()
            return granted[0]
        try:
            await self._wait(device, scope, wait, grant)
        except asyncio.CancelledError:
            for lease in granted:  # nobody is left to hold it
                self._end(lease)
            raise
        return granted[0]

    def unlock(self, device: str, token: str | None) -> None:
        """End a lease; raise Locked when it is not the caller's."""
        lease = self._leases.get(token or "")
        if lease is not None and lease.covers(device):
            self._end(lease)
            return
        other = self.on(device)
        if other is not None:
            raise self._locked(other)

    def _check_alive(self, device: str, token: str | None) -> None:
        lease = self._leases.get(token or "")
        if token is not None and (lease is None or not lease.covers(device)):
            why = (
                "has ended or is not one of this device; lock again, or leave `_lease` "
                "out"
            )
            raise Locked(f"the lease {why}", owner=None, seconds=0)

    def _renew(
        self, device: str, token: str, owner: str, ttl: float, polls: bool
    ) -> Lease:
        lease = self._leases.get(token)
        if lease is None or not lease.covers(device):
            raise Locked("this lease has ended; lock again", owner=None, seconds=0)
        lease.owner = owner or lease.owner
        lease.polls = polls
        self._arm(lease, ttl)
        self._changed()
        return lease

    def _grant(
        self, device: str, owner: str, scope: Scope, ttl: float, polls: bool
    ) -> Lease:
        lease = Lease(secrets.token_hex(8), owner, scope, device, polls, 0.0)
        self._leases[lease.token] = lease
        self._arm(lease, ttl)
        self._changed()
        return lease

    def _arm(self, lease: Lease, ttl: float) -> None:
        if lease.timer is not None:
            lease.timer.cancel()
        lease.ends = self._loop.time() + ttl
        lease.timer = self._loop.call_at(lease.ends, self._end, lease)

    def _end(self, lease: Lease) -> None:
        if self._leases.pop(lease.token, None) is None:
            return
        if lease.timer is not None:
            lease.timer.cancel()
        for then in lease.ended.values():
            then()
        self._changed()
        self._next()

    def _next(self) -> None:
        """Let waiters through, first come first served.

        A lock that still waits stops those behind it.
        """
        waiting: list[_Waiter] = []
        for waiter in self._waiters:
            conflict = self._conflict(waiter.device, waiter.scope, None)
            if conflict is None and not (
                waiter.locks and self._behind(waiter.device, waiter.scope, waiting)
            ):
                waiter.grant()
                waiter.future.set_result(None)
            else:
                waiting.append(waiter)
        self._waiters = waiting

    @staticmethod
    def _behind(device: str, scope: Scope, waiting: list[_Waiter]) -> bool:
        """Return whether a lock that overlaps waits already."""
        return any(
            w.locks and ("channel" in (scope, w.scope) or w.device == device)
            for w in waiting
        )

    async def _wait(
        self,
        device: str,
        scope: Scope,
        wait: float,
        grant: Callable[[], None] | None = None,
    ) -> None:
        if wait > 0 and len(self._waiters) < WAITERS_LIMIT:
            future: asyncio.Future[None] = self._loop.create_future()
            waiter = _Waiter(
                device, scope, grant is not None, grant or (lambda: None), future
            )
            self._waiters.append(waiter)
            try:
                await asyncio.wait([future], timeout=wait)
            finally:
                if not future.done():
                    self._waiters.remove(waiter)
                    self._next()  # those behind it may pass
            if future.done():
                return
        conflict = self._conflict(device, scope, None)
        raise (
            self._locked(conflict)
            if conflict
            else Locked("others wait for this lock", owner=None, seconds=0)
        )

    def _conflict(self, device: str, scope: Scope, token: str | None) -> Lease | None:
        overlapping = (
            lease for lease in self._leases.values() if lease.overlaps(device, scope)
        )
        return next((lease for lease in overlapping if lease.token != token), None)

    def _locked(self, lease: Lease) -> Locked:
        left = round(self.left(lease), 3)
        return Locked(
            (f"locked by {lease.owner or 'somebody'} for {left:g} s more"),
            owner=lease.owner,
            seconds=left,
        )
