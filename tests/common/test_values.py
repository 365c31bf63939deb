"""How a payload is read into a declared type (contract 2), what is in range, and the
JSON Schema of it."""

import enum
import json
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]  # has no stubs here
import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, Struct, defstruct

from busbar.contract import messages
from busbar.contract.messages import Metadata
from busbar.contract.values import (
    Reader,
    choice,
    convert,
    integer,
    number,
    reading,
    schema,
)
from busbar.errors import BadRequest, OutOfRange, ProtocolError


class Point(Struct):
    """A vector property: several numbers that change at once."""

    ra: float
    on: bool = False
    steps: Annotated[int, Meta(ge=0, le=5)] = 0


class Axis(Struct, tag="axis"):
    point: Point


class Nested(Struct):
    point: Point
    limit: Annotated[float, Meta(le=10)] | None = None


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


TYPES = [
    bool,
    int,
    float,
    str,
    bytes,
    number(0, 30),
    integer(-5, 10),
    choice("fast", "slow"),
    Literal[1, 2],
    Colour,
    Any,
    Annotated[str, Meta(max_length=3)],
    Annotated[str, Meta(pattern="^a")],
    dict[str, float],
    dict[str, Any],
    list[bool],
    list[integer(0, 5)],
    Point,
    Nested,
    Axis,
    bool | None,
    int | None,
    str | None,
    Point | None,
    float | str,
]


def read(type_: Any, payload: bytes | str) -> Any:
    return Reader(type_).payload(
        payload.encode() if isinstance(payload, str) else payload
    )[0]


def read_with(type_: Any, payload: str) -> tuple[Any, Metadata]:
    return Reader(type_).payload(payload.encode())


@pytest.mark.parametrize(
    ("type_", "payload", "value"),
    [
        (float, "5.02", 5.02),
        (float, "5", 5.0),
        (float, " 5 ", 5.0),
        (float, "-1e3", -1000.0),
        (int, "5", 5),
        (int, "5.0", 5),
        (int, "-0.0", 0),
        (number(0, 30), "30", 30.0),
        (integer(0, 10), "1e1", 10),
        (Literal[1, 2], "2", 2),
        (list[int], "[1, 2.0]", [1, 2]),
        (dict[str, float], '{"a": 1}', {"a": 1.0}),
        (Point, '{"ra": 5}', Point(5.0)),
        (Any, "[null]", [None]),
        (int | None, "null", None),
        (bytes, "AP8=", b"\0\xff"),
        (Axis, '{"type": "axis", "point": {"ra": 1}}', Axis(Point(1.0))),
        (Colour, "red", Colour.RED),
    ],
)
def test_a_bare_value_is_read_as_the_declared_type_wants_it(type_, payload, value):
    found = read(type_, payload)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "123",
        "true",
        "{a",
        "",
        " x ",
        "[1]",
        "null",
        "{}",
        '{"a": 1}',
        '"open',
        "größe",
        "a\nb",
    ],
)
def test_text_is_taken_verbatim(text):
    """Contract 2: unless the payload is a JSON string or an object with `_value`."""
    assert read(str, text) == text


@pytest.mark.parametrize("type_", [str, choice("a", "b"), str | None, float | str])
@pytest.mark.parametrize(
    "payload",
    [
        '{"_value": "a", "_ttl": NaN}',
        '{"_value": "a", "_sent": Infinity}',
        '{"_value": "a"',
        '{\'_id\': 1, "_value": "a"}',
        ' {"_value": "a"} x',
        '{"_value": ' + "[" * 20 + "]" * 20 + "}",
    ],
)
def test_an_object_with_value_that_is_no_json_is_not_taken_as_text(type_, payload):
    """Python's json.dumps writes NaN: nobody wants that sent to an instrument."""
    with pytest.raises(BadRequest):
        read(type_, payload)


def test_text_in_which_value_is_no_key_is_taken_verbatim():
    for text in ('{"a": "_value"}', '{"a": {"_value": 1}}', '"_value": 1', "{_value}"):
        assert read(str, text) == text


@pytest.mark.parametrize(
    ("payload", "text"),
    [('"quoted"', "quoted"), (' "a" ', "a"), ('""', ""), ('"a\\nb"', "a\nb")],
)
def test_a_json_string_is_unquoted(payload, text):
    assert read(str, payload) == text


def test_text_in_an_object_with_value_has_metadata():
    assert read_with(str, '{"_value": "{a", "_id": "x"}') == ("{a", Metadata(id="x"))


def test_a_choice_is_text_too():
    assert read(choice("1", "on"), "1") == "1"
    assert read(choice("1", "on"), '"on"') == "on"


@pytest.mark.parametrize(
    "word",
    [
        "true",
        "1",
        "on",
        "True",
        "TRUE",
        "On",
        "ON",
        '"on"',
        '"TRUE"',
        " on\n",
        '{"_value":"On"}',
    ],
)
def test_these_are_true(word):
    assert read(bool, word) is True


@pytest.mark.parametrize(
    "word",
    [
        "false",
        "0",
        "off",
        "False",
        "Off",
        "OFF",
        '"0"',
        '{"_value":0}',
        '{"_value":"OFF"}',
    ],
)
def test_these_are_false(word):
    assert read(bool, word) is False


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "2",
        "-1",
        "1.0",
        "null",
        "[]",
        "{}",
        '{"_value":[1]}',
        '{"_value":{}}',
        "ono",
        '""',
    ],
)
def test_nothing_else_is_a_boolean(word):
    with pytest.raises(BadRequest):
        read(bool, word)


def test_booleans_and_whole_numbers_are_read_inside_objects_and_lists_and_options():
    assert read(Point, '{"ra": 1, "on": "ON", "steps": 5.0}') == Point(1.0, True, 5)
    assert read(Nested, '{"point": {"ra": 1, "on": 1}}') == Nested(Point(1.0, True))
    assert read(list[bool], '["on", 0, true]') == [True, False, True]
    assert read(dict[str, bool], '{"a": "off"}') == {"a": False}
    assert read(bool | None, '"on"') is True
    assert read(int | None, "5.0") == 5
    assert read(Point | None, '{"ra": 1, "on": 1}') == Point(1.0, True)


def test_a_bare_word_is_a_boolean_where_the_value_may_also_be_absent():
    assert read(bool | None, "on") is True


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        (int, "5.5"),
        (int, "true"),
        (float, "true"),
        (float, "on"),
        (float, '"5"'),
        (int, "null"),
        (float, "{}"),
        (float, "x"),
        (str, '{"_value": 5}'),
        (list[int], "[true]"),
        (Point, "[]"),
        (Point, "{}"),
        (Point, '{"ra": "x"}'),
        (bytes, "?"),
    ],
)
def test_another_kind_of_value_is_a_bad_request(type_, payload):
    with pytest.raises(BadRequest):
        read(type_, payload)


def test_value_beside_metadata():
    payload = '{"_value": 5.02, "_id": "abcdefgh", "_ttl": 3}'
    assert read_with(float, payload) == (5.02, Metadata(id="abcdefgh", ttl=3.0))
    assert Reader(float).payload(msgpack.packb({"_value": 5.02, "_id": 9})) == (
        5.02,
        Metadata(id=9),
    )


def test_an_object_may_hold_its_metadata_itself_or_stand_in_value():
    assert read_with(Point, '{"ra": 1, "_id": "x"}') == (Point(1.0), Metadata(id="x"))
    assert read_with(Point, '{"_value": {"ra": 1}, "_id": "x"}') == (
        Point(1.0),
        Metadata(id="x"),
    )
    assert read_with(dict[str, float], '{"a": 1, "_wait": 2}') == (
        {"a": 1.0},
        Metadata(wait=2.0),
    )


def test_a_key_of_an_object_that_looks_like_metadata_is_kept_by_value():
    assert read(dict[str, float], '{"_value": {"_id": 1}}') == {"_id": 1.0}


@pytest.mark.parametrize(
    "type_", [float, bool, str, Point, dict[str, float], Any], ids=str
)
def test_an_unknown_key_beside_value_is_refused(type_):
    with pytest.raises(BadRequest, match="_tll"):
        read(type_, '{"_value": 5, "_tll": 5}')


@pytest.mark.parametrize(
    "type_",
    [float, bool, Point, dict[str, float], dict[str, Any], Any, Point | None],
    ids=str,
)
def test_misspelt_metadata_in_an_object_is_refused(type_):
    """Contract 2: unknown keys in a command are refused, also misspelt metadata."""
    with pytest.raises(BadRequest, match="_tll"):
        read(type_, '{"ra": 5, "_tll": 5}')


@pytest.mark.parametrize(
    "payload", ['{"ra": 1, "dec": 2}', '{"_value": {"ra": 1, "dec": 2}}']
)
def test_an_unknown_key_of_an_object_is_refused_and_the_known_ones_are_named(payload):
    with pytest.raises(BadRequest, match=r"'dec'.*ra, on, steps"):
        read(Point, payload)


def test_an_unknown_key_inside_is_refused_too():
    with pytest.raises(BadRequest, match="'dec'"):
        read(Nested, '{"point": {"ra": 1, "dec": 2}}')


def test_wrong_metadata_is_refused():
    with pytest.raises(BadRequest, match="_ttl"):
        read(float, '{"_value": 5, "_ttl": "soon"}')


@pytest.mark.parametrize(
    ("type_", "payload", "shown", "allowed"),
    [
        (number(0, 30), "31", "31", "at least 0 and at most 30"),
        (number(0, 30), "-0.5", "-0.5", "at least 0 and at most 30"),
        (integer(1, None), "0", "0", "at least 1"),
        (integer(0, 10), "1e300", "1000", "at most 10"),
        (
            integer(-(2**31), 2**31 - 1),
            "2147483648",
            "2147483648",
            ("at least -2147483648 and at most 2147483647"),
        ),
        (number(0, 0.25), "1", "1", "at least 0 and at most 0.25"),
        (Annotated[float, Meta(gt=0, lt=1)], "1", "1", "above 0 and below 1"),
        (choice("fast", "slow"), "medium", "medium", "fast, slow"),
        (Literal[1, 2], "3", "3", "1, 2"),
        (Colour, "green", "green", "red"),
        (Annotated[str, Meta(max_length=3)], "long", "long", "<= 3"),
        (Annotated[str, Meta(pattern="^a")], "b", "b", r"\^a"),
        (Point, '{"ra": 1, "steps": 9}', "steps: 9", "at least 0 and at most 5"),
        (Nested, '{"point": {"ra": 1}, "limit": 11}', "limit: 11", "at most 10"),
        (Point | None, '{"ra": 1, "steps": 9}', "9", "<= 5"),
        (choice("fast", "slow") | None, '"medium"', "medium", "fast, slow"),
        (list[integer(0, 5)], "[1, 9]", "9", "<= 5"),
    ],
)
def test_out_of_range_names_the_value_and_what_is_allowed(
    type_, payload, shown, allowed
):
    with pytest.raises(OutOfRange, match=rf"(?s){shown}.*{allowed}"):
        read(type_, payload)


def test_the_place_of_a_bad_member_is_named():
    with pytest.raises(OutOfRange, match=r"^point: steps: 9 is out"):
        read(Nested, '{"point": {"ra": 1, "steps": 9}}')


@pytest.mark.parametrize(
    ("type_", "payload", "said"),
    [
        (Point, "{}", "'ra' is missing"),
        (list[bytes], '["!"]', "[0]: this is not base64"),
    ],
)
def test_what_msgspec_says_is_said_in_our_words(type_, payload, said):
    with pytest.raises(BadRequest) as raised:
        read(type_, payload)
    assert said in str(raised.value)


def test_a_huge_value_is_not_repeated_at_length():
    with pytest.raises(OutOfRange) as caught:
        read(choice("fast", "slow"), "x" * 100_000)
    assert len(caught.value.message) < 300


payloads = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)
wrapped = st.builds(
    bytes.__add__,
    st.sampled_from([b'{"_value":', b"\x81\xa6_value", b'{"ra":', b"\x81"]),
    payloads,
)
jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["_value", "_id", "ra", "on", "steps", "point", "limit", "x", "_x"]
            ),
            inner,
        )
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())


@given(st.sampled_from([Reader(type_) for type_ in TYPES]), payloads | wrapped | jsons)
@example(Reader(bool), b"")
@example(Reader(bool), b"[]")
@example(Reader(bool), b"\x80")
@example(Reader(float), b"1" * 400)
@example(Reader(int | None), b"1e308")
@example(Reader(str), b"\xff")
def test_hostile_payloads_give_a_value_or_a_refusal(reader, payload):
    """Nothing else is ever raised, and whatever is accepted can be published."""
    try:
        value, _ = reader.payload(payload)
    except (BadRequest, OutOfRange) as error:
        messages.encode(error.message)
    else:
        messages.encode(value)


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        (bool, "on"),
        (int, "5"),
        (float, "5.5"),
        (str, "x"),
        (bytes, "AP8="),
        (number(0, 30), "30"),
        (integer(-5, 10), "-5"),
        (number(), "1e30"),
        (choice("fast", "slow"), "fast"),
        (Literal[1, 2], "2"),
        (Colour, "blue"),
        (Any, "[1]"),
        (Annotated[str, Meta(max_length=3)], "abc"),
        (dict[str, float], '{"a": 1}'),
        (list[bool], "[true]"),
        (Point, '{"ra": 5, "steps": 5}'),
        (Nested, '{"point": {"ra": 1}, "limit": 10}'),
        (bool | None, "null"),
        (Axis, '{"type": "axis", "point": {"ra": 1}}'),
    ],
)
def test_a_good_value_fits_its_schema(type_, payload):
    described = schema(type_)
    jsonschema.Draft202012Validator.check_schema(described)
    published = json.loads(messages.encode(read(type_, payload)))
    jsonschema.validate(published, described, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("type_", "bad"),
    [
        (number(0, 30), 31),
        (integer(-5, 10), -6),
        (integer(), 0.5),
        (choice("fast", "slow"), "medium"),
        (bool, "on"),
        (Annotated[str, Meta(max_length=3)], "long"),
        (Point, {"ra": 1, "steps": 6}),
        (Nested, {"point": {}}),
        (float, "x"),
    ],
)
def test_a_bad_value_does_not_fit_its_schema(type_, bad):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, schema(type_), jsonschema.Draft202012Validator)


def test_a_schema_has_no_reference_at_its_top():
    assert schema(Point)["type"] == "object"
    assert "$defs" not in schema(Point)
    assert set(schema(Nested)["$defs"]) == {"Point"}
    assert schema(None) == {"type": "null"}


def test_a_bound_that_is_not_given_is_not_in_the_schema():
    assert schema(number(0)) == {"type": "number", "minimum": 0}
    assert schema(integer(None, 9)) == {"type": "integer", "maximum": 9}


def test_a_reading_of_another_kind_is_the_devices_fault():
    assert reading(5, number(0, 30)) == 5.0
    with pytest.raises(ProtocolError, match="'x'"):
        reading("x", number(0, 30))
    with pytest.raises(OutOfRange, match="31"):
        reading(31, number(0, 30))


def test_a_reading_takes_no_liberties():
    with pytest.raises(ProtocolError):
        reading("on", bool)


def test_convert_returns_the_value_of_the_type():
    assert convert({"ra": 1}, Point) == Point(1.0)


def test_an_annotation_is_in_the_schema_and_changes_no_reading():
    extra = {"indi": {"name": "RA"}}
    member = Annotated[bool, Meta(title="On", extra_json_schema=extra)]
    made = defstruct(
        "Made",
        [("on", member), ("level", number(0, 30), 0.0)],
        forbid_unknown_fields=True,
    )
    annotated = Annotated[made, Meta(title="Both", extra_json_schema=extra)]
    built = schema(annotated)
    assert (built["type"], built["title"], built["indi"]) == (
        "object",
        "Both",
        {"name": "RA"},
    )
    assert built["properties"]["on"]["indi"] == {"name": "RA"}
    value, metadata = Reader(annotated).payload(b'{"on": "off", "_id": "x"}')
    assert (value.on, metadata.id) == (False, "x")
    with pytest.raises(OutOfRange, match="level: 31"):
        Reader(annotated).payload(b'{"on": true, "level": 31}')
