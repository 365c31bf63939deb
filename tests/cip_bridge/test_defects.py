"""The fourteen defects of python-cipclient 0.0.2 that were reproduced
(docs/protocols/cip.md, 9).

None of them is ours.

The fake processor here is a plain socket that writes what it is told; 10 (a callback
that asks deadlocks) is in test_readme.py, where there is a client.
"""

import time

from busbar.codecs import cip
from busbar.codecs.cip import Command, Join
from busbar.testing.fakes import until
from cip_bridge.bridge import SERVICE
from cip_bridge.simulator.__main__ import Simulator
from tests.cip_bridge.peer import END, QUERY, START, digital, serial
from tests.cip_bridge.processor import processor
from tests.cip_bridge.theatre import hurried, of
from tests.running import running


async def test_01_a_peer_that_closes_does_not_cost_a_processor():
    async with Simulator() as simulator, running(SERVICE, of(simulator)) as bus:
        await bus.status("panel", "online")
        simulator.unplug()
        await bus.status("panel", "offline")
        began, used = time.monotonic(), time.process_time()
        # `until` looks every 5 ms, which is most of what it costs
        await until(lambda: time.monotonic() - began > 0.5)
        assert time.process_time() - used < 0.25  # python-cipclient: 101 % of a core


async def test_02_a_peer_that_closes_is_seen_as_gone():
    async with processor() as (bus, peer, _):
        await peer.stream.close()
        assert "closed" in (await bus.status("panel", "offline"))["reason"]["message"]


async def test_03_a_lost_processor_is_connected_to_again():
    async with processor() as (bus, peer, peers):
        await peer.stream.close()
        await bus.status("panel", "offline")
        await hurried(bus, bus.status("panel", "online"))
        await peers[1].says(digital(4, True))
        assert await bus.value("panel", "digital/4") is True


async def test_04_a_frame_split_over_two_reads_is_not_lost():
    frame = cip.encode(digital(4, True))
    for place in range(1, len(frame)):
        async with processor() as (bus, peer, _):
            await peer.says(frame[:place])
            await bus.clock.advance(0.25)
            await peer.says(frame[place:])
            assert await bus.value("panel", "digital/4") is True


async def test_05_every_record_of_a_frame_counts():
    async with processor() as (bus, peer, _):
        await peer.says(bytes.fromhex("05000800000500000001800500080000050004000500"))
        assert await bus.value("panel", "digital/6") is True
        assert [bus.good("panel")[f"digital/{number}"] for number in (1, 2, 5, 6)] == [
            True,
            False,
            True,
            True,
        ]


async def test_06_the_goodbye_of_the_program_is_heard():
    async with processor() as (bus, peer, _):
        await peer.says(cip.Disconnect())
        assert (
            "its program stops"
            in (await bus.status("panel", "offline"))["reason"]["message"]
        )


async def test_07_a_short_payload_does_not_end_reception():
    async with processor() as (bus, peer, _):
        for short in (
            "050000",
            "05000100",
            "0500020000",
            "050003000000",
            "0f0000",
            "020000",
            "120000",
            "120003000000",
        ):
            await peer.says(bytes.fromhex(short))
        await peer.says(digital(4, True))
        assert await bus.value("panel", "digital/4") is True


async def test_08_text_above_247_characters_is_sent():
    async with processor() as (bus, peer, _):
        for length in (247, 248, 255, 256, 65000):
            assert (await bus.set("panel", "serial/1", "x" * length))["ok"]
            await peer.hears(serial(1, "x" * length))


async def test_09_text_beyond_ascii_is_sent_or_refused_and_harms_nothing():
    async with processor() as (bus, peer, _):
        assert (await bus.set("panel", "serial/1", "café"))["ok"]
        await peer.hears(serial(1, "café"))
        assert "'€'" in (await bus.set("panel", "serial/1", "€"))["error"]["message"]
        assert (await bus.set("panel", "digital/4", True))["ok"]
        await peer.hears(digital(4, True))


async def test_11_text_beyond_ascii_that_comes_in_is_read():
    async with processor() as (bus, peer, _):
        await peer.says(
            bytes.fromhex(
                "12000c0000000834000403636166e91200100000000c34000507630061006600e900"
            )
        )
        assert (
            await bus.value("panel", "serial/5")
            == await bus.value("panel", "serial/6")
            == "café"
        )


async def test_12_an_analog_below_zero_is_refused_and_harms_nothing():
    async with processor() as (bus, peer, _):
        assert (await bus.set("panel", "analog/1", -1))["error"][
            "code"
        ] == "out_of_range"
        assert (await bus.set("panel", "digital/4", True))["ok"]
        await peer.hears(digital(4, True))


async def test_13_the_success_code_of_older_processors_is_one():
    async with processor(bytes.fromhex("02000400000003")) as (bus, peer, _):
        await peer.says(digital(4, True))
        assert await bus.value("panel", "digital/4") is True


async def test_14_it_can_be_started_after_it_was_stopped():
    async with processor() as (bus, _, peers):
        for _ in range(2):
            assert (await bus.call("panel", "disconnect"))["ok"]
            await bus.status("panel", "offline")
            assert (await bus.call("panel", "connect"))["ok"]
            await bus.status("panel", "online")
        assert len(peers) == 3


async def test_a_burst_in_one_write_is_delivered_whole():
    async with processor() as (bus, peer, _):
        frames = [
            cip.encode(
                cip.Update(Join("analog", number), number % 65536, cip.Form.ANALOG)
            )
            for number in range(1, 3001)
        ]
        await peer.says(b"".join(frames))
        await bus.value("panel", "analog/3000")
        good = bus.good("panel")
        assert [good[f"analog/{number}"] for number in range(1, 3001)] == list(
            range(1, 3001)
        )


async def test_duplicate_dumps_change_nothing():
    async with processor() as (bus, peer, _):
        dump = [START, digital(4, True), serial(2, "x"), END, QUERY]
        await peer.says(*dump)
        assert await bus.value("panel", "serial/2") == "x"
        before = len(bus.changes("panel"))
        await peer.says(*dump, *dump)
        for _ in range(2):
            await peer.hears(Command(cip.ACKNOWLEDGE))
        await bus.clock.advance(1)
        assert bus.changes("panel")[before:] == []
