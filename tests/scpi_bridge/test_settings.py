"""The configuration of an instrument.

What is refused and where, what is sent for a value, what an answer means.
"""

import json
import math

import msgspec
import pytest

from busbar.config import loader
from busbar.contract import values
from busbar.contract.describe import Description
from busbar.errors import BadRequest, ConfigError, ProtocolError
from scpi_bridge.bridge import describe
from scpi_bridge.settings import Config, Device, Property, endpoint

START = (
    "bridge: {name: bench}\ndevices:\n  - {name: psu, address: tcp::127.0.0.1:5025%s}\n"
)


def parsed(text):
    return loader.parse(text, Config, {}, "bench.yaml")


def device(more=""):
    """Return the device of a configuration with these keys beside name and address."""
    return parsed(START % (more and ", " + more)).devices[0]


def one(more):
    """Return the property with these keys beside its path."""
    return device(f"properties: [{{path: p, {more}}}]").properties[0]


def refused(text):
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return str(caught.value)


# The file.


def test_the_file_of_the_documentation_is_fine():
    text = """
broker: {url: "mqtt://127.0.0.1:1883"}
bridge: {name: bench}
devices:
  - name: psu
    address: tcp::127.0.0.1:5025
    timeout: 2                       # s
    terminator: "\\n"
    properties:
      - {path: voltage, query: "MEAS:VOLT?", every: 0.5, unit: V}
      - {path: output, query: "OUTP?", set: "OUTP {value}", type: boolean, every: 1}
      - {path: setpoint/voltage, query: "VOLT?", set: "VOLT {value}",
         minimum: 0, maximum: 30, unit: V}
"""
    (psu,) = parsed(text).devices
    voltage, output, setpoint = psu.properties
    assert voltage == Property(path="voltage", query="MEAS:VOLT?", every=0.5, unit="V")
    assert output == Property(
        path="output", query="OUTP?", set="OUTP {value}", type="boolean", every=1
    )
    assert (setpoint.minimum, setpoint.maximum) == (0, 30)


def test_what_is_left_out_has_these_defaults():
    assert device() == Device(
        name="psu",
        address="tcp::127.0.0.1:5025",
        title=None,
        timeout=2.0,
        terminator="\n",
        encoding="utf-8",
        identify="*IDN?",
        errors="SYST:ERR?",
        clear="*CLS",
        acknowledge=False,
        settle=0.0,
        block_limit=64 * 1024 * 1024,
        connect="always",
        idle_close=60.0,
        properties=(),
    )


def test_what_an_instrument_does_not_know_is_null():
    quiet = device("identify: null, errors: null, clear: null")
    assert (quiet.identify, quiet.errors, quiet.clear) == (None, None, None)


def test_a_bridge_may_have_no_devices():
    assert parsed("bridge: {name: bench}").devices == ()


DEVICE_ERRORS = [
    ("timout: 1", "timout", "did you mean \"timeout\"?"),
    ("timeout: 0", "timeout", "out of range"),
    ("timeout: -1", "timeout", "out of range"),
    ("timeout: 90000", "timeout", "at most 86400"),
    ("timeout: fast", "timeout", "got text"),
    ("terminator: x", "terminator", "unknown value"),
    ("encoding: utf-16", "encoding", "ascii, latin1, utf-8"),
    ("connect: sometimes", "connect", "always, on_demand"),
    ("idle_close: 0", "idle_close", "out of range"),
    ("settle: -0.1", "settle", "out of range"),
    ("settle: 61", "settle", "at most 60"),
    ("acknowledge: 1", "acknowledge", "true or false"),
    ("block_limit: 0", "block_limit", "out of range"),
    ('identify: ""', "identify", "one line"),
    ('errors: "SYST:ERR?\\n"', "errors", "one line"),
    ('clear: "*CLS\\n*RST"', "clear", "one line"),
    ("properties: {}", "properties", "a list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "path", "words"), DEVICE_ERRORS, ids=[key for key, _, _ in DEVICE_ERRORS]
)
def test_a_wrong_key_of_a_device_is_refused_with_its_place(key, path, words):
    message = refused(START % (", " + key))
    column = START.splitlines()[2].index("%s") + 1 + len(", ")
    if "did you mean" not in words:  # an unknown key is shown, else its value
        column += key.index(":") + 2
    assert message.startswith(f"bench.yaml:3:{column}: devices[0].{path}: ")
    assert words in message


PROPERTY_ERRORS = [
    ("query: V?, evry: 1", "evry", 'did you mean "every"?'),
    ("title: Nothing to do", "path", "needs `query`, `set` or both"),
    ('query: ""', "query", "one line"),
    ('query: "V?\\n"', "query", "one line"),
    ('query: "V?\\nW?"', "query", "one line"),
    ('set: "V {value}\\r"', "set", "one line"),
    ("query: V?, every: 0", "every", "out of range"),
    (
        'set: "V {value}", every: 1',
        "every",
        ("only a property with a `query` can be read"),
    ),
    ("query: V?, type: float", "type", "boolean, integer, number, string"),
    ("query: V?, choices: [A, B]", "choices", "only for the type string"),
    (
        "query: V?, type: boolean, minimum: 0",
        "minimum",
        "only for the types number and integer",
    ),
    (
        "query: V?, type: string, maximum: 0",
        "maximum",
        "only for the types number and integer",
    ),
    ("query: V?, minimum: 2, maximum: 1", "minimum", "2 is above the maximum of 1"),
    ("query: V?, type: integer, minimum: 0.5", "minimum", "0.5 is not a whole number"),
    ("query: V?, type: integer, maximum: 1.5", "maximum", "1.5 is not a whole number"),
    ("query: V?, maximum: .inf", "maximum", "finite"),
    ("query: V?, deadband: -1", "deadband", "out of range"),
    ("query: V?, min_interval: -1", "min_interval", "out of range"),
    ("query: V?, max_silence: -1", "max_silence", "out of range"),
    ('set: "V {volts}"', "set", "allowed are {value}"),
    ('set: "V {}"', "set", "allowed are {value}"),
    ('set: "V {0}"', "set", "allowed are {value}"),
    ('set: "V {value!r}"', "set", "allowed are {value}"),
    ('set: "V {value.real}"', "set", "allowed are {value}"),
    ('set: "V {value[0]}"', "set", "allowed are {value}"),
    ('set: "V {value"', "set", "expected '}'"),
    ('set: "V }"', "set", "Single '}'"),
    ('set: "V {value:d}"', "set", "Unknown format code"),
    ('set: "V {value:{value}}"', "set", "Invalid format"),
    ('set: "V {value:.1f}", type: string', "set", "allowed are {value}"),
    ('set: "V {value:.1f}", type: boolean', "set", "allowed are {value}"),
]


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    PROPERTY_ERRORS,
    ids=[keys for keys, _, _ in PROPERTY_ERRORS],
)
def test_a_wrong_key_of_a_property_is_refused_with_its_place(keys, path, words):
    start = (
        "bridge: {name: b}\ndevices:\n - name: psu\n   address: tcp::h:1\n   "
        "properties:\n"
    )
    line = f"   - {{path: p, {keys}}}\n"
    column = line.index(f"{path}:") + 1
    if "did you mean" not in words:
        column += len(path) + 2
    message = refused(start + line)
    assert message.startswith(
        f"bench.yaml:6:{column}: devices[0].properties[0].{path}: "
    )
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "_lock", "a/_b", "a b", "a+", "#", "ä", "a" * 65, "a\\n"],
)
def test_a_path_that_is_no_topic_or_ours_is_refused(path):
    message = refused(START % f', properties: [{{path: "{path}", query: X?}}]')
    assert message.startswith("bench.yaml:3:")
    assert "properties[0].path: " in message


@pytest.mark.parametrize("path", ["a", "-", "A-1_b/2/c", "a" * 64])
def test_a_path_of_topic_levels_is_taken(path):
    assert (
        device(f'properties: [{{path: "{path}", query: X?}}]').properties[0].path
        == path
    )


def test_a_path_can_be_there_only_once():
    message = refused(
        START
        % (
            ", properties: [{path: a, query: A?}, {path: b, query: B?}, {path: a, "
            "query: "
            "C?}]"
        )
    )
    assert "devices[0].properties: 'a' is there twice" in message


def test_a_device_needs_name_and_address():
    assert "devices[0].address: missing" in refused(
        "bridge: {name: b}\ndevices: [{name: psu}]\n"
    )
    assert "devices[0].name: missing" in refused(
        "bridge: {name: b}\ndevices: [{address: tcp::h:1}]\n"
    )


def test_all_unknown_keys_are_told_at_once():
    message = refused(START % ", tiemout: 1, setle: 2")
    assert [line.split(": ")[1] for line in message.splitlines()] == [
        "devices[0].tiemout",
        "devices[0].setle",
    ]


# Addresses.

ADDRESSES = [
    ("tcp::127.0.0.1:5025", ("127.0.0.1", 5025)),
    ("tcp::psu.lab.example:1", ("psu.lab.example", 1)),
    ("tcp::localhost:65535", ("localhost", 65535)),
    ("tcp::[::1]:5025", ("::1", 5025)),
    ("tcp::[2001:db8::5]:5025", ("2001:db8::5", 5025)),
    ("tcp::[fe80::1%eth0]:5025", ("fe80::1%eth0", 5025)),
]
WRONG_ADDRESSES = [
    "",
    "tcp",
    "tcp::",
    "tcp::host",
    "tcp::host:",
    "tcp:::5025",
    "tcp::[]:5025",
    "tcp:host:5025",
    "host:5025",
    "udp::host:5025",
    "serial::/dev/ttyUSB0:9600",
    "tcp::::1:5025",
    "tcp::2001:db8::5:5025",
    "tcp::[::1]",
    "tcp::[::1:5025",
    "tcp::::1]:5025",
    "tcp::host:0",
    "tcp::host:65536",
    "tcp::host:-1",
    "tcp::host:+1",
    "tcp::host:5025 ",
    "tcp::host:1e3",
    "tcp::host:5_0",
    "tcp::ho st:5025",
    "tcp::user@host:5025",
    "tcp::host:5025\n",
]


@pytest.mark.parametrize(("address", "found"), ADDRESSES)
def test_an_address_names_host_and_port(address, found):
    assert endpoint(address) == found


@pytest.mark.parametrize("address", WRONG_ADDRESSES)
def test_an_address_that_names_no_host_and_port_is_refused(address):
    with pytest.raises(ValueError, match=r"^address: "):
        endpoint(address)


def test_a_wrong_address_is_told_with_its_place():
    message = refused(
        "bridge: {name: b}\ndevices:\n  - name: psu\n    address: 127.0.0.1:5025\n"
    )
    assert message.startswith(
        "bench.yaml:4:14: devices[0].address: '127.0.0.1:5025' is not tcp::HOST:PORT"
    )


# What is sent for a value.

NUMBER, INTEGER, BOOLEAN, STRING = (
    "",
    "type: integer",
    "type: boolean",
    "type: string",
)
COMMANDS = [
    (NUMBER, "VOLT {value}", 5.0, "VOLT 5.0"),
    (NUMBER, "VOLT {value}", -1e-9, "VOLT -1e-09"),
    (NUMBER, "VOLT {value}", 1e22, "VOLT 1e+22"),
    (NUMBER, "VOLT {value:.3f}", 1.23456, "VOLT 1.235"),
    (NUMBER, "VOLT {value:+.2E}V", 12.0, "VOLT +1.20E+01V"),
    (NUMBER, "APPL {value},{value}", 2.5, "APPL 2.5,2.5"),
    (INTEGER, "POIN {value}", 100, "POIN 100"),
    (INTEGER, "POIN #H{value:X}", 255, "POIN #HFF"),
    (BOOLEAN, "OUTP {value}", True, "OUTP 1"),
    (BOOLEAN, "OUTP {value}", False, "OUTP 0"),
    (STRING, "FUNC {value}", "VOLT:DC", "FUNC VOLT:DC"),
    (STRING, 'DISP:TEXT "{value}"', "hello; world, #1", 'DISP:TEXT "hello; world, #1"'),
    (STRING, 'DISP:TEXT "{value}"', 'a "b"; it\'s', 'DISP:TEXT "a ""b""; it\'s"'),
    (STRING, "DISP:TEXT '{value}'", "a \"b\"; it's", "DISP:TEXT 'a \"b\"; it''s'"),
    (STRING, 'DISP:TEXT "U = {value} V"', 'x";*RST;"', 'DISP:TEXT "U = x"";*RST;"" V"'),
    (STRING, 'DISP:TEXT "{{{value}}}"', "a", 'DISP:TEXT "{a}"'),
    (NUMBER, "*TRG", 1.0, "*TRG"),
]  # fmt: skip


def written(keys, template, value):
    return one(f"set: {json.dumps(template)}, {keys}").command(value)


@pytest.mark.parametrize(("keys", "template", "value", "line"), COMMANDS)
def test_a_template_becomes_the_line_of_a_value(keys, template, value, line):
    assert written(keys, template, value) == line


@pytest.mark.parametrize(
    "template",
    ["FUNC {value}", 'DISP "ready";FUNC {value}', "A '{value}';FUNC {value}"],
)
@pytest.mark.parametrize("text", ["a;*RST", 'a"', "a'", "a,b", "#15hello"])
def test_text_outside_quotes_cannot_begin_anything(template, text):
    with pytest.raises(BadRequest, match="outside a quoted string"):
        written(STRING, template, text)


@pytest.mark.parametrize("template", ["FUNC {value}", 'DISP:TEXT "{value}"'])
@pytest.mark.parametrize(
    "text", ["a\n*RST", "a\r*RST", "a\x00", "a\x1b[2J", "a\u2028b", "\ud800"]
)
def test_text_with_control_characters_is_never_sent(template, text):
    with pytest.raises(BadRequest, match="cannot be sent"):
        written(STRING, template, text)


# What an answer means.

ANSWERS = [
    (NUMBER, "5", 5.0),
    (NUMBER, " +5.02E-3 ", 0.00502),
    (NUMBER, ".5", 0.5),
    (INTEGER, "12", 12),
    (INTEGER, "+1.2E1", 12),
    (INTEGER, "-0", 0),
    (BOOLEAN, "1", True),
    (BOOLEAN, "0", False),
    (BOOLEAN, "ON", True),
    (BOOLEAN, "off", False),
    (BOOLEAN, "+00", False),
    (BOOLEAN, "-1", True),
    (STRING, '"VOLT ""x"""', 'VOLT "x"'),
    (STRING, "'it''s'", "it's"),
    (STRING, " VOLT ", "VOLT"),
    (STRING, "123", "123"),
    (STRING, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "answer", "value"), ANSWERS)
def test_an_answer_becomes_a_value_of_its_type(keys, answer, value):
    found = one(f"query: X?, {keys}").parse(answer)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "keys", [NUMBER, INTEGER, "minimum: 0, maximum: 10", "type: integer, maximum: 10"]
)
@pytest.mark.parametrize(
    ("answer", "value"), [("9.9E37", math.inf), ("-9.90000000E+37", -math.inf)]
)
def test_beyond_the_range_of_the_instrument_is_infinite(keys, answer, value):
    assert one(f"query: X?, {keys}").parse(answer) == value


@pytest.mark.parametrize("keys", [NUMBER, INTEGER, "minimum: 0, maximum: 10"])
def test_what_the_instrument_calls_not_a_number_is_not_a_number(keys):
    assert math.isnan(one(f"query: X?, {keys}").parse("+9.91E+37"))


NONSENSE = [
    (NUMBER, "5 V"),
    (NUMBER, "nan"),
    (NUMBER, ""),
    (NUMBER, "ON"),
    (NUMBER, "1,2"),
    (NUMBER, "1_0"),
    (INTEGER, "1.5"),
    (INTEGER, "x"),
    (BOOLEAN, "yes"),
    (BOOLEAN, "1.5"),
    (BOOLEAN, ""),
    (STRING, '"open'),
    (STRING, '"a" b'),
]


@pytest.mark.parametrize(("keys", "answer"), NONSENSE)
def test_an_answer_of_another_type_is_nonsense(keys, answer):
    with pytest.raises(ProtocolError):
        one(f"query: X?, {keys}").parse(answer)


@pytest.mark.parametrize(
    ("keys", "answer", "value"),
    [
        ("minimum: 0", "-0.1", -0.1),
        ("maximum: 30", "30.1", 30.1),
        ("type: integer, maximum: 3", "4", 4),
        ("type: string, choices: [CV, CC]", "UR", "UR"),
    ],
)
def test_an_answer_out_of_range_is_read_as_it_is(keys, answer, value):
    assert one(f"query: X?, {keys}").parse(answer) == value


# What the bus is told.

SCHEMAS = [
    ("query: X?", {"type": "number"}),
    (
        "query: X?, minimum: 0, maximum: 30",
        {"type": "number", "minimum": 0, "maximum": 30},
    ),
    ("query: X?, type: integer", {"type": "integer"}),
    (
        ("query: X?, type: integer, minimum: -1, maximum: 3"),
        {"type": "integer", "minimum": -1, "maximum": 3},
    ),
    ("query: X?, type: boolean", {"type": "boolean"}),
    ("query: X?, type: string", {"type": "string"}),
    ("query: X?, type: string, choices: [CV, CC]", {"enum": ["CC", "CV"]}),
]


@pytest.mark.parametrize(("keys", "schema"), SCHEMAS)
def test_the_schema_follows_from_type_and_limits(keys, schema):
    assert values.schema(one(keys).value_type) == schema


@pytest.mark.parametrize(
    ("keys", "access", "readback"),
    [("query: X?", "r", ""), ("set: X, query: X?", "rw", ""), ("set: X", "w", None)],
)
def test_access_follows_from_query_and_set(keys, access, readback):
    declared = one(keys).declared(2.0)
    assert (declared.access, declared.readback) == (access, readback)


def test_what_is_shown_and_reported_passes_through():
    keys = (
        "query: X?, title: T, unit: V, group: G, class: voltage, deadband: 1, "
        "min_interval: 2, max_silence: 3"
    )
    declared = one(keys).declared(2.0)
    assert (declared.title, declared.unit, declared.group, declared.class_) == (
        "T",
        "V",
        "G",
        "voltage",
    )
    assert (declared.deadband, declared.min_interval, declared.max_silence) == (1, 2, 3)


def test_a_polled_value_is_stale_after_three_periods_and_a_silence():
    assert one("query: X?, every: 5").declared(2.0).max_age == 17.0
    assert one("query: X?").declared(2.0).max_age == 0.0


def test_a_set_has_time_for_its_exchanges_and_a_reopened_link():
    described = describe(
        device("timeout: 3, settle: 2, title: Supply, properties: [{path: p, set: X}]")
    )
    assert isinstance(described, Description)
    assert (described.kind, described.name, described.timeout) == (
        "scpi",
        "Supply",
        17.0,
    )
    assert set(described.properties) == {"p", "_resyncs"}
    assert set(described.commands) == {
        "query",
        "write",
        "query_binary",
        "identify",
        "clear",
    }


def test_the_settings_survive_the_wire():
    """The command `open` takes the same keys as the file."""
    wire = (
        b'{"name": "x", "address": "tcp::h:1", "properties": [{"path": "p", "query": '
        b'"P?", "class": "power"}]}'
    )
    assert msgspec.json.decode(wire, type=Device).properties[0].class_ == "power"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("psu", "psu"), "<config>:3:3: devices: two devices are named 'psu'"),
        (
            ("psu", "bridge"),
            ("<config>:5:11: devices[1].name: 'bridge' is the bridge itself"),
        ),
    ],
)
def test_names_that_cannot_stand_are_refused_where_they_are(names, complaint):
    rows = "".join(f"  - name: {name}\n    address: tcp::h:1\n" for name in names)
    with pytest.raises(ConfigError) as caught:
        loader.parse(f"bridge: {{name: lab}}\ndevices:\n{rows}", Config, {})
    assert str(caught.value).startswith(complaint), caught.value
