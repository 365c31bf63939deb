"""What is sent again after a sign-on, and what is not: reading moves nothing."""

import asyncio

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Command, Form, Update
from busbar.testing.fakes import until
from tests.cip_bridge.peer import END, QUERY, START, analog, digital, serial
from tests.cip_bridge.processor import processor
from tests.cip_bridge.theatre import hurried


def updates(peer):
    return [each for each in peer.heard if isinstance(each, Update)]


async def drive(bus, peer):
    """Set one join of each kind, press a button."""
    for path, value in (("analog/1", 32768), ("serial/9", "PLAY"), ("digital/5", True)):
        assert (await bus.set("panel", path, value))["ok"]
    assert (await hurried(bus, bus.call("panel", "pulse", 7)))["ok"]
    await peer.hears(digital(7, False, Form.BUTTON))


async def next_peer(bus, peers):
    """Return the peer of the next connection, once its sign-on is through."""
    count = len(peers)

    async def signed_on():
        await until(lambda: len(peers) > count and START in peers[-1].heard)
        await peers[-1].hears(Command(cip.ACKNOWLEDGE))
        await peers[-1].hears(cip.Ping)

    await hurried(bus, signed_on())
    await hurried(bus, bus.status("panel", "online"))
    # behind what is sent again
    await peers[-1].says(cip.Ping())
    await peers[-1].hears(cip.Pong)
    return peers[-1]


@pytest.mark.parametrize("how", ["refresh", "update_request", "unasked"])
@pytest.mark.parametrize("rule", ["always", "changed", "never"])
async def test_an_update_moves_nothing(how, rule):
    async with processor(more=f", resend: {rule}") as (bus, peer, _):
        await drive(bus, peer)
        await peer.says(analog(1, 13107))  # another panel has set it
        await bus.value("panel", "analog/1")
        peer.heard.clear()
        peer._next = 0
        if how == "unasked":
            await peer.says(START, analog(1, 13107), END, QUERY)
        else:
            asking = asyncio.create_task(bus.call("panel", how))
            await peer.hears(START)
            await peer.says(START, analog(1, 13107), END, QUERY)
            assert (await asking)["ok"]
        await peer.hears(Command(cip.ACKNOWLEDGE))
        await peer.says(cip.Ping())
        await peer.hears(cip.Pong)
        assert updates(peer) == []


async def test_reconnect_moves_nothing():
    async with processor() as (bus, peer, peers):
        await drive(bus, peer)
        asking = asyncio.create_task(bus.call("panel", "reconnect"))
        peer = await next_peer(bus, peers)
        assert (await asking)["ok"]
        assert updates(peer) == []
        assert await bus.value("panel", "_out/analog/1") == 32768


async def test_a_lost_sign_on_gets_back_what_nothing_has_overtaken():
    async with processor() as (bus, peer, peers):
        await drive(bus, peer)
        await bus.set("panel", "analog/2", 100)
        await bus.set("panel", "analog/3", 100)
        # another panel has set 2; 3 shows what we have sent
        await peer.says(analog(2, 200), analog(3, 50), analog(3, 100), serial(9, ""))
        await bus.value("panel", "analog/3", lambda value: value == 100)
        await peer.says(cip.Disconnect())
        peer = await next_peer(bus, peers)
        assert updates(peer) == [
            analog(1, 32768),
            serial(9, "PLAY"),
            digital(5, True),
            digital(7, False),  # its release may have been lost with the link
            analog(3, 100),
        ]
        await peer.says(cip.Disconnect())
        peer = await next_peer(bus, peers)
        assert digital(7, False) not in updates(peer)


async def test_what_a_newer_set_says_counts_again():
    async with processor() as (bus, peer, peers):
        await bus.set("panel", "analog/1", 100)
        await peer.says(analog(1, 200))
        await bus.value("panel", "analog/1")
        await bus.set("panel", "analog/1", 300)
        await peer.says(cip.Disconnect())
        peer = await next_peer(bus, peers)
        assert updates(peer) == [analog(1, 300)]


async def test_feedback_that_the_update_leaves_out_is_the_default_and_not_newer():
    """After a power cut everything is at its default: so it was before our set."""
    async with processor() as (bus, peer, peers):
        await bus.set("panel", "analog/1", 100)
        await peer.says(analog(1, 100))
        await bus.value("panel", "analog/1")
        await peer.says(cip.Disconnect())
        peer = await next_peer(bus, peers)
        assert await bus.value("panel", "analog/1", lambda value: value == 0) == 0
        assert updates(peer) == [analog(1, 100)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("resend: never", []),
        ("resend: always", [analog(1, 32768), serial(9, "PLAY"), digital(5, True)]),
        (
            "joins: [{join: serial/9, name: ir, resend: never}]",
            [analog(1, 32768), digital(5, True)],
        ),
        (
            "resend: never, joins: [{join: serial/9, name: ir, resend: always}]",
            [serial(9, "PLAY")],
        ),
    ],
)
async def test_the_rule_is_that_of_the_device_or_of_the_join(more, expected):
    async with processor(more=f", {more}") as (bus, peer, peers):
        await drive(bus, peer)
        await peer.says(cip.Disconnect())
        peer = await next_peer(bus, peers)
        assert updates(peer) == [
            *expected,
            digital(7, False),
        ]


async def test_always_is_after_every_sign_on_as_python_cipclient_does():
    async with processor(more=", resend: always") as (bus, peer, peers):
        await drive(bus, peer)
        await peer.says(analog(1, 5))
        await bus.value("panel", "analog/1")
        asking = asyncio.create_task(bus.call("panel", "reconnect"))
        peer = await next_peer(bus, peers)
        assert (await asking)["ok"]
        assert analog(1, 32768) in updates(peer)
        info = bus.retained("panel", "info")
        title = info["properties"]["_out/analog/{join}"]["title"]
        assert title == "Analog join: what we sent (resend: always)"
