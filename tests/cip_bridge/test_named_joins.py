"""Named joins: ranges, lists from a file, feedback elsewhere, presses by `set`."""

import asyncio

import msgspec
import pytest

from busbar.codecs.cip import Form, Join
from busbar.errors import ConfigError
from busbar.testing.fakes import until
from cip_bridge.bridge import link, links
from cip_bridge.join_list import named_joins
from cip_bridge.named_joins import NamedJoin, expanded
from cip_bridge.settings import Config, Device
from tests.cip_bridge.peer import analog, digital
from tests.cip_bridge.processor import processor
from tests.cip_bridge.theatre import failure, hurried, seen, theatre


def named(**fields):
    return msgspec.convert(fields, NamedJoin)


def device(**fields):
    made = {"name": "p", "address": "cip::h", "ipid": "0A", **fields}
    return msgspec.convert(made, Device)


def test_a_range_is_its_members_counted_from_1():
    made = named(
        join="digital/101-103",
        name="zone/*/on",
        title="Zone *",
        feedback="digital/201-203",
    )
    shown = [
        (each.join, each.name, each.title, each.feedback) for each in expanded([made])
    ]
    assert shown == [
        ("digital/101", "zone/1/on", "Zone 1", "digital/201"),
        ("digital/102", "zone/2/on", "Zone 2", "digital/202"),
        ("digital/103", "zone/3/on", "Zone 3", "digital/203"),
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"join": "digital/1-10", "name": "zone"}, r"a range has \* in its name"),
        ({"join": "digital/1", "name": "zone/*"}, r"a range has \* in its name"),
        ({"join": "digital/1-10", "name": "*"}, "would be that of a join by number"),
        ({"join": "digital/10-1", "name": "a/*"}, "ends before it begins"),
        ({"join": "digital/1-40000", "name": "a/*"}, "is not 1 to 32768"),
        ({"join": "analog/1-2001", "name": "a/*"}, "more than 2000 joins"),
        (
            {"join": "digital/1-3", "name": "a/*", "feedback": "digital/11-12"},
            "has 2 joins, digital/1-3 has 3",
        ),
        (
            {"join": "digital/1", "name": "a", "feedback": "analog/1"},
            "feedback: analog/1 is no digital join",
        ),
        ({"join": "serial/1", "name": "a", "momentary": True}, "only for a digital"),
    ],
)
def test_a_range_that_cannot_be_is_refused(fields, why):
    with pytest.raises(msgspec.ValidationError, match=why):
        named(**fields)


def test_members_of_ranges_are_there_once():
    with pytest.raises(msgspec.ValidationError, match="'digital/3' is there twice"):
        device(
            joins=[
                {"join": "digital/1-3", "name": "a/*"},
                {"join": "digital/3", "name": "b"},
            ]
        )


CSV = """name,kind,join,title,unit,scale,momentary,feedback
lights/on,digital,1,Lights,,,,digital/51
lights/level,a,12,Level,%,0 65535 0 100,,
up,d,11,,,,0.2,
zone/*,digital,21-23,Zone *,,,,
room,serial,1,,,,,
smart/key,d,smart/3/digital/5,,,,,
"""


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_list_in_a_file_adds_joins(tmp_path, delimiter):
    file = tmp_path / "joins.csv"
    # as spreadsheets save it
    text = CSV.replace(",", delimiter).replace("smart/key", "key")
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    joins = named_joins(
        device(joins_file=str(file), joins=[{"join": "serial/2", "name": "source"}])
    )
    assert [(each.name, each.join) for each in joins] == [
        ("source", "serial/2"),
        ("lights/on", "digital/1"),
        ("lights/level", "analog/12"),
        ("up", "digital/11"),
        ("zone/1", "digital/21"),
        ("zone/2", "digital/22"),
        ("zone/3", "digital/23"),
        ("room", "serial/1"),
        ("key", "smart/3/digital/5"),
    ]
    assert joins[1].feedback == "digital/51"
    assert (joins[2].scale, joins[2].unit) == ((0, 65535, 0, 100), "%")
    assert joins[3].momentary == 0.2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,kind,jion\n", r"p: joins_file: .*\.csv:1: unknown column 'jion'"),
        ("name,kind,join\na,digital,0\n", r"\.csv:2: join: digital join 0 is not 1"),
        ("name,kind,join\na,digital,1\nb,relay,1\n", r"\.csv:3: "),
        ("name,kind,join\na,digital,1,2\n", r"\.csv:2: more cells"),
        ("name,kind,join\na,d,1\na,d,2\n", "'a' is there twice"),
        ("name,kind,join\n\xff", "cannot read"),
    ],
)
def test_a_mistake_in_a_list_is_found_with_its_line(tmp_path, text, why):
    file = tmp_path / "joins.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=why):
        named_joins(device(joins_file=str(file)))


def test_files_are_beside_the_configuration_wherever_it_is_named_from(
    tmp_path, monkeypatch
):
    from busbar.config import loader

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "joins.csv").write_text("name,kind,join\nroom,serial,1\n")
    file = folder / "theatre.yaml"
    file.write_text(
        "bridge: {name: t}\n"
        "devices: [{name: p, address: 'cip::h', ipid: 0A, joins_file: joins.csv}]\n"
    )
    relative = file.relative_to(tmp_path)
    (made,) = links(loader.load(relative, Config, {}))
    assert "room" in made.devices["p"].properties


def test_no_command_reads_a_list():
    with pytest.raises(ConfigError, match="joins_file: only in the configuration"):
        link(device(joins_file="/etc/passwd"))


NAMES = """, joins: [
  {join: digital/1, name: lights, feedback: digital/51},
  {join: analog/1, name: level, feedback: analog/51, scale: [0, 65535, 0, 100]},
  {join: digital/11, name: up, momentary: 0.2}]"""


async def test_one_name_is_over_the_press_and_its_feedback():
    async with processor(more=NAMES) as (bus, peer, _):
        assert (await bus.set("panel", "lights", True))["ok"]
        await peer.hears(digital(1, True))
        assert await bus.value("panel", "_out/lights", bool) is True
        assert bus.good("panel")["lights"] is False
        await peer.says(digital(51, True), digital(1, True), analog(51, 32768))
        assert await bus.value("panel", "lights", bool) is True
        # by its number it is another join
        assert await bus.value("panel", "digital/1") is True
        assert await bus.value("panel", "level", bool) == 50
        reply = await bus.call("panel", "get", {"join": "level"})
        assert reply["result"] == 50
        info = bus.retained("panel", "info")["properties"]
        assert info["lights"]["original"] == "digital/51"
        assert info["_out/lights"]["original"] == "digital/1"


async def test_a_momentary_join_is_pressed_by_a_set():
    async with processor(more=NAMES) as (bus, peer, _):
        setting = asyncio.create_task(bus.set("panel", "up", True))
        await peer.hears(digital(11, True, Form.BUTTON))
        assert (await hurried(bus, setting))["ok"]
        await peer.hears(digital(11, False, Form.BUTTON))
        assert (await bus.set("panel", "up", False))["ok"]
        await peer.hears(digital(11, False, Form.BUTTON))


async def test_a_momentary_join_is_one_of_several_in_a_set():
    async with processor(more=NAMES) as (bus, peer, _):
        values = {"digital/5": True, "up": True, "digital/6": True}
        reply = await hurried(bus, bus.set("panel", "", values))
        assert reply["ok"], reply
        await peer.hears(digital(5, True))
        await peer.hears(digital(11, True, Form.BUTTON))
        await peer.hears(digital(11, False, Form.BUTTON))
        await peer.hears(digital(6, True))


async def test_a_ramp_goes_to_its_value_in_steps():
    async with theatre() as (bus, simulator):
        ramp = {"join": "lights/level", "value": 100, "seconds": 2}
        assert (await hurried(bus, bus.call("panel", "ramp", ramp)))["ok"]
        join = Join("analog", 1)
        sent = [value for each, value in simulator.theatre.seen if each == join]
        assert sent == sorted(sent)
        assert 5 <= len(sent) <= 21
        assert sent[-1] == 65535
        assert await bus.value("panel", "lights/level", lambda at: at == 100) == 100


async def test_a_set_or_another_ramp_takes_over():
    async with theatre() as (bus, simulator):
        ramp = {"join": 80, "value": 60000, "seconds": 60}
        first = asyncio.create_task(bus.call("panel", "ramp", ramp))
        await until(lambda: simulator.theatre.seen)
        second = asyncio.create_task(bus.call("panel", "ramp", {**ramp, "value": 5}))
        assert failure(await hurried(bus, first)) == "cancelled"
        assert (await bus.set("panel", "analog/80", 7))["ok"]
        assert failure(await hurried(bus, second)) == "cancelled"
        await bus.clock.advance(1)
        assert simulator.theatre.seen[-1] == (Join("analog", 80), 7)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"join": "door", "value": 1, "seconds": 1}, "bad_request"),
        ({"join": "lights/level", "value": 101, "seconds": 1}, "out_of_range"),
        ({"join": 1, "value": 70000, "seconds": 1}, "out_of_range"),
        ({"join": 1, "value": 7, "seconds": 61}, "out_of_range"),
        ({"join": "nothing", "value": 7, "seconds": 1}, "unknown"),
    ],
)
async def test_a_ramp_that_cannot_be_is_refused(arguments, code):
    async with theatre() as (bus, simulator):
        assert failure(await bus.call("panel", "ramp", arguments)) == code
        await seen(simulator, Join("analog", 1))
