"""What the broker is asked for: all that is wanted, and no filter inside another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busbar.client.filters import Filters, covers
from busbar.contract.topics import matches

LEVELS = ["a", "b", "+"]
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, *(["#"] if rest else [])]),
    st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3),
    st.booleans(),
)
TOPICS = [
    "/".join(levels)
    for length in (1, 2, 3, 4)
    for levels in __import__("itertools").product("abc", repeat=length)
]


@given(FILTERS, FILTERS)
def test_a_filter_covers_another_when_every_topic_of_that_one_is_its_own(
    wide: str, narrow: str
):
    inside = all(matches(wide, topic) for topic in TOPICS if matches(narrow, topic))
    assert covers(wide, narrow) == (inside and wide != narrow)


@given(st.lists(st.tuples(st.booleans(), st.lists(FILTERS, max_size=3)), max_size=12))
def test_what_the_broker_is_told_step_by_step_is_all_that_is_wanted_and_nothing_twice(
    steps: list[tuple[bool, list[str]]],
):
    filters, asked, wanted = Filters(), set[str](), list[list[str]]()
    for more, names in steps:
        if more:
            new, old = filters.add(names)
            wanted.append(names)
        elif wanted:
            new, old = filters.remove(wanted.pop())
        else:
            continue
        assert not new & asked
        assert old <= asked
        asked = (asked | new) - old
        assert asked == filters.active
        every = {name for names in wanted for name in names}
        assert all(
            each in asked or any(covers(wide, each) for wide in asked) for each in every
        )
        assert asked <= every
        assert not any(covers(one, other) for one in asked for other in asked)


def test_what_two_want_stays_until_both_have_left():
    filters = Filters()
    filters.add(["a/b"])
    assert filters.add(["a/b"]) == (set(), set())
    assert filters.remove(["a/b"]) == (set(), set())
    assert filters.remove(["a/b"]) == (set(), {"a/b"})


def test_a_wide_filter_replaces_narrow_ones_and_gives_them_back():
    filters = Filters()
    filters.add(["a/b", "a/+", "c"])
    assert filters.add(["a/#"]) == ({"a/#"}, {"a/+"})
    assert filters.remove(["a/#"]) == ({"a/+"}, {"a/#"})


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a//b",
        "a#",
        "a/#/b",
        "a/b+",
        "a\x00",
        "a/\ud800",
        "a/b c",
        "x" * 65,
        "#/a",
        "a/ü",
    ],
)
def test_a_filter_that_a_broker_could_punish_is_refused_before_anything_changes(
    wrong: str,
):
    filters = Filters()
    with pytest.raises(ValueError, match="a level is"):
        filters.add(["good", wrong])
    assert filters.add(["good"]) == ({"good"}, set())
