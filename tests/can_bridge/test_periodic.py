"""Frames that are sent again and again."""

import asyncio

from busbar.codecs import can
from busbar.codecs.can import SENT
from busbar.errors import Overloaded
from busbar.testing.fakes import Clock, settle, until
from can_bridge import traffic
from can_bridge.interfaces.interface import TimedFrame
from tests.can_bridge.peer import done, failure, on_loopback, some_rows


async def test_periodic_frames_until_they_are_stopped():
    async with on_loopback() as (bus, peer):
        assert (
            done(
                await bus.call(
                    "can0", "send_periodic", {"id": 0x55, "period": 10, "data": "AQ=="}
                )
            )
            == "055"
        )
        assert (await peer.receive())[0].data == b"\1"
        await bus.clock.advance(20.5)
        assert [frame.id for frame in await peer.receive(2)] == [0x55, 0x55]
        # in its place
        done(
            await bus.call(
                "can0", "send_periodic", {"id": 0x55, "period": 10, "data": "Ag=="}
            )
        )
        assert (await peer.receive())[0].data == b"\2"
        done(
            await bus.call(
                "can0",
                "send_periodic",
                {"id": 7, "period": 5, "count": 2, "name": "twice"},
            )
        )
        assert done(await bus.call("can0", "stop_periodic", {"name": "055"})) == ["055"]
        await bus.clock.advance(30)
        assert [frame.id for frame in await peer.receive(2)] == [7, 7]
        # the other one was sent twice
        assert done(await bus.call("can0", "stop_periodic")) == []


async def test_periodic_frames_are_counted_and_come_back_as_others_do():
    async with on_loopback("    receive_own: true\n") as (bus, peer):
        done(
            await bus.call("can0", "send_periodic", {"id": 1, "period": 1, "count": 3})
        )
        await bus.clock.advance(5)
        assert [row[1:3] for row in await some_rows(bus, 3)] == [[1, SENT]] * 3
        assert await bus.value("can0", "_sent", lambda sent: sent == 3) == 3
        assert len(await peer.receive(3)) == 3


async def test_what_has_been_sent_often_enough_makes_room(monkeypatch):
    monkeypatch.setattr(traffic, "CYCLIC_LIMIT", 2)
    async with on_loopback() as (bus, _):
        for number in range(5):
            done(
                await bus.call(
                    "can0", "send_periodic", {"id": number, "period": 1, "count": 1}
                )
            )
            await settle()
        for number in (1, 2):
            done(await bus.call("can0", "send_periodic", {"id": number, "period": 1}))
        found = failure(await bus.call("can0", "send_periodic", {"id": 3, "period": 1}))
        assert found == ("overloaded", "2 periodic frames are being sent already")


async def test_periodic_frames_end_with_the_link():
    async with on_loopback() as (bus, peer):
        done(await bus.call("can0", "send_periodic", {"id": 1, "period": 1}))
        assert (await peer.receive())[0].id == 1
        await bus.call("can0", "reconnect")
        topic = f"{bus.base}/can0/status"
        await until(
            lambda: (
                sum(b'"online"' in each for each in bus.broker.payloads(topic)) >= 2
            ),
            "online again",
        )
        assert done(await bus.call("can0", "stop_periodic")) == []
        await bus.clock.advance(5)
        done(await bus.call("can0", "cansend", "002#"))
        assert (await peer.receive())[0].id == 2


async def test_what_was_missed_is_not_caught_up_with():
    clock, sent, gate = Clock(), [], asyncio.Event()

    async def send(frame):
        sent.append(frame)
        await gate.wait()

    timed = TimedFrame("lamp", send, can.frame(1), 1.0, 0)
    await clock.advance(5.5)  # the first one has to wait for so long
    gate.set()
    await settle()
    assert len(sent) == 2
    timed.stop()


async def test_one_that_cannot_be_sent_does_not_end_the_others(caplog):
    clock, outcomes = Clock(), [Overloaded("full"), None, Overloaded("full"), None]

    async def send(frame):
        if (error := outcomes.pop(0)) is not None:
            raise error

    timed = TimedFrame("lamp", send, can.frame(1), 1.0, 4)
    await clock.advance(3.5)
    assert outcomes == []
    assert timed.poll_ended()
    assert [record.getMessage() for record in caplog.records] == ["lamp: full"]
