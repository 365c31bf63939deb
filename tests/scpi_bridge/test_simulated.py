"""Simulated instruments, line by line: headers, errors, status, measurements."""

import math
import struct

import pytest

from busbar.codecs.ieee488 import decode_block, parse_error, parse_number
from scpi_bridge.simulator.bench import Multimeter, PowerSupply


class Bench:
    """One instrument with a short way to talk to it."""

    def __init__(self, device):
        self.device = device

    def send(self, *lines):
        for line in lines:
            assert self.device.execute(line) is None

    def ask(self, *lines):
        """Send the lines and return the answer to the last one."""
        self.send(*lines[:-1])
        return self.device.execute(lines[-1]).decode()

    def error(self, *lines):
        return parse_error(self.ask(*lines, "SYST:ERR?"))[0]

    def number(self, *lines):
        return parse_number(self.ask(*lines))


@pytest.fixture
def psu():
    return Bench(PowerSupply(1))


@pytest.fixture
def circuits(psu):
    return psu.device.channels


@pytest.fixture
def dmm(circuits):
    return Bench(Multimeter(2, circuits[0]))


def test_both_instruments_say_who_they_are(psu, dmm):
    assert psu.ask("*IDN?") == "BUSBAR,PSU-SIM 30-5,SIM0001,1.0"
    assert dmm.ask("*IDN?") == "BUSBAR,DMM-SIM 6,SIM0002,1.0"


@pytest.mark.parametrize(
    "command",
    [
        "VOLT 12",
        "volt 12",
        "VOLTage 12.0",
        ":VOLT:LEV 12",
        "SOUR:VOLT 1.2E1",
        "SOUR1:VOLTage:LEVel:IMMediate:AMPLitude 12V",
        "source1:voltage 12000 mV",
        "  VOLT\t12\r",
    ],
)
def test_long_and_short_forms_set_channel_one(psu, command):
    assert (
        psu.ask(command, "VOLT?;:SOUR1:VOLT:LEV?;:SOUR2:VOLT?")
        == "12.0000;12.0000;0.0000"
    )


def test_a_suffix_chooses_the_channel(psu):
    assert (
        psu.ask("SOUR2:VOLT 7;CURR 2", "OUTP2 ON", "SOUR2:VOLT?;CURR?;:OUTP1?;:OUTP2?")
        == "7.0000;2.0000;0;1"
    )


def test_a_path_holds_within_a_line_and_common_commands_leave_it(psu):
    assert psu.error("SOUR2:VOLT 5;*WAI;CURR 3;:OUTP2 ON") == 0
    assert psu.error("SOUR2:VOLT 5;OUTP2 ON") == -113
    assert psu.error("OUTP2 OFF") == 0


@pytest.mark.parametrize(("word", "value"), [("MIN", 0), ("MAXimum", 30), ("def", 0)])
def test_limits_have_names(psu, word, value):
    assert psu.number(f"VOLT 3;VOLT {word};VOLT?") == value
    assert psu.number(f"VOLT? {word}") == value


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("VOLTA 1", -113),
        ("FOO:BAR 1", -113),
        ("FOO?", -113),
        ("MEAS:VOLT", -113),
        ("*FOO", -113),
        ("OUTP:PROT:CLE?", -113),
        ("SOUR3:VOLT 1", -114),
        ("SOUR0:VOLT 1", -114),
        ("VOLT", -109),
        ("VOLT 1,2", -108),
        ("*RST 1", -108),
        ("MEAS:VOLT? 1", -108),
        ("VOLT abc", -104),
        ("VOLT nan", -104),
        ("OUTP maybe", -104),
        ("VOLT 1 A", -131),
        ("VOLT 30.1", -222),
        ("VOLT -1", -222),
        ("CURR 5.1", -222),
        ("VOLT 1E999", -222),
    ],
)
def test_a_bad_command_is_an_error_and_changes_nothing(psu, command, number):
    assert psu.error("VOLT 4", command) == number
    assert psu.ask("VOLT?;:SYST:ERR:COUN?") == "4.0000;0"


def test_an_unknown_query_is_not_answered(psu):
    assert psu.ask("BOGUS?", "*IDN?") == "BUSBAR,PSU-SIM 30-5,SIM0001,1.0"
    assert psu.error() == -113


def test_a_command_error_costs_the_rest_of_the_line_and_an_execution_error_does_not(
    psu,
):
    assert psu.ask("VOLT 1;BOGUS;VOLT 2", "VOLT?") == "1.0000"
    assert psu.ask("VOLT 99;VOLT 3;VOLT?") == "3.0000"
    assert psu.ask("SOUR2:VOLT 99;CURR 3;CURR?;:CURR?") == "3.0000;1.0000"


def test_the_error_queue_is_first_in_first_out_and_bounded(psu):
    psu.send("VOLT 99", *["BOGUS"] * 25)
    assert psu.ask("SYST:ERR:COUN?") == "20"
    entries = [parse_error(psu.ask("SYSTem:ERRor:NEXT?")) for _ in range(21)]
    assert entries[0] == (-222, "Data out of range")
    assert [number for number, _ in entries[1:19]] == [-113] * 18
    assert entries[19:] == [(-350, "Queue overflow"), (0, "No error")]


def test_the_two_instruments_write_no_error_in_both_ways_of_the_market(psu, dmm):
    assert psu.ask("SYST:ERR?") == '0,"No error"'
    assert dmm.ask("SYST:ERR?") == '+0,"No error"'


def test_the_event_status_tells_the_class_of_an_error_and_reading_clears_it(psu):
    assert psu.ask("*ESR?") == "128"  # power on
    assert psu.ask("BOGUS", "*ESR?") == "32"
    assert psu.ask("VOLT 99", "*OPC", "*ESR?") == "17"
    assert psu.ask("*ESR?") == "0"


def test_the_status_byte_sums_up_queue_and_enabled_events(psu):
    assert psu.ask("*CLS", "*STB?") == "0"
    assert psu.ask("BOGUS", "*STB?") == "4"
    assert psu.ask("*ESE 32", "*STB?") == "36"
    assert psu.ask("*CLS", "*STB?") == "0"


def test_reset_returns_to_the_first_settings_and_keeps_the_load(circuits, psu):
    circuits[0].load = 7.0
    psu.send("VOLT 5;CURR 2;:OUTP ON;:VOLT:PROT 20", "*RST")
    assert (
        psu.ask("VOLT?;CURR?;:OUTP?;:VOLT:PROT?;*TST?;*OPC?")
        == "0.0000;1.0000;0;33.0000;0;1"
    )
    assert circuits[0].load == 7.0


def test_readings_follow_set_point_and_load_in_constant_voltage(circuits, psu):
    circuits[1].load = 20.0
    psu.send("SOUR2:VOLT 12;CURR 3;:OUTP2 ON")
    assert psu.ask("OUTP2:MODE?") == "CV"
    assert psu.number("MEAS2:VOLT?") == pytest.approx(12, rel=0.01)
    assert psu.number("MEASure2:SCALar:CURRent:DC?") == pytest.approx(0.6, rel=0.01)


def test_readings_follow_the_current_limit_in_constant_current(psu):
    psu.send("VOLT 12;CURR 0.5;:OUTP ON")  # on 10 ohm
    assert psu.ask("OUTP:MODE?") == "CC"
    assert psu.number("MEAS:VOLT?") == pytest.approx(5, rel=0.01)
    assert psu.number("MEAS:CURR?") == pytest.approx(0.5, rel=0.01)


def test_an_output_that_is_off_reads_zero(psu):
    assert psu.ask("VOLT 12", "OUTP1:STAT?;MODE?") == "0;OFF"
    assert psu.number("MEAS1:VOLT?") == pytest.approx(0, abs=0.001)


def test_an_open_circuit_carries_no_current(circuits, psu):
    circuits[0].load = math.inf
    psu.send("VOLT 12;CURR 0;:OUTP ON")
    assert psu.number("MEAS1:VOLT?") == pytest.approx(12, rel=0.01)
    assert psu.number("MEAS1:CURR?") == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("protection", ["VOLT:PROT 11", "CURR:PROT:LEV 1;STAT ON"])
def test_a_protection_trips_the_output_until_it_is_cleared(psu, protection):
    assert psu.ask("VOLT 12;CURR 5", "OUTP ON", "OUTP?;OUTP:PROT:TRIP?") == "1;0"
    assert psu.ask(protection, "OUTP?;OUTP:PROT:TRIP?;:OUTP2?") == "0;1;0"
    assert psu.error("OUTP ON") == -221
    assert (
        psu.ask("VOLT 5", "OUTP:PROT:CLE", "OUTP ON", "OUTP?;OUTP:PROT:TRIP?") == "1;0"
    )


def test_over_current_protection_trips_in_constant_current(psu):
    assert psu.ask("VOLT 12;CURR 0.5;:OUTP ON;:OUTP?") == "1"
    assert psu.ask("CURR:PROT:STAT ON", "OUTP?;:CURR:PROT:STAT?") == "0;1"


def test_a_change_of_the_load_trips_too(circuits, psu):
    assert psu.ask("VOLT 10;CURR 5;:CURR:PROT:LEV 2;STAT 1", "OUTP ON", "OUTP?") == "1"
    circuits[0].load = 2.5
    assert psu.ask("OUTP?") == "0"


def test_the_multimeter_reads_the_circuit_of_channel_one(circuits, psu, dmm):
    circuits[0].load = 24.0
    psu.send("VOLT 12;CURR 5;:OUTP ON")
    assert dmm.number("MEAS:VOLT:DC?") == pytest.approx(12, rel=0.01)
    assert dmm.number("MEASure:CURRent?") == pytest.approx(0.5, rel=0.01)
    assert dmm.number("MEAS:RES?") == pytest.approx(24, rel=0.01)


def test_the_multimeter_reads_what_is_configured(psu, dmm):
    psu.send("VOLT 5;:OUTP ON")
    assert dmm.ask("CONF?") == '"VOLT +1.000000E+03"'
    assert dmm.number("CONF:CURR:DC 1,0.001", "READ?") == pytest.approx(0.5, rel=0.01)
    assert dmm.ask("CONF?") == '"CURR +1.000000E+00"'
    assert dmm.number("*RST", "READ?") == pytest.approx(5, rel=0.01)


def test_an_overload_reads_infinity(circuits, psu, dmm):
    circuits[0].load = 2.0
    psu.send("VOLT 20;CURR 5;:OUTP ON")
    assert dmm.ask("MEAS:CURR:DC?") == "+9.90000000E+37"
    assert dmm.number("CONF:VOLT:DC 1", "READ?") == math.inf
    circuits[0].load = math.inf
    assert dmm.number("MEAS:RES?") == math.inf


def test_the_trace_is_a_block_of_big_endian_floats(psu):
    psu.send("SOUR2:VOLT 9;:OUTP2 ON", "TRAC2:POIN 300")
    samples = struct.unpack(">300f", decode_block(psu.device.execute("TRAC2:DATA?")))
    assert samples == pytest.approx([9.0] * 300, rel=0.01)


def test_any_bytes_in_a_line_are_an_error_at_most(psu):
    psu.send(
        "",
        ";",
        ";;;:",
        "*",
        ":?",
        "?",
        "'\"",
        "\xe9?",
        "\x00\xff",
        "VOLT ",
        "VOLT ,",
        "SOUR999:VOLT 1",
        "SOUR9999:VOLT 1",
    )
    assert int(psu.ask("SYST:ERR:COUN?")) == 11
