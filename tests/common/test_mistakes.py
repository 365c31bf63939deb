"""The walk that finds a mistake agrees with msgspec, which converts."""

import datetime
import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from busbar.contract import mistakes
from tests.common.parsers import TYPES, Vector


class Axis(Struct, tag="axis"):
    vector: Vector


class Limit(Struct, tag="limit", forbid_unknown_fields=True):
    x: Annotated[float, Meta(gt=0, lt=2)]
    names: dict[str, Literal["a", "b"]] = {}

    def __post_init__(self) -> None:
        if self.x == 1:
            raise ValueError("x: one is none")


ALL: tuple[Any, ...] = (
    *TYPES,
    Axis,
    Axis | Limit,
    list[Axis | Limit],
    dict[str, list[Limit]],
    tuple[int, str],
    tuple[Annotated[int, Meta(multiple_of=2)], ...],
    Annotated[list[int], Meta(max_length=1)],
    dict[Annotated[str, Meta(min_length=2)], bool | None],
)
KEYS = ["ra", "on", "steps", "vector", "x", "names", "type", "a"]
LEAVES = [None, True, 0, 1, 2, 9, -1, 2**70, 0.5, 1.0, 11.0, "a", "fast", "axis"]
values = st.recursive(
    st.sampled_from([*LEAVES, "limit", "long text", "AP8=", "!", {}, []]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
        | st.builds(lambda vector: {"type": "axis", "vector": vector}, inner)
        | st.builds(lambda x: {"type": "limit", "x": x}, inner)
        | st.builds(lambda ra, steps: {"steps": steps, "ra": ra}, inner, inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("type_", ALL, ids=str)
def test_there_is_a_mistake_where_msgspec_refuses_and_nowhere_else(type_: Any) -> None:
    info = msgspec.inspect.type_info(type_)

    @given(values)
    def check(raw: Any) -> None:
        found = mistakes.find(raw, info)
        try:
            msgspec.convert(raw, type_)
        except msgspec.ValidationError as error:
            assert found is not None, error
            json.dumps(str(found))
            assert "`" not in str(found)  # msgspec's own words
        else:
            assert found is None

    check()


@pytest.mark.parametrize(
    ("type_", "raw", "said"),
    [
        (list[Vector], [{"ra": 1}, {"ra": "x"}], "[1].ra: expected a number, got text"),
        (dict[str, int], {"k": []}, "k: expected a whole number, got a list"),
        (Axis | Limit, {"type": "x"}, "type: 'x' is none of axis, limit"),
        (Axis | Limit, {}, "'type' is missing"),
        (Limit, {"x": 1}, "x: one is none"),
        (Limit, {"x": 0.5, "y": 1}, "unknown key 'y'; allowed: x, names"),
        (float, 2**1100, "too large for a number of 64 bits"),
        (float | str, [], "expected a number or text, got a list"),
    ],
)
def test_a_mistake_is_said_with_its_place(type_: Any, raw: Any, said: str) -> None:
    assert str(mistakes.find(raw, msgspec.inspect.type_info(type_))) == said


def test_a_type_that_only_msgspec_knows_is_left_to_it() -> None:
    info = msgspec.inspect.type_info(datetime.datetime)
    assert mistakes.find("yesterday", info) is None
