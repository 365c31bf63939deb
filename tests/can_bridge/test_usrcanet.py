"""A USR-CANET200 on TCP: 13 bytes a frame."""

import asyncio
from contextlib import asynccontextmanager

from busbar.codecs import can, usrcanet
from busbar.testing.fakes import until
from can_bridge.bridge import SERVICE
from tests.can_bridge.peer import configuration, done, failure, some_rows
from tests.running import running


class Gateway:
    """What is at the other end of the connection."""

    def __init__(self):
        self.raw, self.writers = b"", []

    async def serve(self, reader, writer):
        self.writers.append(writer)
        while data := await reader.read(4096):
            self.raw += data
        writer.close()

    def send(self, raw):
        self.writers[-1].write(raw)


@asynccontextmanager
async def gateway():
    made = Gateway()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        running(SERVICE, configuration(f"can::usrcanet::127.0.0.1:{port}")) as bus,
    ):
        await bus.status("can0", "online")
        await until(lambda: made.writers)
        yield bus, made
        made.writers[-1].close()


async def test_frames_both_ways_as_the_gateway_has_them():
    async with gateway() as (bus, made):
        # docs/protocols/can.md, 5
        made.send(bytes.fromhex("8400abcdef010203040000000008000001230001020304050607"))
        found = await some_rows(bus, 2)
        assert [row[1:] for row in found] == [
            [0xABCDEF, 1, 4, b"\1\2\3\4"],
            [0x123, 0, 8, bytes(range(8))],
        ]
        done(
            await bus.call(
                "can0",
                "send",
                {"id": 0x123456, "extended": True, "remote": True, "length": 3},
            )
        )
        await until(lambda: made.raw == bytes.fromhex("c3001234560000000000000000"))
        assert (
            failure(await bus.call("can0", "send", {"id": 1, "fd": True}))[0]
            == "bad_request"
        )


async def test_a_record_that_cannot_be_is_counted_and_the_next_one_is_read():
    async with gateway() as (bus, made):
        made.send(b"\x30" + bytes(12) + usrcanet.encode(can.frame(7)))
        assert (await some_rows(bus, 1))[0][1] == 7
        await bus.clock.advance(1.2)
        assert await bus.value("can0", "_skipped", int) == 1


async def test_another_protocol_at_the_other_end_costs_the_link():
    async with gateway() as (bus, made):
        made.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        reason = (await bus.status("can0", "offline"))["reason"]
        assert (reason["code"], "is it a USR-CANET200?" in reason["message"]) == (
            "protocol",
            True,
        )


async def test_a_gateway_that_goes_and_comes_back():
    async with gateway() as (bus, made):
        made.writers[-1].transport.abort()
        await bus.status("can0", "offline")
        while len(made.writers) < 2:
            await bus.clock.advance(1)
        await bus.status("can0", "online")
        made.send(usrcanet.encode(can.frame(7)))
        assert (await some_rows(bus, 1))[0][1] == 7
