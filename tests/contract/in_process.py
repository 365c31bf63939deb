"""A bridge under the suite in this process.

How it runs, and what the contract knows and its device has not.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from busbar.config import loader
from busbar.contract.describe import Blob, Description, Property
from busbar.errors import DeviceRefused, ProtocolError
from busbar.link.session import Link, Outlet
from busbar.runtime.bridge import Bridge
from busbar.runtime.broker_session import DuplicateName
from busbar.runtime.service import Service, plan
from busbar.testing.fakes import Clock, until
from tests.contract.client import Client
from tests.contract.subject import Fields, Subject

REFUSING = Property("refusing", float, "rw")
NONSENSE = 2  # written to `refusing`: the device answers nonsense


class Openable(msgspec.Struct, frozen=True):
    """What the suite knows of a device to open."""

    name: str
    address: str


class InProcess(Subject):
    """One bridge in this process; `serve` says which, before it is started."""

    task: asyncio.Task[None] | None = None
    outlet: Outlet | None = None

    def serve(self, service: Service, text: str, url: str) -> None:
        def links(settings: Any) -> list[Link]:
            return [self._extended(link) for link in service.links(settings)]

        self._service = replace(service, links=links, device=Openable)
        self._text, self._url = text, url

    async def start(self) -> None:
        first = plan(
            self._service,
            loader.parse(self._text, self._service.config, {}),
            self._url,
            {},
        )
        self._clock = Clock()
        self.running = Bridge(first, lambda: first, self._clock.now, lambda: True)
        self.task = asyncio.create_task(
            self.running.run(), name=f"{self._service.kind} bridge"
        )

    async def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    async def stop(self) -> None:
        assert self.task is not None
        self.running.stop()
        await asyncio.wait([self.task], timeout=30)

    def left(self) -> str | None:
        assert self.task is not None
        if not self.task.done():
            return None
        return "" if self.task.cancelled() else str(self.task.exception() or "")

    async def blob(self, client: Client) -> str:
        assert self.outlet is not None
        self.outlet.blob("picture", b"\x89PNG", "image/png")
        return "picture"

    def event(self, fields: Fields) -> str:
        assert self.outlet is not None
        self.outlet.event("beep", fields)
        return "beep"

    async def advance(self, seconds: float) -> None:
        await self._clock.advance(seconds)
        await until(lambda: self.running._context.outbox.empty, "all sent")

    async def opened(self, session: Any) -> None:
        """A session of the device is open."""

    def refuse(self, value: Any) -> None:
        """Raise what the device answers when this is written to `refusing`."""
        raise (
            ProtocolError("nonsense")
            if value == NONSENSE
            else DeviceRefused("never", number=-1)
        )

    async def write(
        self, set_: Callable[..., Any], device: str, path: str, value: Any, turn: Any
    ) -> Any:
        """Write a property."""
        return await set_(device, path, value, turn)

    def described(self, about: Description) -> Description:
        """Add what the contract knows and a device of this kind has not."""
        return about.with_(
            properties={**about.properties, REFUSING.path: REFUSING}
        ).with_blob(Blob("picture"))

    def _extended(self, link: Link) -> Link:
        @asynccontextmanager
        async def open_(port: Any) -> AsyncIterator[Any]:
            async with link.open(port) as session:
                if self.device in link.devices:
                    self.outlet = port.outlet(self.device)
                    await self.opened(session)
                taken = session.set

                async def set_(device: str, path: str, value: Any, turn: Any) -> Any:
                    if path == self.refusing:
                        self.refuse(value)
                    return await self.write(taken, device, path, value, turn)

                session.set = set_  # type: ignore[method-assign]
                yield session

        return replace(
            link,
            open=open_,
            devices={name: self.described(each) for name, each in link.devices.items()},
        )


S = TypeVar("S", bound=InProcess)


@asynccontextmanager
async def ending(subject: S) -> AsyncIterator[S]:
    """Give a subject that is not yet started; left = gone."""
    try:
        yield subject
    finally:
        if subject.task is not None:
            await subject.stop()
            with contextlib.suppress(DuplicateName, asyncio.CancelledError):
                await subject.task
