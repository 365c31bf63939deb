"""The link to a processor: what becomes of it when the processor does otherwise.

Source: docs/protocols/cip.md, 5 and 7
"""

import asyncio
import random
from datetime import datetime

import pytest

from busbar.codecs import cip
from busbar.errors import LinkLost
from busbar.net.streams import ByteStream
from busbar.testing.fakes import settle, until
from cip_bridge.panel_role.link import STARTING, panel_link
from cip_bridge.settings import Device
from tests.cip_bridge.outlet import Port
from tests.cip_bridge.peer import ACCEPTED, END, QUERY, START, Peer, digital, serial
from tests.cip_bridge.processor import processor, served
from tests.cip_bridge.theatre import failure, hurried, statuses

LOGIN = ", username: admin, password: hunter2"


async def refuses(peer):
    """Close at once: a port without a program behind it."""
    await peer.stream.close()


@pytest.mark.parametrize(
    "how", ["closes", "is silent", "says that it boots", "says no"]
)
async def test_a_password_that_is_not_taken_is_never_tried_again(how):
    logins = []

    async def serve(peer):
        await peer.says(cip.Hello())
        await peer.hears(cip.Connect)
        await peer.says(bytes.fromhex("0200040000401f"))
        logins.append(await peer.hears(cip.Authenticate))
        if how == "closes":
            await peer.stream.close()
        elif how == "says that it boots":
            await peer.says(cip.Hello(cip.BOOTING))
        elif how == "says no":
            await peer.says(cip.AuthResult(0x0A, False))

    async with served(serve, LOGIN) as (bus, _):
        await hurried(bus, bus.status("panel", "offline"))
        await bus.clock.advance(600)
        assert failure(await bus.set("panel", "digital/1", True)) == "offline"
        assert len(logins) == 1
        await bus.call("panel", "reconnect")  # somebody wants it: once
        await until(lambda: len(logins) == 2)
        await bus.clock.advance(600)
        assert len(logins) == 2
        message = bus.retained("panel", "status")["reason"]["message"]
        assert "denies the password of 'admin'" in message
        assert "hunter2" not in message
        assert (await bus.call("bridge", "reload"))["ok"]
        await until(lambda: len(logins) == 3)


async def test_a_refused_connection_is_tried_ever_more_slowly_whatever_is_asked(
    monkeypatch,
):
    # what the jitter is at most
    monkeypatch.setattr(random, "uniform", lambda least, most: most)
    async with served(refuses) as (bus, peers):
        await bus.clock.advance(60)
        assert 4 <= len(peers) <= 6  # 2, 4, 8, 16 s between
        before = len(peers)
        for _ in range(50):
            assert failure(await bus.set("panel", "digital/1", True)) == "offline"
        assert len(peers) <= before + 1
        await bus.clock.advance(600)
        assert before + 25 <= len(peers) <= before + 35  # then 20 s
        before = len(peers)
        await bus.call("panel", "reconnect")
        await until(lambda: len(peers) == before + 1)


async def test_a_connection_that_ends_within_the_update_is_tried_ever_more_slowly_too(
    monkeypatch,
):
    monkeypatch.setattr(random, "uniform", lambda least, most: most)

    async def serve(peer):
        await peer.says(cip.Hello())
        await peer.hears(cip.Connect)
        await peer.says(ACCEPTED)
        await peer.hears(START)
        await peer.stream.close()

    async with served(serve) as (bus, peers):
        await bus.clock.advance(60)
        assert 4 <= len(peers) <= 6


async def test_commands_wait_from_the_connection_on():
    greet = asyncio.Event()

    async def serve(peer):
        await greet.wait()
        await peer.accepts()

    async with served(serve) as (bus, peers):
        await until(lambda: peers)
        await bus.status("panel", "connecting")
        setting = asyncio.create_task(bus.set("panel", "digital/77", True))
        await settle()
        assert not setting.done()
        greet.set()
        assert (await setting)["ok"]
        await peers[0].hears(digital(77, True))


async def test_a_program_that_boots_on_a_running_link_is_waited_for():
    async with processor() as (bus, peer, peers):
        await peer.says(cip.Hello(cip.BOOTING))
        status = await bus.status("panel", "connecting")
        assert status["reason"]["message"] == "the processor is booting"
        setting = asyncio.create_task(
            bus.set("panel", "digital/77", {"_value": True, "_ttl": 60})
        )
        assert (await hurried(bus, setting))["ok"]
        await peers[1].hears(digital(77, True))


async def test_a_greeting_within_the_update_is_a_new_program():
    async def serve(peer):
        if peer.stream._name != "processor0":
            await peer.accepts()
            return
        await peer.says(cip.Hello())
        await peer.hears(cip.Connect)
        await peer.says(ACCEPTED)
        await peer.hears(START)
        await peer.says(START, digital(1, True), cip.Hello())

    async with served(serve) as (bus, peers):
        await until(lambda: peers and START in peers[0].heard)
        await bus.clock.advance(5)  # an update that does not end takes 20 s
        assert len(peers) == 2
        await bus.status("panel", "online")


async def test_an_ip_id_that_was_known_a_moment_ago_is_asked_for_again_soon():
    known = True

    async def serve(peer):
        if known:
            await peer.accepts()
        else:
            await peer.says(cip.Hello(), cip.UNKNOWN_IPID)

    async with served(serve) as (bus, peers):
        await bus.status("panel", "online")
        known = False
        await peers[0].says(cip.Disconnect())
        wanted = "IP-ID 0x0A is not defined, as while the program is loaded"
        waits = {"state": "connecting", "reason": {"code": "link", "message": wanted}}
        await hurried(
            bus,
            until(
                lambda: any(waits.items() <= each.items() for each in statuses(bus)),
                wanted,
            ),
        )
        setting = asyncio.create_task(
            bus.set("panel", "digital/77", {"_value": True, "_ttl": 60})
        )
        await settle()
        known = True
        assert (await hurried(bus, setting))["ok"]
        known = False
        await peers[-1].says(cip.Disconnect())
        await bus.clock.advance(STARTING + 10)
        assert (
            "is not defined in the running program"
            in (await bus.status("panel", "offline"))["reason"]["message"]
        )
        before = len(peers)
        await bus.clock.advance(600)
        assert before + 25 <= len(peers) <= before + 75


async def test_what_an_update_without_its_beginning_leaves_out_is_at_its_default():
    async def serve(peer):
        if peer.stream._name == "processor0":
            await peer.accepts(digital(4, True))
            return
        await peer.says(cip.Hello())
        await peer.hears(cip.Connect)
        await peer.says(ACCEPTED)
        await peer.hears(START)
        await peer.says(digital(5, True), END, QUERY)

    async with served(serve) as (bus, peers):
        assert await bus.value("panel", "digital/4") is True
        await peers[0].says(cip.Disconnect())
        await hurried(bus, bus.value("panel", "digital/5"))
        assert await bus.value("panel", "digital/4") is False


async def test_the_connection_is_closed_even_if_leaving_is_cancelled():
    """The processor reads nothing any more, so that the last release waits."""
    peers = []

    async def connected(reader, writer):
        peers.append(Peer(ByteStream(reader, writer, "processor")))
        await peers[0].accepts()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = panel_link(Device(name="panel", address=f"cip::127.0.0.1:{port}", ipid="0A"))
    leave, sending = asyncio.Event(), []

    async def hold():
        async with link.open(Port()) as session:
            await session._holds.press(digital(1, True).join, 60)
            large = cip.encode(serial(1, "x" * 60_000)) * 500
            sending.append(asyncio.create_task(session._conversation.send(large)))
            await settle()
            assert not sending[0].done()
            leave.set()

    holding = asyncio.create_task(hold())
    await leave.wait()
    await settle()
    assert not holding.done()
    holding.cancel()
    await asyncio.gather(holding, *sending, return_exceptions=True)
    with pytest.raises(LinkLost):
        while True:
            await peers[0].stream.read()
    await peers[0].stream.close()
    server.close()


async def test_a_server_that_never_ends_its_update_is_online_and_says_so():
    async def serve(peer):
        await peer.says(cip.Hello())
        await peer.hears(cip.Connect)
        await peer.says(ACCEPTED)
        await peer.hears(START)
        await peer.says(digital(5, True))
        while True:
            await peer.hears(cip.Ping)
            await peer.says(cip.Pong())

    named = ", joins: [{join: digital/9, name: door}]"
    async with served(serve, named) as (bus, peers):
        await hurried(bus, bus.status("panel", "online"))
        assert bus.good("panel")["digital/5"] is True
        # what it has not sent is not known: no default is made up
        assert "door" not in bus.good("panel")
        assert await bus.value("panel", "_update_ended") is False
        # an update that ends after all
        await peers[0].says(END)
        assert await bus.value("panel", "_update_ended", bool) is True
        assert await bus.value("panel", "door") is False


async def test_a_processor_that_sends_no_date_has_no_clock():
    async with processor() as (bus, peer, _):
        assert await bus.value("panel", "clock", lambda value: True) is None
        await peer.says(cip.Clock(datetime(2020, 3, 27, 20, 35, 31)))
        assert await bus.value("panel", "clock", bool) == "2020-03-27T20:35:31"


async def test_what_is_skipped_is_counted_over_all_connections():
    async with processor() as (bus, peer, peers):
        await peer.says(bytes.fromhex("2a000101"))
        await bus.value("panel", "_skipped", lambda count: count == 1)
        await peer.says(cip.Disconnect())
        await bus.status("panel", "offline")
        await hurried(bus, bus.status("panel", "online"))
        await peers[1].says(bytes.fromhex("2a000101"))
        await bus.value("panel", "_skipped", lambda count: count == 2)


async def test_text_that_cannot_be_sent_names_the_key_that_chooses_another():
    async with processor() as (bus, _, _):
        error = (await bus.set("panel", "serial/1", "€"))["error"]
        assert "`serial_encoding` of the configuration" in error["message"]
