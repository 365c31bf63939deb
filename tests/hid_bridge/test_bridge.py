"""The bridge on simulated devices: what a client of the bus sees, by both back ends."""

import asyncio
import base64
import errno
import os
from pathlib import Path

import pytest

from busbar.testing.fakes import until
from hid_bridge.backends import calls, hidraw
from hid_bridge.simulator import devices
from hid_bridge.simulator.world import SimulatedHid
from tests.hid_bridge.stage import PANEL, SCALE, stage

FAKE = Path(__file__).parent / "fake_hidapi"
WEIGHED = bytes.fromhex("030408FF1A01")


@pytest.fixture(params=["hidraw", "hidapi"])
def backend(request, monkeypatch):
    paths = [str(FAKE), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return request.param


async def reason(there, text, device="panel"):
    """Wait until the status of a device says this; return all that it says."""

    def said():
        return str((there.bus.retained(device, "status") or {}).get("reason"))

    await until(lambda: text in said(), text)
    return said()


async def test_a_scale_needs_no_more_than_its_address(backend):
    scale = devices.scale()
    text = SCALE % f", backend: {backend}"
    async with stage(text, scale, online="scale") as there:
        scale.send(bytes.fromhex("03040BFF1A01"))
        assert await there.bus.value("scale", "weight") == 28.2
        assert there.bus.good("scale")["unit"] == "oz"
        assert there.bus.good("scale")["status"] == "stable"
        assert round(there.bus.good("scale")["mass"], 4) == 0.7995
        await until(lambda: there.events("scale"), "the event")
        (event,) = there.events("scale")
        assert base64.b64decode(event["data"]) == bytes.fromhex("03040BFF1A01")
        assert event["report"] == 3
        assert event["fields"]["weight"] == 28.2


async def test_reports_are_written_read_and_asked_for(backend):
    panel = devices.panel()
    text = PANEL % f"backend: {backend}"
    async with stage(text, panel, online="panel") as there:
        await there.ok("panel", "write", hex="04 03")
        await until(lambda: b"\x04\x03" in panel.written, "the report")
        assert (await there.ok("panel", "read", seconds=0.05)) is None
        panel.send(b"\x02\x81")
        await there.bus.value("panel", "button/8", lambda value: value is True)
        read = await there.ok("panel", "read", seconds=5)
        assert base64.b64decode(read["data"]) == b"\x02\x81"
        await there.ok("panel", "send_feature", report=1, hex="10 27 01")
        got = await there.ok("panel", "get_feature", report=1)
        assert base64.b64decode(got["data"]) == b"\x01\x10\x27\x01"
        panel.inputs[2] = b"\x01"
        got = await there.ok("panel", "get_input", report=2)
        assert base64.b64decode(got["data"]) == b"\x02\x01"


async def test_a_set_is_read_back_and_says_what_the_device_has(backend):
    panel = devices.panel()
    text = PANEL % f"backend: {backend}"
    async with stage(text, panel, online="panel") as there:
        reply = await there.bus.set("panel", "level", "12.5")
        assert (reply["ok"], reply["result"]) == (True, 12.5)
        assert panel.features[1][:2] == (12500).to_bytes(2, "little")
        panel.frozen.add(1)
        reply = await there.bus.set("panel", "level", "3")
        assert reply["error"]["code"] == "device"
        assert "12.5" in reply["error"]["message"]
        reply = await there.bus.set("panel", "led/num_lock", "true")
        assert reply["ok"]
        await until(lambda: b"\x04\x01" in panel.written, "the light")
        assert (await there.bus.set("panel", "led/caps_lock", "true"))["ok"]
        await until(lambda: b"\x04\x03" in panel.written, "both lights")


async def test_a_device_is_found_again_after_it_was_unplugged(backend):
    panel = devices.panel()
    text = PANEL % f"backend: {backend}"
    async with stage(text, panel, online="panel") as there:
        panel.unplug()
        await there.bus.status("panel", "offline")
        panel.plug(there.root, 3)
        await there.bus.status("panel", "online")
        assert (await there.bus.set("panel", "level", "1"))["ok"]


async def test_one_device_with_several_collections_is_listed_once(backend):
    from hid_bridge.bridge import Backends

    async with stage(PANEL % "", devices.panel(), devices.scale()) as there:
        found = await Backends(there.root).of(backend).nodes()
        assert [each.product for each in found] == [2, 0x8003]


async def test_a_hang_in_hidapi_is_ended_by_killing_its_process(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("HID_HANGS", "1")
    text = PANEL % "backend: hidapi\n    timeout: 1"
    async with stage(text, devices.panel()) as there:
        await reason(there, "did not come back within 1 s")


async def test_twins_without_serial_are_told_apart_by_their_ports():
    text = """
bridge: {name: counter}
devices:
  - {name: left, address: "hid::1209:0002::port=1-2"}
  - {name: right, address: "hid::1209:0002::port=1-3"}
  - {name: either, address: "hid::1209:0002"}
"""
    left, right = devices.panel("1-2"), devices.panel("1-3")
    async with stage(text, left, right, online="right") as there:
        await there.bus.status("left", "online")
        await reason(there, "2 devices fit", "either")
        await there.ok("left", "write", hex="04 01")
        await until(lambda: left.written, "the report")
        assert not right.written
        rows = (await there.bus.call("bridge", "scan", {}))["result"]
        assert [each["address"] for each in rows] == [
            "hid::1209:0002::port=1-2",
            "hid::1209:0002::port=1-3",
        ]


@pytest.mark.parametrize(
    "address", ["hid::page=0x8D", "hid::name=Sca*", "hid::0922:8003::serial=0042"]
)
async def test_a_device_is_found_by_page_name_and_serial_number(address):
    text = SCALE.replace("hid::0922:8003", address) % ""
    async with stage(text, devices.panel(), devices.scale(), online="scale") as there:
        assert (await there.ok("scale", "info"))["vendor"] == "0922"


async def test_a_device_that_comes_is_opened_at_once():
    async with stage(PANEL % "") as there:
        await reason(there, "no device fits hid::1209:0002")
        there.plug(devices.panel())
        await there.bus.status("panel", "online")


async def test_missing_rights_are_tried_for_a_while_and_then_name_the_rule(monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(hidraw.nodes, "open_node", refuse)
    monkeypatch.setattr(hidraw, "RIGHTS_WAIT", 0.3)
    async with stage(PANEL % "", devices.panel()) as there:
        status = await reason(there, "/etc/udev/rules.d")
        assert "1209:0002" in status


async def test_rights_that_come_within_the_wait_are_no_fault(monkeypatch):
    real, tries = hidraw.nodes.open_node, []

    def open_node(path):
        tries.append(path)
        if len(tries) < 3:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(hidraw.nodes, "open_node", open_node)
    async with stage(PANEL % "", devices.panel(), online="panel"):
        assert len(tries) == 3


async def test_an_ioctl_that_hangs_costs_the_device_and_not_the_loop():
    panel = devices.panel()
    text = PANEL % "timeout: 0.3"
    async with stage(text, panel, online="panel") as there:
        panel.slow = 3.0
        message = await there.refused("panel", "get_feature", "link", report=1)
        assert "did not come back within 0.3 s" in message
        panel.slow = 0.0
        await until(lambda: not calls._hanging, "the end of the call")
        await there.bus.status("panel", "online")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EPIPE, "device"),
        (errno.EIO, "device"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.ENODEV, "link"),
    ],
)
async def test_what_the_kernel_says_is_told_apart(number, code):
    panel = devices.panel()
    async with stage(PANEL % "", panel, online="panel") as there:
        panel.error = number
        await there.refused("panel", "get_feature", code, report=1)
        panel.error = 0


async def test_a_report_that_is_too_short_costs_its_fields_only():
    scale = devices.scale()
    async with stage(SCALE % "", scale, online="scale") as there:
        scale.send(bytes.fromhex("03040BFF1A01"))
        await there.bus.value("scale", "weight")
        scale.send(bytes.fromhex("03040B"))
        await there.bus.bad("scale", "weight", "protocol")
        assert there.bus.good("scale")["status"] == "stable"
        scale.send(bytes.fromhex("03040BFF1A01"))
        await there.bus.value("scale", "weight")
        assert there.bus.retained("scale", "status")["state"] == "online"


async def test_under_zero_has_a_sign():
    scale = devices.scale()
    async with stage(SCALE % "", scale, online="scale") as there:
        scale.send(devices.weighing(15, status=5))
        assert await there.bus.value("scale", "weight") == -1.5


async def test_reports_are_as_long_as_the_descriptor_says_and_not_longer():
    panel = devices.panel()
    async with stage(PANEL % "", panel, online="panel") as there:
        message = await there.refused("panel", "write", "out_of_range", hex="04 01 02")
        assert "has 1 bytes after its number, not 2" in message
        await there.refused("panel", "write", "out_of_range", hex="09 01")
        await there.ok("panel", "send_feature", hex="05 01")
        assert len(panel.sent[-1]) == 6145  # comsrv stops at 64


async def test_an_answer_from_before_a_write_is_none():
    panel = devices.panel()
    async with stage(PANEL % "", panel, online="panel") as there:
        panel.send(b"\x02\x01")
        await there.bus.value("panel", "button/1", lambda value: value is True)
        asked = asyncio.create_task(there.ok("panel", "query", hex="04 01", seconds=9))
        await until(lambda: panel.written, "the question")
        panel.send(b"\x02\x02")
        answer = await asked
        assert base64.b64decode(answer["data"]) == b"\x02\x02"


CO2 = """
bridge: {name: room}
devices: [{name: air, address: "hid::04d9:a052", model: co2monitor}]
"""


async def test_a_co2_monitor_is_opened_by_a_report_and_read_by_its_model():
    air = SimulatedHid(
        bytes.fromhex("0600FF0901A1010902150026FF007508950881020902950891020903B102C0"),
        vendor=0x04D9,
        product=0xA052,
    )
    async with stage(CO2, air, online="air") as there:
        assert list(air.sent) == [bytes(9)]
        for report in ("5003BA0D0D000000", "4212A3F70D000000", "410A226D0D000000"):
            air.send(bytes.fromhex(report))
        assert await there.bus.value("air", "co2") == 954
        assert await there.bus.value("air", "humidity") == 25.94
        temperature = await there.bus.value("air", "temperature")
        assert round(temperature, 2) == 25.04
        air.send(bytes.fromhex("5003BA0E0D000000"))
        await there.bus.value("air", "_bad_reports", lambda count: count == 1)
        assert "checksum" in there.events("air")[-1]["fault"]
        assert there.bus.good("air")["co2"] == 954


async def test_a_footswitch_is_read_by_its_model():
    text = """
bridge: {name: room}
devices: [{name: pedals, address: "hid::05f3:00ff", model: footswitch}]
"""
    pedals = SimulatedHid(
        bytes.fromhex("050CA101050919012903150025017501950381027505 9501 8101 C0"),
        vendor=0x05F3,
        product=0x00FF,
    )
    async with stage(text, pedals, online="pedals") as there:
        pedals.send(b"\x04\x00")
        assert await there.bus.value("pedals", "pedal/right") is True
        assert there.bus.good("pedals")["pedal/left"] is False


ONE = """
bridge: {name: counter}
devices: [{name: one, address: "hid::1209:0001"%s}]
"""
GAMEPAD = bytes.fromhex(
    "0501 0905 A101 0939 1500 2507 3500 463B01 6514 7504 9501 8142"
    "0509 1901 2904 1500 2501 7501 9504 8102 C0"
)
UPS = bytes.fromhex(
    "0584 0904 A101 0924 A102 8507 0585 0966 1500 2564 7508 9501 B103"
    "0584 0930 6721D1F000 5505 1500 27FFFF0000 7510 9501 B103"
    "8508 0957 6500 5500 15FF 267F00 7508 9501 B102 C0C0"
)


async def test_a_joystick_is_named_by_its_descriptor_and_rests_as_null():
    pad = SimulatedHid(GAMEPAD)
    async with stage(ONE % "", pad, online="one") as there:
        pad.send(b"\x22")
        assert await there.bus.value("one", "hat_switch") == 90
        assert there.bus.good("one")["button/2"] is True
        pad.send(b"\x08")
        rests = await there.bus.value("one", "hat_switch", lambda value: value is None)
        assert rests is None


async def test_a_ups_is_read_by_its_features_and_not_written_unless_allowed():
    ups = SimulatedHid(UPS)
    ups.features = {7: bytearray(b"\x55\x5b\x05"), 8: bytearray(b"\xff")}
    async with stage(ONE % ", every: 0.1", ups, online="one") as there:
        assert await there.bus.value("one", "remaining_capacity") == 85
        assert await there.bus.value("one", "voltage") == 13.71
        info = await there.bus.info("one", lambda each: "voltage" in str(each))
        assert info["properties"]["voltage"]["unit"] == "V"
        reply = await there.bus.set("one", "delay_before_shutdown", "1")
        assert reply["error"]["code"] == "read_only"
        ups.features[7][0] = 84
        await there.bus.value("one", "remaining_capacity", lambda value: value == 84)


async def test_a_feature_that_is_refused_costs_itself():
    ups = SimulatedHid(UPS)
    ups.features = {7: bytearray(b"\x55\x5b\x05")}
    async with stage(ONE % "", ups, online="one") as there:
        await there.bus.bad("one", "delay_before_shutdown", "device")
        assert there.bus.good("one")["remaining_capacity"] == 85
