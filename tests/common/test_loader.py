"""Every error of a configuration has its exact `file:line:column: key: what; allowed`
text here."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import jsonschema  # type: ignore[import-untyped]  # has no stubs here
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from msgspec.structs import replace

from busbar.config.loader import (
    Broker,
    Config,
    Size,
    load,
    parse,
    schema,
    secret,
    secrets_of,
)
from busbar.config.yaml import NODE_LIMIT, SIZE_LIMIT
from busbar.errors import ConfigError
from busbar.net.endpoint import Endpoint

BRIDGE = "bridge: {name: lab}\n"
DEVICE = BRIDGE + "devices:\n  - "
DEVICE_KEYS = "address, port, timeout, limits, units, buffer, pair, role, password"
TOP_KEYS = "devices, broker, bridge, log"
BRIDGE_KEYS = "name, root, leaves, allow_open, allow_shutdown, max_command, folder"


class Reader(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="reader",
    tag_field="type",
):
    rate: float = 1


class Writer(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag="writer",
    tag_field="type",
):
    page: int = 1


class Device(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    address: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 5025
    timeout: Annotated[float, Meta(gt=0)] = 1  # s
    limits: dict[str, float] = {}
    units: dict[int, str] = {}
    buffer: Size | None = None
    pair: tuple[int, int] = (0, 0)
    role: Reader | Writer | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        if self.address == "nowhere":
            raise ValueError("address: nowhere is not a place")
        if self.port == 13:
            raise ValueError("port 13 needs a timeout - at `$.devices`")


class Bench(Config, frozen=True):
    devices: tuple[Device, ...] = ()


def read(text: str, **environment: str) -> Bench:
    return parse(text, Bench, environment, "bench.yaml")


def device(text: str, **environment: str) -> Device:
    return read(DEVICE + text, **environment).devices[0]


def problem(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return str(caught.value)


def test_the_defaults_need_only_a_name() -> None:
    config = read(BRIDGE)
    assert config.bridge.name == "lab"
    assert config.bridge.root == "busbar"
    assert config.bridge.leaves == ("#",)
    assert config.bridge.max_command == 256 * 1024
    assert config.broker == Broker()
    assert config.broker.url is None
    assert config.broker.max_message == 1024 * 1024
    assert (config.log.level, config.log.format) == ("info", "text")


@pytest.mark.parametrize(
    ("text", "version"), [("5", "5"), ("'5'", "5"), ("3.1.1", "3.1.1")]
)
def test_the_protocol_is_a_number_or_text(text: str, version: str) -> None:
    assert read(BRIDGE + f"broker: {{protocol: {text}}}").broker.version == version


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1.0", 1),
        ("4096", 4096),
        ("0x10", 16),
        ("64MiB", 64 * 1024**2),
        ("'256 KiB'", 256 * 1024),
        ("1MB", 10**6),
        ("5B", 5),
        ("2kB", 2000),
        ("1GB", 10**9),
        ("999999GiB", 999999 * 2**30),
    ],
)
def test_a_size_is_a_number_of_bytes_or_text_with_a_unit(text: str, size: int) -> None:
    found = device(f"{{address: a, buffer: {text}}}").buffer
    assert found == size
    assert type(found) is int


@pytest.mark.parametrize(
    "text",
    ["5XB", "MiB", "1.5MiB", "-1MiB", "'1'", "1_000KiB", "0MiB", "1MiBs", '"1MiB\\n"'],
)
def test_other_text_is_no_size(text: str) -> None:
    assert problem(BRIDGE + f"broker:\n  max_message: {text}\n") == (
        "bench.yaml:3:16: broker.max_message: got text; "
        "allowed: a number of bytes, or text such as 64MiB (B, KiB, MiB, GiB, kB, MB, "
        "GB)"
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("=", "="),
        ("'5'", "5"),
        ('"\\x41"', "A"),
        ("|\n      two\n      lines", "two\nlines"),
        ("+", "+"),
    ],
)
def test_text_is_text_as_in_yaml_1_2(text: str, value: str) -> None:
    assert device(f"address: {text}").address.rstrip("\n") == value


def test_anchors_and_aliases_stand_for_the_value() -> None:
    config = read(
        DEVICE
        + (
            "&first {address: a, limits: &l {x: 1}}\n  - *first\n  - {address: b, "
            "limits: "
            "*l}\n"
        )
    )
    assert config.devices[0] == config.devices[1]
    assert config.devices[2].limits == {"x": 1.0}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~"])
def test_an_empty_file_is_refused(text: str) -> None:
    assert problem(text) == (
        f"bench.yaml:1:1: the file is empty; allowed: a mapping with the keys "
        f"{TOP_KEYS}"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bridge:\n\tname: x\n", "2:1: a tab where YAML wants spaces; allowed: spaces"),
        (
            "bridge: 'lab\nlog: {}\n",
            (
                "3:1: not valid YAML: while scanning a quoted scalar, found unexpected "
                "end of stream (it starts at 1:9)"
            ),
        ),
        ("a: b: c\n", "1:5: not valid YAML: mapping values are not allowed here"),
        (
            "a: 1\n---\nb: 1\n",
            ("2:1: a second document starts here; allowed: one document"),
        ),
        ("a: 1\na: 2\n", "2:1: a: the key is given twice, first in line 1"),
        (
            "a:\n  - {b: 1, 'b': 2}\n",
            ("2:12: a[0].b: the key is given twice, first in line 2"),
        ),
        (
            "a: !!str 5\n",
            ("1:4: a: the tag !!str is not supported; allowed: values without a tag"),
        ),
        (
            "a: !thing {}\n",
            ("1:4: a: the tag !thing is not supported; allowed: values without a tag"),
        ),
        ("? [a]\n: 1\n", "1:3: this cannot be a key; allowed: text, a whole number"),
        ("a: *b\n", "1:4: a: no value with the anchor &b ends before this"),
        ("a: &a [*a]\n", "1:8: a[0]: no value with the anchor &a ends before this"),
        ("a: \x07\n", "1:4: the character U+0007 is not allowed in YAML"),
        ('a: "\\UFFFFFFFF"\n', "1:5: this escape names no Unicode character"),
        (
            'a: "\\ud800"\n',
            (
                "1:4: a: the text has half of a surrogate "
                "pair; allowed: Unicode characters"
            ),
        ),
        (
            "a: .nan\n",
            (
                "1:4: a: not a number that can be used; allowed: finite numbers of at "
                "most "
                "64 bit"
            ),
        ),
        (
            "a: -.inf\n",
            (
                "1:4: a: not a number that can be used; allowed: finite numbers of at "
                "most "
                "64 bit"
            ),
        ),
        (
            "a: 1e999\n",
            (
                "1:4: a: not a number that can be used; allowed: finite numbers of at "
                "most "
                "64 bit"
            ),
        ),
        (
            f"a: {2**64}\n",
            (
                "1:4: a: not a number that can be used; allowed: finite numbers of at "
                "most "
                "64 bit"
            ),
        ),
        (
            f"a: {'9' * 5000}\n",
            (
                "1:4: a: not a number that can be used; allowed: finite numbers of at "
                "most "
                "64 bit"
            ),
        ),
    ],
)
def test_what_is_wrong_in_the_yaml_is_told_with_its_place(
    text: str, expected: str
) -> None:
    assert problem(text) == f"bench.yaml:{expected}"


def test_deep_nesting_is_refused() -> None:
    assert problem("[" * 100_000).endswith(": nested too deeply; allowed: 64 levels")


def test_aliases_cannot_make_the_nesting_deeper() -> None:
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)]
    assert problem("\n".join(lines)) == (
        "bench.yaml:64:6: a63: nested too deeply; allowed: 64 levels"
    )


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert problem("\n".join(lines)).endswith(
        f": too many values; allowed: {NODE_LIMIT}, aliases counted in full"
    )


def test_a_file_is_loaded_with_its_own_folder_as_the_base_of_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(
        "bridge: {name: lab}\nbroker:\n  ca_file: &f tls/ca.pem\n  cert_file: "
        "*f\n  "
        "key_file: /etc/k.pem\n"
    )
    broker = load(path, Bench, {}).broker
    assert broker.ca_file == broker.cert_file == str(tmp_path / "tls/ca.pem")
    assert broker.key_file == "/etc/k.pem"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("blobs", "{}/blobs"),
        ("/srv/blobs", "/srv/blobs"),
        ("${F}", "{}/x"),
        ("null", None),
    ],
)
def test_the_folder_of_blobs_is_relative_to_the_file(
    tmp_path: Path, folder: str, expected: str | None
) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(f"bridge:\n  name: lab\n  folder: {folder}\n")
    config = load(path, Bench, {"F": "x"})
    assert config.bridge.folder == (expected and expected.format(tmp_path))
    assert config.bridge.name == "lab"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (path := tmp_path / "bench.yaml").write_bytes(b"\xef\xbb\xbf" + BRIDGE.encode())
    assert load(path, Bench, {}).bridge.name == "lab"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path, Bench, {})
    assert str(caught.value) == (
        f"{path}:1:1: cannot read the file: No such file or directory"
    )


def test_a_file_that_is_not_utf_8_is_refused_at_the_byte(tmp_path: Path) -> None:
    (path := tmp_path / "bench.yaml").write_bytes(
        "bridge:\n  näme: ".encode() + b"\xe4\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, Bench, {})
    assert str(caught.value) == (
        f"{path}:2:9: this byte is not UTF-8; allowed: UTF-8 text"
    )


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "bench.yaml").write_bytes(b"#" * (SIZE_LIMIT + 1))
    with pytest.raises(ConfigError) as caught:
        load(path, Bench, {})
    assert str(caught.value) == (
        f"{path}:1:1: the file is too large; allowed: 1048576 bytes"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "adress: a",
            (
                f'3:5: devices[0].adress: unknown key; did you mean "address"? '
                f"allowed: "
                f"{DEVICE_KEYS}"
            ),
        ),
        (
            "{address: a, 5: b}",
            (f"3:18: devices[0][5]: unknown key; allowed: {DEVICE_KEYS}"),
        ),
        ("port: 5", "3:5: devices[0].address: missing; allowed: text"),
        ("address: 5", "3:14: devices[0].address: got a number; allowed: text"),
        (
            "address: 5.5",
            ("3:14: devices[0].address: got a decimal number; allowed: text"),
        ),
        ("address: true", "3:14: devices[0].address: got true; allowed: text"),
        ("address:", "3:5: devices[0].address: got nothing; allowed: text"),
        ("address: [a]", "3:14: devices[0].address: got a list; allowed: text"),
        ("address: {a: b}", "3:14: devices[0].address: got a mapping; allowed: text"),
        (
            "text",
            (
                f"3:5: devices[0]: got text; allowed: a "
                f"mapping with the keys {DEVICE_KEYS}"
            ),
        ),
        (
            "{address: a, port: 0}",
            (
                "3:24: devices[0].port: 0 is out of range; allowed: a whole number (at "
                "least 1, at most 65535)"
            ),
        ),
        (
            "{address: a, port: x}",
            (
                "3:24: devices[0].port: got text; allowed: a whole number (at least "
                "1, at "
                "most 65535)"
            ),
        ),
        (
            "{address: a, port: 1.5}",
            (
                "3:24: devices[0].port: got a decimal number; allowed: a whole number "
                "(at "
                "least 1, at most 65535)"
            ),
        ),
        (
            "{address: a, timeout: 0}",
            (
                "3:27: devices[0].timeout: 0 is out of range; allowed: a number (more "
                "than "
                "0)"
            ),
        ),
        (
            "{address: a, limits: {u: 1, v: x}}",
            ("3:36: devices[0].limits.v: got text; allowed: a number"),
        ),
        (
            "{address: a, limits: {u: 1, 2: 1}}",
            ("3:33: devices[0].limits[2]: the key is a number; allowed: text"),
        ),
        (
            "{address: a, units: {1: a, b: c}}",
            ("3:32: devices[0].units.b: the key is text; allowed: a whole number"),
        ),
        (
            "{address: a, units: {1: a, 2: 3}}",
            ("3:35: devices[0].units[2]: got a number; allowed: text"),
        ),
        (
            "{address: a, pair: [1]}",
            (
                "3:24: devices[0].pair: a list that does not fit; allowed: a list of 2 "
                "values"
            ),
        ),
        (
            "{address: a, pair: [1, x]}",
            ("3:28: devices[0].pair[1]: got text; allowed: a whole number"),
        ),
        (
            "{address: a, role: {rate: 1}}",
            ("3:24: devices[0].role.type: missing; allowed: reader, writer"),
        ),
        (
            "{address: a, role: {type: readr}}",
            (
                '3:31: devices[0].role.type: unknown value "readr"; did you mean '
                '"reader"? allowed: reader, writer'
            ),
        ),
        (
            "{address: a, role: {type: 5}}",
            ("3:31: devices[0].role.type: got a number; allowed: reader, writer"),
        ),
        (
            ("{address: a, role: {type: writer, rate: 1}}"),
            "3:39: devices[0].role.rate: unknown key; allowed: type, page",
        ),
        ("{address: nowhere}", "3:15: devices[0].address: nowhere is not a place"),
        (
            "{address: a, port: 13}",
            ("3:5: devices[0]: port 13 needs a timeout - at `$.devices`"),
        ),
    ],
)
def test_what_is_wrong_in_a_device_is_told_with_its_place(
    text: str, expected: str
) -> None:
    assert problem(DEVICE + text) == f"bench.yaml:{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", f"1:1: got a list; allowed: a mapping with the keys {TOP_KEYS}"),
        (
            "log: {}\n",
            (f"1:1: bridge: missing; allowed: a mapping with the keys {BRIDGE_KEYS}"),
        ),
        (
            "bridge:\n",
            (
                f"1:1: bridge: got nothing; allowed: a "
                f"mapping with the keys {BRIDGE_KEYS}"
            ),
        ),
        (
            "log: {}\nbridge: {}\n",
            (
                '2:9: bridge.name: missing; allowed: 1 to 64 letters, digits, "_" and '
                '"-", not "reply"'
            ),
        ),
        (
            BRIDGE + "log: {level: inf}\n",
            (
                '2:14: log.level: unknown value "inf"; did you mean "info"? allowed: '
                "debug, error, info, trace, warning"
            ),
        ),
        (
            BRIDGE + "broker: {protocol: 4}\n",
            ("2:20: broker.protocol: unknown value 4; allowed: 5, 3.1.1"),
        ),
        (
            BRIDGE + "broker: {keepalive: 121}\n",
            (
                "2:21: broker.keepalive: 121 is out of range; allowed: a whole number "
                "(at "
                "least 5, at most 120)"
            ),
        ),
        (
            BRIDGE + "broker: {insecure: yes}\n",
            ("2:20: broker.insecure: got text; allowed: true or false"),
        ),
        (
            BRIDGE + "broker:\n  password: x\n  password_file: y\n",
            (
                "4:18: broker.password_file: there is a password, too; allowed: one of "
                "them"
            ),
        ),
        (
            BRIDGE + "broker: {key_file: k}\n",
            ("2:20: broker.key_file: a key without a cert_file"),
        ),
        (
            "bridge: {name: lab, leaves: [a/#, '#/a']}\n",
            (
                "1:35: bridge.leaves[1]: text that does not fit; allowed: a topic "
                "filter "
                "such as # or measure/+"
            ),
        ),
        (
            "bridge: {name: lab, allow_open: ['*', 'tcp::10.0.7.*:1']}\n",
            (
                "1:33: bridge.allow_open: 'tcp::10.0.7.*:1': addresses are given "
                "as a network, such as 10.0.7.0/24"
            ),
        ),
        (
            BRIDGE + "devices: {}\n",
            (
                f"2:10: devices: got a mapping; allowed: a list, each item a mapping "
                f"with "
                f"the keys {DEVICE_KEYS}"
            ),
        ),
    ],
)
def test_what_is_wrong_in_the_common_part_is_told_with_its_place(
    text: str, expected: str
) -> None:
    assert problem(text) == f"bench.yaml:{expected}"


@pytest.mark.parametrize(
    "name", ["reply", "a b", "a/b", '""', '"a\\n"', "x" * 65, "a+"]
)
def test_a_bridge_name_is_one_portable_level(name: str) -> None:
    assert problem(f"bridge: {{name: {name}}}").startswith(
        "bench.yaml:1:16: bridge.name: text that does not fit"
    )


@pytest.mark.parametrize("root", ["/a", "a/", "a//b", "+", '""', "a b"])
def test_a_root_is_portable_levels(root: str) -> None:
    assert problem(f"bridge: {{name: x, root: {root}}}").startswith(
        "bench.yaml:1:25: bridge.root: text that does not"
    )


def test_every_unknown_key_is_reported_and_what_else_is_wrong() -> None:
    text = DEVICE + "adress: a\n    prot: 5\n  - adress: b\n    port: x\n"
    assert problem(text) == "\n".join(
        [
            (
                f"bench.yaml:3:5: devices[0].adress: unknown key; did you mean "
                f'"address"? '
                f"allowed: {DEVICE_KEYS}"
            ),
            (
                f'bench.yaml:4:5: devices[0].prot: unknown key; did you mean "port"? '
                f"allowed: "
                f"{DEVICE_KEYS}"
            ),
            (
                f"bench.yaml:5:5: devices[1].adress: unknown key; did you mean "
                f'"address"? '
                f"allowed: {DEVICE_KEYS}"
            ),
            (
                "bench.yaml:6:11: devices[1].port: got text; allowed: a whole number "
                "(at "
                "least 1, at most 65535)"
            ),
        ]
    )


def test_at_most_twenty_problems_are_reported() -> None:
    assert (
        problem(BRIDGE + "".join(f"key{i}: 1\n" for i in range(100))).count("\n") == 19
    )


def test_the_wrong_entry_of_a_large_mapping_is_found() -> None:
    entries = "".join(f"      k{i}: {i if i != 777 else 'x'}\n" for i in range(1000))
    assert problem(DEVICE + "address: a\n    limits:\n" + entries).startswith(
        "bench.yaml:782:13: devices[0].limits.k777:"
    )


def test_a_key_that_looks_like_a_message_is_still_a_key() -> None:
    assert problem(BRIDGE + '"x` - at `$.bridge[...].y": 1\n').startswith(
        "bench.yaml:2:1: x` - at `$.bridge[...].y: unk"
    )


def test_a_key_with_control_characters_stays_on_one_line() -> None:
    assert problem(BRIDGE + '"a\\nb": 1\n') == (
        f"bench.yaml:2:1: 'a\\nb': unknown key; allowed: {TOP_KEYS}"
    )


def test_variables_are_replaced_in_text() -> None:
    found = device("{address: 'http://${HOST}:${PORT:-80}/$${x}', port: 5}", HOST="h")
    assert found.address == "http://h:80/${x}"


@pytest.mark.parametrize(
    ("text", "port"), [("${PORT}", 70), ("${NONE:-71}", 71), ("${EMPTY:-72}", 72)]
)
def test_a_whole_variable_is_read_as_yaml(text: str, port: int) -> None:
    assert device(f"address: a\n    port: {text}", PORT="70", EMPTY="").port == port


def test_a_variable_becomes_text_where_text_is_wanted() -> None:
    found = device(
        ("address: ${A}\n    password: ${P}\n    buffer: ${B}"),
        A="123",
        P="1.0",
        B="4KiB",
    )
    assert (found.address, found.password, found.buffer) == ("123", "1.0", 4096)


def test_an_empty_variable_is_nothing_where_that_is_allowed() -> None:
    found = device("address: ${EMPTY}\n    password: ${EMPTY}", EMPTY="")
    assert (found.address, found.password) == ("", None)


def test_a_quoted_variable_is_text() -> None:
    assert problem(DEVICE + "{address: a, port: '${PORT}'}", PORT="70").startswith(
        "bench.yaml:3:24: devices[0].port: got"
    )


def test_an_enumeration_may_come_from_a_variable() -> None:
    assert read(BRIDGE + "broker:\n  protocol: ${P}", P="5").broker.version == "5"
    assert read(BRIDGE + "log:\n  level: ${L}", L="debug").log.level == "debug"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "the environment has no variable NAME; allowed: ${NAME:-default}"),
        (
            "a ${ b",
            (
                "`${` starts no variable; allowed: ${NAME}, ${NAME:-default}, $${ for "
                "the "
                "text ${"
            ),
        ),
        (
            "${5}",
            (
                "`${` starts no variable; allowed: ${NAME}, ${NAME:-default}, $${ for "
                "the "
                "text ${"
            ),
        ),
        (
            "${BAD}",
            ("the text has half of a surrogate pair; allowed: Unicode characters"),
        ),
    ],
)
def test_a_variable_that_cannot_be_replaced_is_told_with_its_place(
    text: str, expected: str
) -> None:
    assert problem(DEVICE + f"address: {text}", BAD="\udce4") == (
        f"bench.yaml:3:14: devices[0].address: {expected}"
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_a_variable(text: str) -> None:
    assert device("address: ${A}", A=text).address == text
    assert device("address: '${A}'", A=text).address == text


@given(st.integers(14, 65535))
def test_any_number_survives_a_variable(number: int) -> None:
    assert device("address: a\n    port: ${P}", P=str(number)).port == number


def test_a_secret_is_given_or_the_first_line_of_a_file(tmp_path: Path) -> None:
    (file := tmp_path / "secret").write_bytes(b" s3cret \r\nsecond line\n")
    assert secret("given", None, "password") == "given"
    assert secret(None, str(file), "password") == " s3cret "
    assert secret(None, None, "password") is None


def test_a_secret_given_twice_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=(
            r"^broker\.password: given twice; "
            r"allowed: either broker\.p"
        ),
    ):
        secret("given", "file", "broker.password")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xe4", "'utf-8' codec")],
)
def test_a_secret_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (file := tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        secret(None, str(file), "password")


@pytest.mark.parametrize("file", ["missing", "nul\0"])
def test_an_unreadable_secret_is_refused(tmp_path: Path, file: str) -> None:
    with pytest.raises(ConfigError, match=r"^password_file: cannot read .*: "):
        secret(None, str(tmp_path / file), "password")


def test_every_secret_of_a_configuration_is_found(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file\n")
    path = tmp_path / "bench.yaml"
    path.write_text(
        BRIDGE
        + (
            "broker: {password_file: pw}\ndevices:\n- {address: a, password: x}\n- "
            "{address: b}\n"
        )
    )
    assert secrets_of(load(path, Bench, {})) == {"from file", "x"}


def test_an_error_never_shows_a_password() -> None:
    assert "hunter" not in problem(BRIDGE + "broker: {password: [hunter2]}\n")
    assert "hunter" not in problem(BRIDGE + "broker: {url: 'mqtt://me:hunter2@host'}\n")
    assert "hunter" not in problem(BRIDGE + "broker: {password: 'hunter ${NONE}'}\n")


URLS = (
    "mqtt://host",
    "mqtts://h.example:1",
    "mqtt://10.0.0.1:65535/",
    "mqtts://[::1]:8883",
    "unix:///run/m.sock",
)
NOT_URLS = (
    "",
    "host",
    "tcp://host",
    "mqtt://",
    "mqtt://u:p@h",
    "mqtt://h:0",
    "mqtt://h/topic",
    "unix://x",
    "mqtt://h\\n",
)


@pytest.mark.parametrize("url", URLS)
def test_a_broker_has_a_url(url: str) -> None:
    assert read(BRIDGE + f'broker: {{url: "{url}"}}').broker.url == url


@pytest.mark.parametrize("url", NOT_URLS)
def test_any_other_text_is_no_url_of_a_broker(url: str) -> None:
    assert problem(BRIDGE + f'broker: {{url: "{url}"}}') == (
        "bench.yaml:2:15: broker.url: text that does not fit; "
        "allowed: mqtt://host:port, mqtts://host:port or unix:///path"
    )


@pytest.mark.parametrize(
    "url", ["mqtt://h:65536", "mqtt://h:port", "mqtt://[::1", "mqtts://[zz]:1"]
)
def test_a_url_that_no_endpoint_can_have_is_refused_with_its_place(url: str) -> None:
    expected = f"bench.yaml:2:15: broker.url: broker url {url!r}: "
    assert problem(BRIDGE + f'broker: {{url: "{url}"}}').startswith(expected)


def test_a_broker_has_the_defaults_of_an_endpoint() -> None:
    broker, endpoint = Broker(), Endpoint("mqtt://h")
    common = {field.name for field in dataclasses.fields(Endpoint)} - {"url"}
    assert common <= set(Broker.__struct_fields__)
    assert {name: getattr(broker, name) for name in common} == {
        name: getattr(endpoint, name) for name in common
    }
    assert broker.keepalive == 15


TOKENS = (
    "bridge",
    "name",
    "lab",
    "devices",
    "address",
    "limits",
    "units",
    "role",
    "type",
    "reader",
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "!!str ",
    '"',
    "'",
    "|\n",
    "#",
    "%YAML 1.2\n",
    "---\n",
    "\t",
    "1",
    "1.0",
    "true",
    "null",
    "${X}",
    "${",
    "`",
    "x` - at `$.y",
    "x` - at `$.bridge.name[...]",
    "\\U",
    "\\ud800",
    "\x00",
    "\r",
    "\x85",
    "? ",
    "<<",
    "é",
)


@given(st.text() | st.lists(st.sampled_from(TOKENS), max_size=30).map("".join))
@example("bridge: {name: lab}\ndevices: [{address: a, pair: {x: 1}}]")
@example('a: "\\UFFFFFFFF"')
def test_any_text_loads_or_is_a_config_error(text: str) -> None:
    try:
        read(text, X="1")
    except ConfigError as error:
        assert all(line.startswith("bench.yaml:") for line in str(error).split("\n"))


def is_valid(data: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema(Bench)).is_valid(data))


def test_the_schema_is_a_json_schema_with_a_title() -> None:
    found = schema(Bench)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["title"] == "Bench"


@pytest.mark.parametrize(
    "size",
    [
        1,
        1.0,
        4096,
        2**53,
        0,
        -1,
        1.5,
        2**53 + 1,
        True,
        None,
        [],
        "64MiB",
        "1 KiB",
        "5B",
        "5",
        "MiB",
        "1.5MiB",
        "1MiB\n",
    ],
)
def test_the_schema_accepts_the_sizes_that_load_accepts(size: Any) -> None:
    text = (
        "null"
        if size is None
        else f'"{size}"'.replace("\n", "\\n")
        if isinstance(size, str)
        else str(size).lower()
    )
    try:
        read(BRIDGE + f"broker: {{max_message: {text}}}\n")
    except ConfigError:
        assert not is_valid(
            {"bridge": {"name": "lab"}, "broker": {"max_message": size}}
        )
    else:
        assert is_valid({"bridge": {"name": "lab"}, "broker": {"max_message": size}})


@pytest.mark.parametrize(
    ("data", "valid"),
    [
        ({"bridge": {"name": "lab"}}, True),
        (
            {
                "bridge": {"name": "${NAME}"},
                "broker": {"keepalive": "${K:-5}", "url": "${URL}"},
            },
            True,
        ),
        (
            {
                "bridge": {"name": "lab"},
                "devices": [{"address": "a", "role": {"type": "reader"}}],
            },
            True,
        ),
        (
            {
                "bridge": {"name": "lab"},
                "log": {"level": "trace"},
                "broker": {"protocol": 5, "url": "mqtts://h:1"},
            },
            True,
        ),
        ({}, False),
        ({"bridge": {"name": "reply"}}, False),
        ({"bridge": {"name": "lab"}, "foo": 1}, False),
        ({"bridge": {"name": "lab"}, "broker": {"keepalive": "5"}}, False),
        ({"bridge": {"name": "lab"}, "broker": {"keepalive": 500}}, False),
        ({"bridge": {"name": "lab"}, "broker": {"url": "http://h"}}, False),
        ({"bridge": {"name": "lab"}, "log": {"level": "loud"}}, False),
        ({"bridge": {"name": "lab"}, "devices": [{"adress": "a"}]}, False),
    ],
)
def test_the_schema_accepts_what_load_accepts(data: Any, valid: bool) -> None:
    assert is_valid(data) is valid


def test_a_field_may_have_the_name_of_a_schema_keyword() -> None:
    class Odd(Struct, forbid_unknown_fields=True):
        type: int
        default: int
        pattern: Literal["a"]
        properties: dict[str, int]

    validator = jsonschema.Draft202012Validator(schema(Odd))
    assert validator.is_valid(
        {
            "type": "${T}",
            "default": "${D}",
            "pattern": "${P}",
            "properties": {"x": "${X}"},
        }
    )
    assert not validator.is_valid(
        {"type": "t", "default": 1, "pattern": "a", "properties": {}}
    )
    assert not validator.is_valid(
        {"type": 1, "default": 1, "pattern": "a", "properties": {"x": "1"}}
    )


def test_a_service_takes_its_own_paths_from_the_folder_of_the_file(
    tmp_path: Path,
) -> None:
    class Own(Config, frozen=True, kw_only=True):
        file: str = "list.txt"

        def within(self, folder: Path) -> Self:
            return replace(super().within(folder), file=str(folder / self.file))

    own = parse("bridge: {name: b, folder: blobs}", Own, {}, "b.yaml", tmp_path)
    assert (own.file, own.bridge.folder) == (
        str(tmp_path / "list.txt"),
        str(tmp_path / "blobs"),
    )
