"""The simulated instruments.

A two-channel power supply, the circuit behind it, and a multimeter; no sockets.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

from busbar.codecs.ieee488 import encode_block, quote_string
from scpi_bridge.simulator.scpi_parser import (
    Boolean,
    Header,
    Instrument,
    Number,
    Refused,
    action,
    answer,
    count,
    setting,
)

OVERLOAD = 9.9e37
OVER_RANGE = 1.2  # a range reads up to 120 %
SWITCH = Boolean(-32768, 32767, 0, places=0)


@dataclass
class Channel:
    """One output of the supply and the resistive load on it (V, A, ohm)."""

    load: float = 10.0  # above 0, inf is an open circuit
    voltage: float = 0.0
    current: float = 1.0
    over_voltage: float = 33.0
    over_voltage_on: float = True
    over_current: float = 5.5
    over_current_on: float = False
    output: float = False
    tripped: bool = False
    points: float = 100

    @property
    def mode(self) -> str:
        """CV or CC: which of the two set points limits the output."""
        if not self.output:
            return "OFF"
        return "CC" if self.voltage > self.current * self.load else "CV"

    @property
    def volts(self) -> float:
        """The voltage at the terminals."""
        return {"OFF": 0.0, "CV": self.voltage, "CC": self.current * self.load}[
            self.mode
        ]

    @property
    def amperes(self) -> float:
        """The current through the load."""
        return self.current if self.mode == "CC" else self.volts / self.load

    def protect(self) -> None:
        """Switch the output off when a protection trips.

        Over-voltage: above its level. Over-current: in constant current.
        """
        over_voltage = self.over_voltage_on and self.volts > self.over_voltage
        over_current = self.over_current_on and (
            self.mode == "CC" or self.amperes > self.over_current
        )
        if over_voltage or over_current:
            self.output, self.tripped = False, True

    def reset(self) -> None:
        """Return to the settings after *RST; the load stays."""
        for field in fields(self)[1:]:
            setattr(self, field.name, field.default)


class PowerSupply(Instrument):
    """Two channels of 30 V and 5 A, constant voltage or constant current."""

    model = "BUSBAR,PSU-SIM 30-5,SIM0001,1.0"

    def __init__(self, seed: int) -> None:
        self.channels = (Channel(), Channel())
        super().__init__(seed)

    def headers(self) -> dict[str, Header]:
        """Return the supply's own headers."""
        level = "[:LEVel][:IMMediate][:AMPLitude]"
        settings = {
            f"[SOURce#:]VOLTage{level}": ("voltage", Number(0, 30, 0, "V")),
            f"[SOURce#:]CURRent{level}": ("current", Number(0, 5, 1, "A")),
            "[SOURce#:]VOLTage:PROTection[:LEVel]": (
                "over_voltage",
                Number(0, 33, 33, "V"),
            ),
            "[SOURce#:]VOLTage:PROTection:STATe": ("over_voltage_on", SWITCH),
            "[SOURce#:]CURRent:PROTection[:LEVel]": (
                "over_current",
                Number(0, 5.5, 5.5, "A"),
            ),
            "[SOURce#:]CURRent:PROTection:STATe": ("over_current_on", SWITCH),
            "TRACe#:POINts": ("points", Number(1, 4096, 100, places=0)),
        }
        return {
            notation: setting(self._channel, *what)
            for notation, what in settings.items()
        } | {
            "OUTPut#[:STATe]": Header(
                setting(self._channel, "output", SWITCH).query, self._switch
            ),
            "OUTPut#:MODE": answer(lambda suffix: self._channel(suffix).mode),
            "OUTPut#:PROTection:TRIPped": answer(
                lambda suffix: str(int(self._channel(suffix).tripped))
            ),
            "OUTPut#:PROTection:CLEar": action(
                lambda suffix: setattr(self._channel(suffix), "tripped", False)
            ),
            "MEASure#[:SCALar]:VOLTage[:DC]": answer(
                lambda suffix: f"{self.noisy(self._channel(suffix).volts):.5f}"
            ),
            "MEASure#[:SCALar]:CURRent[:DC]": answer(
                lambda suffix: f"{self.noisy(self._channel(suffix).amperes):.5f}"
            ),
            "TRACe#:DATA": answer(lambda suffix: self._trace(self._channel(suffix))),
        }

    def reset(self) -> None:
        """Switch both outputs off and return to the first settings."""
        for channel in self.channels:
            channel.reset()

    def settle(self) -> None:
        """Let the protections act."""
        for channel in self.channels:
            channel.protect()

    def _channel(self, suffix: int) -> Channel:
        if not 1 <= suffix <= len(self.channels):
            raise Refused(-114)
        return self.channels[suffix - 1]

    def _switch(self, suffix: int, arguments: list[str]) -> None:
        count(arguments, 1)
        channel, on = self._channel(suffix), SWITCH.parse(arguments[0])
        if on and channel.tripped:
            raise Refused(-221)
        channel.output = on

    def _trace(self, channel: Channel) -> bytes:
        """Return samples of the voltage (V, big-endian float32) as a definite block."""
        samples = [self.noisy(channel.volts) for _ in range(int(channel.points))]
        return encode_block(struct.pack(f">{len(samples)}f", *samples))


@dataclass(frozen=True)
class Function:
    """What the multimeter can measure, up to its highest range."""

    name: str
    top: float
    unit: str
    read: Callable[[Channel], float]


FUNCTIONS = {
    "VOLTage[:DC]": Function("VOLT", 1000.0, "V", lambda circuit: circuit.volts),
    "CURRent[:DC]": Function("CURR", 3.0, "A", lambda circuit: circuit.amperes),
    "RESistance": Function("RES", 100e6, "OHM", lambda circuit: circuit.load),
}


class Multimeter(Instrument):
    """Six digits on one channel of the supply: its voltage, its current, its load."""

    model = "BUSBAR,DMM-SIM 6,SIM0002,1.0"
    sign = "+"

    def __init__(self, seed: int, circuit: Channel) -> None:
        self.circuit = circuit
        self.reset()
        super().__init__(seed)

    def headers(self) -> dict[str, Header]:
        """Return the multimeter's own headers."""
        measure = {
            f"MEASure[:SCALar]:{name}": Header(partial(self._measure, f))
            for name, f in FUNCTIONS.items()
        }
        configure = {
            f"CONFigure[:SCALar]:{name}": Header(write=partial(self._configure, f))
            for name, f in FUNCTIONS.items()
        }
        return (
            measure
            | configure
            | {
                "CONFigure": answer(
                    lambda _: quote_string(f"{self.function.name} {self.range:+.6E}")
                ),
                "READ": answer(lambda _: self._read()),
            }
        )

    def reset(self) -> None:
        """Return to DC volts in the highest range."""
        self._configure(FUNCTIONS["VOLTage[:DC]"], 1, [])

    def settle(self) -> None:
        """Let the protections of the supply act."""
        self.circuit.protect()

    def _configure(
        self, function: Function, _suffix: int, arguments: list[str]
    ) -> None:
        """Choose function and range; the resolution is accepted and has no effect."""
        count(arguments, 0, 2)
        top = Number(0, function.top, function.top, function.unit)
        self.function, self.range = (
            function,
            top.parse(arguments[0] if arguments else "DEF"),
        )

    def _measure(self, function: Function, suffix: int, arguments: list[str]) -> str:
        self._configure(function, suffix, arguments)
        return self._read()

    def _read(self) -> str:
        value = self.noisy(self.function.read(self.circuit))
        return f"{value if value <= self.range * OVER_RANGE else OVERLOAD:+.8E}"
