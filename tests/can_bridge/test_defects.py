"""Defects of comsrv's CAN that must not be here.

Source: docs/protocols/can.md, 9; docs/protocols/gct.md, 8.
"""

import asyncio

import pytest

from busbar.codecs import can, gct
from busbar.codecs.can import parse
from busbar.codecs.gct import Ddp, Decoder, MonitoringData, SysCtrl
from busbar.errors import OutOfRange
from busbar.testing.fakes import until
from can_bridge import gct_commands
from can_bridge.interfaces import loopback, pythoncan
from tests.can_bridge.peer import done, on_loopback, rows


async def test_b1_a_raw_frame_is_sent_raw():
    async with on_loopback("    protocols: [gct]\n") as (bus, peer):
        done(
            await bus.call(
                "can0", "send", {"id": 0x1C33F800, "extended": True, "data": "zas="}
            )
        )
        (frame,) = await peer.receive()
        assert can.cansend_text(frame) == "1C33F800#CDAB"


def test_b9_a_command_that_does_not_fit_is_refused_and_not_cut_off():
    for command in (512, 1023):
        with pytest.raises(OutOfRange):
            gct.encode(SysCtrl(1, 2, command))


async def test_b13_a_subscriber_gets_what_it_asked_for_and_never_waits_for_a_slow_one():
    more = (
        "    frames: {publish: none, groups: [{name: mine, filters: [{id: 0x123}]}]}\n"
    )
    async with on_loopback(more) as (bus, peer):
        await peer.send(*(can.frame(number) for number in range(0x120, 0x130)))
        await until(lambda: rows(bus, "frames/mine"))
        assert [row[1] for row in rows(bus, "frames/mine")] == [0x123]
        assert isinstance(rows(bus, "frames/mine")[0][4], bytes)  # no list of numbers
    assert loopback.QUEUE_LIMIT
    assert pythoncan.RING


def test_two_senders_to_one_node_do_not_disturb_each_other():
    decoder, found = Decoder(), []
    queues = [gct.encode(Ddp(src, 9, bytes([src] * 40), 2)) for src in (1, 2)]
    for pair in zip(*queues, strict=True):
        for id_, data in pair:
            message = decoder.feed(id_, data, 0.0)
            found += [message] if message else []
    assert found == [Ddp(1, 9, bytes([1] * 40), 2), Ddp(2, 9, bytes([2] * 40), 2)]


async def test_readings_asked_of_all_are_not_dropped():
    async with on_loopback("    protocols: [gct]\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        call = asyncio.create_task(
            bus.call("can0", "gct_fetch_readings", {"indices": [1], "timeout": 20})
        )
        assert (
            gct.Decoder()
            .feed((request := (await peer.receive())[0]).id, request.data, 0.0)
            .dst
            == gct.BROADCAST
        )
        for id_, data in gct.encode(MonitoringData(5, 0, 1, b"\1")):
            await peer.send(can.frame(id_, data, extended=True))
        assert done(await call) == [{"index": 1, "src": 5, "data": "AQ=="}]


async def test_a_lost_link_does_not_end_listening_until_somebody_asks():
    async with on_loopback() as (bus, peer):
        await bus.call("can0", "reconnect")
        topic = f"{bus.base}/can0/status"
        await until(
            lambda: (
                sum(b'"online"' in each for each in bus.broker.payloads(topic)) >= 2
            ),
            "online again",
        )
        await peer.send(can.frame(7))
        await until(lambda: rows(bus))


async def test_frames_have_a_time_and_error_frames_and_can_fd_exist():
    async with on_loopback("    fd: true\n") as (bus, peer):
        await peer.send(
            parse("123##1" + "00" * 64), can.Frame(0.0, 4, can.ERROR, 8, bytes(8))
        )
        await until(lambda: len(rows(bus)) == 2)
        (time, _, flags, length, _), (_, _, error, _, _) = rows(bus)
        assert (flags, length, error) == (can.FD | can.BRS, 64, can.ERROR)
        assert time > 1e9
        assert bus.events("can0", "error")


def test_the_time_outs_are_comsrvs():
    assert (
        gct_commands.SYSCTRL_TIMEOUT,
        gct_commands.READINGS_TIMEOUT,
        gct_commands.DDP_TIMEOUT,
    ) == (0.5, 0.1, 0.1)
