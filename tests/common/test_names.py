"""Names, contract 1: one topic level, and how foreign names become such."""

import hashlib
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from busbar.contract.names import LEVEL, check_level, collisions, level
from busbar.errors import ConfigError

LEVEL_CHARACTERS = string.ascii_letters + string.digits + "_-"
levels = st.text(LEVEL_CHARACTERS, min_size=1, max_size=64)
# surrogates too: file names have them
names = st.text(st.characters(codec=None, exclude_categories=[]), max_size=100)


def digest(original: str) -> str:
    return "-" + hashlib.sha256(original.encode()).hexdigest()[:6]


@pytest.mark.parametrize(
    ("original", "mapped"),
    [
        ("voltage", "voltage"),
        ("CCD Exposure", "CCD_Exposure"),
        ("-3dB", "-3dB"),
        ("a" * 64, "a" * 64),
        ("_state", "x_state"),
        (" state", "x_state"),
        ("Temp.1", "Temp_1" + digest("Temp.1")),
        ("a/b", "a_b" + digest("a/b")),
        ("größe", "gr__e" + digest("größe")),
        ("a" * 65, "a" * 57 + digest("a" * 65)),
        ("_" + "a" * 63, "x_" + "a" * 55 + digest("_" + "a" * 63)),
        ("", "x_" + digest("")),
        ("+", "x_" + digest("+")),
        ("#", "x_" + digest("#")),
        ("\x00", "x_" + digest("\x00")),
    ],
)
def test_a_foreign_name_becomes_one_level(original, mapped):
    assert level(original) == mapped


@given(names)
@example("\ud800")
@example("ﬀ" * 70)
def test_every_name_becomes_a_valid_level_and_always_the_same(name):
    mapped = level(name)
    assert LEVEL.fullmatch(mapped)
    assert not mapped.startswith("_")  # reserved for what the bridge adds
    assert level(name) == mapped


@given(st.sets(names, max_size=30))
def test_different_names_meet_only_through_spaces_and_leading_underscores(originals):
    """A space meets `_` and `x_` meets `_`: declared by the contract.

    Everything else has a digest.
    """
    mapped = {name: level(name) for name in originals}

    def declared(name: str) -> str:
        spaced = name.replace(" ", "_")
        return f"x{spaced}" if spaced.startswith("_") else spaced

    for one in collisions(mapped):
        assert any(
            other != one and declared(other) == declared(one) for other in originals
        )


@given(levels.filter(lambda name: not name.startswith("_")))
def test_a_name_that_is_a_level_stays_as_it_is(name):
    assert level(name) == name


def test_names_that_meet_are_all_reported():
    originals = ["a b", "a_b", "_c", "x_c", "d"]
    assert collisions({name: level(name) for name in originals}) == {
        "a b",
        "a_b",
        "_c",
        "x_c",
    }


@given(st.dictionaries(st.integers().map(str), st.sampled_from("pqr")))
def test_collisions_are_exactly_the_names_that_share_a_path(paths):
    shared = {
        name for name, path in paths.items() if list(paths.values()).count(path) > 1
    }
    assert collisions(paths) == shared


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "a" * 65, "a\n", "+", "#"])
def test_a_name_that_is_no_level_is_refused_with_its_use(name):
    with pytest.raises(ConfigError, match=r"bridge name .* must be 1 to 64"):
        check_level(name, "bridge name")
