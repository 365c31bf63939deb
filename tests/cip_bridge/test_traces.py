"""Recorded conversations with public implementations, replayed against both roles."""

import pytest

from busbar.codecs import cip
from busbar.codecs.cip import Clock as ClockMessage
from busbar.net.streams import open_tcp
from busbar.testing.fakes import Clock, settle, until
from cip_bridge.bridge import SERVICE
from tests.cip_bridge.panels import listening
from tests.cip_bridge.peer import Peer
from tests.cip_bridge.processor import PANEL
from tests.running import running
from tests.traces.cip_dialect import HEARTBEATS, CipDialect, messages, without_repeats
from tests.traces.cip_record import DRIVEN, shown
from tests.traces.replay import Replay
from tests.traces.trace import FROM_PEER, TO_PEER, load, names

PANELS = [each for each in names("cip") if each.startswith("panel-")]


async def test_we_say_to_a_processor_what_python_cipclient_says_to_it():
    trace = without_repeats(load("cip/processor"))
    async with Replay(trace, CipDialect) as peer:
        text = PANEL.format(address=f"cip::127.0.0.1:{peer.port}", more="")
        async with running(SERVICE, text) as bus:
            await bus.status("panel", "online")
            good = bus.good("panel")
            assert good["digital/1"] is True
            assert (good["analog/12"], good["serial/3"]) == (32456, "hello")
            for path, value in (
                ("digital/7", True),
                ("analog/8", 65535),
                ("serial/9", "PLAY"),
                ("serial/9", "PLAY"),
            ):
                assert (await bus.set("panel", path, value))["ok"]
            press = {"join": 10, "hold": "forever"}
            assert (await bus.call("panel", "press", press))["ok"]
            await bus.clock.advance(1.2)
            assert (await bus.call("panel", "release", 10))["ok"]
            while not peer.finished.is_set():
                await bus.clock.advance(0.25)
            assert peer.unexpected == []
            await until(lambda: len(bus.events("panel", "received")) == 3)


@pytest.mark.parametrize("name", PANELS)
async def test_a_recorded_panel_gets_the_same_answers_and_drives_the_same(name):
    trace = load(f"cip/{name}")
    async with listening(result=result_of(trace)) as (listener, seat, said):
        for join, value in DRIVEN.items():
            seat.drive(join, value)
        stream = await open_tcp("127.0.0.1", listener.port, "panel")
        peer, clock, now = Peer(stream), Clock(), 0.0
        answers = []
        for line in trace.lines:
            await clock.advance(max(0.0, line.t - now))
            now = line.t
            if line.direction == TO_PEER:
                await peer.says(line.data)
                await settle()
            elif line.direction == FROM_PEER:
                for each in words(line.data):
                    answers.append(await peer.hears(type(each)))
                    assert answers[-1] == each
        await stream.close()
        await until(lambda: not seat.panels)
        await clock.advance(2)
        assert [shown(each) for each in said] == trace.about["joins"]


def words(data):
    """Messages that do not depend on the time."""
    loose = (*HEARTBEATS, ClockMessage)
    return [each for each in messages(data) if not isinstance(each, loose)]


def result_of(trace):
    """What our processor role has answered the sign-on with."""
    for line in trace.lines:
        for each in words(line.data) if line.direction == FROM_PEER else ():
            if isinstance(each, cip.ConnectResult):
                return each
    raise AssertionError("no answer to the sign-on")


def test_there_is_a_recording_of_each_peer():
    assert PANELS == ["panel-cipclient", "panel-crestron-cip", "panel-pycrestron"]
