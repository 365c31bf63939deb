"""The commands that every device has. Source: docs/contract.md, 2."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busbar.command.dispatcher import CommandDispatcher, Registry
from busbar.command.request import Claim
from busbar.contract.describe import Command, NoArguments, command, commands
from busbar.contract.messages import Lease
from busbar.errors import UnknownTarget
from busbar.link.arbiter import Turn
from busbar.link.locks import LONGEST
from busbar.link.open_link import OpenLink
from busbar.publish.device import DevicePublisher

Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `lock`."""

    ttl: Seconds = 10.0  # s
    owner: Annotated[str, Meta(max_length=200)] = ""
    # None: the channel where devices share one
    scope: Literal["device", "channel"] | None = None
    polls: bool = True


class CancelId(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `cancel`."""

    id: str | int


class Cancelled(msgspec.Struct, frozen=True):
    """Result of `cancel`."""

    cancelled: int


def bound(*holders: object) -> dict[str, Command]:
    """Return the commands of objects, ready to run without a session that has them."""
    found: dict[str, Command] = {}
    for holder in holders:
        for name, declared in commands(type(holder)).items():
            found[name] = replace(declared, run=partial(declared.run, holder))
    return found


def lookup(registry: Registry, device: str) -> tuple[DevicePublisher, OpenLink]:
    """Return a device and its link; raise UnknownTarget."""
    found = registry.find(device)
    if found is None:
        raise UnknownTarget(f"no device {device!r} on this bridge")
    return found


class DeviceCommands:
    """The commands of each device of a bridge, of its own device too."""

    def __init__(
        self,
        registry: Registry,
        dispatcher: CommandDispatcher,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._now = now

    @command(safe=True, timeout=60.0)
    async def refresh(
        self, session: Any, device: str, arguments: NoArguments, turn: Turn
    ) -> None:
        """Read everything again and publish it."""
        await session.refresh(device)
        found, _ = lookup(self._registry, device)
        found.announce()
        found.announce_leaves()

    @command(safe=True, queued=False)
    async def cancel(self, device: str, arguments: CancelId, claim: Claim) -> Cancelled:
        """End the waiting or running command with this id."""
        count = self._dispatcher.cancel(device, arguments.id)
        if count == 0:
            raise UnknownTarget(f"no command with id {arguments.id!r} waits or runs")
        return Cancelled(count)

    @command(queued=False, timeout=LONGEST)
    async def lock(self, device: str, arguments: Lock, claim: Claim) -> Lease:
        """Keep others from commanding this device, or all devices of its channel."""
        _, link = lookup(self._registry, device)
        scope = arguments.scope or ("channel" if link.link.shared else "device")
        lease = await link.locks.lock(
            device,
            arguments.owner,
            scope,
            arguments.ttl,
            arguments.polls,
            claim.lease,
            claim.wait,
        )
        return Lease(lease.token, round(self._now() + link.locks.left(lease), 3))

    @command(queued=False)
    async def unlock(self, device: str, arguments: NoArguments, claim: Claim) -> None:
        """End a lock; `_lease` names it."""
        lookup(self._registry, device)[1].locks.unlock(device, claim.lease)


class LinkCommands:
    """The commands of each device that is behind a link."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @command(queued=False)
    async def connect(self, device: str, arguments: NoArguments, claim: Claim) -> None:
        """Connect (again) after `disconnect`, or try a lost link at once."""
        found, link = lookup(self._registry, device)
        link.locks.check(device, claim.lease)
        link.connect(found)

    @command(queued=False)
    async def disconnect(
        self, device: str, arguments: NoArguments, claim: Claim
    ) -> None:
        """Stay offline until `connect`."""
        found, link = lookup(self._registry, device)
        link.locks.check(device, claim.lease)
        link.disconnect(found)

    @command(queued=False)
    async def reconnect(
        self, device: str, arguments: NoArguments, claim: Claim
    ) -> None:
        """Close the link and open it again, for all its devices."""
        _, link = lookup(self._registry, device)
        link.locks.check(device, claim.lease)
        link.reconnect()
