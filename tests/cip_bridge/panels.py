"""Panels of our processor role, in the hands of a test."""

from contextlib import asynccontextmanager
from datetime import datetime

from busbar.codecs import cip
from busbar.codecs.cip import Command
from busbar.net.streams import open_tcp
from cip_bridge.processor_role.listener import PanelListener
from cip_bridge.processor_role.program import RunningProgram, Seat
from tests.cip_bridge.peer import QUERY, SIGN_ON, START, Peer

NOW = datetime(2026, 3, 27, 20, 35, 31)


@asynccontextmanager
async def listening(**options):
    """A listener with one seat, 0x0A, and what its panels have said."""
    said = []
    seat = Seat(0x0A, said.extend, **options)
    program = RunningProgram([seat], now=lambda: NOW)
    async with PanelListener("127.0.0.1", 0, program) as listener:
        yield listener, seat, said


@asynccontextmanager
async def panel(listener):
    stream = await open_tcp("127.0.0.1", listener.port, "panel")
    try:
        yield Peer(stream)
    finally:
        await stream.close()


@asynccontextmanager
async def signed_on(listener, sign_on=SIGN_ON):
    async with panel(listener) as peer:
        await peer.hears(cip.Hello())
        await peer.says(sign_on, START)
        assert (await peer.hears(cip.ConnectResult)).accepted
        await peer.hears(QUERY)
        await peer.says(Command(cip.ACKNOWLEDGE))
        yield peer
