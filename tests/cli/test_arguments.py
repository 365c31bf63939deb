"""What somebody typed becomes what `info` asks for, or an error that names it."""

from typing import Annotated, Any

import click
import msgspec
import pytest
from msgspec import Meta

from busbar.cli.arguments import arguments, expected, usage, value
from busbar.cli.values import pairs
from busbar.contract.messages import CommandInfo
from busbar.contract.values import choice, integer, number, schema
from busbar.errors import BadRequest, BusbarError, OutOfRange

NAME = Annotated[str, Meta(pattern="^[a-z]+$", description="a name")]


class Lamp(msgspec.Struct, tag="lamp", tag_field="kind"):
    on: bool


class Place(msgspec.Struct, forbid_unknown_fields=True):
    RA: float = 0.0
    DEC: float = 0.0


class Knob(msgspec.Struct, tag="knob", tag_field="kind"):
    turn: int


@pytest.mark.parametrize(
    ("text", "type_", "meant"),
    [
        ("5", float, 5),
        ("-5.5", float, -5.5),
        ("5.0", int, 5),
        ("0x321", int, 801),
        ("-0x1", int, -1),
        ("0x321", str, "0x321"),
        ("on", bool, True),
        ("FALSE", bool, False),
        ("1", bool, True),
        ("1", bool | int, 1),
        ("123", str, "123"),
        ('"a b"', str, "a b"),
        ("{a", str, "{a"),
        ("null", float | None, None),
        ("fast", float | str, "fast"),
        ("2", float | str, 2),
        ("[1, 2]", list[int], [1, 2]),
        ('{"RA": 5.1}', dict[str, float], {"RA": 5.1}),
        ("auto", choice("auto", "off"), "auto"),
        ("off", choice("auto", "off"), "off"),
    ],
)
def test_text_means_what_the_type_says(text: str, type_: Any, meant: Any) -> None:
    read = value(text, schema(type_), "it")
    assert (read, type(read)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("text", "type_", "error", "said"),
    [
        ("x", float, BadRequest, "it: expected a number, got x"),
        ("5.5", int, BadRequest, "it: expected a whole number, got 5.5"),
        ("2", bool, BadRequest, "it: expected true or false, got 2"),
        ("nan", float, BadRequest, "it: expected a number, got nan"),
        (
            "99",
            number(0, 30),
            OutOfRange,
            ("it: 99 is out of range; allowed: at least 0 and at most 30"),
        ),
        ("-1", integer(0), OutOfRange, "it: -1 is out of range; allowed: at least 0"),
        (
            "fast",
            choice("auto", "off"),
            OutOfRange,
            ("it: fast is out of range; allowed: auto, off"),
        ),
        ("[1, true]", list[int], OutOfRange, "it: [1]: True is no integer"),
        (
            "a b",
            integer(0, 9) | NAME,
            OutOfRange,
            "it: 'a b' is out of range; allowed: at least 0 and at most 9, or a name",
        ),
        ('{"RAA": 5}', Place, OutOfRange, "it: unknown key 'RAA'; allowed: RA, DEC"),
        ('{"kind": "knob"}', Lamp | Knob, OutOfRange, "it: 'turn' is missing"),
        (
            '{"kind": "bell"}',
            Lamp | Knob,
            OutOfRange,
            ("it: kind: 'bell' is none of ['lamp', 'knob']"),
        ),
        ('{"turn": 1}', Lamp | Knob, OutOfRange, "it: 'kind' is missing"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    text: str, type_: Any, error: type[BusbarError], said: str
) -> None:
    with pytest.raises(error) as raised:
        value(text, schema(type_), "it")
    assert str(raised.value) == said


def command(properties: dict[str, Any], *required: str) -> CommandInfo:
    fields = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return CommandInfo("it", fields, {}, 10.0, False, "exchange")


PULSE = command(
    {"join": schema(integer(1, 100)), "seconds": schema(number(0, 5))}, "join"
)
QUERY = command({"command": schema(str), "blob": schema(str | None)}, "command")
LOCK = command({"ttl": schema(float), "owner": schema(str)})


@pytest.mark.parametrize(
    ("about", "given", "meant"),
    [
        (PULSE, ["join=5", "seconds=0.5"], {"join": 5, "seconds": 0.5}),
        (PULSE, ["5"], {"join": 5}),
        (PULSE, ["5", "seconds=0.5"], {"join": 5, "seconds": 0.5}),
        (PULSE, ["seconds=0.5", "5"], {"join": 5, "seconds": 0.5}),
        (PULSE, ["5", "0.5"], {"join": 5, "seconds": 0.5}),
        (LOCK, ["5", "me"], {"ttl": 5, "owner": "me"}),
        (QUERY, ["*IDN?"], {"command": "*IDN?"}),
        (QUERY, ["VOLT=5"], {"command": "VOLT=5"}),
        (QUERY, ["command=comand=x"], {"command": "comand=x"}),
        (QUERY, ["command=VOLT=5", "blob=x"], {"command": "VOLT=5", "blob": "x"}),
        (LOCK, [], {}),
        (LOCK, ['{"ttl": 5}'], {"ttl": 5}),
    ],
)
def test_arguments_come_by_name_alone_or_as_an_object(
    about: CommandInfo, given: list[str], meant: Any
) -> None:
    assert arguments("it", about, given) == meant


@pytest.mark.parametrize(
    ("about", "given", "said"),
    [
        (
            LOCK,
            ["tll=5"],
            ("unknown argument 'tll' of it; did you mean 'ttl'? there are: ttl, owner"),
        ),
        (PULSE, [], "it needs 'join'; its arguments: join=1..100 [seconds=0..5]"),
        (
            PULSE,
            ["join=0"],
            ("join: 0 is out of range; allowed: at least 1 and at most 100"),
        ),
        (PULSE, ["join=1", "join=2"], "argument 'join' of it is there twice"),
        (PULSE, ["1", "join=2"], "argument 'join' of it is there twice"),
        (PULSE, ["1", "x"], "seconds: expected a number, got x"),
        (
            PULSE,
            ["1", "2", "3"],
            "unknown argument '3' of it; there are: join, seconds",
        ),
        (
            QUERY,
            ["VOLT=5", "blob=x"],
            ("unknown argument 'VOLT' of it; there are: command, blob"),
        ),
        (LOCK, ['{"ttl": "x"}'], "ttl: expected a number, got x"),
        (LOCK, ['{"x": 1}'], "unknown argument 'x' of it; there are: ttl, owner"),
        (
            QUERY,
            ["comand=*IDN?"],
            "unknown argument 'comand' of it; did you mean 'command'? there are: "
            "command, blob; "
            "to send it as it is: command=comand=*IDN?",
        ),
        (LOCK, ["{"], "'{' is no JSON object: Input data was truncated"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(
    about: CommandInfo, given: list[str], said: str
) -> None:
    with pytest.raises(BusbarError) as raised:
        arguments("it", about, given)
    assert str(raised.value) == said


def test_what_is_allowed_is_shown_in_short() -> None:
    types = (
        number(0, 30),
        number(maximum=30),
        integer(0),
        choice("a", "b"),
        bool,
        integer(0, 9) | str,
    )
    assert [expected(schema(each)) for each in types] == [
        "0..30",
        "..30",
        "0..",
        "a|b",
        "boolean",
        "0..9|string",
    ]
    assert expected(schema(number(0, 60) | choice("forever"))) == "0..60|forever"
    assert usage(QUERY) == "command=string [blob=string]"
    assert usage(command({"to": schema(int | None)}, "to")) == "to=integer|null"


def test_pairs_are_a_path_and_a_value_or_several_with_an_equals_sign() -> None:
    assert pairs(["a/b", "5"]) == {"a/b": "5"}
    assert pairs(["a=1", "b==2"]) == {"a": "1", "b": "=2"}
    for wrong in (["a"], ["a=1", "a=2"], ["a", "b", "c"], ["=5"]):
        with pytest.raises(click.UsageError):
            pairs(wrong)
