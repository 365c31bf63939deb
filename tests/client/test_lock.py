"""A lock that renews itself, and what becomes of the block when it cannot."""

import asyncio
import contextlib
import json

import pytest

from busbar.client import DeviceTimeout, LeaseLost, Locked
from busbar.contract.messages import encode
from busbar.errors import ProtocolError
from busbar.testing.fakes import settle, until
from tests.client.memory import hand, lab
from tests.running import Running


def locks(bus: Running) -> list[bytes]:
    return bus.broker.payloads(f"{bus.base}/toy/call/lock")


async def pass_by(bus: Running, seconds: float) -> None:
    """Let time pass for everybody but the wall clocks, which the client reads and
    nobody can move."""
    bus.clock.step_wall -= seconds
    await bus.clock.advance(seconds)


async def test_within_the_block_the_device_is_ours_and_after_it_everybodys():
    async with lab() as (_client, device, _, bus):
        async with device.lock(owner="me") as token:
            assert token
            await until(
                lambda: (device.locked or {}).get("owner") == "me", "the lock seen"
            )
            assert (await bus.set("toy", "level", "3"))["error"]["code"] == "locked"
            assert await device.set("level", 4) == 4
        assert (await bus.set("toy", "level", "3"))["ok"]
        await until(lambda: device.locked is None, "the end of the lock seen")


async def test_the_owner_is_the_client_unless_somebody_else_is_named():
    async with lab() as (client, device, _, _), device.lock():
        await until(
            lambda: (device.locked or {}).get("owner") == client.name, "the lock seen"
        )


async def test_it_renews_itself_for_as_long_as_the_block_lasts():
    async with lab() as (_, device, _, bus):
        async with device.lock(ttl=3):
            await pass_by(bus, 20)
            assert (await bus.set("toy", "level", "3"))["error"]["code"] == "locked"
        assert len(locks(bus)) > 10
        before = len(locks(bus))
        await pass_by(bus, 20)
        assert len(locks(bus)) == before, "the renewing goes on after the block"


async def test_without_a_ttl_it_lasts_as_long_as_the_device_says():
    async with lab() as (_, device, _, bus):
        device.lock_time = 99.0
        async with device.lock():
            assert b'"ttl":99.0' in locks(bus)[0]


async def test_who_has_no_lock_is_told_who_has_and_may_wait():
    async with lab() as (_, device, _, bus):
        other = (await bus.call("toy", "lock", {"ttl": 5, "owner": "them"}))["result"]
        with pytest.raises(Locked) as locked:
            async with device.lock():
                raise AssertionError("entered")
        assert locked.value.detail["owner"] == "them"
        entered = asyncio.Event()

        async def wait() -> None:
            async with device.lock(wait=20):
                entered.set()

        waiting = asyncio.create_task(wait())
        await settle()
        assert not entered.is_set()
        await bus.call("toy", "unlock", {"_lease": other["lease"]})
        await waiting
        assert entered.is_set()


async def test_who_waits_for_a_lock_waits_no_longer_than_stated():
    async with lab() as (_, device, _, bus):
        await bus.call("toy", "lock", {"ttl": 90, "owner": "them"})

        async def wait() -> None:
            async with device.lock(wait=60, timeout=2):
                raise AssertionError("entered")

        waiting = asyncio.create_task(wait())
        await settle()
        await pass_by(bus, 2.1)
        with pytest.raises((Locked, DeviceTimeout)):
            await waiting


async def test_a_renewal_without_an_outcome_ends_the_block_when_the_lease_ends():
    async with hand() as (_, device, made):

        async def hold() -> None:
            async with device.lock(ttl=30):
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await until(lambda: len(made.commands()) == 1, "the lock")
        made.answer({"lease": "token", "until": 1.0})
        await made.clock.advance(11)
        await until(lambda: len(made.commands()) == 2, "the renewal")
        assert not holding.done()
        await made.clock.advance(20)
        with pytest.raises(LeaseLost, match="no outcome within"):
            await holding


async def test_leaving_takes_no_longer_than_the_lease_lasts():
    async with hand() as (_, device, made):

        async def hold() -> None:
            async with device.lock(ttl=3):
                pass

        holding = asyncio.create_task(hold())
        await until(lambda: len(made.commands()) == 1, "the lock")
        made.answer({"lease": "token", "until": 1.0})
        await until(lambda: len(made.commands()) == 2, "the end of the lock")
        await made.clock.advance(3.1)
        await holding


async def test_a_lease_that_is_taken_away_ends_the_block():
    async with lab() as (_, device, _, bus):
        reached: list[str] = []

        async def hold() -> None:
            async with device.lock(ttl=3) as token:
                await bus.call("toy", "unlock", {"_lease": token})
                await asyncio.Event().wait()
                reached.append("behind")

        holding = asyncio.create_task(hold())
        await settle()
        await pass_by(bus, 3)
        with pytest.raises(LeaseLost, match="lab/toy: this lease has ended"):
            await holding
        assert reached == []


async def test_a_lost_connection_that_comes_back_in_time_costs_nothing():
    async with lab() as (client, device, _, bus), device.lock(ttl=60):
        bus.broker.cut()
        await until(lambda: device.stale, "the loss")
        await client.wait_online("lab/toy", timeout=20)
        await pass_by(bus, 90)
        assert await device.set("level", 4) == 4


async def test_a_lost_connection_that_stays_away_ends_the_block_before_the_lease_ends():
    async with lab() as (_, device, _, bus):
        entered = asyncio.Event()

        async def hold() -> None:
            async with device.lock(ttl=30):
                entered.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await entered.wait()
        bus.broker.reachable = False
        bus.broker.cut()
        await pass_by(bus, 29.5)
        with pytest.raises(LeaseLost):
            await holding


async def test_a_block_that_swallows_the_end_gets_the_error_and_may_go_on_after_it():
    async with lab() as (_, device, _, bus):

        async def hold() -> str:
            try:
                async with device.lock(ttl=3) as token:
                    await bus.call("toy", "unlock", {"_lease": token})
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
            except LeaseLost:
                await asyncio.sleep(0)
                return "told"
            return "not told"

        holding = asyncio.create_task(hold())
        await settle()
        await pass_by(bus, 3)
        assert await holding == "told"


async def test_an_error_of_the_block_is_the_error_and_the_lock_ends():
    async with lab() as (_, device, _, bus):
        with pytest.raises(ZeroDivisionError):
            async with device.lock():
                raise ZeroDivisionError
        assert (await bus.set("toy", "level", "3"))["ok"]


async def test_a_block_cancelled_from_outside_is_a_cancelled_task_and_the_lock_ends():
    async with lab() as (_, device, _, bus):
        entered = asyncio.Event()

        async def hold() -> None:
            async with device.lock(ttl=30):
                entered.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await entered.wait()
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert (await bus.set("toy", "level", "3"))["ok"]


async def test_after_the_block_commands_carry_no_lease():
    async with lab() as (_, device, _, bus):
        async with device.lock():
            await device.set("level", 2)
        await device.set("level", 3)
        payloads = bus.broker.payloads(f"{bus.base}/toy/set/level")
        assert [b"_lease" in payload for payload in payloads] == [True, False]


@pytest.mark.parametrize("result", [None, "lease", 5, [], {"lease": 5}, {"until": 1.5}])
async def test_a_lock_whose_result_is_no_lease_is_an_error_of_the_protocol(result):
    async with hand() as (_, device, bus):

        async def hold() -> None:
            async with device.lock():
                pytest.fail("it is not locked")

        holding = asyncio.create_task(hold())
        await until(bus.commands, "the command")
        (sent,) = bus.commands()
        asked = json.loads(sent.payload)
        outcome = {"bridge": "lab", "device": "toy", "id": asked["_id"], "time": 1.0}
        outcome |= {"target": "call/lock", "ok": True, "took": 0.1, "result": result}
        bus.bus.publish(asked["_reply"], encode(outcome))
        with pytest.raises(ProtocolError, match="lab/toy lock: the result is not as"):
            await holding
