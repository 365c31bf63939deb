"""A frame is sent, and the one that answers is awaited."""

import asyncio
import base64

from busbar.codecs import can
from can_bridge import traffic
from tests.can_bridge.peer import done, failure, on_loopback, rows, some_rows


async def test_a_request_returns_the_frame_that_matches_and_only_that():
    async with on_loopback("    frames: {filters: [{id: 0x700}]}\n") as (bus, peer):
        asking = {
            "id": 0x321,
            "data": "AQ==",
            "match": {"id": 0x322, "mask": 0x7FE, "data": "AQ=="},
            "timeout": 30,
        }
        call = asyncio.create_task(bus.call("can0", "request", asking))
        assert (await peer.receive())[0].id == 0x321
        done(await bus.call("can0", "cansend", "001#"))  # waiting does not hold the bus
        await peer.send(
            can.frame(0x321, b"\1"), can.frame(0x322, b"\2"), can.frame(0x323, b"\1\5")
        )
        found = done(await call)
        assert (found["id"], base64.b64decode(found["data"])) == (0x323, b"\1\5")
        assert rows(bus) == []


async def test_our_own_frame_is_not_the_answer():
    async with on_loopback("    receive_own: true\n") as (bus, peer):
        asking = {"id": 5, "match": {"id": 5}, "timeout": 20}
        call = asyncio.create_task(bus.call("can0", "request", asking))
        await peer.receive()
        await some_rows(bus, 1)
        await peer.send(can.frame(5, b"\7"))
        assert done(await call)["data"] == "Bw=="


async def test_a_request_without_an_answer_times_out():
    async with on_loopback() as (bus, _):
        found = await bus.call(
            "can0", "request", {"id": 1, "match": {"id": 2}, "timeout": 0.01}
        )
        assert failure(found) == ("timeout", "no frame 0x2 came within 0.01 s")


async def test_a_request_finds_its_answer_in_a_flood_of_others():
    async with on_loopback("    receive_own: false\n") as (bus, peer):
        asking = {"id": 1, "match": {"id": 0x200, "mask": 0x600}, "timeout": 20}
        call = asyncio.create_task(bus.call("can0", "request", asking))
        await peer.receive()
        await peer.send(
            *(can.frame(0x200, number.to_bytes(4, "big")) for number in range(10_000))
        )
        # the first one
        assert done(await call)["data"] == base64.b64encode(bytes(4)).decode()


async def test_of_too_many_frames_for_a_command_the_first_ones_are_kept(monkeypatch):
    monkeypatch.setattr(traffic, "LISTENER_LIMIT", 2)
    with traffic.Listeners().listen(lambda number: True) as listener:
        for number in range(5):
            listener.put(number)
        assert [await listener.get(), await listener.get()] == [0, 1]
        listener.put(9)
        assert await listener.get() == 9
