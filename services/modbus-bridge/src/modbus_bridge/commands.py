"""The commands of a unit.

Read and write anything, any function, who it is, what there is.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from busbar.bridge import BadRequest, NoArguments, Outlet, Port, Turn, command
from busbar.bridge.values import Reader
from busbar.codecs.modbus import Ddp, Diagnostics, MaskWrite, Raw, ReadWrite, Table
from modbus_bridge import scan
from modbus_bridge.points import Address, Point
from modbus_bridge.unit import ModbusUnit

Hex = Annotated[
    str, Meta(max_length=1000, description="bytes in hexadecimal, such as 01 2c")
]
Pdu = Annotated[
    str,
    Meta(
        max_length=1000,
        description=("function and data in hexadecimal, such as 03 00 64 00 02"),
    ),
]
Word = Annotated[int, Meta(ge=0, le=65535)]
UnitNumber = Annotated[int, Meta(ge=0, le=255)]


class ReadPoint(
    Point, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """Arguments of `read`; with `count` a list of so many values behind one another."""

    count: Annotated[int, Meta(ge=1, le=2000)] | None = None


class WritePoint(
    Point, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True
):
    """Arguments of `write`; a list is written behind one another by one request."""

    value: Any


def octets(key: str, text: str) -> bytes:
    """Return the bytes that an argument gives in hexadecimal; raise ValueError."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ValueError(
            f"{key}: {text!r:.60} is not hexadecimal, two digits for each byte"
        ) from error


class RawPdu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `request`."""

    pdu: Pdu

    def __post_init__(self) -> None:
        if not octets("pdu", self.pdu):
            raise ValueError("pdu: empty; it begins with the function, such as 03")


class DdpArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `ddp`."""

    sub_command: Annotated[int, Meta(ge=0, le=255)]
    command: Annotated[int, Meta(ge=0, le=127)]
    data: Hex = ""
    reply: bool = True  # ask for an answer with data

    def __post_init__(self) -> None:
        octets("data", self.data)


class DiagnosticsArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `diagnostics`; sub-function 0 sends the data back."""

    sub_function: Word = 0
    data: Hex = "0000"

    def __post_init__(self) -> None:
        octets("data", self.data)


class Masks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `mask_write`.

    Register = (register AND and_mask) OR (or_mask AND NOT and_mask).
    """

    address: Address
    and_mask: Word
    or_mask: Word


class Exchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `read_write`: registers to write, then to read, in one request."""

    address: Address
    count: Annotated[int, Meta(ge=1, le=125)]
    write_address: Address
    values: Annotated[list[Word], Meta(min_length=1, max_length=121)]


class Identity(msgspec.Struct, frozen=True):
    """Result of `identify`; other objects by their number, in hexadecimal."""

    vendor: str | None = None
    product_code: str | None = None
    revision: str | None = None
    url: str | None = None
    product: str | None = None
    model: str | None = None
    application: str | None = None
    others: dict[int, str] = msgspec.field(default_factory=dict)


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a scan looks at."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"first: {self.first} is above last, {self.last}")

    @property
    def numbers(self) -> range:
        return range(self.first, self.last + 1)


class UnitSpan(Span, frozen=True, forbid_unknown_fields=True):
    """Arguments of `scan_units`."""

    first: UnitNumber = 1
    last: UnitNumber = 247
    timeout: Annotated[float, Meta(gt=0, le=10)] = 0.3  # s for each


class RegisterSpan(Span, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `scan_registers`."""

    table: Table = "holding"
    first: Address = 0
    last: Address = 999
    size: Annotated[int, Meta(ge=1, le=125)] = 100  # in one request, to begin with


IDENTITY = (  # objects 0 to 6
    "vendor",
    "product_code",
    "revision",
    "url",
    "product",
    "model",
    "application",
)


class UnitCommands:
    """What can be asked of each unit of a line."""

    def __init__(
        self,
        port: Port,
        units: Mapping[str, ModbusUnit],
        outlets: Mapping[str, Outlet],
    ) -> None:
        self._port = port
        self._units = units
        self._outlets = outlets

    @command(timeout=60.0)
    async def read(self, device: str, arguments: ReadPoint, turn: Turn) -> Any:
        """Read a value, or several behind one another."""
        count = arguments.count or 1
        data = await self._units[device].ask(arguments.request(count), turn.asked)
        size = arguments.registers * (1 if arguments.bits else 2)
        found = [
            arguments.parse(data[start : start + size])
            for start in range(0, size * count, size)
        ]
        return found if arguments.count is not None else found[0]

    @command(timeout=60.0)
    async def write(self, device: str, arguments: WritePoint, turn: Turn) -> None:
        """Write a value, or a list of them behind one another."""
        if arguments.table in ("discrete", "input"):
            raise BadRequest(f"table: {arguments.table} can only be read")
        reader = Reader(arguments.value_type())
        unit = self._units[device]
        if not isinstance(arguments.value, list):
            await unit.write(arguments, reader.value(arguments.value), turn.asked)
            return
        if arguments.bit is not None:
            raise BadRequest("value: a bit field takes one value")
        await unit.send(
            arguments.write_all([reader.value(each) for each in arguments.value]),
            turn.asked,
        )

    @command(
        title=(
            "Send any function with its data and return that of the answer, both in "
            "hexadecimal"
        ),
        timeout=60.0,
    )
    async def request(self, device: str, arguments: RawPdu, turn: Turn) -> str | None:
        """Send any function and return what is answered, as hexadecimal."""
        pdu = bytes.fromhex(arguments.pdu)
        answer = await self._units[device].send(Raw(pdu[0], pdu[1:]), turn.asked)
        return None if answer is None else (pdu[:1] + answer).hex()

    @command(timeout=60.0)
    async def ddp(self, device: str, arguments: DdpArguments, turn: Turn) -> str:
        """Send a DDP command (function 0x44) and return the data of its answer."""
        request = Ddp(
            arguments.sub_command,
            arguments.command,
            bytes.fromhex(arguments.data),
            arguments.reply,
        )
        data: bytes = await self._units[device].ask(request, turn.asked)
        return data.hex()

    @command(timeout=60.0)
    async def diagnostics(
        self, device: str, arguments: DiagnosticsArguments, turn: Turn
    ) -> str:
        """Run a diagnostic sub-function (function 8) and return its data."""
        request = Diagnostics(arguments.sub_function, bytes.fromhex(arguments.data))
        data: bytes = await self._units[device].ask(request, turn.asked)
        return data.hex()

    @command(timeout=60.0)
    async def mask_write(self, device: str, arguments: Masks, turn: Turn) -> None:
        """Change some bits of a register (function 22)."""
        request = MaskWrite(arguments.address, arguments.and_mask, arguments.or_mask)
        await self._units[device].send(request, turn.asked)

    @command(timeout=60.0)
    async def read_write(
        self, device: str, arguments: Exchange, turn: Turn
    ) -> list[int]:
        """Write registers, then read registers, in one request (function 23)."""
        data = b"".join(value.to_bytes(2, "big") for value in arguments.values)
        request = ReadWrite(
            arguments.address, arguments.count, arguments.write_address, data
        )
        answer: bytes = await self._units[device].ask(request, turn.asked)
        return [
            int.from_bytes(answer[at : at + 2], "big")
            for at in range(0, len(answer), 2)
        ]

    @command(timeout=60.0)
    async def identify(
        self, device: str, arguments: NoArguments, turn: Turn
    ) -> Identity:
        """Ask the unit who it is (function 43/14)."""
        return await self.ask_identity(device, turn.asked)

    async def ask_identity(self, device: str, timeout: float | None = None) -> Identity:
        """Ask the unit who it is and describe it so."""
        objects = await self._units[device].identify(timeout)
        text = {
            number: value.decode("latin-1").strip("\0 ")
            for number, value in objects.items()
        }
        known = {
            name: text[number]
            for number, name in enumerate(IDENTITY)
            if text.get(number)
        }
        others = {
            number: value.hex()
            for number, value in objects.items()
            if number >= len(IDENTITY)
        }
        identity = Identity(**known, others=others)
        outlet = self._outlets[device]
        outlet.describe(
            outlet.description.with_(
                manufacturer=identity.vendor,
                model=identity.model or identity.product or identity.product_code,
                firmware=identity.revision,
            )
        )
        return identity

    @command(
        title=(
            "Look which units answer on this line; between two of them others "
            "have their turn"
        ),
        timeout=3600.0,
        holds="exchange",
    )
    async def scan_units(
        self, device: str, arguments: UnitSpan, turn: Turn
    ) -> list[scan.FoundUnit]:
        """Look which units answer on this line.

        Between two of them others have their turn.
        """
        turn.release()
        master = self._units[device].master
        return await scan.units(
            self._port, master, arguments.numbers, arguments.timeout, turn.progress
        )

    @command(
        title=(
            "Look which addresses of a table can be read; between two requests "
            "others have their turn"
        ),
        timeout=3600.0,
        holds="exchange",
    )
    async def scan_registers(
        self, device: str, arguments: RegisterSpan, turn: Turn
    ) -> list[scan.FoundSpan]:
        """Look which addresses of a table can be read.

        Between two requests others have their turn.
        """
        turn.release()
        return await scan.registers(
            self._port,
            self._units[device],
            arguments.table,
            arguments.numbers,
            arguments.size,
            turn.progress,
        )
