"""Links that come and go: reloading, opening, closing. Source: docs/contract.md, 2."""

import asyncio

from busbar.testing import until
from tests.running import running
from tests.toy import Toy, service

LAB = "bridge: {name: lab}\n"


async def test_a_reload_restarts_only_what_changed_and_a_wrong_file_changes_nothing() -> None:
    toy = Toy()
    async with running(service(toy), LAB) as bus:
        await bus.status("toy", "online")
        assert (await bus.call("bridge", "reload"))["result"] == {"stopped": [], "started": []}
        assert toy.opened == 1
        bus.configuration = LAB + "idle_close: 7\n"
        assert (await bus.call("bridge", "reload"))["result"] == {"stopped": ["toy"], "started": ["toy"]}
        await until(lambda: toy.opened == 2, "the link anew")
        bus.configuration = "bridge: {name: lab}\nidle_clos: 3\n"
        reply = await bus.call("bridge", "reload")
        assert 'idle_clos: unknown key; did you mean "idle_close"?' in reply["error"]["message"]
        bus.configuration = "bridge: {name: other}\n"
        assert "cannot change" in (await bus.call("bridge", "reload"))["error"]["message"]
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
        assert (await bus.call("bridge", "close", "toy"))["error"]["code"] == "forbidden"
    async with running(service(Toy()), "bridge: {name: lab, allow_open: ['toy::*']}\n") as bus:
        await bus.value("toy", "level")
        assert (await bus.call("bridge", "close", "toy"))["ok"]
        await until(lambda: "busbar/lab/toy/status" not in bus.broker.retained, "the removal")
