"""GCT on a bus: events, nodes as devices, what is lost."""

import struct

import msgspec

from busbar.codecs import can, gct
from busbar.codecs.gct import Ddp, Heartbeat, MonitoringData, MonitoringRequest, SysCtrl
from busbar.testing.fakes import until
from tests.can_bridge.nodes import GCT, NODE, OURS, Nodes, b64, events, nodes
from tests.can_bridge.peer import EXAMPLE, done, on_loopback


async def test_every_message_is_an_event():
    async with nodes() as (bus, others):
        await others.say(
            SysCtrl(1, 2, 3, query=True, data=b"\1"),
            MonitoringData(1, 2, 3, b"\4"),
            MonitoringRequest(1, 2, 3, (0, 63)),
            Ddp(1, 2, b"hello", 1),
            Ddp(1, 2, bytes(300), 2),
            Heartbeat(1, 2),
        )
        await until(lambda: len(events(bus)) == 6)
        assert events(bus) == [
            {
                "type": "sysctrl",
                "src": 1,
                "dst": 2,
                "command": 3,
                "value": False,
                "query": True,
                "data": b64(b"\1"),
            },
            {
                "type": "monitoring_data",
                "src": 1,
                "group": 2,
                "reading": 3,
                "data": b64(b"\4"),
            },
            {
                "type": "monitoring_request",
                "src": 1,
                "dst": 2,
                "group": 3,
                "readings": [0, 63],
            },
            {"type": "ddp", "src": 1, "dst": 2, "data": b64(b"hello"), "version": 1},
            {"type": "ddp", "src": 1, "dst": 2, "data": b64(bytes(300)), "version": 2},
            {"type": "heartbeat", "src": 1, "product": 2},
        ]


async def test_a_node_that_sends_heartbeats_becomes_a_device():
    async with nodes("    gct: {silence: 5}\n") as (bus, others):
        await others.say(Heartbeat(NODE, 0xABCD))
        await bus.status("can0_node18", "online")
        info = await bus.info("can0_node18", bool)
        assert (info["kind"], info["model"], info["name"]) == (
            "can",
            "product 0xABCD",
            "GCT node 18",
        )
        assert await bus.value("can0_node18", "product") == 0xABCD
        await bus.clock.advance(7)
        assert (
            "no heartbeat for 5 s"
            in (await bus.status("can0_node18", "offline"))["reason"]["message"]
        )
        await others.say(Heartbeat(NODE, 0x1234))
        await bus.status("can0_node18", "online")
        assert (
            await bus.value("can0_node18", "product", lambda value: value != 0xABCD)
            == 0x1234
        )
        await bus.clock.advance(0.5)
        assert (await bus.info("can0_node18", bool))["model"] == "product 0x1234"


async def test_a_node_that_goes_on_beating_stays_online_where_nothing_else_is_wanted():
    async with nodes("    gct: {silence: 5}\n    frames: {publish: none}\n") as (
        bus,
        others,
    ):
        for beat in range(4):
            await others.say(Heartbeat(NODE, 1))
            await until(lambda beat=beat: len(events(bus)) > beat)
            await bus.clock.advance(3)
        assert not any(
            b"offline" in each
            for each in bus.broker.payloads(f"{bus.base}/can0_node18/status")
        )


async def test_readings_of_a_node_are_properties():
    more = (
        "    gct: {readings: [{group: 0, reading: 0, name: temperature, format: '<f', "
        "unit: °C}]}\n"
    )
    async with nodes(more) as (bus, others):
        await others.say(
            Heartbeat(NODE, 1),
            MonitoringData(NODE, 0, 0, struct.pack("<f", 21.5)),
            MonitoringData(NODE, 3, 63, b"\1\2"),
        )
        assert await bus.value("can0_node18", "temperature") == 21.5
        assert await bus.value("can0_node18", "reading/3/63") == b64(b"\1\2")
        await others.say(MonitoringData(NODE, 0, 0, b"\1"))
        assert "1 bytes do not fit" in await bus.bad(
            "can0_node18", "temperature", "protocol"
        )


async def test_nodes_are_no_devices_where_that_is_not_wanted():
    async with nodes("    gct: {devices: false}\n") as (bus, others):
        await others.say(Heartbeat(NODE, 1))
        await until(lambda: events(bus))
        assert bus.retained("can0_node18", "status") is None


async def test_a_name_that_is_taken_costs_that_node_only(caplog):
    more = "  - {name: can0_node18, address: 'can::virtual::other'}\n"
    async with nodes(more) as (bus, others):
        await others.say(Heartbeat(NODE, 1), Heartbeat(NODE, 1), Heartbeat(19, 1))
        await bus.status("can0_node19", "online")
        assert caplog.text.count("can0: GCT node 18 cannot be a device") == 1


async def test_remote_and_error_frames_are_no_messages():
    async with on_loopback(GCT) as (bus, peer):
        await peer.send(
            can.parse("03FBF804#R"),
            can.parse("03FBF804#")._replace(flags=can.EXTENDED | can.ERROR),
        )
        await peer.send(can.parse("03FBF805#"))
        await until(lambda: events(bus))
        assert [each["query"] for each in events(bus)] == [True]


async def test_our_own_messages_are_no_events_and_we_are_no_node():
    async with on_loopback("    protocols: [gct]\n    receive_own: true\n") as (
        bus,
        peer,
    ):
        done(
            await bus.call(
                "can0", "gct_send", {"message": msgspec.to_builtins(Heartbeat(OURS, 1))}
            )
        )
        await Nodes(peer).say(Heartbeat(NODE, 1))
        await bus.status("can0_node18", "online")
        assert [each["src"] for each in events(bus)] == [NODE]
        assert bus.retained(f"can0_node{OURS}", "status") is None


async def test_frames_of_gct_are_not_unknown_to_a_database():
    async with nodes(f"    database: {EXAMPLE}\n") as (bus, others):
        await others.say(Heartbeat(NODE, 1), Ddp(1, 2, bytes(100), 2))
        await others.put(0x1FFFF800, b"")  # type 15
        await others.put(0x1DFFF800, b"")  # source 7F
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_unknown", int) == 2
    async with on_loopback(f"    database: {EXAMPLE}\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        await Nodes(peer).say(Heartbeat(NODE, 1))
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_unknown", int) == 1


async def test_lost_messages_are_counted():
    async with nodes() as (bus, others):
        first, *_ = gct.encode(Ddp(1, 2, bytes(100), 2))
        for _ in range(3):
            await others.put(*first)
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_gct_lost", int) == 2
