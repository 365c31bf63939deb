"""A schema of another program is checked once; what comes of it never raises."""

import time
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busbar.cli import arguments
from busbar.cli.schemas.foreign import DEPTH, checked, fault
from busbar.cli.schemas.json_schema import UndecidedError, problem
from busbar.contract.messages import Info
from busbar.errors import BusbarError

# a busy machine makes inputs slowly
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["#", "#/$defs/a", "(", "^a+$", "type", "string", "number"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "$ref", "type"]), inner)
    ),
    max_leaves=8,
)
KEYWORDS = [
    *("type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "minimum", "maximum"),
    *("exclusiveMinimum", "multipleOf", "minLength", "maxLength", "minItems"),
    *("maxItems", "pattern", "required", "properties", "patternProperties", "$ref"),
    *("additionalProperties", "propertyNames", "prefixItems", "items", "$defs"),
    *("title", "description", "discriminator"),
]
SCHEMAS = st.recursive(
    JSON,
    lambda inner: st.dictionaries(
        st.sampled_from(KEYWORDS),
        inner
        | st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_size=4,
    ),
    max_leaves=12,
)
OBJECTS = SCHEMAS.filter(lambda schema: isinstance(schema, dict))

DEEP: dict[str, Any] = {}
for _ in range(DEPTH):
    DEEP = {"items": DEEP}

WRONG = [
    ({"enum": 5}, "enum: 5 is no list"),
    ({"anyOf": 5}, "anyOf: 5 is no list of schemas"),
    ({"anyOf": [5]}, "anyOf: 5 is no schema"),
    ({"type": "float"}, "type: 'float' is no type"),
    ({"type": ["null", 5]}, "type: ['null', 5] is no type"),
    ({"$ref": "#"}, "a $ref leads back to itself"),
    ({"$ref": "other.json"}, "$ref 'other.json' leads out of the schema"),
    ({"$ref": "#/$defs/a"}, "$ref '#/$defs/a' leads nowhere"),
    ({"$ref": "#/enum/0", "enum": [5]}, "#/enum/0: 5 is no schema"),
    ({"anyOf": [{"not": {"$ref": "#"}}]}, "a $ref leads back to itself"),
    ({"type": "number", "minimum": "a"}, "minimum: 'a' is no number"),
    ({"minimum": True}, "minimum: True is no number"),
    ({"multipleOf": 0}, "multipleOf: 0 is no number above 0"),
    ({"type": "string", "pattern": "("}, "pattern '(': "),
    ({"patternProperties": {"(": {}}}, "pattern '(': "),
    ({"properties": {"a": {"items": 5}}}, "properties: a: items: 5 is no schema"),
    ({"required": "a"}, "required: 'a' is no list of names"),
    ({"description": 5}, "description: 5 is no text"),
    (DEEP, f"more than {DEPTH} levels deep"),
]


@pytest.mark.parametrize(("schema", "text"), WRONG)
def test_a_schema_that_cannot_be_used_says_where_and_why(
    schema: Any, text: str
) -> None:
    assert (fault(schema) or "").startswith(text)


def test_references_that_multiply_are_refused_in_linear_time() -> None:
    twice = {f"d{n}": {"anyOf": [ref(n + 1), ref(n + 1)]} for n in range(20)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**twice, "d20": {}}}
    assert fault(schema) == "more than 10000 alternatives"


def ref(number: int) -> dict[str, str]:
    return {"$ref": f"#/$defs/d{number}"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"$ref": "#"}},
        {"enum": list(range(10_000))},
        {"pattern": r"^\p{L}+$"},  # right in ECMA-262, unknown to `re`
        {"x-of-somebody": {"$ref": "elsewhere"}},
        {"const": {"minimum": "a"}},
    ],
)
def test_a_schema_that_is_one_has_no_fault(schema: Any) -> None:
    assert fault(schema) is None
    problem({"a": {"b": 1}}, schema)
    problem("text", schema)


@BUSY
@given(SCHEMAS, JSON)
def test_whatever_has_no_fault_can_be_used(schema: Any, value: Any) -> None:
    if fault(schema) is not None:
        return
    problem(value, schema)
    arguments.expected(schema)
    for text in ("5", "a", '{"a": 1}'):
        try:
            arguments.value(text, schema, "v")
        except BusbarError as error:
            assert "\n" not in str(error)


@BUSY
@given(OBJECTS)
def test_what_the_standard_refuses_is_refused(schema: Any) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        judged = set(KEYWORDS) & {str(each) for each in error.absolute_path}
        if judged and "uniqueItems" not in str(error.schema):
            assert fault(schema) is not None


@pytest.mark.parametrize("size", [30, 3000])
def test_a_pattern_that_backtracks_is_given_up(size: int) -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert fault(schema) is None
    with pytest.raises(UndecidedError):
        problem("a" * size + "!", schema)


def test_a_value_that_multiplies_alternatives_is_given_up() -> None:
    schema: Any = {"type": "array", "items": {"anyOf": [{"$ref": "#"}] * 2}}
    value: Any = 5
    for _ in range(60):
        value = [value]
    with pytest.raises(UndecidedError):
        problem(value, schema)


def test_a_value_nested_too_deeply_is_given_up() -> None:
    schema: Any = {"type": "array", "items": {"$ref": "#"}}
    value: Any = []
    for _ in range(900):
        value = [value]
    with pytest.raises(UndecidedError):
        problem(value, schema)


def test_what_is_given_up_is_sent_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = "a" * 40 + "!"
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert arguments.value(text, schema, "label") == text
    assert "label: " in caplog.text and "sent unchecked" in caplog.text


def test_the_limit_of_time_leaves_no_timer_behind() -> None:
    before = time.process_time()
    problem(1, {"type": "number"})
    while time.process_time() - before < 1.2:
        pass


@BUSY
@given(
    st.dictionaries(st.sampled_from(["v", "f/{n}"]), OBJECTS, min_size=1),
    JSON,
    OBJECTS,
)
def test_an_info_is_usable_once_it_is_checked(
    schemas: dict[str, Any], parameters: Any, fields: Any
) -> None:
    found = checked(info(schemas, parameters, fields))
    for path, about in found.info.properties.items():
        assert (about.schema == {}) or found.schema_fault(path) is None
        arguments.expected(about.schema)
    call = found.info.commands["c"]
    arguments.usage(call)
    for given_ in ([], ["a=1"], ["1"], ['{"a": 1}']):
        try:
            arguments.arguments("c", call, given_)
        except BusbarError as error:
            assert "\n" not in str(error)


def info(schemas: dict[str, Any], parameters: Any, fields: Any) -> Info:
    about: dict[str, Any] = {"access": "rw"}
    if isinstance(parameters, dict):
        about["parameters"] = parameters
    command = {"title": "c", "timeout": 1.0, "safe": True, "holds": "exchange"}
    command |= {"arguments": fields, "result": fields}
    return msgspec.convert(
        {
            "contract": 1,
            "bridge": "b",
            "device": "d",
            "kind": "toy",
            "revision": 1,
            "boot": "b",
            "properties": {
                path: {**about, "schema": schema} for path, schema in schemas.items()
            },
            "commands": {"c": command},
            "events": {"e": {"title": "e", "schema": fields}},
            "blobs": {},
        },
        Info,
    )
