"""The commands that every device has. Source: docs/contract.md, 2."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.command.dispatcher import Commands, Registry
from busbar.command.request import Claim
from busbar.contract.describe import Command, NoArguments, command, commands
from busbar.errors import UnknownTarget
from busbar.link.arbiter import Turn
from busbar.link.locks import LONGEST
from busbar.link.open_link import Channel
from busbar.publish.device import Device

Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `lock`."""

    ttl: Seconds = 10.0  # s
    owner: Annotated[str, Meta(max_length=200)] = ""
    # None: the channel where devices share one
    scope: Literal["device", "channel"] | None = None
    polls: bool = True


class Lease(msgspec.Struct, frozen=True):
    """Result of `lock`: the token for `_lease`, and its end (Unix s)."""

    lease: str
    until: float


class CancelId(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `cancel`."""

    id: str | int


class Cancelled(msgspec.Struct, frozen=True):
    """Result of `cancel`."""

    cancelled: int


class DeviceCommands:
    """What the bridge answers for each of its devices."""

    def __init__(
        self,
        registry: Registry,
        running: Callable[[], Commands],
        now: Callable[[], float],
    ) -> None:
        self._registry, self._running, self._now = registry, running, now

    def bound(self) -> Mapping[str, Command]:
        """Return the commands, ready to run."""
        return {
            name: replace(c, run=partial(c.run, self))
            for name, c in commands(type(self)).items()
        }

    def _find(self, device: str) -> tuple[Device, Channel]:
        found = self._registry.find(device)
        if found is None:
            raise UnknownTarget(f"no device {device!r} on this bridge")
        return found

    @command(safe=True, timeout=60.0)
    async def refresh(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Read everything anew and publish it."""
        await session.refresh(device)
        found, _ = self._find(device)
        found.announce()
        found.announce_leaves()

    @command(safe=True, queued=False)
    async def cancel(self, device: str, arguments: CancelId, claim: Claim) -> Cancelled:
        """End the waiting or running command with this id."""
        count = self._running().cancel(device, arguments.id)
        if count == 0:
            raise UnknownTarget(f"no command with id {arguments.id!r} waits or runs")
        return Cancelled(count)

    @command(queued=False, timeout=LONGEST)
    async def lock(self, device: str, arguments: Lock, claim: Claim) -> Lease:
        """Keep others from commanding this device, or all devices of its channel."""
        _, channel = self._find(device)
        scope = arguments.scope or ("channel" if channel.link.shared else "device")
        lease = await channel.leases.lock(
            device,
            arguments.owner,
            scope,
            arguments.ttl,
            arguments.polls,
            claim.lease,
            claim.wait,
        )
        return Lease(lease.token, round(self._now() + channel.leases.left(lease), 3))

    @command(queued=False)
    async def unlock(self, device: str, arguments: NoArguments, claim: Claim) -> None:
        """End a lock; `_lease` names it."""
        self._find(device)[1].leases.unlock(device, claim.lease)


class LinkCommands(DeviceCommands):
    """What devices behind a link have beside."""

    @command(queued=False)
    async def connect(self, device: str, arguments: NoArguments, claim: Claim) -> None:
        """Connect (again) after `disconnect`, or try a lost link at once."""
        found, channel = self._find(device)
        channel.leases.check(device, claim.lease)
        channel.connect(found)

    @command(queued=False)
    async def disconnect(
        self, device: str, arguments: NoArguments, claim: Claim
    ) -> None:
        """Stay offline until `connect`."""
        found, channel = self._find(device)
        channel.leases.check(device, claim.lease)
        channel.disconnect(found)

    @command(queued=False)
    async def reconnect(
        self, device: str, arguments: NoArguments, claim: Claim
    ) -> None:
        """Close the link and open it anew, for all its devices."""
        _, channel = self._find(device)
        channel.leases.check(device, claim.lease)
        channel.reconnect()
