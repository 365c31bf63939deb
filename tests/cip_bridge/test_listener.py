"""The port that panels connect to."""

import pytest

from busbar.codecs import cip
from busbar.testing.fakes import Clock
from cip_bridge.processor_role import listener as module
from cip_bridge.processor_role.listener import REPORT_PERIOD, PanelListener
from cip_bridge.processor_role.program import RunningProgram
from tests.cip_bridge.panels import listening, panel, signed_on


async def turned_away(listener):
    async with panel(listener) as peer:
        with pytest.raises(Exception, match=r"closed the connection|cannot read"):
            await peer.hears(cip.Hello)


async def test_there_is_a_limit_to_panels_and_it_is_told_once_in_a_while(
    monkeypatch, caplog
):
    monkeypatch.setattr(module, "PANELS_LIMIT", 1)
    async with listening() as (listener, seat, _), signed_on(listener):
        for _ in range(3):
            await turned_away(listener)
        assert [record.message for record in caplog.records] == [
            f"port {listener.port}: there are 1 panels, more are turned away"
        ]
        assert len(seat.panels) == 1
        await Clock().advance(
            REPORT_PERIOD / 2
        )  # the panel is silent no longer than it may be
        await turned_away(listener)
        assert len(caplog.records) == 1


async def test_who_leaves_makes_room(monkeypatch):
    monkeypatch.setattr(module, "PANELS_LIMIT", 1)
    async with listening() as (listener, seat, _):
        for _ in range(3):
            async with signed_on(listener):
                assert len(seat.panels) == 1
            while listener._connections:
                await Clock().advance(0.25)


async def test_ending_the_program_tells_all_panels():
    async with listening() as (listener, seat, _), signed_on(listener) as peer:
        listener.end_program()
        await peer.hears(cip.Disconnect())
        assert seat.panels  # it is theirs to leave


async def test_leaving_tells_all_panels_that_the_program_stops():
    async with listening() as (listener, _, _), signed_on(listener) as peer:
        await listener.__aexit__(None, None, None)
        await peer.hears(cip.Disconnect())
        assert listener._connections == {}


@pytest.mark.parametrize("host", ["256.0.0.1", "a..b"])
async def test_a_host_that_cannot_be_is_an_error_and_leaves_nothing_behind(host):
    listener = PanelListener(host, 0, RunningProgram([]))
    with pytest.raises((OSError, UnicodeError)):
        await listener.__aenter__()
    assert listener._tasks._exiting
