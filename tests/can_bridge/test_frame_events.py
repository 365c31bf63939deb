"""Raw frames: batches, one by one, groups, filters, the last of each identifier.

Sending them.
"""

import asyncio
import base64
import json

import msgpack
import msgspec
import pytest

from busbar.codecs import can
from busbar.codecs.can import ERROR, EXTENDED, FD, REMOTE, SENT
from busbar.testing.fakes import settle, until
from can_bridge import frame_events
from can_bridge.interfaces import loopback
from tests.can_bridge.peer import batches, done, failure, on_loopback, rows, some_rows

SINGLE = "    frames: {publish: single}\n"


async def test_a_batch_has_the_frames_in_order_with_time_id_flags_length_and_data():
    async with on_loopback("    fd: true\n") as (bus, peer):
        sent = [
            can.frame(0x123, b"abc"),
            can.frame(0x1ABCDEF0, b"", extended=True),
            can.frame(0x7FF, remote=True, length=5),
            can.frame(1, bytes(64), fd=True),
        ]
        await peer.send(*sent)
        found = await some_rows(bus, 4)
        assert [row[1:] for row in found] == [list(frame[1:]) for frame in sent]
        assert [row[2] for row in found] == [0, EXTENDED, REMOTE, FD]
        assert all(abs(row[0] - bus.clock.now()) < 60 for row in found)
        batch = batches(bus)[0]
        assert (batch["seq"], batch["time"]) == (1, found[0][0])


async def test_the_batch_is_declared_and_published_as_messagepack():
    async with on_loopback() as (bus, peer):
        await peer.send(can.frame(1))
        await some_rows(bus, 1)
        info = await bus.info("can0", lambda info: True)
        assert info["events"]["frames"]["encoding"] == "msgpack"
        message = next(
            each for each in bus.broker.published if each.topic.endswith("event/frames")
        )
        assert message.content_type == "application/msgpack"


async def test_batches_can_be_json():
    async with on_loopback("    frames: {encoding: json}\n") as (bus, peer):
        await peer.send(can.frame(0x123, b"abc"))
        await until(lambda: bus.events("can0", "frames"))
        row = bus.events("can0", "frames")[0]["frames"][0]
        assert row[1:] == [0x123, 0, 3, base64.b64encode(b"abc").decode()]


async def test_single_frames_are_json_with_named_fields():
    async with on_loopback(SINGLE) as (bus, peer):
        await peer.send(
            can.frame(0x123, b"abc"),
            can.frame(0x123, extended=True, remote=True, length=2),
        )
        await until(lambda: len(bus.events("can0", "frame")) == 2)
        first, second = bus.events("can0", "frame")
        assert {
            key: first[key] for key in first if key not in ("boot", "seq", "time")
        } == {
            "id": 0x123,
            "extended": False,
            "remote": False,
            "fd": False,
            "brs": False,
            "esi": False,
            "error": False,
            "direction": "rx",
            "length": 3,
            "data": base64.b64encode(b"abc").decode(),
        }
        assert (
            second["extended"],
            second["remote"],
            second["length"],
            second["seq"],
        ) == (True, True, 2, 2)


async def test_a_batch_gathers_for_its_time_and_no_longer():
    async with on_loopback("    frames: {flush: 1.0}\n") as (bus, peer):
        await peer.send(can.frame(1))
        await settle()
        await peer.send(can.frame(2))
        await settle()
        assert batches(bus) == []
        await bus.clock.advance(1.5)
        assert [len(each["frames"]) for each in batches(bus)] == [2]


async def test_a_batch_fits_into_the_brokers_largest_message():
    more = "    frames: {flush: 0.2}\nbroker: {max_message: 16KiB}\n"
    async with on_loopback(more) as (bus, peer):
        await peer.send(*(can.frame(number, bytes(8)) for number in range(2000)))
        found = await some_rows(bus, 2000)
        assert [row[1] for row in found] == list(range(2000))
        sizes = [
            len(each) for each in bus.broker.payloads(f"{bus.base}/can0/event/frames")
        ]
        assert len(sizes) >= 4
        assert max(sizes) <= 16 * 1024
        assert (await bus.value("bridge", "dropped")) == 0


async def test_nothing_raw_is_published_when_nobody_wants_it():
    async with on_loopback("    frames: {publish: none}\n") as (bus, peer):
        await peer.send(can.frame(1))
        await bus.value("can0", "_bus")
        assert "frames" not in (await bus.info("can0", bool))["events"]
        assert rows(bus) == []


async def test_filters_and_groups_select_each_for_itself():
    more = """\
    frames:
      filters: [{id: 0x100, mask: 0x700}]
      groups:
        - {name: engine, filters: [{id: 0x0CF00400, mask: 0x00FFFF00}], flush: 0}
        - {name: one, publish: single, filters: [{id: 0x123}]}
"""
    async with on_loopback(more) as (bus, peer):
        await peer.send(
            can.frame(0x123),
            can.frame(0x200),
            can.frame(0x100, extended=True),
            can.frame(0x0CF00417, extended=True),
        )
        await until(
            lambda: (
                rows(bus)
                and rows(bus, "frames/engine")
                and bus.events("can0", "frame/one")
            )
        )
        assert [row[1] for row in rows(bus)] == [0x123]
        assert [row[1] for row in rows(bus, "frames/engine")] == [0x0CF00417]
        assert [each["id"] for each in bus.events("can0", "frame/one")] == [0x123]
        assert {"frames", "frames/engine", "frame/one"} <= (
            await bus.info("can0", bool)
        )["events"].keys()


async def test_what_no_filter_wants_is_not_even_received():
    async with on_loopback("    frames: {filters: [{id: 0x100}]}\n") as (bus, peer):
        await peer.send(
            can.frame(0x100), can.frame(0x101), can.frame(0x100, extended=True)
        )
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_received", int) == 1


async def test_the_last_frame_of_each_identifier():
    async with on_loopback("    frames: {last: true, last_interval: 5}\n") as (
        bus,
        peer,
    ):
        await peer.send(can.frame(0x7F, b"1"), can.frame(0x7F, b"2", extended=True))
        assert await bus.value("can0", "_rx/07f") == {
            "flags": 0,
            "length": 1,
            "data": "MQ==",
        }
        assert await bus.value("can0", "_rx/0000007f") == {
            "flags": 1,
            "length": 1,
            "data": "Mg==",
        }
        await peer.send(can.frame(0x7F, b"3"), can.frame(0x7F, b"4"))
        await bus.clock.advance(6)
        published = [
            change["value"]["data"]
            for change in bus.changes("can0")
            if change["path"] == "_rx/07f"
        ]
        assert published == ["MQ==", base64.b64encode(b"4").decode()]


async def test_identifiers_without_end_are_bounded(monkeypatch):
    monkeypatch.setattr(frame_events, "LAST_LIMIT", 5)
    monkeypatch.setattr(frame_events, "KNOWN_LIMIT", 5)
    more = "    frames: {last: true, filters: [{id: 0, mask: 0, extended: true}]}\n"
    async with on_loopback(more) as (bus, peer):
        await peer.send(*(can.frame(number, extended=True) for number in range(50)))
        assert len(await some_rows(bus, 50)) == 50
        assert sum(path.startswith("_rx/") for path in bus.good("can0")) == 5


# Sending.


async def test_a_frame_is_sent_as_it_is_in_json_and_messagepack():
    async with on_loopback() as (bus, peer):
        done(
            await bus.call(
                "can0",
                "send",
                {"id": 801, "data": base64.b64encode(b"\xde\xad").decode()},
            )
        )
        done(
            await bus.call(
                "can0",
                "send",
                msgpack.packb({"id": 802, "extended": True, "data": b"\xbe\xef"}),
            )
        )
        done(
            await bus.call(
                "can0",
                "send",
                {"frames": [{"id": 1, "remote": True, "length": 4}, {"id": 2}]},
            )
        )
        done(await bus.call("can0", "cansend", "123#DEADBEEF"))
        assert [tuple(frame[1:]) for frame in await peer.receive(5)] == [
            (801, 0, 2, b"\xde\xad"),
            (802, EXTENDED, 2, b"\xbe\xef"),
            (1, REMOTE, 4, b""),
            (2, 0, 0, b""),
            (0x123, 0, 4, b"\xde\xad\xbe\xef"),
        ]
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_sent", int) == 5


REFUSED = [
    ("send", {"id": 0x800}, "out_of_range", "extended: true"),
    ("send", {"id": 0x20000000, "extended": True}, "out_of_range", "id"),
    ("send", {"id": 1, "data": "AAAAAAAAAAAA"}, "out_of_range", "9 bytes"),
    ("send", {"id": 1, "data": "no base64!"}, "bad_request", "data"),
    ("send", {"id": 1, "fd": True}, "bad_request", "fd: true"),
    ("send", {"id": 1, "length": 3}, "bad_request", "length"),
    ("send", {"id": 1, "remote": True, "length": 9}, "out_of_range", "length"),
    ("send", {}, "bad_request", "`frames`"),
    ("send", {"id": 1, "frames": [{"id": 1}]}, "bad_request", "`frames`"),
    ("send", {"id": 1, "ext": True}, "bad_request", "ext"),
    ("cansend", "hello", "bad_request", "ID#DATA"),
    ("send_periodic", {"id": 1}, "bad_request", "period"),
    ("send_periodic", {"id": 1, "period": 0}, "out_of_range", "period"),
    ("stop_periodic", {"name": "x"}, "unknown", "there are: none"),
    ("request", {"id": 1}, "bad_request", "match"),
    (
        "request",
        {"id": 1, "match": {"id": 0x1000, "extended": False}},
        "bad_request",
        "0x1000 has more than 11 bits",
    ),
    ("decode", {"id": 1, "data": ""}, "unknown", "decode"),
]


async def test_what_cannot_be_sent_is_refused_with_the_reason():
    async with on_loopback() as (bus, _):
        for command, arguments, code, why in REFUSED:
            found = failure(await bus.call("can0", command, arguments))
            assert found[0] == code, (command, arguments, found)
            assert why in found[1], (command, arguments, found)


@pytest.mark.parametrize(
    "more", ["    listen_only: true\n", "    direction: receive\n"]
)
async def test_a_bus_that_is_only_listened_to_sends_nothing(more):
    async with on_loopback(more) as (bus, _):
        for command, arguments in (
            ("send", {"id": 1}),
            ("cansend", "1FF#"),
            ("send_periodic", {"id": 1, "period": 1}),
        ):
            assert failure(await bus.call("can0", command, arguments))[0] == "forbidden"


async def test_a_bus_that_is_only_sent_to_publishes_nothing_it_hears():
    async with on_loopback("    direction: send\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        await peer.send(can.frame(1))
        done(await bus.call("can0", "cansend", "222#"))
        assert (await peer.receive())[0].id == 0x222
        asked = await bus.call(
            "can0", "request", {"id": 3, "match": {"id": 4}, "timeout": 0.01}
        )
        assert failure(asked)[0] == "timeout"
        call = asyncio.create_task(
            bus.call("can0", "request", {"id": 3, "match": {"id": 4}, "timeout": 20})
        )
        await peer.receive(2)
        await peer.send(can.frame(4))
        assert done(await call)["id"] == 4
        assert rows(bus) == []


async def test_own_frames_come_back_marked_where_that_is_wanted():
    async with on_loopback("    receive_own: true\n") as (bus, _):
        done(await bus.call("can0", "cansend", "123#01"))
        assert [row[1:] for row in await some_rows(bus, 1)] == [[0x123, SENT, 1, b"\1"]]
    async with on_loopback("    receive_own: true\n" + SINGLE) as (bus, _):
        done(await bus.call("can0", "cansend", "123#01"))
        await until(lambda: bus.events("can0", "frame"))
        assert bus.events("can0", "frame")[0]["direction"] == "tx"


async def test_the_layout_says_what_it_is_in_info():
    async with on_loopback() as (bus, _):
        schema = (await bus.info("can0", bool))["events"]["frames"]["schema"]
        assert "1 extended, 2 remote, 4 FD" in json.dumps(schema)


def test_rows_are_never_larger_than_what_is_reckoned_with():
    frame = can.frame(
        0x1FFFFFFF, bytes(64), extended=True, fd=True, brs=True, time=1795276751.891478
    )
    for fd, each in ((True, frame), (False, frame._replace(data=bytes(8), length=8))):
        assert (
            len(msgspec.msgpack.encode(each)) <= frame_events.ROW_BYTES["msgpack", fd]
        )
        assert len(msgspec.json.encode(each)) <= frame_events.ROW_BYTES["json", fd]


async def test_what_has_gathered_is_published_when_the_link_is_left():
    async with on_loopback("    frames: {flush: 3600}\n    receive_own: false\n") as (
        bus,
        peer,
    ):
        await peer.send(can.frame(1))
        await settle()
        assert rows(bus) == []
        await bus.call("can0", "reconnect")
        assert [row[1] for row in await some_rows(bus, 1)] == [1]


async def test_an_error_frame_does_not_open_a_filter_for_its_number():
    async with on_loopback(
        "    frames: {filters: [{id: 0x123}], groups: [{name: all}]}\n"
    ) as (bus, peer):
        await peer.send(
            can.Frame(0.0, 0x40, ERROR, 8, bytes(8)), can.frame(0x40), can.frame(0x123)
        )
        assert [row[1:3] for row in await some_rows(bus, 2)] == [
            [0x40, ERROR],
            [0x123, 0],
        ]


async def test_what_is_not_read_in_time_is_counted(monkeypatch):
    monkeypatch.setattr(loopback, "QUEUE_LIMIT", 5)
    async with on_loopback("    receive_own: false\n") as (bus, peer):
        await peer.send(*(can.frame(number) for number in range(12)))
        assert [row[1] for row in await some_rows(bus, 5)] == [7, 8, 9, 10, 11]
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_dropped", int) == 7
