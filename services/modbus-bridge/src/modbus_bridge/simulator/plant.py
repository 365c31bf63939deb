"""Simulated units in memory, and a plant of three of them."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from busbar.bridge.errors import DeviceRefused
from busbar.codecs import modbus
from busbar.codecs.modbus import (
    FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    Ddp,
    Diagnostics,
    Identify,
    MaskWrite,
    Objects,
    Read,
    ReadWrite,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)
from busbar.codecs.modbus.values import Plain, Text

SIZE = 1000  # addresses of each table
KEPT = 1000  # requests to look at


class Unit:
    """One unit; what it lacks and refuses can be changed."""

    def __init__(self, identity: Mapping[int, bytes] | None = None) -> None:
        self.bits: dict[str, list[bool]] = {
            "coil": [False] * SIZE,
            "discrete": [False] * SIZE,
        }
        self.words: dict[str, bytearray] = {
            "holding": bytearray(2 * SIZE),
            "input": bytearray(2 * SIZE),
        }
        self.identity = dict(identity or {})
        self.without: set[int] = set()  # functions that it does not have
        self.missing: set[tuple[str, int]] = set()  # addresses that it does not have
        self.guarded: set[int] = set()  # holding registers that fail when written
        self.requests: deque[Any] = deque(maxlen=KEPT)
        self._run: dict[type, Callable[[Any], bytes]] = {
            Read: self._read,
            WriteCoil: self._write_coil,
            WriteCoils: self._write_coils,
            WriteRegister: self._write_register,
            WriteRegisters: self._write_registers,
            MaskWrite: self._mask,
            ReadWrite: self._exchange,
            Diagnostics: lambda request: request.encode(),
            Identify: self._identify,
            Ddp: lambda request: request.reply(request.data),
        }

    def execute(self, pdu: bytes) -> bytes:
        """Return the PDU that answers a request."""
        try:
            request = modbus.decode(pdu)
            self.requests.append(request)
            if request.function in self.without:
                raise modbus.refusal(request.function, ILLEGAL_FUNCTION)
            return self._run[type(request)](request)
        except DeviceRefused as error:
            return modbus.exception(pdu[0], error.detail["code"])

    def get(self, table: str, address: int, type_: Any = "uint16") -> Any:
        """Return a value."""
        codec = Plain(type_)
        return codec.decode(
            bytes(self.words[table][2 * address : 2 * (address + codec.registers)])
        )

    def put(self, table: str, address: int, value: Any, type_: Any = "uint16") -> None:
        """Change a value as the device itself does."""
        codec = Text(8) if isinstance(value, str) else Plain(type_)
        data = codec.encode(value)
        self.words[table][2 * address : 2 * address + len(data)] = data

    def _read(self, request: Read) -> bytes:
        self._check(request, request.table, request.address, request.count)
        end = request.address + request.count
        if request.bits:
            return request.reply(self.bits[request.table][request.address : end])
        return request.reply(
            bytes(self.words[request.table][2 * request.address : 2 * end])
        )

    def _write_coil(self, request: WriteCoil) -> bytes:
        self._check(request, "coil", request.address, 1)
        self.bits["coil"][request.address] = request.value
        return request.encode()

    def _write_coils(self, request: WriteCoils) -> bytes:
        self._check(request, "coil", request.address, len(request.values))
        self.bits["coil"][request.address : request.address + len(request.values)] = (
            request.values
        )
        return request.encode()[:5]

    def _write_register(self, request: WriteRegister) -> bytes:
        self._store(request, request.address, request.data)
        return request.encode()

    def _write_registers(self, request: WriteRegisters) -> bytes:
        self._store(request, request.address, request.data)
        return request.encode()[:5]

    def _mask(self, request: MaskWrite) -> bytes:
        self._check(request, "holding", request.address, 1)
        register = request.apply(self.get("holding", request.address))
        self._store(request, request.address, register.to_bytes(2, "big"))
        return request.encode()

    def _exchange(self, request: ReadWrite) -> bytes:
        self._check(request, "holding", request.address, request.count)
        self._store(request, request.write_address, request.data)
        end = request.address + request.count
        return request.reply(
            bytes(self.words["holding"][2 * request.address : 2 * end])
        )

    def _identify(self, request: Identify) -> bytes:
        if not self.identity:
            raise modbus.refusal(request.function, ILLEGAL_FUNCTION)
        if request.object not in self.identity:
            code = ILLEGAL_VALUE if request.code > 1 else ILLEGAL_ADDRESS
            raise modbus.refusal(request.function, code)
        numbers = sorted(number for number in self.identity if number >= request.object)
        here = {each: self.identity[each] for each in numbers[:2]}
        following = numbers[2] if len(numbers) > 2 else None
        return request.reply(Objects(here, following))

    def _store(self, request: Any, address: int, data: bytes) -> None:
        self._check(request, "holding", address, len(data) // 2)
        if self.guarded & set(range(address, address + len(data) // 2)):
            raise modbus.refusal(request.function, FAILURE)
        self.words["holding"][2 * address : 2 * address + len(data)] = data

    def _check(self, request: Any, table: str, address: int, count: int) -> None:
        end = address + count
        missing = any((table, each) in self.missing for each in range(address, end))
        if end > SIZE or missing:
            raise modbus.refusal(request.function, ILLEGAL_ADDRESS)


class Plant:
    """An energy meter (17), a heating controller (18) and a pump (19) on one line."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        maker = {0: b"Busbar", 2: b"1.0", 4: b"Plant"}
        self.meter = Unit({**maker, 1: b"EM", 5: b"Meter"})
        self.heating = Unit({**maker, 1: b"HC", 5: b"Heating"})
        self.pump = Unit({**maker, 1: b"PU", 5: b"Pump"})
        self.units = {17: self.meter, 18: self.heating, 19: self.pump}
        self.meter.put("holding", 100, 1234.5, "float32")
        self.meter.put("holding", 110, "BB-0017")
        self.heating.put("holding", 40, 215, "int16")
        self.temperature = 20.0
        self.tick(0.0)

    async def handle(self, number: int, pdu: bytes) -> bytes | None:
        """Answer as the units of a line do.

        A write to unit 0 reaches all, and none answers.
        """
        if number == 0:
            for unit in self.units.values():
                unit.execute(pdu)
            return None
        return self.units[number].execute(pdu) if number in self.units else None

    def tick(self, seconds: float) -> None:
        """Let the plant go on for so long."""
        setpoint = self.heating.get("holding", 40, "int16") / 10
        heating = self.heating.bits["coil"][3]
        target = setpoint if heating else 15.0
        self.temperature += (target - self.temperature) * min(1.0, seconds / 60)
        self.heating.put("input", 0, round(10 * self.temperature), "int16")
        overheated = self.temperature > 30
        self.heating.put("holding", 50, overheated << 4)
        power = self._random.uniform(900, 1100) + 2000 * heating
        energy = self.meter.get("holding", 100, "float32") + power * seconds / 3.6e6
        self.meter.put("holding", 100, energy, "float32")
        self.meter.put("input", 0, power, "float32")
        self.meter.put("input", 2, round(10 * self._random.uniform(228, 232)))
        speed = 0
        if self.pump.bits["coil"][0]:
            speed = round(self._random.uniform(1440, 1460))
        self.pump.put("input", 0, speed)
