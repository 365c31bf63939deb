"""Interfaces that python-can drives: its virtual bus, and drivers that fail."""

import asyncio
import re
import threading

import can
import pytest
from can.interfaces.kvaser import canlib

from busbar.codecs import can as frames
from busbar.codecs.can import EXTENDED, FD, REMOTE, Mask
from busbar.errors import BadRequest, LinkLost, Overloaded
from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from can_bridge.interfaces.pythoncan import PythonCan, frame_of, message_of
from tests.can_bridge.peer import (
    configuration,
    done,
    python_can,
    received_frame,
    some_rows,
)
from tests.running import running


async def test_frames_both_ways_on_a_bus_of_python_can():
    async with (
        python_can("virtual", "both", protocol=can.CanProtocol.CAN_FD) as peer,
        running(SERVICE, configuration("can::virtual::both", "    fd: true\n")) as bus,
    ):
        await bus.status("can0", "online")
        peer.send(can.Message(arbitration_id=0x123, data=b"abc", is_extended_id=False))
        peer.send(can.Message(arbitration_id=5, is_fd=True, data=bytes(48)))
        assert [row[1:] for row in await some_rows(bus, 2)] == [
            [0x123, 0, 3, b"abc"],
            [5, EXTENDED | FD, 48, bytes(48)],
        ]
        done(await bus.call("can0", "cansend", "7FF#R3"))
        came = await received_frame(peer)
        assert (came.arbitration_id, came.is_remote_frame, came.dlc) == (0x7FF, True, 3)


async def test_its_filters_are_those_of_the_configuration():
    more = "    frames: {filters: [{id: 0x100, mask: 0x700}]}\n"
    async with (
        python_can("virtual", "filtered") as peer,
        running(SERVICE, configuration("can::virtual::filtered", more)) as bus,
    ):
        await bus.status("can0", "online")
        for number in (0x99, 0x1FF, 0x200):
            peer.send(can.Message(arbitration_id=number, is_extended_id=False))
        assert [row[1] for row in await some_rows(bus, 1)] == [0x1FF]
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("can::pcan::usb1::125000", r"cannot open pcan PCAN_USBBUS1: .+"),
        (
            "can::kvaser::0::500000",
            (
                r"cannot open kvaser 0: .+; is its "
                r"driver installed\?"
            ),
        ),
    ],
)
async def test_a_driver_that_cannot_be_opened_says_why_and_others_go_on(address, said):
    text = configuration(address) + "  - {name: other, address: 'can::loopback'}\n"
    async with running(SERVICE, text) as bus:
        await bus.status("other", "online")
        await until(
            lambda: re.fullmatch(
                said, (bus.retained("can0", "status")["reason"] or {})["message"]
            )
        )


class Driver(can.BusABC):
    """A driver of python-can that does what the test says.

    It is the foreign side of the seam.
    """

    def __init__(self):
        self.incoming, self.sent = [], []
        self.fail: Exception | None = None
        self.refuse: Exception | None = None
        self.full = 0
        self.state_ = can.BusState.ACTIVE
        self.let = threading.Event()
        super().__init__("driver")

    def _recv_internal(self, timeout):
        if self.fail is not None:
            raise self.fail
        if self.incoming:
            return self.incoming.pop(0), True
        self.let.wait(0.01)
        return None, False

    def send(self, msg, timeout=None):
        if self.refuse is not None:
            raise self.refuse
        if self.full:
            self.full -= 1
            raise can.CanOperationError("The transmit queue is full")
        self.sent.append(msg)

    @property
    def state(self):
        return self.state_


def driven(driver, **options):
    return PythonCan(driver, options.pop("send_timeout", 0.05), 500000, **options)


async def test_a_driver_that_raises_whatever_it_likes_ends_the_link():
    driver = Driver()
    bus = driven(driver)
    driver.fail = ZeroDivisionError("a bug in a driver")
    with pytest.raises(LinkLost, match="a bug in a driver"):
        await asyncio.wait_for(bus.receive(), 20)
    await asyncio.to_thread(bus.close)


async def test_frames_that_are_not_fetched_are_counted_and_the_newest_kept():
    driver = Driver()
    driver.incoming = [can.Message(arbitration_id=number) for number in range(50)]
    bus = driven(driver, ring=10)
    await until(lambda: bus.dropped == 40)
    assert [frame.id for frame in await bus.receive()] == list(range(40, 50))
    await asyncio.to_thread(bus.close)


async def test_a_full_queue_is_tried_again_until_the_time_is_over():
    driver = Driver()
    bus = driven(driver, send_timeout=5.0)
    driver.full = 3
    await bus.send(frames.frame(1))
    assert [message.arbitration_id for message in driver.sent] == [1]
    await asyncio.to_thread(bus.close)
    bus = driven(driver := Driver(), send_timeout=0.02)
    driver.full = 1_000_000
    with pytest.raises(
        Overloaded,
        match=(
            r"full for 0.02 s: The transmit queue "
            r"is full"
        ),
    ):
        await bus.send(frames.frame(1))
    await asyncio.to_thread(bus.close)


async def test_the_state_of_the_controller():
    driver = Driver()
    bus = driven(driver)
    for state, name in (
        (can.BusState.ACTIVE, "active"),
        (can.BusState.PASSIVE, "passive"),
        (can.BusState.ERROR, "off"),
    ):
        driver.state_ = state
        assert (await bus.health()).state == name
    await asyncio.to_thread(bus.close)


async def test_a_state_that_a_driver_was_set_to_is_not_that_of_the_controller():
    bus = driven(type("PcanBus", (Driver,), {})())
    assert (await bus.health()).state is None
    await asyncio.to_thread(bus.close)


OPENED = {}  # channel -> how its driver was opened


class Asked(Driver):
    """A driver that tells how it was opened."""

    def __init__(self, channel, **options):
        super().__init__()
        OPENED[channel] = options


LISTENING = {
    "pcan": {"state": can.BusState.PASSIVE},
    "kvaser": {"driver_mode": canlib.DRIVER_MODE_SILENT},
    "vector": {"listen_only": True},
    "seeedstudio": {"operation_mode": "silent"},
    "gs_usb": {},
}


@pytest.mark.parametrize("listen_only", [True, False])
async def test_adapters_that_are_to_listen_only_are_told_so(listen_only, monkeypatch):
    text = "bridge: {name: truck}\ndevices:\n"
    for interface in LISTENING:
        monkeypatch.setitem(can.interfaces.BACKENDS, interface, (__name__, "Asked"))
        more = f"listen_only: {str(listen_only).lower()}, options: {{more: 1}}"
        address = f"can::{interface}::to {interface}::500000"
        text += f"  - {{name: {interface}, address: '{address}', {more}}}\n"
    async with running(SERVICE, text) as bus:
        for interface, options in LISTENING.items():
            await bus.status(interface, "online")
            found = OPENED[f"to {interface}"]
            assert found == {
                "bitrate": 500000,
                "more": 1,
                **(options if listen_only else {}),
            }


KINDS = [
    frames.frame(0x123, b"abc"),
    frames.frame(5, extended=True),
    frames.frame(5, remote=True, length=4),
    frames.frame(1, bytes(64), fd=True, brs=True),
]


@pytest.mark.parametrize("frame", KINDS)
def test_a_frame_there_and_back(frame):
    message = message_of(frame)
    message.timestamp = 1795276751.5000003
    assert frame_of(message) == frame._replace(time=1795276751.5)


def test_a_time_stamp_that_counts_from_the_start_of_the_driver_is_replaced():
    assert frame_of(can.Message(timestamp=12.5)).time > 1e9


def test_masks_are_what_python_can_takes():
    assert Mask(0x100, 0x700, False).matches(frames.frame(0x1FF))
    assert not Mask(0x100, 0x700, False).matches(frames.frame(0x1FF, extended=True))
    assert REMOTE == 2


async def test_error_frames_pass_every_filter():
    more = "    frames: {filters: [{id: 0x100}]}\n"
    async with (
        python_can("virtual", "filtered errors") as peer,
        running(SERVICE, configuration("can::virtual::filtered errors", more)) as bus,
    ):
        await bus.status("can0", "online")
        peer.send(
            can.Message(is_error_frame=True, arbitration_id=0x40, dlc=8, data=bytes(8))
        )
        assert await bus.value("can0", "_bus", lambda state: state) == "off"


async def test_a_frame_that_a_driver_refuses_costs_that_frame_only():
    driver = Driver()
    bus = driven(driver)
    driver.refuse = ValueError("no CAN FD here")
    with pytest.raises(BadRequest, match="refuses the frame: no CAN FD here"):
        await bus.send(frames.frame(1, bytes(64), fd=True))
    driver.refuse = None
    await bus.send(frames.frame(1))
    assert len(driver.sent) == 1
    await asyncio.to_thread(bus.close)


async def test_a_driver_that_fails_when_it_is_closed_is_closed():
    driver = Driver()
    bus = driven(driver)
    driver.shutdown = lambda: 1 / 0
    await asyncio.to_thread(bus.close)
    assert not bus._reader.is_alive()
    del driver.shutdown
    driver.shutdown()


async def test_a_driver_that_does_not_tell_its_state_is_not_called_active():
    async with python_can("virtual", "silent") as driver:
        bus = driven(driver)
        assert (await bus.health()).state is None
        await asyncio.to_thread(bus.close)
