"""What a device offers (contract 3.2), and every form of a command (contract 2)."""

import json
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]  # has no stubs here
import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from busbar.contract import messages
from busbar.contract.describe import (
    Blob,
    BlobValue,
    Command,
    Description,
    Event,
    NoArguments,
    Property,
    by_path,
    command,
    commands,
)
from busbar.contract.messages import Metadata
from busbar.contract.values import choice, integer, number
from busbar.errors import BadRequest, OutOfRange, ReadOnly, UnknownTarget


class Query(Struct):
    """Exactly one required argument."""

    command: str
    timeout: Annotated[float, Meta(gt=0)] = 1.0
    raw: bool = False


class Move(Struct):
    """Two required arguments."""

    ra: number(0, 24)
    dec: number(-90, 90)


class Level(Struct):
    volts: number(0, 30)


class Scan(Struct):
    """No required argument."""

    first: int = 1
    names: list[str] = []


class Moved(Struct):
    ra: float


async def nothing(*_: Any) -> None: ...


QUERY, MOVE, LEVEL, SCAN = (
    Command(type_.__name__.lower(), nothing, arguments=type_)
    for type_ in (Query, Move, Level, Scan)
)
STOP = Command("stop", nothing)


def read(command: Command, payload: bytes | str | dict[str, Any]) -> Any:
    return read_with(command, payload)[0]


def read_with(
    command: Command, payload: bytes | str | dict[str, Any]
) -> tuple[Any, Metadata]:
    if isinstance(payload, dict):
        payload = json.dumps(payload)
    return command.read(payload.encode() if isinstance(payload, str) else payload)


def psu() -> Description:
    properties = [
        Property("voltage", number(0, 30), "rw", unit="V"),
        Property("current"),
        Property("key", str, "w"),
        Property("digital/{join}", bool, "rw", parameters={"join": range(1, 101)}),
        Property("page/{page}/{name}", str, "rw", parameters={"page": range(2)}),
        Property("digital/7", integer(), "r"),
    ]
    return Description(
        "scpi", by_path(properties), {each.name: each for each in (QUERY, MOVE, STOP)}
    )


# Commands, contract 2


def test_an_object_holds_the_arguments():
    assert read(MOVE, {"ra": 5, "dec": -3.5}) == Move(5.0, -3.5)
    assert read(QUERY, {"command": "*IDN?", "raw": "on"}) == Query("*IDN?", raw=True)


def test_a_messagepack_map_holds_the_arguments():
    payload = msgpack.packb({"ra": 5, "dec": -3.5, "_id": "x"})
    assert read_with(MOVE, payload) == (Move(5.0, -3.5), Metadata(id="x"))


@pytest.mark.parametrize("payload", ["{}", " {} ", b"\x80"])
def test_an_empty_object_is_no_arguments(payload):
    assert read(STOP, payload) == NoArguments()
    assert read(SCAN, payload) == Scan()


@pytest.mark.parametrize(
    "payload", ["*IDN?", "123", "true", "{a", "[1]", "", " x", "größe"]
)
def test_a_bare_text_is_the_one_required_argument(payload):
    assert read(QUERY, payload) == Query(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"command": "*IDN?", "_ttl": NaN}',
        b'{"command": "*IDN?", "timeout": Infinity}',
        b'{"_value": "*IDN?"',
        b"{'raw': 1, \"_id\": 1}",
    ],
)
def test_arguments_that_are_no_json_are_not_taken_as_a_bare_text(payload):
    with pytest.raises(BadRequest):
        QUERY.read(payload)


def test_a_bare_json_string_is_unquoted():
    assert read(QUERY, '"quoted"') == Query("quoted")


@pytest.mark.parametrize(
    ("payload", "volts"), [("5", 5.0), ("5.02", 5.02), (" 5 ", 5.0)]
)
def test_a_bare_number_is_the_one_required_argument(payload, volts):
    assert read(LEVEL, payload) == Level(volts)


def test_value_names_the_one_required_argument():
    assert read_with(LEVEL, {"_value": 5, "_id": "x"}) == (Level(5.0), Metadata(id="x"))
    assert read(QUERY, {"_value": "{a", "raw": True}) == Query("{a", raw=True)


def test_the_one_required_argument_cannot_be_given_twice():
    with pytest.raises(BadRequest, match="_value"):
        read(LEVEL, {"_value": 5, "volts": 6})


@pytest.mark.parametrize(
    "command", [MOVE, SCAN, STOP], ids=lambda command: command.name
)
@pytest.mark.parametrize("payload", ["5", "x", "[1, 2]", '"a"', "null", "{a"])
def test_a_bare_value_needs_exactly_one_required_argument(command, payload):
    with pytest.raises(BadRequest):
        read(command, payload)


@pytest.mark.parametrize(
    "command", [MOVE, SCAN, STOP], ids=lambda command: command.name
)
def test_value_needs_exactly_one_required_argument(command):
    with pytest.raises(BadRequest, match="_value"):
        read(command, {"_value": 5})


def test_a_refused_bare_value_names_the_arguments():
    with pytest.raises(
        BadRequest,
        match=(
            r"move takes a JSON object of "
            r"arguments \(ra, dec\), not '5'"
        ),
    ):
        read(MOVE, "5")
    with pytest.raises(BadRequest, match=r"\(none\)"):
        read(STOP, "5")


def test_metadata_stands_beside_the_arguments():
    payload = {
        "command": "*IDN?",
        "_id": "abcdefgh",
        "_ttl": 2,
        "_wait": 1,
        "_lease": "l",
        "_reply": "r",
        "_timeout": 3,
    }
    arguments, metadata = read_with(QUERY, payload)
    assert arguments == Query("*IDN?")
    assert metadata == Metadata(
        id="abcdefgh", ttl=2.0, wait=1.0, lease="l", reply="r", timeout=3.0
    )


@pytest.mark.parametrize(
    ("key", "hint"),
    [("comand", "did you mean 'command'"), ("_tll", "command"), ("x", "command, tim")],
)
def test_an_unknown_argument_is_refused_with_a_suggestion(key, hint):
    with pytest.raises(BadRequest, match=rf"{key}.*{hint}"):
        read(QUERY, {"command": "*IDN?", key: 1})


@pytest.mark.parametrize("key", ["x", "_tll", "_value", "_Id"])
def test_a_command_without_arguments_refuses_all(key):
    with pytest.raises(BadRequest, match=key):
        read(STOP, {key: 1})


@pytest.mark.parametrize(
    "payload",
    [
        {"command": 5},
        {},
        {"command": "a", "raw": "maybe"},
        {"command": "a", "_ttl": "x"},
    ],
)
def test_arguments_of_a_wrong_kind_are_a_bad_request(payload):
    with pytest.raises(BadRequest):
        read(QUERY, payload)


def test_an_argument_out_of_range_is_named_with_what_is_allowed():
    with pytest.raises(
        OutOfRange,
        match=("dec: 91 is out of range; allowed: at least -90 and at most 90"),
    ):
        read(MOVE, {"ra": 1, "dec": 91})
    with pytest.raises(
        OutOfRange, match=("31 is out of range; allowed: at least 0 and at most 30")
    ):
        read(LEVEL, "31")


payloads = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)
objects = st.dictionaries(
    st.sampled_from(
        [
            "command",
            "volts",
            "ra",
            "dec",
            "raw",
            "first",
            "names",
            "_value",
            "_id",
            "_ttl",
            "_x",
        ]
    ),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.lists(st.text(max_size=2), max_size=2),
)


@given(
    st.sampled_from([QUERY, MOVE, LEVEL, SCAN, STOP]),
    payloads | objects.map(json.dumps) | objects.map(repr),
)
@example(QUERY, b"\xff")
@example(QUERY, b"{\xff")
@example(STOP, b"")
@example(SCAN, b"\x81\xa5names\x81\x80\x01")
def test_hostile_payloads_give_arguments_or_a_refusal(command, payload):
    try:
        arguments, _ = read_with(command, payload)
    except (BadRequest, OutOfRange) as error:
        messages.encode(error.message)
    else:
        assert type(arguments) is command.arguments
        messages.canonical(arguments)


# Properties, contract 3.2


def test_a_property_is_found_by_its_path():
    assert psu().find("voltage").unit == "V"
    assert psu().find("voltages") is None


@pytest.mark.parametrize(
    "path", ["digital/1", "digital/100", "page/0/title", "page/1/a-b_c"]
)
def test_a_family_covers_its_members(path):
    assert "{" in psu().find(path).path


@pytest.mark.parametrize(
    "path",
    [
        "digital/0",
        "digital/101",
        "digital/01",
        "digital/+1",
        "digital/-1",
        "digital/x",
        "digital/",
        "digital",
        "digital/²",
        "digital/1/2",
        "xdigital/1",
        "digital/{join}",
        "page/2/a",
        "page/0/",
        "page/0/a/b",
        "page/0/ä",
        "page/0/a b",
        "digital/1\n",
        "digital/" + "9" * 5000,
        "page/0/" + "a" * 65,
    ],
)
def test_a_family_covers_nothing_else(path):
    assert psu().find(path) is None


def test_a_write_beyond_the_end_of_a_family_names_its_range():
    family = Property(
        "slot/{slot}/digital/{join}",
        bool,
        "rw",
        parameters={"slot": range(4), "join": range(1, 101)},
    )
    description = Description("cip", by_path([family]))
    for path, why in (
        ("slot/0/digital/101", "join 101 is not 1 to 100"),
        ("slot/4/digital/1", "slot 4 is not 0 to 3"),
    ):
        with pytest.raises(OutOfRange, match=f"{path}: {why}"):
            description.writable(path)
    for path in (
        "slot/0/digital/x",
        "slot/0/digital",
        "slot/0/analog/101",
        "slot/0/digital/01",
    ):
        with pytest.raises(UnknownTarget):
            description.writable(path)


def test_a_property_of_its_own_goes_before_the_family():
    assert psu().find("digital/7").access == "r"


def test_a_writable_property_can_be_written():
    assert psu().writable("voltage").path == "voltage"
    assert psu().writable("key").path == "key"
    assert psu().writable("digital/5").path == "digital/{join}"


def test_a_read_only_property_says_so():
    with pytest.raises(ReadOnly, match="'current' is read-only"):
        psu().writable("current")


@pytest.mark.parametrize(
    ("path", "meant"), [("voltaeg", "voltage"), ("curent", "current")]
)
def test_an_unknown_property_is_refused_with_a_suggestion(path, meant):
    with pytest.raises(
        UnknownTarget,
        match=(
            f"no property '{path}'; did you mean '{meant}'.*there are: voltage, current"
        ),
    ):
        psu().writable(path)


def test_an_unknown_command_is_refused_with_a_suggestion():
    with pytest.raises(
        UnknownTarget,
        match=(
            r"no command 'qery'; did you mean 'query'\? "
            r"there are: query, move, stop"
        ),
    ):
        psu().command("qery")
    assert psu().command("query") is QUERY


def test_a_device_without_properties_says_so_shortly():
    with pytest.raises(UnknownTarget, match=r"no property 'x'$"):
        Description("scpi").writable("x")


def test_a_refusal_is_short_whatever_is_asked_and_however_many_there_are():
    many = Description(
        "scpi", by_path(Property(f"p{number}") for number in range(1000))
    )
    with pytest.raises(UnknownTarget) as caught:
        many.writable("x" * 60_000)
    assert len(caught.value.message) < 300


# info, contract 3.2


def info(description: Description, truncated: int = 0) -> dict[str, Any]:
    return json.loads(
        messages.encode(description.info("lab", "psu", 3, "9f2c61aa", truncated))
    )


def test_info_says_who_it_is():
    description = Description(
        "scpi",
        name="Bench",
        manufacturer="ACME",
        model="P1",
        serial="7",
        firmware="1.2",
    )
    assert info(description.with_(address="10.0.0.5:5025", channel="com1")) == {
        "contract": 1,
        "bridge": "lab",
        "device": "psu",
        "kind": "scpi",
        "revision": 3,
        "boot": "9f2c61aa",
        "name": "Bench",
        "manufacturer": "ACME",
        "model": "P1",
        "serial": "7",
        "firmware": "1.2",
        "address": "10.0.0.5:5025",
        "channel": "com1",
        "properties": {},
        "commands": {},
        "events": {},
        "blobs": {},
    }


def test_info_leaves_out_what_is_not_known():
    assert (
        not {"name", "serial", "address", "truncated"}
        & info(Description("scpi")).keys()
    )
    assert info(Description("scpi"), truncated=7)["truncated"] == 7


def test_info_describes_a_property():
    full = Property(
        "mode",
        choice("a", "b"),
        "rw",
        title="Mode",
        unit="x",
        group="Main",
        class_="enum",
        readback="mode_now",
        default="a",
        original="MODE!",
    )
    assert info(Description("scpi", by_path([full])))["properties"]["mode"] == {
        "schema": {"enum": ["a", "b"]},
        "access": "rw",
        "title": "Mode",
        "unit": "x",
        "group": "Main",
        "class": "enum",
        "readback": "mode_now",
        "default": "a",
        "original": "MODE!",
    }


def test_info_leaves_out_the_defaults_of_a_property():
    assert info(Description("scpi", by_path([Property("a")])))["properties"] == {
        "a": {"schema": {"type": "number"}, "access": "r"}
    }


def test_info_says_that_a_write_appears_nowhere():
    described = info(Description("scpi", by_path([Property("a", readback=None)])))[
        "properties"
    ]["a"]
    assert described["readback"] is None


def test_info_describes_a_family_once_with_the_range_of_its_members():
    family = Property(
        "digital/{join}", bool, "rw", parameters={"join": range(1, 4001)}, default=False
    )
    assert info(Description("cip", by_path([family])))["properties"] == {
        "digital/{join}": {
            "schema": {"type": "boolean"},
            "access": "rw",
            "default": False,
            "parameters": {"join": {"minimum": 1, "maximum": 4000}},
        }
    }


def test_info_describes_a_command_by_its_schemas():
    slew = Command(
        "slew",
        nothing,
        Move,
        Moved,
        title="Go there",
        timeout=60.0,
        safe=True,
        holds="exchange",
    )
    described = info(Description("indi", commands={"slew": slew}))["commands"]["slew"]
    assert {key: described[key] for key in ("title", "timeout", "safe", "holds")} == {
        "title": "Go there",
        "timeout": 60.0,
        "safe": True,
        "holds": "exchange",
    }
    jsonschema.validate({"ra": 5, "dec": 3}, described["arguments"])
    jsonschema.validate({"ra": 5}, described["result"])
    for bad in ({"ra": 5}, {"ra": 25, "dec": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, described["arguments"])


def test_a_command_without_arguments_and_result_says_so():
    described = info(Description("scpi", commands={"stop": STOP}))["commands"]["stop"]
    jsonschema.validate({}, described["arguments"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"x": 1}, described["arguments"])
    assert described["result"] == {"type": "null"}
    assert described["title"] == "stop"


def test_info_describes_events_and_blobs():
    events = {
        "moved": Event("moved", Moved, title="Moved"),
        "frame": Event("frame", encoding="msgpack"),
    }
    described = info(
        Description("indi", events=events).with_blob(
            Blob("image", "image/fits", title="Image")
        )
    )
    assert described["events"]["moved"]["title"] == "Moved"
    assert "encoding" not in described["events"]["moved"]
    jsonschema.validate({"ra": 1}, described["events"]["moved"]["schema"])
    assert described["events"]["frame"]["encoding"] == "msgpack"
    assert described["blobs"] == {
        "image": {"title": "Image", "content_type": "image/fits"}
    }


def test_a_blob_comes_with_the_property_that_describes_the_latest():
    with_image = psu().with_blob(Blob("image"))
    latest = with_image.find("image")
    assert latest.type is BlobValue
    assert "image" not in psu().properties  # a description is never changed
    jsonschema.validate(
        {"size": 5, "content_type": "a/b", "file": None}, latest.info().schema
    )


def test_equal_descriptions_are_equal_so_that_nothing_is_published_twice():
    assert psu() == psu()
    assert psu() != psu().with_(serial="7")


# Declared commands


class Base:
    @command(safe=True, timeout=60.0)
    async def refresh(self, device: str, arguments: NoArguments, turn: Any) -> None:
        """Read everything again.

        More about it.
        """

    @command(title="Move it", holds="exchange")
    async def move(self, device: str, arguments: Move, turn: Any) -> Moved:
        return Moved(arguments.ra)

    async def helper(self) -> None: ...


class Derived(Base):
    @command(name="import", queued=False)
    async def import_data(self, device: str, arguments: Query, turn: Any) -> None: ...

    @command()
    async def del_(self, device: str, turn: Any) -> dict[str, Literal["a"]]:
        """Delete."""
        return {}

    @command(safe=False)
    async def refresh(self, device: str, arguments: Scan, turn: Any) -> int:
        """Read some again."""
        return 0


def test_commands_are_declared_beside_the_methods_that_carry_them_out():
    declared = commands(Base)
    assert list(declared) == ["refresh", "move"]
    refresh, move = declared["refresh"], declared["move"]
    assert (refresh.title, refresh.safe, refresh.timeout) == (
        "Read everything again",
        True,
        60.0,
    )
    assert refresh.result is type(None)
    assert (move.title, move.arguments, move.result, move.holds) == (
        "Move it",
        Move,
        Moved,
        "exchange",
    )
    assert commands(Base) == declared, "else info would be published again"


def test_commands_are_inherited_and_replaced():
    declared = commands(Derived)
    assert list(declared) == ["refresh", "move", "import", "del"]
    assert declared["refresh"].arguments is Scan
    assert declared["refresh"].result is int
    assert declared["refresh"].safe is False
    assert declared["import"].queued is False
    assert declared["del"].arguments is NoArguments


class Mover:
    def __init__(self, offset: float) -> None:
        self.offset = offset

    @command()
    async def move(self, device: str, arguments: Move, turn: Any) -> Moved:
        return Moved(arguments.ra + self.offset)


class SessionOfParts:
    def __init__(self) -> None:
        self.commands = (Base(), Mover(1.0))


async def test_a_command_runs_on_the_part_of_the_session_that_declares_it():
    declared = commands(Base, Mover)
    assert list(declared) == ["refresh", "move"]
    move = declared["move"]
    arguments = read(move, {"ra": 5, "dec": 1})
    assert await move.run(SessionOfParts(), "mount", arguments, None) == Moved(6.0)


async def test_a_declared_command_runs():
    move = commands(Base)["move"]
    assert await move.run(
        Base(), "mount", read(move, {"ra": 5, "dec": 1}), None
    ) == Moved(5.0)
