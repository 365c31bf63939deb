"""The walk that finds mistakes agrees with msgspec; its texts are in test_loader."""

import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from busbar.config.problems import Conversion
from busbar.config.yaml import Entry, ListNode, MapNode, Node, Scalar, plain, read
from busbar.errors import ConfigError

PLACE = (1, 1)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Reader(Struct, forbid_unknown_fields=True, tag="reader", tag_field="type"):
    rate: float = 1


class Writer(Struct, forbid_unknown_fields=True, tag="writer", tag_field="type"):
    page: int


class Odd(Struct):
    value: int

    def __post_init__(self) -> None:
        if self.value % 2 == 0:
            raise ValueError("value: even")


TYPES: list[Any] = [
    int,
    float | None,
    bool | str,
    int | Literal["auto"],
    Literal["a", "b", 5],
    Colour,
    Annotated[int, Meta(ge=-1, lt=3)],
    Annotated[float, Meta(gt=0, le=1.5)],
    Annotated[int, Meta(multiple_of=2)],
    Annotated[str, Meta(min_length=1, max_length=2, pattern="^a")],
    Annotated[list[int], Meta(min_length=1, max_length=2)],
    Annotated[dict[str, int], Meta(max_length=1)],
    tuple[int, str],
    tuple[int, ...] | None,
    dict[int, bool],
    Reader,
    Reader | Writer | None,
    list[Odd],
    dict[str, Any],
]
VALUES = st.sampled_from(
    [
        *(None, True, False, -2, -1, 0, 1, 3, 5, 0.5, 1.5, 2.5),
        *("", "a", "ab", "b", "abc", "red", "auto", "reader", "writer"),
    ]
)
KEYS = st.sampled_from(["type", "rate", "page", "value", "a", 1, 2])
DATA = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)


def node_of(value: Any) -> Node:
    if isinstance(value, dict):
        entries = {key: Entry(PLACE, node_of(each)) for key, each in value.items()}
        return MapNode(PLACE, entries)
    if isinstance(value, list):
        return ListNode(PLACE, [node_of(each) for each in value])
    return Scalar(PLACE, value)


@pytest.mark.parametrize("kind", TYPES)
@given(value=DATA)
def test_what_msgspec_takes_is_taken_and_nothing_else(kind: Any, value: Any) -> None:
    conversion = Conversion(node_of(value), kind, "file")
    try:
        expected = msgspec.convert(value, kind)
    except msgspec.ValidationError:
        with pytest.raises(ConfigError, match=r"^file:1:1: "):
            conversion.result()
    else:
        assert conversion.result() == expected


def test_a_type_that_only_msgspec_can_judge_is_refused_at_the_file() -> None:
    node = read("at: noon\n", "lab.yaml", {}, Path())
    with pytest.raises(ConfigError, match=r"^lab\.yaml:1:1: Invalid RFC3339"):
        Conversion(node, dict[str, datetime.datetime], "lab.yaml").result()


def test_an_unknown_key_is_put_right_to_find_what_else_is_wrong() -> None:
    node = read("type: writer\npag: x\n", "lab.yaml", {}, Path())
    with pytest.raises(ConfigError) as caught:
        Conversion(node, Writer, "lab.yaml").result()
    assert str(caught.value).splitlines() == [
        'lab.yaml:2:1: pag: unknown key; did you mean "page"? allowed: type, page',
        "lab.yaml:2:6: page: got text; allowed: a whole number",
    ]
    assert plain(node) == {"type": "writer", "page": "x"}
