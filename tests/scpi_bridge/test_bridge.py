"""The whole bridge in one process.

A broker in memory on one side, the simulated instruments on the other.
"""

import asyncio
import base64
import json
import struct
from contextlib import asynccontextmanager

import pytest

from busbar.testing.fakes import until
from scpi_bridge.bridge import SERVICE
from scpi_bridge.simulator.__main__ import Simulator
from tests.running import Running, running

LIMIT = 10.0  # s; generous, only a failure needs it
EVERY = ", every: 0.05"

BENCH = """
broker: {{max_message: 64KiB}}
bridge: {{name: bench, allow_open: ["tcp::127.0.0.1:{dmm_port}", "tcp::127.0.0.2:*"]}}
devices:
  - name: psu
    title: Bench supply
    address: {psu}
    properties:
      - {{path: voltage, query: "MEAS1:VOLT?", unit: V{every}}}
      - {{path: output, query: "OUTP1?", set: "OUTP1 {{value}}", type: boolean{every}}}
      - {{path: setpoint/voltage, query: "SOUR1:VOLT?", set: "SOUR1:VOLT {{value}}",
         minimum: 0, maximum: 60}}
      - {{path: mode, query: "OUTP1:MODE?", type: string, choices: ["OFF", CV, CC]}}
      - {{path: points, query: "TRAC1:POIN?", set: "TRAC1:POIN {{value}}",
         type: integer}}
      - {{path: limit, set: "SOUR1:VOLT:PROT {{value:.2f}}"}}
      - {{path: text, set: "DISP {{value}}", type: string}}
{more}
"""


@asynccontextmanager
async def bench(more="", every=""):
    """A supply on the bus, read once or polled; `more` lines follow its properties.

    Gives (bus, simulator).
    """
    async with Simulator() as simulator:
        places = {
            "psu": simulator.psu.address,
            "dmm": simulator.dmm.address,
            "dmm_port": simulator.dmm.port,
        }
        text = BENCH.format(**places, every=every, more=more.format(**places))
        async with running(SERVICE, text) as bus:
            await bus.status("psu", "online")
            # values follow the description, which waits a moment for more news
            await bus.clock.advance(0.25)
            await bus.value("psu", "points")
            yield bus, simulator


@asynccontextmanager
async def untouched(endpoint):
    """Whatever happens inside, the instrument is sent nothing."""
    before = list(endpoint.lines)
    yield
    assert list(endpoint.lines) == before


async def received(endpoint, line):
    async with asyncio.timeout(LIMIT):
        await endpoint.received(line)


async def silent_query(bus, simulator, text, seconds=2.2, **more):
    """Ask what is not answered in time and return the outcome."""
    asking = asyncio.create_task(bus.call("psu", "query", {"command": text, **more}))
    await received(simulator.psu, text)
    await bus.clock.advance(seconds)
    return await asking


async def hurried(bus, doing):
    """Let time run fast until this is done."""
    task = asyncio.ensure_future(doing)
    while not task.done():
        await bus.clock.advance(0.25)
    return await task


def reasons(bus, device):
    """Return why a device has been offline, in order."""
    statuses = [
        json.loads(payload)
        for payload in bus.broker.payloads(f"{bus.base}/{device}/status")
    ]
    return [each["reason"] for each in statuses if each["state"] == "offline"]


def failure(reply):
    assert not reply["ok"], reply
    return reply["error"]["code"]


# Description and values.


async def test_the_identity_of_the_instrument_fills_its_description():
    async with bench() as (bus, simulator):
        info = await bus.info("psu", lambda info: "serial" in info)
        assert (info["manufacturer"], info["model"]) == ("BUSBAR", "PSU-SIM 30-5")
        assert (info["serial"], info["firmware"]) == ("SIM0001", "1.0")
        assert (info["kind"], info["name"], info["address"]) == (
            "scpi",
            "Bench supply",
            simulator.psu.address,
        )
        assert info["properties"]["voltage"] == {
            "schema": {"type": "number"},
            "access": "r",
            "unit": "V",
        }
        assert info["properties"]["limit"]["readback"] is None
        assert {
            "query",
            "write",
            "query_binary",
            "identify",
            "clear",
            "refresh",
            "lock",
        } <= info["commands"].keys()
        assert info["commands"]["query"]["result"] == {"type": "string"}


async def test_what_was_wrong_before_the_bridge_came_is_forgotten():
    async with Simulator() as simulator:
        simulator.psu.device.report(-222)
        async with running(
            SERVICE,
            BENCH.format(psu=simulator.psu.address, dmm_port=1, every="", more=""),
        ) as bus:
            await bus.status("psu", "online")
            assert (await bus.set("psu", "setpoint/voltage", 5))["ok"]


async def test_values_appear_and_follow_the_instrument():
    async with bench(every=EVERY) as (bus, simulator):
        assert await bus.value("psu", "output") is False
        assert await bus.value("psu", "mode") == "OFF"
        simulator.psu.device.channels[0].voltage = 8.0
        simulator.psu.device.channels[0].output = True
        assert await bus.value(
            "psu", "voltage", lambda volts: volts > 6
        ) == pytest.approx(8.0, rel=0.01)
        assert await bus.value("psu", "output", lambda on: on) is True
        assert await bus.value("psu", "mode") == "OFF"  # not polled
        assert (await bus.call("psu", "refresh"))["ok"]
        assert await bus.value("psu", "mode", lambda mode: mode != "OFF") == "CV"


async def test_a_value_beyond_all_numbers_is_null_and_bad():
    more = '      - {{path: load, query: "MEAS:RES?"}}\n'
    async with bench(
        ("  - name: dmm\n    address: {dmm}\n    properties:\n") + more
    ) as (bus, simulator):
        assert await bus.value("dmm", "load") == pytest.approx(10, rel=0.01)
        simulator.psu.device.channels[0].load = float("inf")
        await bus.call("dmm", "refresh")
        await bus.bad("dmm", "load", "not_a_number")
        assert bus.changes("dmm")[-1]["value"] is None
        simulator.psu.device.channels[0].load = 20.0
        await bus.call("dmm", "refresh")
        assert await bus.value("dmm", "load") == pytest.approx(20, rel=0.01)


async def test_one_wrong_question_costs_one_property():
    more = '      - {{path: wrong, query: "NONSENSE?", every: 1}}\n'
    async with bench(more, every=", every: 0.5") as (bus, simulator):
        simulator.psu.device.channels[0].load = float("inf")
        simulator.psu.device.channels[0].output = True
        assert "-113: Undefined header" in await hurried(
            bus, bus.bad("psu", "wrong", "device")
        )
        for volts in (5.0, 10.0, 15.0):
            simulator.psu.device.channels[0].voltage = volts
            simulator.psu.lines.clear()
            await hurried(bus, received(simulator.psu, "NONSENSE?"))
            found = await hurried(
                bus,
                bus.value("psu", "voltage", lambda seen, least=volts - 1: seen > least),
            )
            assert found == pytest.approx(volts, rel=0.01)
            reply = await hurried(bus, bus.set("psu", "points", int(volts)))
            assert reply["ok"], reply  # the error of the poll is not that of the set
        assert reasons(bus, "psu")[1:] == []
        await until(
            lambda: bus.faults("psu").keys() == {"wrong"}, "the others all good"
        )


async def test_an_answer_of_another_type_is_bad_and_an_impossible_one_is_out_of_range():
    more = (
        '      - {{path: words, query: "*IDN?"}}\n      - {{path: high, query: '
        '"TRAC1:POIN?", maximum: 50}}\n'
    )
    async with bench(more) as (bus, _):
        assert "not a number" in await bus.bad("psu", "words", "protocol")
        message = await bus.bad("psu", "high", "out_of_range")
        assert "out of range; allowed: at most 50" in message
        [change] = [each for each in bus.changes("psu") if each["path"] == "high"]
        assert change["value"] == 100
        assert await bus.value("psu", "points") == 100


async def test_garbled_answers_are_bad_until_a_good_one_comes():
    async with bench(every=EVERY) as (bus, simulator):
        simulator.psu.garbled = 5
        await until(
            lambda: "protocol" in json.dumps(bus.changes("psu")), "a bad property"
        )
        await until(lambda: bus.faults("psu") == {}, "all good again")
        assert reasons(bus, "psu")[1:] == []


# Writing.


async def test_a_set_is_written_checked_and_read_back():
    async with bench() as (bus, simulator):
        simulator.psu.lines.clear()
        reply = await bus.set("psu", "setpoint/voltage", "5.5")
        assert (reply["ok"], reply["result"]) == (True, 5.5)
        assert await bus.value("psu", "setpoint/voltage", lambda volts: volts) == 5.5
        assert list(simulator.psu.lines) == [
            "SOUR1:VOLT 5.5",
            "SYST:ERR?",
            "SOUR1:VOLT?",
        ]
        assert simulator.psu.device.channels[0].voltage == 5.5


@pytest.mark.parametrize(
    ("payload", "line"), [("on", "OUTP1 1"), ("TRUE", "OUTP1 1"), ("0", "OUTP1 0")]
)
async def test_booleans_are_written_as_numbers(payload, line):
    async with bench() as (bus, simulator):
        reply = await bus.set("psu", "output", payload)
        assert (reply["ok"], reply["result"]) == (True, line.endswith("1"))
        assert line in simulator.psu.lines


async def test_what_cannot_be_read_is_written_without_a_result():
    async with bench() as (bus, simulator):
        simulator.psu.lines.clear()
        reply = await bus.set("psu", "limit", 20)
        assert (reply["ok"], reply["result"]) == (True, None)
        assert list(simulator.psu.lines) == ["SOUR1:VOLT:PROT 20.00", "SYST:ERR?"]


async def test_the_error_of_the_instrument_is_the_outcome():
    async with bench() as (bus, simulator):
        await bus.set("psu", "setpoint/voltage", 7)
        error = (await bus.set("psu", "setpoint/voltage", 31))["error"]
        assert (error["code"], error["retryable"]) == ("device", False)
        assert error["detail"]["code"] == -222
        assert error["detail"]["text"] == "Data out of range"
        assert "-222: Data out of range" in error["message"]
        assert simulator.psu.device.channels[0].voltage == 7
        assert (await bus.set("psu", "setpoint/voltage", 8))["result"] == 8


async def test_several_are_written_in_order_up_to_the_first_failure():
    async with bench() as (bus, simulator):
        reply = await bus.set("psu", "", {"setpoint/voltage": 3, "output": True})
        assert reply["result"] == {"setpoint/voltage": 3, "output": True}
        reply = await bus.set(
            "psu", "", {"points": 7, "setpoint/voltage": 40, "output": False}
        )
        assert failure(reply) == "device"
        assert reply["error"]["detail"] | {"errors": []} == {
            "code": -222,
            "text": "Data out of range",
            "errors": [],
            "applied": ["points"],
            "failed": "setpoint/voltage",
        }
        assert simulator.psu.device.channels[0].output is True


REFUSED = [
    ("set/setpoint/voltage", "60.1", "out_of_range"),
    ("set/setpoint/voltage", "-1", "out_of_range"),
    ("set/setpoint/voltage", "much", "bad_request"),
    ("set/setpoint/voltage", "NaN", "bad_request"),
    ("set/output", "2", "bad_request"),
    ("set/points", "1.5", "bad_request"),
    ("set/voltage", "1", "read_only"),
    ("set/nothing", "1", "unknown"),
    ("set/text", "a;*RST", "bad_request"),
    ("set/text", "a\n*RST", "bad_request"),
    ("set/text", 'a"', "bad_request"),
    ("set", '{"setpoint/voltage": 5, "output": "maybe"}', "bad_request"),
    ("set", "5", "bad_request"),
    ("call/nothing", "{}", "unknown"),
    ("call/query", "{}", "bad_request"),
    ("call/query", '{"command": 5}', "bad_request"),
    ("call/query", '{"command": "*IDN?", "comand": "x"}', "bad_request"),
    ("call/query", "*IDN?\n*RST", "bad_request"),
    ("call/write", "*CLS\r\n*RST", "bad_request"),
    ("call/write", " ", "bad_request"),
    ("call/query_binary", "TRAC1:DATA?\n*RST", "bad_request"),
    ("call/query_binary", '{"command": "TRAC1:DATA?", "blob": "../x"}', "out_of_range"),
    ("call/query_binary", '{"command": "TRAC1:DATA?", "blob": "a/b"}', "out_of_range"),
    (
        "call/query_binary",
        ('{"command": "TRAC1:DATA?", "blob": "wave\\n"}'),
        "out_of_range",
    ),
    (
        "call/query_binary",
        ('{"command": "TRAC1:DATA?", "blob": "_wave"}'),
        "out_of_range",
    ),
    (
        "call/query_binary",
        ('{"command": "TRAC1:DATA?", "blob": "voltage"}'),
        "bad_request",
    ),
]


async def test_what_is_refused_never_reaches_the_instrument():
    async with bench() as (bus, simulator), untouched(simulator.psu):
        codes = []
        for target, payload, _ in REFUSED:
            channel, _, path = target.partition("/")
            send = bus.set if channel == "set" else bus.call
            codes.append((target, payload, failure(await send("psu", path, payload))))
        assert codes == REFUSED


# Commands.


async def test_query_returns_the_answer_as_text():
    async with bench() as (bus, _):
        assert (await bus.call("psu", "query", "*IDN?"))[
            "result"
        ] == "BUSBAR,PSU-SIM 30-5,SIM0001,1.0"
        assert (await bus.call("psu", "query", {"command": "SOUR1:VOLT?;CURR?"}))[
            "result"
        ] == "0.0000;1.0000"


async def test_a_question_the_instrument_does_not_know_says_so():
    async with bench() as (bus, simulator):
        reply = await silent_query(bus, simulator, "NONSENSE?")
        assert failure(reply) == "device"
        assert reply["error"]["detail"]["code"] == -113
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"


async def test_write_tells_how_it_went():
    async with bench() as (bus, simulator):
        reply = await bus.call("psu", "write", "SOUR1:VOLT 3")
        assert (reply["ok"], reply["result"]) == (True, None)
        assert simulator.psu.device.channels[0].voltage == 3
        reply = await bus.call("psu", "write", "NONSENSE 3")
        assert (failure(reply), reply["error"]["detail"]["code"]) == ("device", -113)


async def test_a_question_that_was_written_leaves_no_answer_behind():
    async with bench() as (bus, _):
        for _ in range(3):
            assert (await bus.call("psu", "write", "SOUR1:CURR?"))["ok"]
            assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"


async def test_identify_returns_and_publishes_the_identity():
    async with bench() as (bus, simulator):
        await bus.info("psu", lambda info: info.get("serial") == "SIM0001")
        simulator.psu.device.model = "ACME, Model 5 ,42"
        reply = await bus.call("psu", "identify")
        assert reply["result"] == {
            "text": "ACME, Model 5 ,42",
            "manufacturer": "ACME",
            "model": "Model 5",
            "serial": "42",
            "firmware": None,
        }
        await bus.info(
            "psu", lambda info: (info["manufacturer"], info["serial"]) == ("ACME", "42")
        )


async def test_an_identity_that_is_not_four_fields_is_text_only():
    async with bench() as (bus, simulator):
        simulator.psu.device.model = "Thermostat"
        result = (await bus.call("psu", "identify"))["result"]
        assert result == {
            "text": "Thermostat",
            "manufacturer": None,
            "model": None,
            "serial": None,
            "firmware": None,
        }
        # as it was
        await bus.info("psu", lambda info: info["manufacturer"] == "BUSBAR")


async def test_an_instrument_that_cannot_identify_itself_is_not_asked():
    more = (
        "  - {{name: dmm, address: '{dmm}', identify: null, errors: null, clear: null}}"
    )
    async with bench(more) as (bus, simulator):
        await bus.status("dmm", "online")
        assert failure(await bus.call("dmm", "identify")) == "unknown"
        assert (await bus.call("dmm", "clear"))["ok"]
        assert list(simulator.dmm.lines) == []


async def test_clear_forgets_status_and_errors():
    async with bench() as (bus, simulator):
        simulator.psu.device.report(-350)
        assert (await bus.call("psu", "clear"))["ok"]
        assert "*CLS" in simulator.psu.lines
        assert not simulator.psu.device.errors
        assert simulator.psu.accepted == 2


async def test_a_block_comes_back_as_base64():
    async with bench() as (bus, simulator):
        simulator.psu.device.channels[0].points = 5
        result = (await bus.call("psu", "query_binary", "TRAC1:DATA?"))["result"]
        data = base64.b64decode(result.pop("data"))
        assert result == {"size": 20}
        assert struct.unpack(">5f", data) == pytest.approx([0.0] * 5, abs=0.01)


async def test_a_block_may_go_to_a_topic():
    async with bench() as (bus, _):
        reply = await bus.call(
            "psu", "query_binary", {"command": "TRAC1:DATA?", "blob": "wave"}
        )
        assert reply["result"] == {"size": 400, "blob": "wave"}
        await until(
            lambda: bus.broker.payloads("busbar/bench/psu/blob/wave"), "the blob"
        )
        assert [
            len(data) for data in bus.broker.payloads("busbar/bench/psu/blob/wave")
        ] == [400]
        info = await bus.info("psu", lambda info: "wave" in info["blobs"])
        assert "wave" in info["properties"]
        assert (await bus.value("psu", "wave"))["size"] == 400


async def test_a_block_that_nobody_can_get_is_no_success():
    async with bench() as (bus, simulator):
        simulator.psu.device.channels[0].points = 20_000  # a message has 64 KiB
        asked = {"command": "TRAC1:DATA?", "blob": "wave"}
        reply = await bus.call("psu", "query_binary", asked)
        assert failure(reply) == "too_large"
        assert "80000 bytes" in await bus.bad("psu", "wave", "too_large")


async def test_a_question_for_a_block_that_the_instrument_does_not_know_says_so():
    async with bench() as (bus, simulator):
        asking = asyncio.create_task(bus.call("psu", "query_binary", "NONSENSE?"))
        await received(simulator.psu, "NONSENSE?")
        reply = await hurried(bus, asking)
        assert (failure(reply), reply["error"]["detail"]["code"]) == ("device", -113)


async def test_text_in_place_of_a_block_is_nonsense():
    async with bench() as (bus, _):
        assert failure(await bus.call("psu", "query_binary", "*IDN?")) == "protocol"
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"


async def test_a_block_too_large_for_a_message_is_refused_as_such():
    more = "  - {{name: dmm, address: '{psu}', block_limit: 100}}"
    async with bench(more) as (bus, simulator):
        simulator.psu.device.channels[0].points = 4096 * 5
        reply = await bus.call("psu", "query_binary", "TRAC1:DATA?")
        assert failure(reply) == "too_large"
        simulator.psu.device.channels[0].points = 26
        reply = await bus.call("dmm", "query_binary", "TRAC1:DATA?")
        assert failure(reply) == "protocol"
        assert "limit of 100 bytes" in reply["error"]["message"]


async def test_a_running_query_can_be_cancelled_and_leaves_no_answer_behind():
    async with bench() as (bus, simulator):
        simulator.psu.late(1, 1.0)
        asking = asyncio.create_task(
            bus.call("psu", "query", {"command": "SOUR1:CURR?", "_id": "mine"})
        )
        await received(simulator.psu, "SOUR1:CURR?")
        assert (await bus.call("psu", "cancel", {"id": "mine"}))["result"] == {
            "cancelled": 1
        }
        assert failure(await asking) == "cancelled"
        await bus.clock.advance(1.1)
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"


# Silence and broken links.


async def test_silence_late_reply_right_reply():
    async with bench() as (bus, simulator):
        simulator.psu.late(2, 5.0)  # the question about the error is late as well
        asking = asyncio.create_task(bus.call("psu", "query", "SOUR1:CURR?"))
        await received(simulator.psu, "SOUR1:CURR?")
        await bus.clock.advance(4.4)
        reply = await asking
        assert failure(reply) == "timeout"
        assert "SOUR1:CURR?" in reply["error"]["message"]
        await bus.clock.advance(3)
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"
        assert (await bus.set("psu", "points", 9))["result"] == 9


async def test_the_caller_may_be_less_patient():
    async with bench() as (bus, simulator):
        simulator.psu.late(1, 1.0)
        reply = await silent_query(bus, simulator, "SOUR1:CURR?", 0.75, _timeout=0.5)
        assert failure(reply) == "timeout"
        await bus.clock.advance(1.0)
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"


async def test_a_silent_instrument_is_bad_then_offline_then_back():
    async with bench(every=EVERY) as (bus, simulator):
        simulator.psu.silent = True
        seen = len(simulator.psu.lines)
        await until(lambda: len(simulator.psu.lines) > seen)
        await bus.clock.advance(4.4)
        await until(
            lambda: (
                "timeout" in {fault["code"] for fault in bus.faults("psu").values()}
            ),
            "a bad property",
        )
        await bus.clock.advance(4.4)
        await bus.status("psu", "offline")
        lost = next(
            reason for reason in reasons(bus, "psu") if reason["code"] == "link"
        )
        assert "without an answer" in lost["message"]
        await bus.bad("psu", "voltage", "offline")
        simulator.psu.silent = False
        simulator.psu.device.channels[0].voltage = 4.0
        simulator.psu.device.channels[0].output = True
        await bus.clock.advance(40)
        await bus.status("psu", "online")
        assert await bus.value(
            "psu", "voltage", lambda volts: volts > 1
        ) == pytest.approx(4.0, rel=0.01)
        await until(lambda: bus.faults("psu") == {}, "all good again")


async def test_an_instrument_that_does_not_say_who_it_is_stays_offline():
    async with Simulator() as simulator:
        simulator.psu.silent = True
        async with running(
            SERVICE,
            BENCH.format(psu=simulator.psu.address, dmm_port=1, every="", more=""),
        ) as bus:
            await received(simulator.psu, "*IDN?")
            assert bus.retained("psu", "status")["state"] == "connecting"
            await bus.clock.advance(2.2)
            status = await bus.status("psu", "offline")
            assert status["reason"]["code"] == "timeout"
            assert "*IDN?" in status["reason"]["message"]


@pytest.mark.parametrize("every", ["", EVERY])
async def test_a_dropped_link_is_offline_and_comes_back_by_itself(every):
    async with bench(every=every) as (bus, simulator):
        simulator.psu.refuse()
        simulator.psu.drop()
        await bus.clock.advance(1.2)
        status = await bus.status("psu", "offline")
        assert status["reason"]["code"] == "link"
        await bus.bad("psu", "voltage", "offline")
        assert failure(await bus.call("psu", "query", "*IDN?")) == "offline"
        simulator.psu.device.channels[0].voltage = 4.0
        await simulator.psu.accept()
        await bus.clock.advance(31)
        status = await bus.status("psu", "online")
        assert status["reason"] is None
        assert await bus.value("psu", "setpoint/voltage", lambda volts: volts) == 4.0
        await until(lambda: bus.faults("psu") == {}, "all good again")


async def test_a_link_that_breaks_under_a_command_fails_it_and_is_noticed():
    async with bench() as (bus, simulator):
        simulator.psu.silent = True
        asking = asyncio.create_task(bus.call("psu", "query", "SOUR1:CURR?"))
        await received(simulator.psu, "SOUR1:CURR?")
        simulator.psu.refuse()
        simulator.psu.drop()
        reply = await asking
        assert (failure(reply), reply["error"]["retryable"]) == ("link", True)
        # nothing is polled: the idle session looks by itself
        await bus.clock.advance(2.2)
        await bus.status("psu", "offline")


async def test_three_commands_without_an_answer_take_an_idle_instrument_offline():
    async with bench() as (bus, simulator):
        simulator.psu.silent = True
        assert (
            failure(await silent_query(bus, simulator, "SOUR1:CURR?", 4.4)) == "timeout"
        )
        assert (
            failure(await silent_query(bus, simulator, "SOUR2:CURR?", 4.4)) == "timeout"
        )
        for _ in range(8):
            await bus.clock.advance(1.0)
        await until(
            lambda: "link" in [reason["code"] for reason in reasons(bus, "psu")],
            "offline",
        )


async def test_misspelt_queries_of_callers_do_not_take_an_instrument_offline():
    async with bench() as (bus, simulator):
        for _ in range(5):
            assert (
                failure(await silent_query(bus, simulator, "NONSENSE?", 4.4))
                == "device"
            )
        await bus.clock.advance(3.0)
        assert (await bus.call("psu", "query", "*IDN?"))["ok"]
        assert reasons(bus, "psu")[1:] == []


async def test_one_instrument_away_does_not_hold_up_the_other():
    more = (
        (
            "  - name: dmm\n    address: {dmm}\n    properties: [{{path: volts, query: "
            '"MEAS:VOLT?"'
        )
        + EVERY
        + "}}]\n"
    )
    async with bench(more, every=EVERY) as (bus, simulator):
        simulator.dmm.refuse()
        simulator.dmm.drop()
        await bus.status("dmm", "offline")
        simulator.psu.device.channels[0].voltage = 4.0
        simulator.psu.device.channels[0].output = True
        await bus.value("psu", "voltage", lambda volts: volts > 1)
        assert bus.retained("psu", "status")["state"] == "online"


ON_DEMAND = '  - {{name: dmm, address: "{dmm}", connect: on_demand, idle_close: 5}}\n'


async def test_a_link_on_demand_opens_for_a_command_and_closes_when_idle():
    async with bench(ON_DEMAND) as (bus, simulator):
        status = await bus.status("dmm", "online")
        assert status["reason"]["code"] == "idle"
        assert simulator.dmm.accepted == 0
        for count in (1, 2):
            assert (await bus.call("dmm", "query", "*IDN?"))["result"].startswith(
                "BUSBAR,DMM"
            )
            assert (await bus.status("dmm", "online"))["reason"] is None
            assert simulator.dmm.accepted == count
            await bus.clock.advance(3)
            await bus.call("dmm", "query", "*IDN?")
            await bus.clock.advance(3)
            assert simulator.dmm.connections == 1  # used 3 s ago
            await bus.clock.advance(3)
            await until(lambda: simulator.dmm.connections == 0, "the idle link closed")
            await until(lambda: bus.retained("dmm", "status")["reason"], "the reason")
            assert bus.retained("dmm", "status")["reason"]["code"] == "idle"


async def test_a_link_on_demand_that_cannot_be_opened_fails_the_command():
    async with bench(ON_DEMAND) as (bus, simulator):
        simulator.dmm.refuse()
        assert failure(await bus.call("dmm", "query", "*IDN?")) == "offline"
        await bus.status("dmm", "offline")
        await simulator.dmm.accept()
        reply = await bus.call("dmm", "connect")
        assert reply["ok"], reply
        assert (await bus.call("dmm", "query", "*IDN?"))["ok"]


async def test_disconnect_frees_the_instrument_until_connect():
    async with bench(every=EVERY) as (bus, simulator):
        assert (await bus.call("psu", "disconnect"))["ok"]
        status = await bus.status("psu", "offline")
        assert "disconnected by command" in status["reason"]["message"]
        await until(lambda: simulator.psu.connections == 0, "the link closed")
        assert failure(await bus.call("psu", "query", "*IDN?")) == "offline"
        await bus.clock.advance(60)
        assert simulator.psu.accepted == 1
        assert (await bus.call("psu", "connect"))["ok"]
        await bus.status("psu", "online")
        await bus.value("psu", "voltage")
        assert simulator.psu.accepted == 2


async def test_reconnect_opens_the_link_again():
    async with bench() as (bus, simulator):
        assert (await bus.call("psu", "reconnect"))["ok"]
        await until(lambda: simulator.psu.accepted == 2, "the new link")
        await bus.status("psu", "online")
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"


# Locks.


async def test_a_lock_keeps_others_out_and_lets_its_owner_and_safe_commands_in():
    async with bench() as (bus, simulator):
        lease = (await bus.call("psu", "lock", {"owner": "bench 3", "ttl": 30}))[
            "result"
        ]["lease"]
        async with untouched(simulator.psu):
            for target in ("query", "write", "query_binary"):
                reply = await bus.call("psu", target, {"command": "*IDN?"})
                assert failure(reply) == "locked"
                assert "bench 3" in json.dumps(reply["error"])
            for target in ("identify", "clear", "lock", "disconnect", "reconnect"):
                assert failure(await bus.call("psu", target)) == "locked"
            assert failure(await bus.set("psu", "points", 3)) == "locked"
        assert (await bus.set("psu", "points", {"_value": 3, "_lease": lease}))["ok"]
        assert (await bus.call("psu", "refresh"))["ok"]
        await bus.clock.advance(31)
        assert (await bus.set("psu", "points", 4))["ok"]


async def test_a_lock_without_polls_keeps_the_line_quiet():
    async with bench(every=EVERY) as (bus, simulator):
        lease = (await bus.call("psu", "lock", {"polls": False}))["result"]["lease"]
        reply = await bus.call(
            "psu", "query", {"command": "OUTP1:MODE?", "_lease": lease}
        )
        assert reply["result"] == "OFF"  # and a poll that was under way has ended
        async with untouched(simulator.psu):
            await bus.clock.advance(5)
        seen = len(simulator.psu.lines)
        assert (await bus.call("psu", "unlock", {"_lease": lease}))["ok"]
        await until(lambda: len(simulator.psu.lines) > seen + 2, "the polls again")


async def test_a_lock_with_polls_does_not_stop_them():
    async with bench(every=EVERY) as (bus, simulator):
        assert (await bus.call("psu", "lock"))["ok"]
        seen = len(simulator.psu.lines)
        await until(lambda: len(simulator.psu.lines) > seen + 2, "more polls")


# Instruments that are not like the simulated ones.


@asynccontextmanager
async def scripted(answers, greeting=b""):
    """An instrument that answers lines as a table says, and on all but its first
    connection greets after a moment."""
    lines, writers = [], []

    async def serve(reader, writer):
        writers.append(writer)
        if len(writers) > 1:
            await asyncio.sleep(0.5)
            writer.write(greeting)
        try:
            while True:
                lines.append((await reader.readuntil(b"\r"))[:-1])
                writer.write(answers.get(lines[-1], b""))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], lines
    finally:
        server.close()
        for writer in writers:
            writer.close()


ODD = r"""
bridge: {{name: bench}}
devices:
  - name: bath
    address: tcp::127.0.0.1:{port}
    timeout: 3
    terminator: "\r"
    encoding: latin1
    acknowledge: true
    settle: 5
    identify: WHO
    errors: null
    clear: INIT
    properties: [{{path: temperature, query: "T? °C", set: "T {{value:.1f}} °C"}}]
"""


async def test_the_ways_of_an_odd_instrument_are_configured():
    answers = {
        b"WHO": b"Bath,1\r\n",
        b"T? \xb0C": b"24.0\r\n",
        b"T 24.0 \xb0C": b"\r\n",
        b"INIT": b"\xb0\r\n",
    }
    async with (
        scripted(answers) as (port, lines),
        running(SERVICE, ODD.format(port=port)) as bus,
    ):
        assert await bus.value("bath", "temperature") == 24.0
        lines.clear()
        assert (await bus.set("bath", "temperature", 24))["result"] == 24.0
        assert lines == [b"T 24.0 \xb0C", b"T? \xb0C"]
        assert (await bus.call("bath", "query", "INIT"))["result"] == "°"
        assert (await hurried(bus, bus.call("bath", "clear")))["ok"]
        assert lines[-1] == b"INIT"
        assert bus.events("bridge", "log") == []


async def test_a_late_reply_on_the_new_connection_is_not_the_next_answer():
    answers = {b"WHO": b"Bath,1\r", b"T? \xb0C": b"24.0\r", b"B?": b"answer of B\r"}
    async with (
        scripted(answers, b"answer of A\r") as (port, lines),
        running(SERVICE, ODD.format(port=port)) as bus,
    ):
        await bus.value("bath", "temperature")
        reply = await hurried(bus, bus.call("bath", "query", "A?"))
        assert failure(reply) == "timeout"
        assert "within 3 s" in reply["error"]["message"]
        assert (await hurried(bus, bus.call("bath", "query", "B?")))[
            "result"
        ] == "answer of B"
        assert lines[-2:] == [b"A?", b"B?"]


# The bridge itself.

TWO = "  - {{name: dmm, address: '{dmm}'}}\n"


async def test_reload_restarts_only_what_changed():
    async with bench(TWO) as (bus, simulator):
        await bus.status("dmm", "online")
        bus.configuration = bus.configuration.replace("unit: V", "unit: mV")
        reply = await bus.call("bridge", "reload")
        assert reply["result"] == {"stopped": ["psu"], "started": ["psu"]}
        await bus.info(
            "psu", lambda info: info["properties"]["voltage"]["unit"] == "mV"
        )
        await bus.status("psu", "online")
        await until(lambda: simulator.psu.connections == 1, "the old link closed")
        assert (simulator.psu.accepted, simulator.dmm.accepted) == (2, 1)


async def test_reload_adds_and_removes_devices():
    async with bench(TWO) as (bus, simulator):
        await bus.status("dmm", "online")
        bus.configuration = bus.configuration.replace("name: dmm", "name: meter")
        assert (await bus.call("bridge", "reload"))["result"] == {
            "stopped": ["dmm"],
            "started": ["meter"],
        }
        await bus.status("meter", "online")
        await until(
            lambda: not [topic for topic in bus.broker.retained if "/dmm/" in topic],
            "dmm gone",
        )
        assert simulator.psu.accepted == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("type: boolean", "type: bool"), "devices[0].properties[1].type"),
        (("name: dmm", "name: psu"), "two devices are named 'psu'"),
        (("name: dmm", "name: bridge"), "'bridge' is the bridge itself"),
        (("name: bench", "name: other"), "name of a running bridge cannot change"),
        (("devices:", "devices: ["), "<config>:"),
    ],
)
async def test_a_wrong_configuration_is_told_and_changes_nothing(change, words):
    async with bench(TWO) as (bus, simulator):
        await bus.status("dmm", "online")
        bus.configuration = bus.configuration.replace(*change)
        reply = await bus.call("bridge", "reload")
        assert failure(reply) == "bad_request"
        assert words in reply["error"]["message"]
        logged = bus.events("bridge", "log")
        await until(
            lambda: any(
                words in each["message"] for each in bus.events("bridge", "log")
            ),
            f"{logged}",
        )
        assert (await bus.call("psu", "query", "OUTP1:MODE?"))["result"] == "OFF"
        assert (simulator.psu.accepted, simulator.dmm.accepted) == (1, 1)


async def test_open_adds_a_device_and_close_removes_it():
    async with bench() as (bus, simulator):
        asked = {"path": "volts", "query": "MEAS:VOLT?", "unit": "V"}
        settings = {
            "name": "meter",
            "address": simulator.dmm.address,
            "properties": [asked],
        }
        reply = await bus.call("bridge", "open", settings)
        assert reply["ok"], reply
        await bus.status("meter", "online")
        await bus.value("meter", "volts")
        listed = (await bus.call("bridge", "list"))["result"]
        assert [row["device"] for row in listed] == ["psu", "meter", "bridge"]
        assert listed[1]["address"] == simulator.dmm.address
        assert failure(await bus.call("bridge", "open", settings)) == "bad_request"
        assert (await bus.call("bridge", "close", {"name": "meter"}))["ok"]
        await until(lambda: simulator.dmm.connections == 0, "the link closed")
        await until(
            lambda: not [topic for topic in bus.broker.retained if "/meter/" in topic],
            "no trace of it",
        )
        assert (
            failure(await bus.call("bridge", "close", {"name": "meter"})) == "unknown"
        )


WRONG_OPEN = [
    ({"name": "x", "address": "tcp::127.0.0.1:1"}, "forbidden"),
    ({"name": "x", "address": "tcp::10.0.0.1:5025"}, "forbidden"),
    ({"name": "psu"}, "bad_request"),
    ({"name": "psu", "address": "{dmm}"}, "bad_request"),
    ({"name": "bridge", "address": "{dmm}"}, "bad_request"),
    ({"name": "a/b", "address": "{dmm}"}, "out_of_range"),
    ({"name": "x", "address": "{dmm}", "tiemout": 1}, "bad_request"),
    ({"name": "x", "address": "nonsense"}, "bad_request"),
    ({"name": "x", "address": "{dmm}", "properties": [{"path": "p"}]}, "bad_request"),
    (
        {"name": "x", "address": "{dmm}", "properties": [{"path": "p", "set": "{x}"}]},
        "bad_request",
    ),
]


async def test_open_refuses_what_is_not_allowed_or_wrong():
    async with bench() as (bus, simulator):
        for settings, code in WRONG_OPEN:
            text = json.dumps(settings).replace("{dmm}", simulator.dmm.address)
            reply = await bus.call("bridge", "open", text)
            assert failure(reply) == code, (settings, reply)
        assert simulator.dmm.accepted == 0
        assert len((await bus.call("bridge", "list"))["result"]) == 2


async def test_nothing_is_opened_unless_the_configuration_allows_it():
    async with Simulator() as simulator:
        async with running(SERVICE, "bridge: {name: bench}") as bus:
            reply = await bus.call(
                "bridge", "open", {"name": "x", "address": simulator.dmm.address}
            )
            assert failure(reply) == "forbidden"
        assert simulator.dmm.accepted == 0


async def test_a_clean_stop_closes_the_link_and_says_stopped():
    async with bench() as (bus, simulator):
        bus.bridge.stop()
        await bus.status("psu", "stopped")
        await bus.status("bridge", "stopped")
        await until(lambda: simulator.psu.connections == 0, "the link closed")


async def ask(bus: Running, command: str) -> str:
    """Return the error code of a query with a short patience."""
    asking = asyncio.create_task(
        bus.call("psu", "query", {"command": command, "_timeout": 1})
    )
    while not asking.done():
        await bus.clock.advance(0.25)
    return str((await asking)["error"]["code"])


async def test_a_shortened_timeout_still_asks_the_error_queue() -> None:
    async with Simulator() as simulator, running(SERVICE, plain(simulator)) as bus:
        await bus.status("psu", "online")
        assert await ask(bus, "NONSENSE?") == "device"


async def test_shortened_timeouts_add_up_to_a_lost_link_and_are_counted() -> None:
    async with Simulator() as simulator, running(SERVICE, plain(simulator)) as bus:
        await bus.status("psu", "online")
        simulator.psu.silent = True
        assert await ask(bus, "A1?") == "timeout"
        await bus.clock.advance(2)
        assert {"timeout"} != {await ask(bus, f"A{number}?") for number in range(2, 6)}
        assert [
            change["value"]
            for change in bus.changes("psu")
            if change["path"] == "_resyncs" and "value" in change
        ][1:]


def plain(simulator: Simulator) -> str:
    return (
        f"bridge: {{name: b}}\ndevices: "
        f"[{{name: psu, address: '{simulator.psu.address}'}}]"
    )
