"""Whatever another bridge's `info` says: `show`, `set`, `conformance` say it whole."""

import io
import json
import re
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from busbar.cli.check.conformance import examine, report
from busbar.cli.check.conformance.checks import (
    CHECKS,
    Check,
    Result,
    attempt,
    judge,
)
from busbar.cli.check.conformance.record import Record
from busbar.cli.devices import described, print_device
from busbar.cli.observe import Seen
from busbar.cli.output import Output
from busbar.cli.values import typed
from busbar.client import DeviceView
from busbar.client.tracked_device import TrackedDevice
from busbar.contract.messages import Info, State, Status
from busbar.errors import BusbarError
from tests.cli.test_foreign import BUSY, JSON, OBJECTS, WRONG

BOOT = "boot0001"
NAMES = st.sampled_from(["v", "a/b", "f/{n}", "{", "f/{n}/{m}", "_x", "", "\x1b[2J\n"])
TEXT = st.text(max_size=8) | st.sampled_from(["rw", "exchange", "\x1b[2J", "a\nb", "1"])
PROPERTIES = st.fixed_dictionaries(
    {"schema": OBJECTS, "access": st.sampled_from(["r", "w", "rw"])},
    optional={
        "title": TEXT,
        "unit": TEXT,
        "readback": st.none() | NAMES,
        "default": JSON,
        "original": TEXT,
        "parameters": st.dictionaries(
            st.sampled_from("nm"),
            JSON | st.dictionaries(st.sampled_from(["minimum", "maximum"]), JSON),
        ),
    },
)
COMMANDS = st.fixed_dictionaries(
    {
        "title": TEXT,
        "arguments": OBJECTS,
        "result": OBJECTS,
        "timeout": st.floats(0, 100),
        "safe": st.booleans(),
        "holds": st.just("exchange"),
    }
)
EVENTS = st.fixed_dictionaries(
    {"title": TEXT},
    optional={"schema": OBJECTS, "encoding": TEXT, "content_type": TEXT},
)
INFOS = st.fixed_dictionaries(
    {
        "contract": st.just(1),
        "bridge": st.just("b"),
        "device": st.just("d"),
        "kind": TEXT,
        "revision": st.integers(0, 3),
        "boot": st.just(BOOT),
        "properties": st.dictionaries(NAMES, PROPERTIES, max_size=3),
        "commands": st.dictionaries(NAMES, COMMANDS, max_size=2),
        "events": st.dictionaries(NAMES, EVENTS, max_size=2),
        "blobs": st.dictionaries(NAMES, EVENTS, max_size=1),
    },
    optional={"name": TEXT, "address": TEXT, "truncated": st.integers(0, 3)},
)
VALUES = st.dictionaries(NAMES | st.sampled_from(["f/1", "f/x"]), JSON, max_size=3)
BASE = {
    **{"properties": {}, "commands": {}, "events": {}, "blobs": {}},
    **{"contract": 1, "bridge": "b", "device": "d", "kind": "toy", "revision": 1},
    "boot": BOOT,
}
STATUS = {"state": "online", "since": 1.7e9, "boot": BOOT, "revision": 1, "seq": 1}


def state(values: dict[str, Any], seq: int = 1) -> dict[str, Any]:
    return {"boot": BOOT, "seq": seq, "time": 1.7e9, "values": values, "bad": {}}


def taken(info: Any) -> Info | None:
    """Return an info as a client takes it, None if it cannot be read."""
    try:
        return msgspec.json.decode(msgspec.json.encode(info), type=Info)
    except msgspec.ValidationError:
        return None


@example(BASE, {"v": [{}]}, [])
@BUSY
@given(INFOS, VALUES, st.lists(st.sampled_from(["5", "a", "{", '{"a":1}', "on"])))
def test_show_and_set_take_any_info(
    fields: Any, values: dict[str, Any], texts: list[str]
) -> None:
    info = taken(fields)
    if info is None:
        return
    tracked = TrackedDevice("b/d")
    tracked.take_status(msgspec.convert(STATUS, Status))
    tracked.take_info(info)
    tracked.take_state(msgspec.convert(state(values), State), 0.0, 0.0)
    client: Any = SimpleNamespace(name="test")
    device = DeviceView(client, "b/d", tracked)
    print_device(device, Output(False, io.StringIO(), io.StringIO()))
    msgspec.json.encode(described(device))
    for path in [*info.properties, *values]:
        for text in texts:
            try:
                typed(device, {path: text}, Output(False, io.StringIO(), io.StringIO()))
            except BusbarError as error:
                assert str(error)


def shown(schema: dict[str, Any]) -> tuple[str, str]:
    """Return what `show` and `set` print of a property with this schema."""
    about = {"v": {"schema": schema, "access": "rw"}}
    info = taken({**BASE, "properties": about})
    assert info is not None
    tracked = TrackedDevice("b/d")
    tracked.take_info(info)
    client: Any = SimpleNamespace(name="test")
    device = DeviceView(client, "b/d", tracked)
    out, notes = io.StringIO(), io.StringIO()
    print_device(device, Output(False, out, notes))
    assert typed(device, {"v": "2"}, Output(False, out, notes)) == {"v": 2}
    return out.getvalue(), notes.getvalue()


@pytest.mark.parametrize(("schema", "why"), WRONG)
def test_a_wrong_schema_is_shown_as_a_question_and_a_value_is_sent_unchecked(
    schema: dict[str, Any], why: str
) -> None:
    out, notes = shown(schema)
    assert re.search(r"^v +rw +\?$", out, re.MULTILINE)
    assert "v is sent unchecked" in notes and why[:20] in notes


def record(*payloads: tuple[str, Any]) -> Record:
    seen = []
    for topic, payload in payloads:
        data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        seen.append(Seen(f"busbar/b/{topic}", data, True, 1, 0.0))
    return Record("busbar/b/", seen, {each.topic: each for each in seen}, 100.0, 100.0)


def judged(examined: Record) -> report.Report:
    """Return the report of all passive checks, once it is whole in every form."""
    results = [judge(each, examined) for each in CHECKS if each.level == "passive"]
    names = sorted(examined.devices)
    found = report.Report(
        "busbar/b", "here", "5", "passive", names, 1.0, examined.count, 0, results
    )
    whole(found)
    return found


def whole(found: report.Report) -> None:
    assert "not tried" in report.text(found).splitlines()[-1]
    assert "\x1b" not in report.text(found)
    assert len(json.loads(report.as_json(found))["checks"]) == len(found.results)
    suite = ElementTree.fromstring(report.junit(found))
    assert len(suite) == len(found.results)


def failed(results: list[Result]) -> list[str]:
    wrong = []
    for result in results:
        wrong += [each for each in result.wrong if "the check failed with" in each]
    return wrong


@BUSY
@given(INFOS, VALUES, VALUES)
def test_no_passive_check_fails_whatever_info_and_state_say(
    fields: Any, values: dict[str, Any], event: dict[str, Any]
) -> None:
    head = {"boot": BOOT, "seq": 1, "time": 1.7e9}
    found = judged(
        record(
            ("bridge/status", STATUS),
            ("d/status", STATUS),
            ("d/info", fields),
            ("d/state", state(values)),
            ("d/event/v", {**event, **head}),
            *((f"d/state/{path}", value) for path, value in values.items()),
        )
    )
    assert not failed(found.results)


@BUSY
@given(st.sampled_from(["status", "info", "state", "event/change", "reply"]), JSON)
def test_no_passive_check_fails_whatever_a_message_of_the_bridge_is(
    channel: str, payload: Any
) -> None:
    assert not failed(judged(record((f"bridge/{channel}", payload))).results)


@pytest.mark.parametrize("payload", [b"{", b"5", b"[" * 2000, b"\xff", b"null"])
@pytest.mark.parametrize("channel", ["status", "info", "state"])
def test_an_unreadable_message_of_the_bridge_is_a_finding(
    channel: str, payload: bytes
) -> None:
    messages = {"status": STATUS, "info": BASE, "state": state({}), channel: payload}
    found = judged(record(*((f"bridge/{key}", messages[key]) for key in messages)))
    assert not failed(found.results)
    violated = [each.sentence for each in found.violated]
    assert any(channel in each and "shape" in each for each in violated)


@pytest.mark.parametrize(("schema", "why"), WRONG)
def test_conformance_names_the_property_of_a_wrong_schema(
    schema: dict[str, Any], why: str
) -> None:
    info = {**BASE, "properties": {"v": {"schema": schema, "access": "r"}}}
    found = judged(record(("d/status", STATUS), ("d/info", info)))
    wrong = [text for each in found.violated for text in each.wrong]
    expected = f"d: schema of v is no JSON Schema that can be used: {why}"
    assert any(each.startswith(expected) for each in wrong)


def test_a_value_that_cannot_be_checked_in_time_is_a_finding_of_its_own() -> None:
    slow = {"schema": {"type": "string", "pattern": "^(a+)+$"}, "access": "r"}
    info = {
        **BASE,
        "properties": {"v": slow, "w": {**slow, "schema": {"type": "null"}}},
    }
    late = state({"v": "a" * 40 + "!", "w": 5})
    again = [("d/state", {**late, "seq": seq}) for seq in range(20)]
    found = judged(record(("d/status", STATUS), ("d/info", info), *again))
    wrong = [text for each in found.violated for text in each.wrong]
    assert any("v: not checked by its schema" in each for each in wrong)
    assert any("w: 5 is no null" in each for each in wrong)
    assert not failed(found.results)


def broken(record: Any) -> Any:
    yield None
    raise KeyError("bridge")


async def broken_async(caller: Any) -> Any:
    yield None
    raise KeyError("bridge")


async def test_a_check_that_raises_is_a_finding() -> None:
    result = judge(Check("1", "It is so", "it", "passive", broken), None)
    later = await attempt(Check("1", "So is it", "it", "active", broken_async), None)
    for each in (result, later):
        assert each.state == "violated"
        assert each.wrong == ("the check failed with KeyError: 'bridge'",)
        assert (each.made, each.bad) == (2, 1)
    whole(report.Report("b", "here", "5", "all", [], 1.0, 0, 0, [result, later]))


def test_the_module_registers_every_check_once() -> None:
    assert examine.CHECKS is CHECKS
    assert len({(each.section, each.sentence) for each in CHECKS}) == len(CHECKS)
