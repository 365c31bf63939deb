"""Places and values of a YAML text; its many errors are in test_loader."""

from pathlib import Path

import pytest

from busbar.config.yaml import MapNode, place_in, plain, problem, read
from busbar.errors import ConfigError

HERE = Path("/etc/busbar")


def test_each_value_has_its_place_and_the_whole_is_plain():
    node = read("a: 1\nb:\n  - x\n  - ${HOST}\n", "lab.yaml", {"HOST": "psu"}, HERE)
    assert plain(node) == {"a": 1, "b": ["x", "psu"]}
    assert isinstance(node, MapNode)
    assert node.entries["a"].value.place == (1, 4)
    assert node.entries["b"].place == (2, 1)


def test_a_file_is_relative_to_its_configuration():
    node = read("ca_file: ca.crt\n", "lab.yaml", {}, HERE)
    assert plain(node) == {"ca_file": "/etc/busbar/ca.crt"}


def test_no_document_is_a_null():
    assert plain(read("", "lab.yaml", {}, HERE)) is None


def test_a_key_that_stands_twice_is_refused_with_its_place():
    with pytest.raises(ConfigError, match=r"lab\.yaml:2:1: a"):
        read("a: 1\na: 2\n", "lab.yaml", {}, HERE)


def test_a_problem_is_one_line_from_file_to_text():
    shown = problem("lab.yaml", (3, 5), ("devices", 0, "name"), "missing")
    assert shown == "lab.yaml:3:5: devices[0].name: missing"
    assert problem("lab.yaml", (1, 1), (), "empty") == "lab.yaml:1:1: empty"


def test_an_index_has_line_and_column_from_one():
    assert place_in("ab\ncd", 0) == (1, 1)
    assert place_in("ab\ncd", 4) == (2, 2)
