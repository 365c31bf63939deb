"""GCT on a bus: events, nodes as devices, requests, and what goes wrong with them."""

import asyncio
import base64
import struct
from contextlib import asynccontextmanager

import msgspec
import pytest

from busbar.codecs import can, gct
from busbar.codecs.gct import BROADCAST, Ddp, Heartbeat, MonitoringData, MonitoringRequest, SysCtrl
from busbar.testing import settle, until
from tests.can_bridge.peer import done, failure, on_loopback

OURS, NODE = 0x7E, 18
GCT = "    protocols: [gct]\n    receive_own: false\n"


def b64(data):
    return base64.b64encode(data).decode()


class Nodes:
    """The other nodes on the bus."""

    def __init__(self, peer):
        self._peer, self._decoder = peer, gct.Decoder()

    async def say(self, *messages):
        for message in messages:
            await self._peer.send(*(can.frame(id_, data, extended=True) for id_, data in gct.encode(message)))

    async def put(self, id_, data):
        """Send one frame."""
        await self._peer.send(can.frame(id_, data, extended=True))

    async def hear(self):
        """Return the next message of the bridge."""
        while True:
            (frame,) = await self._peer.hear()
            if (message := self._decoder.feed(frame.id, frame.data, 0.0)) is not None:
                return message


@asynccontextmanager
async def nodes(more=""):
    async with on_loopback(GCT + more) as (bus, peer):
        yield bus, Nodes(peer)


async def ask(bus, command, arguments, device="can0"):
    """Start a command; its outcome is awaited later."""
    return asyncio.create_task(bus.call(device, command, {"timeout": 30, **arguments}))


def events(bus):
    return [
        {key: each[key] for key in each if key not in ("boot", "seq", "time")} for each in bus.events("can0", "gct")
    ]


async def test_every_message_is_an_event():
    async with nodes() as (bus, others):
        await others.say(
            SysCtrl(1, 2, 3, query=True, data=b"\1"), MonitoringData(1, 2, 3, b"\4"),
            MonitoringRequest(1, 2, 3, (0, 63)),
            Ddp(1, 2, b"hello", 1), Ddp(1, 2, bytes(300), 2), Heartbeat(1, 2),
        )  # fmt: skip
        await until(lambda: len(events(bus)) == 6)
        assert events(bus) == [
            {"type": "sysctrl", "src": 1, "dst": 2, "command": 3, "value": False, "query": True, "data": b64(b"\1")},
            {"type": "monitoring_data", "src": 1, "group": 2, "reading": 3, "data": b64(b"\4")},
            {"type": "monitoring_request", "src": 1, "dst": 2, "group": 3, "readings": [0, 63]},
            {"type": "ddp", "src": 1, "dst": 2, "data": b64(b"hello"), "version": 1},
            {"type": "ddp", "src": 1, "dst": 2, "data": b64(bytes(300)), "version": 2},
            {"type": "heartbeat", "src": 1, "product": 2},
        ]


async def test_a_node_that_sends_heartbeats_becomes_a_device():
    async with nodes("    gct: {silence: 5}\n") as (bus, others):
        await others.say(Heartbeat(NODE, 0xABCD))
        await bus.status("can0_node18", "online")
        info = await bus.info("can0_node18", bool)
        assert (info["kind"], info["model"], info["name"]) == ("can", "product 0xABCD", "GCT node 18")
        assert await bus.value("can0_node18", "product") == 0xABCD
        await bus.clock.advance(7)
        assert "no heartbeat for 5 s" in (await bus.status("can0_node18", "offline"))["reason"]["message"]
        await others.say(Heartbeat(NODE, 0x1234))
        await bus.status("can0_node18", "online")
        assert await bus.value("can0_node18", "product", lambda value: value != 0xABCD) == 0x1234
        await bus.clock.advance(0.5)
        assert (await bus.info("can0_node18", bool))["model"] == "product 0x1234"


async def test_readings_of_a_node_are_properties():
    more = "    gct: {readings: [{group: 0, reading: 0, name: temperature, format: '<f', unit: °C}]}\n"
    async with nodes(more) as (bus, others):
        await others.say(
            Heartbeat(NODE, 1),
            MonitoringData(NODE, 0, 0, struct.pack("<f", 21.5)),
            MonitoringData(NODE, 3, 63, b"\1\2"),
        )
        assert await bus.value("can0_node18", "temperature") == 21.5
        assert await bus.value("can0_node18", "reading/3/63") == b64(b"\1\2")
        await others.say(MonitoringData(NODE, 0, 0, b"\1"))
        assert "1 bytes do not fit" in await bus.bad("can0_node18", "temperature", "protocol")


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
        await peer.send(can.parse("03FBF804#R"), can.parse("03FBF804#")._replace(flags=can.EXTENDED | can.ERROR))
        await peer.send(can.parse("03FBF805#"))
        await until(lambda: events(bus))
        assert [each["query"] for each in events(bus)] == [True]


# Requests.


async def test_a_query_returns_the_value_of_the_node_that_was_asked():
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_sysctrl", {"command": 5, "dst": NODE, "data": b64(b"\7")})
        assert await others.hear() == SysCtrl(OURS, NODE, 5, query=True, data=b"\7")
        await others.say(
            SysCtrl(NODE, OURS, 5, query=True), SysCtrl(19, OURS, 5, value=True), SysCtrl(NODE, OURS, 6, value=True),
            SysCtrl(NODE, OURS, 5, value=True, data=b"\x2a"),
        )  # fmt: skip
        assert done(await call) == {"src": NODE, "data": b64(b"\x2a")}


async def test_a_query_to_all_takes_the_first_answer_and_a_value_waits_for_none():
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_sysctrl", {"command": 5})
        assert (await others.hear()).dst == BROADCAST
        await others.say(SysCtrl(3, OURS, 5, value=True))
        assert done(await call)["src"] == 3
        assert done(await bus.call("can0", "gct_sysctrl", {"command": 5, "value": True, "dst": 3})) is None
        assert await others.hear() == SysCtrl(OURS, 3, 5, value=True)


async def test_readings_come_in_order_once_all_are_there():
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_fetch_readings", {"group": 2, "indices": [5, 1, 5], "dst": NODE})
        assert await others.hear() == MonitoringRequest(OURS, NODE, 2, (1, 5))
        await others.say(
            MonitoringData(NODE, 2, 5, b"\5"), MonitoringData(19, 2, 1, b"\7"), MonitoringData(NODE, 1, 1, b"\7"),
            MonitoringData(NODE, 2, 1, b"\1"),
        )  # fmt: skip
        found = done(await call)
        assert [(each["index"], each["src"], each["data"]) for each in found] == [(1, NODE, "AQ=="), (5, NODE, "BQ==")]


async def test_a_single_reading_is_decoded_by_its_format():
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_read_single", {"group": 1, "index": 2, "format": "<f", "dst": NODE})
        await others.hear()
        await others.say(MonitoringData(NODE, 1, 2, struct.pack("<f", 1.5)))
        assert done(await call)["values"] == [1.5]
        call = await ask(bus, "gct_read_single", {"index": 2, "format": "<d", "dst": NODE})
        await others.hear()
        await others.say(MonitoringData(NODE, 0, 2, b"\1"))
        assert failure(await call)[0] == "protocol"


@pytest.mark.parametrize("version", [1, 2])
async def test_ddp_with_and_without_a_response(version):
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_ddp", {"dst": NODE, "data": b64(b"\x81" + bytes(20)), "version": version})
        assert await others.hear() == Ddp(OURS, NODE, b"\x81" + bytes(20), version)
        await others.say(Ddp(19, OURS, b"no"), Ddp(NODE, 5, b"no"), Ddp(NODE, OURS, b"\1yes", version))
        assert done(await call) == {"data": b64(b"\1yes")}
        assert done(await bus.call("can0", "gct_ddp", {"dst": NODE, "data": b64(b"\1"), "version": version})) is None
        assert (await others.hear()).data == b"\1"


async def test_ddp_request_and_write_set_the_bit_that_asks_for_a_response():
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_ddp_request", {"dst": NODE, "command": 3, "data": b64(b"x")})
        assert await others.hear() == Ddp(OURS, NODE, b"\x83x", 2)
        await others.say(Ddp(NODE, OURS, b"\3y", 2))
        assert done(await call) == {"data": b64(b"\3y")}
        done(await bus.call("can0", "gct_ddp_write", {"dst": NODE, "command": 0x83}))
        assert (await others.hear()).data == b"\3"


async def test_a_late_response_is_not_taken_for_the_next_one():
    async with nodes() as (bus, others):
        first = await ask(bus, "gct_ddp_request", {"dst": NODE, "command": 1, "timeout": 5})
        assert (await others.hear()).data == b"\x81"
        await bus.clock.advance(5.1)
        assert failure(await first)[0] == "timeout"
        call = await ask(bus, "gct_ddp_request", {"dst": NODE, "command": 2})
        await settle()  # it waits for the late one
        await others.say(Ddp(NODE, OURS, b"\1late", 2))
        await bus.clock.advance(5.1)
        assert (await others.hear()).data == b"\x82"
        await others.say(Ddp(NODE, OURS, b"\2right", 2))
        assert done(await call) == {"data": b64(b"\2right")}


async def test_time_outs_are_those_of_comsrv_and_say_what_is_missing():
    async with nodes() as (bus, _):
        error = (await bus.call("can0", "gct_fetch_readings", {"indices": [1, 2], "dst": NODE}))["error"]
        assert error["message"] == "node 18 did not send all readings within 0.1 s"
        assert error["detail"] == {"missing": [1, 2]}
        found = await bus.call("can0", "gct_sysctrl", {"command": 1})
        assert failure(found) == ("timeout", "node 127 did not answer within 0.5 s")
        found = await bus.call("can0", "gct_ddp_request", {"command": 1, "dst": NODE})
        assert failure(found) == ("timeout", "node 18 did not respond within 0.1 s")


async def test_commands_of_a_nodes_device_are_for_that_node():
    async with nodes() as (bus, others):
        await others.say(Heartbeat(NODE, 1))
        await bus.status("can0_node18", "online")
        call = await ask(bus, "gct_sysctrl", {"command": 1}, "can0_node18")
        assert (await others.hear()).dst == NODE
        await others.say(SysCtrl(NODE, OURS, 1, value=True))
        done(await call)
        assert "send" not in (await bus.info("can0_node18", bool))["commands"]


async def test_any_message_can_be_sent():
    async with nodes("    gct: {address: 5}\n") as (bus, others):
        for message in (Heartbeat(9, 77), MonitoringData(9, 1, 2, b"x"), SysCtrl(9, 8, 7), Ddp(9, 8, b"data", 2)):
            done(await bus.call("can0", "gct_send", {"message": msgspec.to_builtins(message)}))
            assert await others.hear() == message
        done(await bus.call("can0", "gct_sysctrl", {"command": 1, "query": False}))
        assert (await others.hear()).src == 5


REFUSED = [
    ("gct_sysctrl", {"command": 512}, "out_of_range"),
    ("gct_sysctrl", {"command": 1, "data": b64(bytes(9))}, "out_of_range"),
    ("gct_sysctrl", {"command": 1, "dst": 128}, "out_of_range"),
    ("gct_fetch_readings", {"indices": [64]}, "out_of_range"),
    ("gct_fetch_readings", {"indices": []}, "out_of_range"),
    ("gct_fetch_readings", {"indices": [1], "group": 32}, "out_of_range"),
    ("gct_ddp", {"data": b64(bytes(62)), "dst": 1, "version": 1}, "out_of_range"),
    ("gct_ddp", {"data": b64(b"x")}, "bad_request"),
    ("gct_ddp", {"data": b64(b"x"), "dst": 127}, "out_of_range"),
    ("gct_send", {"message": {"type": "heartbeat", "src": 127, "product": 1}}, "out_of_range"),
    ("gct_send", {"message": {"type": "heartbeat", "src": 1, "product": 0xFFFF}}, "out_of_range"),
    ("gct_send", {"message": {"type": "nonsense"}}, "bad_request"),
]


async def test_what_the_wire_has_no_room_for_is_refused():
    async with nodes() as (bus, _):
        codes = [(command, given, failure(await bus.call("can0", command, given))[0]) for command, given, _ in REFUSED]
        assert codes == REFUSED


async def test_lost_messages_are_counted():
    async with nodes() as (bus, others):
        first, *_ = gct.encode(Ddp(1, 2, bytes(100), 2))
        for _ in range(3):
            await others.put(*first)
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_gct_lost", int) == 2
