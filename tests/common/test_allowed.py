"""What a type of the configuration allows, in the words of a user."""

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct
from msgspec import inspect as types

from busbar.config.allowed import allowed, hint, kind, words


class Point(Struct):
    ra: float
    dec: float = 0


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (int, "a whole number"),
        (float | None, "a number"),
        (bool | str, "true or false or text"),
        (Literal["a", "b\n", 5], '5, a, "b\\n"'),
        (Annotated[int, Meta(ge=1, le=5)], "a whole number (at least 1, at most 5)"),
        (Annotated[str, Meta(description="a name")], "a name"),
        (tuple[int, int], "a list of 2 values"),
        (list[Point], "a list, each item a mapping with the keys ra, dec"),
        (dict[str, int], "a mapping"),
        (Any, ""),
    ],
)
def test_each_type_has_its_words(type_: Any, text: str) -> None:
    found = words(types.type_info(type_))
    assert sorted(found.split(", ")) == sorted(text.split(", "))


def test_what_cannot_be_said_is_left_out() -> None:
    assert allowed(types.type_info(Any)) == ""
    assert allowed(types.type_info(int)) == "; allowed: a whole number"


def test_a_word_that_is_nearly_right_is_guessed() -> None:
    assert hint("wrod", ["word"], "word") == '; did you mean "word"? allowed: word'
    assert hint("x", ["word"], "word") == "; allowed: word"


def test_each_value_has_a_kind() -> None:
    values = [None, True, 5, 0.5, "x", [1], {}]
    assert [kind(each) for each in values] == [
        "nothing",
        "true",
        "a number",
        "a decimal number",
        "text",
        "a list",
        "a mapping",
    ]
