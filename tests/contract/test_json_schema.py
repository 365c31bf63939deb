"""The small validator of `busbar conformance` says what the library jsonschema says."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.cli.schemas.json_schema import problem
from tests.contract.payloads import FOLDER, _validator

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 1.0, 2.5, "", "a", "ab", "b1"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner)
    ),
)
SIMPLE = st.one_of(
    st.booleans(),
    st.just({}),
    st.sampled_from(
        ["null", "boolean", "integer", "number", "string", "array", "object"]
    ).map(lambda t: {"type": t}),
    st.lists(
        st.sampled_from(["null", "number", "string"]), min_size=1, unique=True
    ).map(lambda t: {"type": t}),
    st.lists(SCALARS, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    SCALARS.map(lambda value: {"const": value}),
    st.tuples(
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
        st.integers(-3, 3),
    ).map(lambda pair: {pair[0]: pair[1]}),
    st.tuples(
        st.sampled_from(["minLength", "maxLength", "minItems", "maxItems"]),
        st.integers(0, 3),
    ).map(lambda pair: {pair[0]: pair[1]}),
    st.sampled_from(
        [{"multipleOf": 0.5}, {"multipleOf": 2}, {"pattern": "^a"}, {"required": ["a"]}]
    ),
)


def _compound(inner: Any) -> Any:
    members = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    return st.one_of(
        st.tuples(
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ).map(lambda pair: {pair[0]: pair[1]}),
        inner.map(lambda schema: {"not": schema}),
        st.tuples(members, inner).map(
            lambda pair: {"properties": pair[0], "additionalProperties": pair[1]}
        ),
        inner.map(lambda schema: {"patternProperties": {"^[ab]": schema}}),
        st.tuples(st.lists(inner, max_size=2), inner).map(
            lambda pair: {"prefixItems": pair[0], "items": pair[1]}
        ),
        inner.map(
            lambda schema: {"$defs": {"one": schema}, "items": {"$ref": "#/$defs/one"}}
        ),
    )


@given(value=VALUES, schema=st.recursive(SIMPLE, _compound, max_leaves=4))
def test_it_agrees_with_jsonschema(value: Any, schema: Any) -> None:
    if "$ref" in repr(schema) and not (isinstance(schema, dict) and "$defs" in schema):
        return  # definitions are at the top
    if repr(schema).count("$defs") > 1:
        return
    assert (problem(value, schema) is None) == jsonschema.Draft202012Validator(
        schema
    ).is_valid(value)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_it_takes_every_schema_of_ours(name: str) -> None:
    schema = _validator(name).schema
    for value in ({}, [], 5, "text", None, {"boot": "x", "seq": 1, "time": 1.5}):
        assert (problem(value, schema) is None) == _validator(name).is_valid(value), (
            value
        )


def test_it_says_what_is_wrong_and_where() -> None:
    schema = {"properties": {"a": {"items": {"maximum": 3}}}, "required": ["b"]}
    assert problem({"a": [1, 5], "b": 1}, schema) == "a: [1]: 5: maximum is 3"
    assert problem({"a": []}, schema) == "'b' is missing"
