"""Role of a processor: panels connect, the program behind them is on MQTT."""

import asyncio
from contextlib import asynccontextmanager

from busbar.codecs import cip
from busbar.codecs.cip import Form, Join, Update
from busbar.net.streams import open_tcp
from busbar.testing.fakes import settle, until
from cip_bridge import join_state
from cip_bridge.bridge import SERVICE
from tests.broker import free_port
from tests.cip_bridge.peer import QUERY, START, Peer, analog, digital, serial
from tests.cip_bridge.theatre import hurried
from tests.running import running

STAGE = """
bridge: {{name: stage}}
devices:
  - name: xpanel
    address: cip::127.0.0.1:{port}
    ipid: 0x03
    mode: processor
    {more}
    joins:
      - {{join: digital/1, name: lights/on}}
      - {{join: analog/1, name: lights/level, scale: [0, 65535, 0, 100]}}
  - {{name: tablet, address: "cip::127.0.0.1:{port}", ipid: 0x04, mode: processor}}
"""


@asynccontextmanager
async def stage(more=""):
    """Two IP-IDs on one port, on the bus. Gives (bus, port)."""
    port = free_port()
    async with running(SERVICE, STAGE.format(port=port, more=more)) as bus:
        await bus.status("xpanel", "online")
        await bus.clock.advance(0.25)
        yield bus, port


@asynccontextmanager
async def panel(port, ipid=3):
    stream = await open_tcp("127.0.0.1", port, "panel")
    peer = Peer(stream)
    try:
        await peer.hears(cip.Hello())
        await peer.says(cip.Connect(ipid), START)
        await peer.hears(QUERY)
        yield peer
    finally:
        await stream.close()


async def test_presses_come_as_state_and_every_change_is_told():
    async with stage() as (bus, port), panel(port) as peer:
        await peer.says(
            digital(1, True, Form.BUTTON),
            digital(1, False, Form.BUTTON),
            analog(1, 65535),
            serial(2, "hi"),
        )
        assert (
            await bus.value("xpanel", "lights/level", lambda value: value > 0) == 100.0
        )
        assert await bus.value("xpanel", "serial/2") == "hi"
        presses = [
            change["value"]
            for change in bus.changes("xpanel")
            if change["path"] == "lights/on"
        ]
        assert presses == [False, True, False]


async def test_a_set_drives_every_panel_of_its_ip_id_and_no_other():
    async with (
        stage() as (bus, port),
        panel(port) as one,
        panel(port) as two,
        panel(port, 4) as other,
    ):
        assert (await bus.set("xpanel", "lights/level", 50))["result"] == 50
        for peer in (one, two):
            await peer.hears(analog(1, 32768))
        assert (await bus.set("tablet", "serial/1", "done"))["ok"]
        await other.hears(serial(1, "done"))
        assert analog(1, 32768) not in other.heard
        assert await bus.value("xpanel", "_out/lights/level") == 50.0


async def test_a_panel_that_comes_later_gets_what_was_set_before():
    async with stage() as (bus, port):
        await bus.set(
            "xpanel", "", {"serial/1": "Laptop", "digital/5": True, "digital/6": False}
        )
        async with panel(port) as peer:
            updates = [each for each in peer.heard if isinstance(each, Update)]
            assert updates == [serial(1, "Laptop"), digital(5, True)]


async def test_named_joins_have_their_defaults_both_ways_before_any_panel_has_come():
    async with stage() as (bus, _):
        good = bus.good("xpanel")
        assert [
            good[path] for path in ("lights/on", "_out/lights/on", "_out/lights/level")
        ] == [False, False, 0.0]


async def test_who_is_there_is_told():
    async with stage() as (bus, port):
        assert await bus.value("xpanel", "_panels") == []
        async with panel(port), panel(port):
            assert (
                len(await bus.value("xpanel", "_panels", lambda there: len(there) == 2))
                == 2
            )
            assert await bus.value("tablet", "_panels") == []
        assert await bus.value("xpanel", "_panels", lambda there: not there) == []


async def test_commands_of_the_program():
    async with stage() as (bus, port), panel(port) as peer:
        pulsing = asyncio.create_task(
            bus.call("xpanel", "pulse", {"join": 7, "seconds": 0.5})
        )
        await peer.hears(digital(7, True))
        await settle()
        await bus.clock.advance(0.75)
        assert (await pulsing)["ok"]
        await peer.hears(digital(7, False))
        assert (await bus.call("xpanel", "send", "050006000003000800"))["ok"]
        await peer.hears(digital(9, True))
        assert (await bus.call("xpanel", "update_request"))["ok"]
        await peer.hears(QUERY)
        assert (
            await bus.call(
                "xpanel", "get", {"join": "lights/level", "direction": "out"}
            )
        )["result"] == 0.0
        assert "press" not in (await bus.info("xpanel", lambda info: True))["commands"]


async def test_a_taken_port_is_told_and_tried_again():
    async with stage() as (_, port):
        text = STAGE.format(port=port, more="").replace("stage", "other")
        async with running(SERVICE, text) as bus:
            status = await bus.status("xpanel", "offline")
            await until(
                lambda: (
                    "cannot listen"
                    in bus.retained("xpanel", "status")["reason"]["message"]
                ),
                status,
            )


async def test_credentials_and_encodings_are_those_of_the_device():
    async with stage("username: u\n    password: p\n    serial_encoding: utf16") as (
        bus,
        port,
    ):
        stream = await open_tcp("127.0.0.1", port, "panel")
        peer = Peer(stream)
        await peer.says(cip.Connect(3))
        assert (await peer.hears(cip.ConnectResult)).credentials
        await peer.says(cip.Authenticate(3, "u", "p"))
        assert (await peer.hears(cip.AuthResult)).ok
        await bus.value("xpanel", "_panels", len)
        assert (await bus.set("xpanel", "serial/1", "5 €"))["ok"]
        await peer.hears(serial(1, "5 €"))
        await peer.says(START)
        await peer.hears(serial(1, "5 €"))
        await stream.close()


async def test_room_result_and_offset_are_those_of_the_device():
    async with stage("room: hall\n    result: '0003'\n    smart_offset: 0") as (
        bus,
        port,
    ):
        for room, result in (("foyer", "ffff02"), ("hall", "00000003")):
            stream = await open_tcp("127.0.0.1", port, "panel")
            peer = Peer(stream)
            await peer.says(cip.RoomConnect(3, room))
            assert (await peer.hears(cip.ConnectResult)).payload().hex() == result
            if room == "hall":
                await peer.says(bytes.fromhex("05000e00000b3800000003051400040001"))
                assert await bus.value("xpanel", "smart/3/analog/4") == 1
            await stream.close()


async def test_smart_objects_of_panels_have_paths_of_their_own():
    async with stage() as (bus, port), panel(port) as peer:
        await peer.says(Update(Join("digital", 2, 3), True, Form.DIGITAL))
        assert await bus.value("xpanel", "smart/3/digital/2") is True
        await bus.set("xpanel", "smart/3/serial/1", "item")
        await peer.hears(Update(Join("serial", 1, 3), "item", Form.SERIAL))


async def test_our_own_panel_role_signs_on_to_our_processor_role():
    async with stage() as (bus, port):
        text = (
            f"bridge: {{name: home}}\ndevices: "
            f"[{{name: p, address: 'cip::127.0.0.1:{port}', ipid: 0x04}}]"
        )
        async with running(SERVICE, text) as home:
            await home.status("p", "online")
            await bus.set("tablet", "serial/1", "from the program")
            assert await home.value("p", "serial/1") == "from the program"
            await home.set("p", "analog/1", 99)
            assert await bus.value("tablet", "analog/1") == 99


async def test_a_pulse_of_the_program_does_not_hold_the_port():
    async with stage() as (bus, port), panel(port) as peer:
        pulsing = asyncio.create_task(
            bus.call("xpanel", "pulse", {"join": 7, "seconds": 5})
        )
        await peer.hears(digital(7, True))
        assert (await bus.set("xpanel", "digital/8", True))["ok"]
        assert (await bus.set("tablet", "digital/8", True))["ok"]
        assert not pulsing.done()
        await bus.clock.advance(5.5)
        assert (await pulsing)["ok"]


async def test_a_pulse_of_the_program_that_is_cancelled_ends():
    async with stage() as (bus, port), panel(port) as peer:
        pulsing = asyncio.create_task(
            bus.call("xpanel", "pulse", {"join": 7, "seconds": 10, "_id": "pulse-7"})
        )
        await peer.hears(digital(7, True))
        await bus.call("xpanel", "cancel", {"id": "pulse-7"})
        assert (await pulsing)["error"]["code"] == "cancelled"
        await peer.hears(digital(7, False))


async def test_what_panels_say_while_a_device_is_disconnected_is_there_after_connect():
    async with stage() as (bus, port), panel(port) as peer:
        await peer.says(digital(5, True))
        await bus.value("xpanel", "digital/5")
        await bus.call("xpanel", "disconnect")
        await bus.status("xpanel", "offline")
        # the port is open: there is the tablet
        await peer.says(digital(5, False), digital(6, True), cip.Ping())
        await peer.hears(cip.Pong)
        await bus.call("xpanel", "connect")
        await bus.status("xpanel", "online")
        assert await bus.value("xpanel", "digital/5") is False
        assert await bus.value("xpanel", "digital/6") is True
        assert await bus.value("xpanel", "_out/lights/on") is False


async def test_what_means_nothing_is_counted_for_the_device_it_came_to():
    async with stage() as (bus, port), panel(port, 4) as other:
        await other.says(bytes.fromhex("2a000101"))
        await hurried(bus, bus.value("tablet", "_skipped", lambda count: count == 1))
        assert bus.good("xpanel")["_skipped"] == 0


async def test_what_there_is_no_room_for_is_counted(monkeypatch):
    monkeypatch.setattr(join_state, "JOINS_LIMIT", 1)
    async with stage() as (bus, port), panel(port) as peer:
        await peer.says(digital(5, True), digital(6, True))
        await hurried(bus, bus.value("xpanel", "_skipped", lambda count: count == 1))
        assert bus.good("xpanel")["digital/5"] is True


async def test_ten_quick_pulses_of_the_program_are_ten_presses():
    async with stage() as (bus, port), panel(port) as peer:
        pulses = [
            asyncio.create_task(bus.call("xpanel", "pulse", 7)) for _ in range(10)
        ]
        while not all(each.done() for each in pulses):
            await bus.clock.advance(0.25)
        await peer.says(START)
        await peer.hears(QUERY)
        heard = [each for each in peer.heard if isinstance(each, Update)]
        assert heard == [digital(7, True), digital(7, False)] * 10


async def test_equal_texts_of_a_panel_are_events():
    async with stage() as (bus, port), panel(port) as peer:
        await peer.says(*[serial(20, "NEXT")] * 3, digital(21, True), digital(21, True))
        await bus.value("xpanel", "digital/21")
        await until(lambda: len(bus.events("xpanel", "received")) == 3)
        for each in bus.events("xpanel", "received"):
            assert (each["path"], each["value"]) == ("serial/20", "NEXT")
