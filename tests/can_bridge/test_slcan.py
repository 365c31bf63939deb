"""A serial adapter as the real transport.

python-can, an independent peer, at the other end of the cable.
"""

import asyncio
import base64

import can

from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from can_bridge.simulator.__main__ import Simulator
from tests.can_bridge.peer import (
    EXAMPLE,
    Wire,
    configuration,
    done,
    python_can,
    received_frame,
    rows,
    some_rows,
)
from tests.running import running


def example(path):
    more = f"    fd: true\n    database: {EXAMPLE}\n    signals: {{min_interval: 0}}\n"
    return configuration(f"can::slcan::{path}::500000", more)


async def test_frames_of_every_kind_both_ways():
    with Wire() as wire:
        async with (
            python_can(
                "slcan", wire.ports[1], bitrate=500000, sleep_after_open=0
            ) as peer,
            running(SERVICE, example(wire.ports[0])) as bus,
        ):
            await bus.status("can0", "online")
            sent = [
                can.Message(
                    arbitration_id=0x123, data=b"\xde\xad", is_extended_id=False
                ),
                can.Message(arbitration_id=0x1ABCDEF0, data=bytes(range(8))),
                can.Message(
                    arbitration_id=0x7FF,
                    is_remote_frame=True,
                    dlc=4,
                    is_extended_id=False,
                ),
                can.Message(
                    arbitration_id=1,
                    is_fd=True,
                    bitrate_switch=True,
                    data=bytes(64),
                    is_extended_id=False,
                ),
            ]
            for message in sent:
                peer.send(message)
            found = await some_rows(bus, len(sent))
            assert [row[1:] for row in found] == [
                [0x123, 0, 2, b"\xde\xad"],
                [0x1ABCDEF0, 1, 8, bytes(range(8))],
                [0x7FF, 2, 4, b""],
                [1, 12, 64, bytes(64)],
            ]
            data = base64.b64encode(b"\1\2\3").decode()
            done(await bus.call("can0", "send", {"id": 0x321, "data": data}))
            done(
                await bus.call(
                    "can0",
                    "send",
                    {"id": 0x18FEF100, "extended": True, "remote": True, "length": 3},
                )
            )
            done(
                await bus.call(
                    "can0",
                    "send",
                    {"id": 2, "fd": True, "brs": True, "data": "AAAAAAAAAAAAAAAA"},
                )
            )
            came = [await received_frame(peer) for _ in range(3)]
            assert [
                (each.arbitration_id, each.is_extended_id, each.dlc) for each in came
            ] == [
                (0x321, False, 3),
                (0x18FEF100, True, 3),
                (2, False, 12),
            ]
            assert (
                bytes(came[0].data),
                came[1].is_remote_frame,
                came[2].bitrate_switch,
            ) == (b"\1\2\3", True, True)


async def test_signals_and_requests_over_the_cable():
    with Wire() as wire:
        async with (
            python_can(
                "slcan", wire.ports[1], bitrate=500000, sleep_after_open=0
            ) as peer,
            running(SERVICE, example(wire.ports[0])) as bus,
        ):
            await bus.status("can0", "online")
            peer.send(
                can.Message(
                    arbitration_id=0x100,
                    data=b"\x10\x27\x82\x11\0\0\0\0",
                    is_extended_id=False,
                )
            )
            assert await bus.value("can0", "EngineData/Speed") == 2500
            done(await bus.set("can0", "Lamp/Brightness", 50))
            assert bytes((await received_frame(peer)).data) == b"\x64\0"


async def test_two_thousand_frames_in_a_burst_arrive_in_order():
    with Wire() as wire:
        async with (
            python_can(
                "slcan", wire.ports[1], bitrate=500000, sleep_after_open=0
            ) as peer,
            running(SERVICE, example(wire.ports[0])) as bus,
        ):
            await bus.status("can0", "online")
            messages = [
                can.Message(arbitration_id=number, data=bytes(8))
                for number in range(2000)
            ]
            await asyncio.to_thread(
                lambda: [peer.send(message) for message in messages]
            )
            assert [row[1] for row in await some_rows(bus, 2000)] == list(range(2000))


async def test_an_adapter_that_is_pulled_and_plugged_in_again():
    async with (
        Simulator() as simulator,
        running(SERVICE, example(simulator.path)) as bus,
    ):
        await bus.status("can0", "online")
        await until(lambda: simulator.open, "the open channel")
        assert simulator.commands == ["C", "S6", "O"]
        await bus.call("can0", "disconnect")
        await until(lambda: not simulator.open, "the closed channel")
        await bus.call("can0", "connect")
        await bus.status("can0", "online")
        assert await bus.value("can0", "EngineData/Running") is True
        simulator.unplug()
        await bus.status("can0", "offline")
        before = len(rows(bus))
        simulator.plug()
        while not simulator.open:
            await bus.clock.advance(1)
        await bus.status("can0", "online")
        await until(lambda: len(rows(bus)) > before, "frames again")


async def test_a_port_that_is_not_there_says_so_and_others_go_on(tmp_path):
    text = example(tmp_path / "none") + "  - {name: other, address: 'can::loopback'}\n"
    async with running(SERVICE, text) as bus:
        await bus.status("other", "online")
        found = await bus.status("can0", "offline")
        await until(
            lambda: "none" in bus.retained("can0", "status")["reason"]["message"],
            str(found),
        )
