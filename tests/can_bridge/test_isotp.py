"""ISO-TP on a bus: the vehicle of the simulator answers."""

import asyncio
import base64
import threading
from contextlib import asynccontextmanager, contextmanager

import isotp

from busbar.codecs import can
from can_bridge.bridge import SERVICE
from can_bridge.simulator.__main__ import Simulator
from can_bridge.simulator.vehicle import DIAGNOSIS_REQUEST, DIAGNOSIS_RESPONSE, VIN
from tests.can_bridge.peer import (
    Wire,
    configuration,
    done,
    failure,
    on_loopback,
    python_can,
)
from tests.running import running

PAIR = {"tx": DIAGNOSIS_REQUEST, "rx": DIAGNOSIS_RESPONSE, "timeout": 20}


def b64(data):
    return base64.b64encode(data).decode()


@asynccontextmanager
async def vehicle():
    async with (
        Simulator(quiet=True) as simulator,
        running(SERVICE, configuration(simulator.address)) as bus,
    ):
        await bus.status("can0", "online")
        yield bus, simulator


async def test_a_question_of_one_frame_with_an_answer_of_several():
    async with vehicle() as (bus, _):
        found = done(
            await bus.call("can0", "isotp", {**PAIR, "data": b64(b"\x22\xf1\x90")})
        )
        assert base64.b64decode(found["data"]) == b"\x62\xf1\x90" + VIN


async def test_long_messages_both_ways_and_two_at_once():
    async with vehicle() as (bus, _):
        message = bytes(range(256)) * 8
        calls = [
            bus.call("can0", "isotp", {**PAIR, "data": b64(message), "block": block})
            for block in (0, 7)
        ]
        for found in await asyncio.gather(*calls):
            assert base64.b64decode(done(found)["data"]) == message[::-1]


async def test_a_message_without_an_answer_is_done_when_it_is_out():
    async with vehicle() as (bus, simulator):
        assert (
            done(
                await bus.call(
                    "can0", "isotp", {**PAIR, "data": b64(bytes(20)), "response": False}
                )
            )
            is None
        )
        assert len(simulator.vehicle.seen) >= 3


async def test_no_answer_and_no_flow_control_time_out():
    async with vehicle() as (bus, simulator):
        simulator.vehicle.silent = True
        short = {**PAIR, "timeout": 0.02}
        assert failure(
            await bus.call("can0", "isotp", {**short, "data": b64(b"x")})
        ) == (
            "timeout",
            "no whole message came within 0.02 s",
        )
        assert failure(
            await bus.call("can0", "isotp", {**short, "data": b64(bytes(20))})
        ) == (
            "timeout",
            "no flow control came within 0.02 s",
        )


async def test_what_a_receiver_says_wrong_is_a_protocol_error():
    async with on_loopback() as (bus, peer):
        call = asyncio.create_task(
            bus.call("can0", "isotp", {**PAIR, "data": b64(bytes(20))})
        )
        await peer.receive()
        await peer.send(can.frame(DIAGNOSIS_RESPONSE, b"\x32\0\0"))
        assert failure(await call) == (
            "protocol",
            ("the receiver has no room for the message"),
        )


async def test_can_fd_and_short_frames():
    async with on_loopback("    fd: true\n") as (bus, peer):
        done(
            await bus.call(
                "can0",
                "isotp",
                {**PAIR, "data": b64(bytes(60)), "fd": True, "response": False},
            )
        )
        (frame,) = await peer.receive()
        assert (frame.length, frame.data[:2]) == (64, b"\0\x3c")
        done(
            await bus.call(
                "can0",
                "isotp",
                {**PAIR, "data": "AQ==", "padding": None, "response": False},
            )
        )
        assert (await peer.receive())[0].data == b"\1\1"


async def test_flow_control_is_padded_as_the_message_is():
    async with on_loopback() as (bus, peer):
        for padding, control in (
            (0xAA, b"\x30\0\0" + b"\xaa" * 5),
            (None, b"\x30\0\0"),
        ):
            asked = {**PAIR, "data": "AQ==", "padding": padding}
            call = asyncio.create_task(bus.call("can0", "isotp", asked))
            await peer.receive()
            await peer.send(can.frame(DIAGNOSIS_RESPONSE, b"\x10\x08abcdef"))
            assert (await peer.receive())[0].data == control
            await peer.send(can.frame(DIAGNOSIS_RESPONSE, b"\x21gh"))
            assert done(await call) == {"data": b64(b"abcdefgh")}


async def test_identifiers_of_29_bits_are_known_as_such():
    async with on_loopback() as (bus, peer):
        about = {"tx": 0x18DA10F1, "rx": 0x18DAF110, "data": "AQ==", "timeout": 20}
        call = asyncio.create_task(bus.call("can0", "isotp", about))
        (frame,) = await peer.receive()
        assert frame.flags == can.EXTENDED
        await peer.send(can.frame(0x18DAF110, b"\2ok", extended=True))
        assert done(await call) == {"data": b64(b"ok")}
        too_large = await bus.call("can0", "isotp", {**about, "fd": True})
        assert failure(too_large)[0] == "bad_request"


@contextmanager
def unit(bus):
    """A unit of can-isotp, an independent peer, on a bus of python-can.

    It answers with what it got, reversed.
    """
    options = {
        "blocking_send": False,
        "blocksize": 8,
        "stmin": 0,
        "rx_consecutive_frame_timeout": 20_000,
    }
    options |= {"rx_flowcontrol_timeout": 20_000, "max_frame_size": 10_000}  # ms, bytes
    address = isotp.Address(
        isotp.AddressingMode.Normal_11bits,
        txid=DIAGNOSIS_RESPONSE,
        rxid=DIAGNOSIS_REQUEST,
    )
    faults, ending = [], threading.Event()
    layer = isotp.CanStack(
        bus, address=address, error_handler=faults.append, params=options
    )

    def answer():
        while not ending.is_set():
            message = layer.recv(block=True, timeout=0.05)
            if message is not None:
                layer.send(bytes(message[::-1]))

    layer.start()
    thread = threading.Thread(target=answer, name="unit")
    thread.start()
    try:
        yield faults
    finally:
        ending.set()
        thread.join()
        layer.stop()


async def test_another_implementation_at_the_far_end_of_a_serial_cable():
    with Wire() as wire:
        async with (
            python_can(
                "slcan", wire.ports[1], bitrate=500000, sleep_after_open=0
            ) as far,
            running(
                SERVICE, configuration(f"can::slcan::{wire.ports[0]}::500000")
            ) as bus,
        ):
            await bus.status("can0", "online")
            with unit(far) as faults:
                for message in (
                    b"x",
                    bytes(7),
                    bytes(8),
                    bytes(range(256)) * 2,
                    bytes(range(251)) * 17,
                ):
                    for padding in (0xCC, None):
                        asked = {
                            **PAIR,
                            "data": b64(message),
                            "block": 5,
                            "padding": padding,
                        }
                        found = done(await bus.call("can0", "isotp", asked))
                        assert base64.b64decode(found["data"]) == message[::-1]
                assert faults == []
