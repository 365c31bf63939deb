"""Requests to GCT nodes, and what goes wrong with them."""

import struct

import msgspec
import pytest

from busbar.codecs.gct import (
    BROADCAST,
    Ddp,
    Heartbeat,
    MonitoringData,
    MonitoringRequest,
    SysCtrl,
)
from busbar.testing.fakes import settle
from tests.can_bridge.nodes import GCT, NODE, OURS, ask, b64, nodes
from tests.can_bridge.peer import done, failure, on_loopback


async def test_a_query_returns_the_value_of_the_node_that_was_asked():
    async with nodes() as (bus, others):
        call = await ask(
            bus, "gct_sysctrl", {"command": 5, "dst": NODE, "data": b64(b"\7")}
        )
        assert await others.receive() == SysCtrl(OURS, NODE, 5, query=True, data=b"\7")
        await others.say(
            SysCtrl(NODE, OURS, 5, query=True),
            SysCtrl(19, OURS, 5, value=True),
            SysCtrl(NODE, OURS, 6, value=True),
            SysCtrl(NODE, 3, 5, value=True, data=b"\5"),  # what another one has asked
            SysCtrl(NODE, OURS, 5, value=True, data=b"\x2a"),
        )
        assert done(await call) == {"src": NODE, "data": b64(b"\x2a")}


async def test_a_query_to_all_takes_the_first_answer_and_a_value_waits_for_none():
    async with nodes() as (bus, others):
        call = await ask(bus, "gct_sysctrl", {"command": 5})
        assert (await others.receive()).dst == BROADCAST
        await others.say(SysCtrl(3, OURS, 5, value=True))
        assert done(await call)["src"] == 3
        assert (
            done(
                await bus.call(
                    "can0", "gct_sysctrl", {"command": 5, "value": True, "dst": 3}
                )
            )
            is None
        )
        assert await others.receive() == SysCtrl(OURS, 3, 5, value=True)


async def test_readings_come_in_order_once_all_are_there():
    async with nodes() as (bus, others):
        call = await ask(
            bus, "gct_fetch_readings", {"group": 2, "indices": [5, 1, 5], "dst": NODE}
        )
        assert await others.receive() == MonitoringRequest(OURS, NODE, 2, (1, 5))
        await others.say(
            MonitoringData(NODE, 2, 5, b"\5"),
            MonitoringData(19, 2, 1, b"\7"),
            MonitoringData(NODE, 1, 1, b"\7"),
            MonitoringData(NODE, 2, 1, b"\1"),
        )
        found = done(await call)
        assert [(each["index"], each["src"], each["data"]) for each in found] == [
            (1, NODE, "AQ=="),
            (5, NODE, "BQ=="),
        ]


async def test_a_single_reading_is_decoded_by_its_format():
    async with nodes() as (bus, others):
        call = await ask(
            bus,
            "gct_read_single",
            {"group": 1, "index": 2, "format": "<f", "dst": NODE},
        )
        await others.receive()
        await others.say(MonitoringData(NODE, 1, 2, struct.pack("<f", 1.5)))
        assert done(await call)["values"] == [1.5]
        call = await ask(
            bus, "gct_read_single", {"index": 2, "format": "<d", "dst": NODE}
        )
        await others.receive()
        await others.say(MonitoringData(NODE, 0, 2, b"\1"))
        assert failure(await call)[0] == "protocol"


@pytest.mark.parametrize("version", [1, 2])
async def test_ddp_with_and_without_a_response(version):
    async with nodes() as (bus, others):
        call = await ask(
            bus,
            "gct_ddp",
            {"dst": NODE, "data": b64(b"\x81" + bytes(20)), "version": version},
        )
        assert await others.receive() == Ddp(OURS, NODE, b"\x81" + bytes(20), version)
        await others.say(
            Ddp(19, OURS, b"no"),
            Ddp(NODE, 5, b"no"),
            Ddp(NODE, OURS, b"\1yes", version),
        )
        assert done(await call) == {"data": b64(b"\1yes")}
        assert (
            done(
                await bus.call(
                    "can0",
                    "gct_ddp",
                    {"dst": NODE, "data": b64(b"\1"), "version": version},
                )
            )
            is None
        )
        assert (await others.receive()).data == b"\1"


async def test_ddp_request_and_write_set_the_bit_that_asks_for_a_response():
    async with nodes() as (bus, others):
        call = await ask(
            bus, "gct_ddp_request", {"dst": NODE, "command": 3, "data": b64(b"x")}
        )
        assert await others.receive() == Ddp(OURS, NODE, b"\x83x", 2)
        await others.say(Ddp(NODE, OURS, b"\3y", 2))
        assert done(await call) == {"data": b64(b"\3y")}
        done(await bus.call("can0", "gct_ddp_write", {"dst": NODE, "command": 0x83}))
        assert (await others.receive()).data == b"\3"


async def test_requests_to_one_node_go_one_by_one_and_without_a_pause():
    async with nodes() as (bus, others):
        calls = [
            await ask(bus, "gct_ddp_request", {"dst": NODE, "command": command})
            for command in (1, 2)
        ]
        other = await ask(bus, "gct_ddp_request", {"dst": 19, "command": 3})
        assert [(await others.receive()).data for _ in range(2)] == [b"\x81", b"\x83"]
        await others.say(Ddp(19, OURS, b"\3", 2), Ddp(NODE, OURS, b"\1", 2))
        assert (await others.receive()).data == b"\x82"
        await others.say(Ddp(NODE, OURS, b"\2", 2))
        assert [done(await call)["data"] for call in (*calls, other)] == [
            b64(b"\1"),
            b64(b"\2"),
            b64(b"\3"),
        ]


WAITING = {
    "gct_sysctrl": {"command": 5},
    "gct_fetch_readings": {"indices": [1]},
    "gct_read_single": {"index": 1},
    "gct_ddp_request": {"command": 1, "dst": NODE},
    "isotp": {"tx": 1, "rx": 2, "data": "AQ=="},
    "request": {"id": 1, "match": {"id": 2}},
}


async def test_waiting_does_not_hold_the_bus_and_metadata_limit_it():
    async with on_loopback(GCT) as (bus, peer):
        for command, arguments in WAITING.items():
            call = await ask(bus, command, {**arguments, "_id": "waiting"})
            await peer.receive()  # it is under way
            done(await bus.call("can0", "cansend", "123#"))
            await peer.receive()
            await bus.call("can0", "cancel", {"id": "waiting"})
            assert failure(await call)[0] == "cancelled"
            again = {**arguments, "timeout": 30, "_timeout": 0.01}
            # the other one may still respond
            again |= {"dst": 20} if "dst" in again else {}
            assert "within 0.01 s" in failure(await bus.call("can0", command, again))[1]
            await peer.receive()


async def test_a_late_response_is_not_taken_for_the_next_one():
    async with nodes() as (bus, others):
        first = await ask(
            bus, "gct_ddp_request", {"dst": NODE, "command": 1, "timeout": 5}
        )
        assert (await others.receive()).data == b"\x81"
        await bus.clock.advance(5.1)
        assert failure(await first)[0] == "timeout"
        call = await ask(bus, "gct_ddp_request", {"dst": NODE, "command": 2})
        await settle()  # it waits for the late one
        await others.say(Ddp(NODE, OURS, b"\1late", 2))
        await bus.clock.advance(5.1)
        assert (await others.receive()).data == b"\x82"
        await others.say(Ddp(NODE, OURS, b"\2right", 2))
        assert done(await call) == {"data": b64(b"\2right")}


async def test_time_outs_are_those_of_comsrv_and_say_what_is_missing():
    async with nodes() as (bus, _):
        error = (
            await bus.call(
                "can0", "gct_fetch_readings", {"indices": [1, 2], "dst": NODE}
            )
        )["error"]
        assert error["message"] == (
            "not all readings came from node 18 within 0.1 s; missing: 1, 2"
        )
        assert error["detail"] == {"missing": [1, 2]}
        found = await bus.call("can0", "gct_sysctrl", {"command": 1})
        assert failure(found) == ("timeout", "no answer from any node within 0.5 s")
        found = await bus.call("can0", "gct_ddp_request", {"command": 1, "dst": NODE})
        assert failure(found) == ("timeout", "no response from node 18 within 0.1 s")


async def test_commands_of_a_nodes_device_are_for_that_node():
    async with nodes() as (bus, others):
        await others.say(Heartbeat(NODE, 1))
        await bus.status("can0_node18", "online")
        call = await ask(bus, "gct_sysctrl", {"command": 1}, "can0_node18")
        assert (await others.receive()).dst == NODE
        await others.say(SysCtrl(NODE, OURS, 1, value=True))
        done(await call)
        assert "send" not in (await bus.info("can0_node18", bool))["commands"]


async def test_any_message_can_be_sent():
    async with nodes("    gct: {address: 5}\n") as (bus, others):
        for message in (
            Heartbeat(9, 77),
            MonitoringData(9, 1, 2, b"x"),
            SysCtrl(9, 8, 7),
            Ddp(9, 8, b"data", 2),
        ):
            done(
                await bus.call(
                    "can0", "gct_send", {"message": msgspec.to_builtins(message)}
                )
            )
            assert await others.receive() == message
        done(await bus.call("can0", "gct_sysctrl", {"command": 1, "query": False}))
        assert (await others.receive()).src == 5


REFUSED = [
    ("gct_sysctrl", {"command": 512}, "out_of_range"),
    ("gct_sysctrl", {"command": 1, "data": b64(bytes(9))}, "out_of_range"),
    ("gct_sysctrl", {"command": 1, "dst": 128}, "out_of_range"),
    ("gct_fetch_readings", {"indices": [64]}, "out_of_range"),
    ("gct_fetch_readings", {"indices": []}, "out_of_range"),
    ("gct_fetch_readings", {"indices": [1], "group": 32}, "out_of_range"),
    ("gct_ddp", {"data": b64(bytes(62)), "dst": 1, "version": 1}, "out_of_range"),
    ("gct_read_single", {"index": 1, "format": "zz"}, "bad_request"),
    ("gct_ddp", {"data": b64(b"x")}, "bad_request"),
    ("gct_ddp", {"data": b64(b"x"), "dst": 127}, "out_of_range"),
    (
        "gct_send",
        {"message": {"type": "heartbeat", "src": 127, "product": 1}},
        "out_of_range",
    ),
    (
        "gct_send",
        {"message": {"type": "heartbeat", "src": 1, "product": 0xFFFF}},
        "out_of_range",
    ),
    ("gct_send", {"message": {"type": "nonsense"}}, "bad_request"),
]


async def test_what_the_wire_has_no_room_for_is_refused():
    async with nodes() as (bus, _):
        codes = [
            (command, given, failure(await bus.call("can0", command, given))[0])
            for command, given, _ in REFUSED
        ]
        assert codes == REFUSED
