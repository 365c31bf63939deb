"""Links that come and go: reloading, opening, closing. Source: docs/contract.md, 2."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from busbar.config import loader
from busbar.errors import LinkLost
from busbar.link.session import CLOSE_TIMEOUT, Link, Port
from busbar.runtime.service import Service
from busbar.testing.fakes import settle, until
from tests.running import Running, running
from tests.toy import ABOUT, Toy, service

LAB = "bridge: {name: lab}\n"
OPEN = "bridge: {name: lab, allow_open: ['*']}\n"


class Names(loader.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    names: tuple[str, ...] = ("one",)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    address: str = "quiet::1"


class Quiet:
    """A session that does nothing."""

    def __init__(self, port: Port) -> None:
        self.port = port

    async def serve(self) -> None:
        await asyncio.Event().wait()

    async def refresh(self, device: str) -> None:
        """Nothing to read."""

    async def set(self, device: str, path: str, value: Any, turn: Any) -> None:
        """Nothing to write."""


class Lines:
    """A service of one link for each name; `closing` is how a session ends."""

    def __init__(self, closing: Callable[[], Awaitable[Any]] = settle) -> None:
        self.sessions: dict[str, Quiet] = {}
        self._closing = closing

    @property
    def service(self) -> Service:
        return Service(
            "toy",
            Names,
            lambda found: [self.link(name) for name in found.names],
            Settings,
            self.opened,
        )

    def opened(self, settings: Settings) -> Link:
        return self.link(settings.name, f"line-{settings.name}")

    def link(self, device: str, name: str | None = None) -> Link:
        @asynccontextmanager
        async def open_(port: Port) -> AsyncIterator[Quiet]:
            self.sessions[device] = Quiet(port)
            try:
                yield self.sessions[device]
            finally:
                await self._closing()

        return Link(
            name or device,
            "quiet::1",
            open_,
            {device: ABOUT},
            config=device,
            finds=True,
        )


def devices(bus: Running) -> list[str]:
    return sorted(
        topic.split("/")[2]
        for topic in bus.broker.retained
        if topic.endswith("/status")
    )


async def fail() -> None:
    raise LinkLost("cannot even close")


async def hang() -> None:
    await asyncio.Event().wait()


async def test_a_reload_restarts_what_changed_and_a_wrong_file_nothing() -> None:
    toy = Toy()
    async with running(service(toy), LAB) as bus:
        await bus.status("toy", "online")
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": [],
            "started": [],
        }
        assert toy.opened == 1
        bus.configuration = LAB + "idle_close: 7\n"
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": ["toy"],
            "started": ["toy"],
        }
        await until(lambda: toy.opened == 2, "the link again")
        bus.configuration = "bridge: {name: lab}\nidle_clos: 3\n"
        reply = await bus.call("bridge", "reload")
        assert ('idle_clos: unknown key; did you mean "idle_close"?') in reply["error"][
            "message"
        ]
        bus.configuration = "bridge: {name: other}\n"
        assert (
            "cannot change" in (await bus.call("bridge", "reload"))["error"]["message"]
        )
        assert (await bus.call("toy", "echo", "still here"))["ok"]


async def test_reloads_do_not_overtake_each_other() -> None:
    toy = Toy()
    async with running(service(toy), LAB) as bus:
        for number in range(6):
            bus.configuration = LAB + f"idle_close: {number + 1}\n"
            replies = await asyncio.gather(*(bus.bridge.reload() for _ in range(3)))
            assert [reply["started"] for reply in replies] == [["toy"], [], []]
        await until(lambda: len(toy.sessions) == 1, "one session")


async def test_close_and_open_need_an_address_that_is_allowed() -> None:
    async with running(service(Toy()), LAB) as bus:
        assert (await bus.call("bridge", "close", "toy"))["error"][
            "code"
        ] == "forbidden"
    async with running(
        service(Toy()), ("bridge: {name: lab, allow_open: ['toy::*']}\n")
    ) as bus:
        await bus.value("toy", "level")
        assert (await bus.call("bridge", "close", "toy"))["ok"]
        await until(
            lambda: "busbar/lab/toy/status" not in bus.broker.retained, "the removal"
        )


async def test_a_configured_device_takes_its_name_from_a_found_or_opened_one() -> None:
    lines = Lines()
    async with running(lines.service, OPEN + "names: [one]\n") as bus:
        await bus.status("one", "online")
        port = lines.sessions["one"].port
        port.appear("two", ABOUT).values({"level": 1.0})
        assert (await bus.call("bridge", "open", {"name": "three"}))["ok"]
        await bus.status("two", "online")
        await bus.status("three", "online")
        await bus.info("three", lambda info: info["kind"] == "toy")
        bus.configuration = OPEN + "names: [one, two, three]\n"
        reply = await bus.call("bridge", "reload")
        assert reply["result"] == {
            "stopped": ["line-three"],
            "started": ["two", "three"],
        }
        await until(lambda: {"two", "three"} <= lines.sessions.keys(), "their links")
        port.vanish("two")
        rows = (await bus.call("bridge", "list"))["result"]
        assert sorted(row["device"] for row in rows) == [
            "bridge",
            "one",
            "three",
            "two",
        ]
        await bus.status("two", "online")
        assert devices(bus) == ["bridge", "one", "three", "two"]


async def test_a_session_that_fails_to_close_does_not_keep_its_link() -> None:
    lines = Lines(fail)
    async with running(lines.service, OPEN + "names: [one, two]\n") as bus:
        await bus.status("one", "online")
        bus.configuration = OPEN + "names: [two]\n"
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": ["one"],
            "started": [],
        }
        assert devices(bus) == ["bridge", "two"]


async def test_a_session_that_hangs_when_it_closes_is_given_up() -> None:
    lines = Lines(hang)
    async with running(lines.service, OPEN + "names: [one, two]\n") as bus:
        await bus.status("one", "online")
        reply = asyncio.create_task(bus.call("bridge", "close", "one"))
        await until(lambda: devices(bus) == ["bridge", "two"], "the removal")
        await bus.clock.advance(CLOSE_TIMEOUT + 1)
        await reply
        stopping = asyncio.create_task(bus.bridge._links.stop())
        await bus.clock.advance(CLOSE_TIMEOUT + 1)
        await stopping


async def test_a_reload_that_is_cancelled_has_been_taken_all_the_same() -> None:
    lines = Lines(hang)
    async with running(lines.service, OPEN + "names: [one, two]\n") as bus:
        await bus.status("one", "online")
        bus.configuration = OPEN + "names: [two, three]\n"
        reply = asyncio.create_task(bus.call("bridge", "reload", {"_id": "the reload"}))
        await until(lambda: "one" not in devices(bus), "the end of one")
        assert (await bus.call("bridge", "cancel", {"id": "the reload"}))["ok"]
        assert (await reply)["error"]["code"] == "cancelled"
        await bus.status("three", "online")
        assert devices(bus) == ["bridge", "three", "two"]
        stopping = asyncio.create_task(bus.bridge._links.stop())
        await bus.clock.advance(CLOSE_TIMEOUT + 1)
        await stopping


async def test_what_is_opened_while_a_reload_goes_on_does_not_take_its_names() -> None:
    lines = Lines(hang)
    async with running(lines.service, OPEN + "names: [one, two]\n") as bus:
        await bus.status("one", "online")
        bus.configuration = OPEN + "names: [two, three]\n"
        reloading = asyncio.create_task(bus.bridge.reload())
        await until(lambda: "one" not in devices(bus), "the end of one")
        opening = asyncio.create_task(bus.call("bridge", "open", {"name": "three"}))
        await bus.clock.advance(CLOSE_TIMEOUT + 1)
        assert (await reloading)["started"] == ["three"]
        assert (await opening)["error"]["code"] == "bad_request"
        stopping = asyncio.create_task(bus.bridge._links.stop())
        await bus.clock.advance(CLOSE_TIMEOUT + 1)
        await stopping


async def test_a_reload_that_comes_too_late_starts_nothing() -> None:
    lines = Lines()
    async with running(lines.service, OPEN + "names: [one]\n") as bus:
        await bus.status("one", "online")
        await bus.bridge._links.stop()
        bus.configuration = OPEN + "names: [one, two]\n"
        await bus.bridge.reload()
        assert devices(bus) == ["bridge", "one"]
