"""Every public function of the codecs, of the contract and of the services that takes
bytes of a device or a payload, and how to call it with nothing but such input.

`test_linear_time` and `test_hostile_text` go through all of them.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

import busbar.codecs
from busbar.codecs import (
    can,
    canlink,
    framing,
    hid,
    ieee488,
    indi,
    isotp,
    modbus,
    sigrok,
    slcan,
    usrcanet,
)
from busbar.codecs.cip import frames as cip_frames
from busbar.codecs.cip import joins as cip_joins
from busbar.codecs.cip import reader as cip_reader
from busbar.codecs.cip import records as cip_records
from busbar.codecs.cip import text as cip_text
from busbar.codecs.framing import cobs as framing_cobs
from busbar.codecs.gct import ddp, decoder
from busbar.codecs.gct import messages as gct_messages
from busbar.codecs.indi import numbers as indi_numbers
from busbar.codecs.indi import parse as indi_parse
from busbar.codecs.indi.input import Input
from busbar.codecs.indi.text import TextDecoder
from busbar.codecs.modbus import pdu as modbus_pdu
from busbar.codecs.modbus import services as modbus_services
from busbar.codecs.modbus import values as modbus_values
from busbar.contract import messages, names
from busbar.contract.topics import Topics, matches
from busbar.contract.values import Reader, choice, integer, number, reading
from busbar.errors import BusbarError, Forbidden, ProtocolError
from can_bridge import database, gct_nodes
from can_bridge.messages import BusMessage
from can_bridge.settings import Message as CanMessage
from can_bridge.settings import Signal as CanSignal
from cip_bridge import joins as cip_bridge_joins
from gpio_bridge.backends import pinctrl
from indi_bridge import events as indi_events
from indi_bridge import vectors as indi_vectors
from indi_bridge.blobs import fits
from modbus_bridge.points import Point
from scpi_bridge import settings as scpi
from scpi_bridge.simulator import scpi_parser

Parse = Callable[[Any], object]


class Vector(Struct):
    """A property of several members."""

    ra: float
    on: bool = False
    steps: Annotated[int, Meta(ge=0, le=5)] = 0


TYPES: tuple[Any, ...] = (
    bool,
    int,
    float,
    str,
    bytes,
    Any,
    number(0, 30),
    integer(-5, 10),
    choice("fast", "slow"),
    Literal[1, 2],
    Annotated[str, Meta(max_length=3)],
    dict[str, float],
    dict[str, Any],
    list[bool],
    Vector,
    Vector | None,
    float | str,
    str | None,
)


def read_blocks(chunks: Iterable[bytes]) -> None:
    reader = ieee488.BlockReader(1 << 16)
    for chunk in chunks:
        reader.feed(chunk)
        while _block(reader) is not None:
            pass


def _block(reader: ieee488.BlockReader) -> object:
    try:
        return reader.message()
    except ProtocolError as error:
        return error


def read_indi(chunks: Iterable[bytes]) -> None:
    reader = indi.ElementReader()
    for chunk in chunks:
        reader.feed(chunk)
        for _ in reader.elements():
            pass


def read_cip(chunks: Iterable[bytes]) -> None:
    reader = cip_reader.Reader()
    for chunk in chunks:
        reader.feed(chunk)
        for _ in reader.messages():
            pass


def read_cip_frames(chunks: Iterable[bytes]) -> None:
    reader = cip_frames.FrameReader()
    for chunk in chunks:
        reader.feed(chunk)
        for _ in reader.frames():
            pass


def read_slcan(chunks: Iterable[bytes]) -> None:
    reader = slcan.SlcanReader()
    for chunk in chunks:
        reader.feed(chunk, 0.0)


def read_annotations(chunks: Iterable[bytes]) -> None:
    reader = sigrok.AnnotationReader()
    for chunk in chunks:
        list(reader.feed(chunk))
    list(reader.close())


def read_sigrok_log(chunks: Iterable[bytes]) -> None:
    log = sigrok.ProgressLog()
    for chunk in chunks:
        log.feed(chunk)
    log.close()


def _sigrok_value(text: str) -> None:
    number_, words = sigrok.Option("a", most=1.0), sigrok.Option("b", None, ("c", "d"))
    sigrok.parse_value(text, words)
    sigrok.parse_value(text, number_)


def _dumped(data: bytes) -> None:
    whole = data[: len(data) // 4 * 4]
    capture = sigrok.Capture(1, {"D0": 0}, 1, data, {"A0": whole})
    capture.bits("D0")
    sigrok.vcd(capture)


def read_usrcanet(chunks: Iterable[bytes]) -> None:
    reader = usrcanet.UsrCanetReader()
    for chunk in chunks:
        try:
            reader.feed(chunk, 0.0)
        except ProtocolError:
            reader = usrcanet.UsrCanetReader()


def _framed(make: Callable[[], framing.Framing]) -> Callable[[Iterable[bytes]], None]:
    def read(chunks: Iterable[bytes]) -> None:
        reader = make()
        for chunk in chunks:
            reader.feed(chunk)
        reader.silence()
        reader.take_pending()

    return read


def _checks(data: bytes) -> None:
    for check in framing.CHECKS.values():
        check.strip(data)
        check.add(data)


def _modbus(framing: modbus.Framing) -> Callable[[Iterable[bytes]], None]:
    def length(unit: int, head: bytes) -> int | None:
        known = modbus_services.ANSWER_LENGTHS.get(head[0]) if head else None
        return known(head) if known else None

    def read(chunks: Iterable[bytes]) -> None:
        reader = modbus.reader(framing, length)
        for chunk in chunks:
            reader.feed(chunk)
        reader.silence()

    return read


def read_isotp(chunks: Iterable[bytes]) -> None:
    receiver = isotp.Receiver()
    for chunk in chunks:
        with suppress(ProtocolError):
            receiver.feed(chunk)


def send_isotp(chunks: Iterable[bytes]) -> None:
    sender = isotp.Sender(bytes(4000))
    for chunk in chunks:
        sender.frames()
        with suppress(ProtocolError):
            sender.feed(chunk)


def read_gct(chunks: Iterable[bytes]) -> None:
    made = decoder.Decoder()
    for index, chunk in enumerate(chunks):
        made.feed(ddp_id(index & 0x7FF), chunk[:8], 0.0)


def ddp_id(type_data: int) -> int:
    return 12 << 25 | 1 << 18 | 2 << 11 | type_data


def reassemble_gct(chunks: Iterable[bytes]) -> None:
    made = ddp.Reassembly()
    for index, chunk in enumerate(chunks):
        made.feed(1, 2, index & 0x7FF, chunk[:8], 0.0)


def add_fragments(chunks: Iterable[bytes]) -> None:
    fragments = cip_text.Fragments()
    fragments.add(1, cip_text.FIRST, b"")
    for chunk in chunks:
        try:
            fragments.add(1, 0, chunk)
        except ValueError:
            fragments.add(1, cip_text.FIRST, b"")


def _search(data: bytes) -> None:
    made = Input()
    made.data += data
    place = made.skip_space(0)
    made.search(re.compile(b"<a"), place)
    made.take(place)


def _answered(*requests: Any) -> Parse:
    def answer(pdu: bytes) -> None:
        for request in requests:
            with suppress(ProtocolError):
                request.answer(pdu)
            request.length(pdu)

    return answer


def _decoded(*codecs: Any) -> Parse:
    """Return a function that gives each codec as many bytes as it takes."""

    def decode(data: bytes) -> None:
        for codec in codecs:
            with suppress(ProtocolError):
                codec.decode(data[: 2 * codec.registers].ljust(2 * codec.registers))

    return decode


_NUMBERS = ("int16", "uint32", "int64", "float16", "float32", "float64")
_PLAIN = [modbus_values.Plain(each) for each in _NUMBERS]  # type: ignore[arg-type]
_ENCODINGS = ("ascii", "utf-8", "latin1", "utf-16-be")


def _texts(registers: int) -> list[modbus_values.Text]:
    return [modbus_values.Text(registers, each) for each in _ENCODINGS]  # type: ignore[arg-type]


def _long_text(data: bytes) -> None:
    _decoded(*_texts(len(data) // 2 + 1))(data)


def _set(element_of: Callable[[str], Any]) -> Parse:
    return lambda text: indi.encode(element_of(text))


def _new_text(text: str) -> Any:
    return indi.NewVector("Text", "d", "v", {"m": text})


def _encode_join(text: str) -> None:
    join = cip_joins.Join("serial", 1)
    for form in (cip_joins.Form.SERIAL, cip_joins.Form.LEGACY):
        update = cip_joins.Update(join, text, form)
        for encoding in ("latin1", "utf8", "utf16"):
            style = cip_joins.Style(encoding=encoding)  # type: ignore[arg-type]
            with suppress(BusbarError):
                cip_reader.encode(update, style)


def _scpi_property(**options: Any) -> Parse:
    return scpi.Property(path="a", query="A?", **options).parse


class _Instrument(scpi_parser.Instrument):
    model = "x"

    def headers(self) -> dict[str, scpi_parser.Header]:
        number = scpi_parser.Number(0, 30, 0, "V")
        return {"[SOURce#]:VOLTage": scpi_parser.setting(lambda _: self, "v", number)}

    def reset(self) -> None:
        pass

    def settle(self) -> None:
        pass

    v = 0.0


def _execute(text: str) -> None:
    made = _Instrument(1)
    made.execute(text)
    made.execute(f"VOLT {text}")


_SIGNAL = CanSignal(name="a", start=0, length=32, type="float", scale=1e300)
_CAN = BusMessage(database._made(CanMessage(id=1, name="m", signals=(_SIGNAL,))), {})


def _error_frame(data: bytes) -> object:
    return can.error_report(can.Frame(0.0, 0x3FF, can.ERROR, 8, data[:8]))


def _topics(text: str) -> None:
    made = Topics("busbar", "b")
    made.parse(text)
    made.parse(f"busbar/b/{text}")
    matches(text, text)
    with suppress(Forbidden):
        made.private_reply(f"busbar/reply/{text}", "d")


def _read_hid(data: bytes) -> None:
    """Read the controls of a descriptor in a report, both of the same bytes."""
    for each in hid.controls(hid.parse(data[:4096])):
        for source in each.sources:
            with suppress(ProtocolError):
                hid.read(each, source, data)


# Text -> anything.
TEXT: dict[str, Parse] = {
    "can.parse": can.parse,
    "cip.text.encode_text": _encode_join,
    "framing.regex.Pattern": framing.Pattern(r"^(\w+)=(a|1|.)*;$").search,
    "ieee488.parse_boolean": ieee488.parse_boolean,
    "ieee488.parse_error": ieee488.parse_error,
    "ieee488.parse_number": ieee488.parse_number,
    "ieee488.parse_string": ieee488.parse_string,
    "ieee488.quote_string": ieee488.quote_string,
    "indi.numbers.decimal": indi_numbers.decimal,
    "indi.numbers.format_number": lambda text: indi.format_number(1.5, text),
    "indi.numbers.is_sexagesimal": indi.is_sexagesimal,
    "indi.numbers.parse_number": indi.parse_number,
    "indi.numbers.parse_time": indi.parse_time,
    "indi.parse.attributes_of": lambda text: indi_parse.attributes_of(
        text, TextDecoder()
    ),
    "indi.text.TextDecoder.resolve": lambda text: TextDecoder().resolve(text),
    "indi.writer.encode": _set(_new_text),
    "sigrok.described.parse_frequency": sigrok.parse_frequency,
    "sigrok.described.parse_scan": sigrok.parse_scan,
    "sigrok.described.parse_show": lambda text: sigrok.parse_show(
        "a - B with 1 channel: D0\nSupported configuration options:\n    " + text
    ),
    "sigrok.described.parse_value": _sigrok_value,
    # the contract
    "names.level": names.level,
    "names.family": lambda text: names.family(text)[1].fullmatch("a" * 60 + "/b"),
    "names.family of many": lambda text: names.family("{a}" * len(text))[1].fullmatch(
        "a" * 60 + "/b"
    ),
    "topics": _topics,
    "values.reading": lambda text: reading(text, float),
    # services
    "cip_bridge.joins.parse": cip_bridge_joins.parse,
    "gpio_bridge.pinctrl.parse": pinctrl.parse,
    "indi_bridge.events.note": lambda text: indi_events.note(
        indi_events.TimedMessage(0.0, text)
    ),
    "indi_bridge.vectors.number": indi_vectors.number,
    "scpi_bridge.Property.parse number": _scpi_property(),
    "scpi_bridge.Property.parse integer": _scpi_property(type="integer", maximum=5.0),
    "scpi_bridge.Property.parse boolean": _scpi_property(type="boolean"),
    "scpi_bridge.Property.parse string": _scpi_property(type="string"),
    "scpi_bridge.Property.parse choices": _scpi_property(
        type="string", choices=("VOLT", "CURR")
    ),
    "scpi_bridge.simulator": _execute,
}
_READ = modbus.Read("holding", 0, 2)
_READ_BITS = modbus.Read("coil", 0, 9)
# Bytes -> anything.
DATA: dict[str, Parse] = {
    "hid.controls.controls": lambda data: hid.controls(hid.parse(data[:4096])),
    "hid.controls.read": _read_hid,
    "hid.descriptor.parse": hid.parse,
    "hid.values.read_bits": lambda data: hid.read_bits(
        data, 3, max(1, 8 * len(data) - 8)
    ),
    "can.error_report": _error_frame,
    "canlink.check_acknowledged": canlink.check_acknowledged,
    "canlink.parse": canlink.parse,
    "framing.cobs.decode": framing_cobs.decode,
    "framing.cobs.encode": framing_cobs.encode,
    "framing.sums.Check": _checks,
    "cip.frames.split": cip_frames.split,
    "cip.records.Records.read": lambda data: (
        cip_records.Records().read(data, 1),
        cip_records.Records().read(data, 2),
    ),
    "cip.text.decode_text": lambda data: (
        cip_text.decode_text(data),
        cip_text.decode_text(data, cip_text.UTF16),
    ),
    "gct.messages.decode": lambda data: gct_messages.decode(8, 1, 2, 3, data),
    "ieee488.decode_block": ieee488.decode_block,
    "ieee488.encode_block": ieee488.encode_block,
    "indi.input.Input": _search,
    "indi.parse.parse": lambda data: indi_parse.parse(
        b"setTextVector", 'device="a" name="b"', data.decode("latin-1"), TextDecoder()
    ),
    "indi.text.TextDecoder.decode": lambda data: TextDecoder().decode(data),
    "isotp.flow_control": isotp.flow_control,
    "modbus.data.Read.answer": _answered(_READ, _READ_BITS),
    "modbus.data.ReadWrite.answer": _answered(modbus.ReadWrite(0, 1, 0, b"ab")),
    "modbus.data.Writes.answer": _answered(
        modbus.WriteCoil(1, True), modbus.MaskWrite(1, 2, 3)
    ),
    "modbus.services.answer": _answered(
        modbus.Raw(65),
        modbus.Diagnostics(),
        modbus.Identify(),
        modbus.Ddp(1, 2),
    ),
    "modbus.framing.crc": modbus.crc,
    "modbus.framing.lrc": modbus.lrc,
    "modbus.pdu.check": lambda data: modbus.check(_READ, data),
    "modbus.pdu.unpack_bits": lambda data: modbus_pdu.unpack_bits(data, 8 * len(data)),
    "modbus.pdu.pack_bits": modbus_pdu.pack_bits,
    "modbus.serving.decode": modbus.decode,
    "modbus.serving.request_length": modbus.request_length,
    "modbus.values.ordered": lambda data: modbus_values.ordered(data, "little_swap"),
    "modbus.values.decode": _decoded(
        *_PLAIN,
        modbus_values.Bcd("bcd32"),
        modbus_values.Plain("int24"),
        modbus_values.Modulo("mod10k64"),
        modbus_values.Instant("unix32"),
        modbus_values.Instant("datetime"),
        modbus_values.Ipv4(),
        modbus_values.Field(3, 4),
        modbus_values.Scaled(_PLAIN[4], 1e300, 5),
        *_texts(4),
    ),
    "modbus.values.Text.decode": _long_text,
    "sigrok.srzip.read": lambda data: sigrok.read(data, 1 << 20),
    "sigrok.vcd.vcd": _dumped,
    "slcan.decode": slcan.decode,
    # the contract
    "messages.decode": messages.decode,
    **{f"values.Reader {each}": Reader(each).payload for each in TYPES},
    # services
    "can_bridge.BusMessage.decode": _CAN.decode,
    "can_bridge.gct_nodes.decode": lambda data: gct_nodes.decode("<f", data),
    "indi_bridge.fits.read_header": fits.read_header,
    "modbus_bridge.Point.parse": lambda data: Point(
        address=0, type="string", length=8
    ).parse(data[:16]),
}
# Bytes in pieces -> anything. What a reader has to say of an error does not end it.
STREAMS: dict[str, Callable[[Iterable[bytes]], None]] = {
    "cip.frames.FrameReader": read_cip_frames,
    "cip.reader.Reader": read_cip,
    "cip.text.Fragments": add_fragments,
    "framing.chunks.Chunks": _framed(framing.Chunks),
    "framing.chunks.IdleGap": _framed(lambda: framing.IdleGap(0.1)),
    "framing.chunks.Rpio": _framed(framing.Rpio),
    "framing.cobs.Cobs": _framed(framing.Cobs),
    "framing.delimited.Lines": _framed(framing.Lines),
    "framing.delimited.Markers": _framed(lambda: framing.Markers(b"[", b"]")),
    "framing.delimited.PatternEnd": _framed(lambda: framing.PatternEnd("(a|1)+;")),
    "framing.sized.FixedSize": _framed(lambda: framing.FixedSize(7)),
    "framing.sized.LengthPrefix": _framed(framing.LengthPrefix),
    "framing.slip.Slip": _framed(framing.Slip),
    "framing.sums.Checked": _framed(
        lambda: framing.Checked(framing.Lines(), framing.CHECKS["nmea"])
    ),
    "gct.ddp.Reassembly": reassemble_gct,
    "gct.decoder.Decoder": read_gct,
    "ieee488.BlockReader": read_blocks,
    "indi.reader.ElementReader": read_indi,
    "isotp.Receiver": read_isotp,
    "isotp.Sender": send_isotp,
    "modbus.framing.AsciiReader": _modbus("ascii"),
    "modbus.framing.MbapReader": _modbus("tcp"),
    "modbus.framing.RtuReader": _modbus("rtu"),
    "sigrok.annotations.AnnotationReader": read_annotations,
    "sigrok.progress.ProgressLog": read_sigrok_log,
    "slcan.SlcanReader": read_slcan,
    "usrcanet.UsrCanetReader": read_usrcanet,
}
# What raises something else, as it says: OSError as the kernel (canlink), Malformed,
# which the reader of elements turns into Skipped.
DECLARED: dict[str, tuple[type[Exception], ...]] = {
    "canlink.check_acknowledged": (OSError,),
    "canlink.parse": (OSError,),
    "indi.parse.parse": (indi_parse.Malformed,),
}

_SUMS = (
    *("BinaryCheck", "xor8", "sum8", "lrc", "crc8", "crc32"),
    *("crc16_modbus", "crc16_ccitt", "crc16_xmodem"),
)
_SIGN_ON = (
    "Hello",
    "Connect",
    "DeviceConnect",
    "RoomConnect",
    "ConnectResult",
    "Disconnect",
    "Refused",
    "Authenticate",
    "AuthResult",
    "Ping",
    "Pong",
)
# Functions and classes of the codecs that another entry runs.
WITHIN: dict[str, str] = {
    "cip.joins.encode_body": "cip.text.encode_text",
    "cip.joins.encode_update": "cip.text.encode_text",
    "cip.reader.encode": "cip.text.encode_text",
    "cip.frames.encode_frame": "cip.text.encode_text",
    "framing.base.Framing": "framing.delimited.Lines",
    "framing.base.Separated": "framing.delimited.Lines",
    "framing.regex.EndFinder": "framing.delimited.PatternEnd",
    **{f"framing.sums.{each}": "framing.sums.Check" for each in _SUMS},
    "indi.blobs.BlobReader": "indi.reader.ElementReader",
    "indi.writer.set_blob": "indi.writer.encode",
    "modbus.data.Read": "modbus.data.Read.answer",
    "modbus.data.ReadWrite": "modbus.data.ReadWrite.answer",
    "modbus.data.MaskWrite": "modbus.data.Writes.answer",
    "modbus.framing.reader": "modbus.framing.RtuReader",
    "modbus.pdu.check_echo": "modbus.data.Writes.answer",
    "modbus.pdu.counted": "modbus.data.Read.answer",
    "modbus.pdu.counted_data": "modbus.data.Read.answer",
    "modbus.pdu.refusal": "modbus.pdu.check",
    "modbus.services.Raw": "modbus.services.answer",
    "modbus.services.Diagnostics": "modbus.services.answer",
    "modbus.services.Identify": "modbus.services.answer",
    "modbus.services.Ddp": "modbus.services.answer",
    "modbus.values.Plain": "modbus.values.decode",
    "modbus.values.Bcd": "modbus.values.decode",
    "modbus.values.Instant": "modbus.values.decode",
    "modbus.values.Ipv4": "modbus.values.decode",
    "modbus.values.Modulo": "modbus.values.decode",
    "modbus.values.Bytes": "modbus.values.decode",
    "modbus.values.Field": "modbus.values.decode",
    "modbus.values.Scaled": "modbus.values.decode",
    "modbus.values.Text": "modbus.values.Text.decode",
    **{f"cip.sign_on.{each}": "cip.reader.Reader" for each in _SIGN_ON},
    "sigrok.described.DeviceOptions": "sigrok.described.parse_show",
    "sigrok.srzip.Capture": "sigrok.vcd.vcd",
    "indi.text.TextDecoder": "indi.text.TextDecoder.decode",
    "cip.records.Records": "cip.records.Records.read",
}
# Those that see numbers, frames of at most 64 bytes, or what we send ourselves.
WITHOUT_INPUT = frozenset(
    (
        # of a descriptor that was parsed already
        *(f"hid.controls.{each}" for each in ("Control", "write")),
        *(f"hid.descriptor.{each}" for each in ("ReportDescriptor", "ReportField")),
        *(f"hid.usages.{each}" for each in ("is_key", "name", "page_of")),
        *(f"hid.values.{each}" for each in ("Scale", "scale", "unit", "write_bits")),
        *(f"can.{each}" for each in ("Mask", "highest_id", "is_extended", "id_text")),
        *(f"can.{each}" for each in ("exactly", "accepts", "frame", "bits")),
        "can.cansend_text",
        "canlink.request",  # a name of the configuration
        "canlink.restart",
        "cip.joins.check",
        "cip.records.encode_command",
        "cip.records.encode_clock",
        "cip.sign_on.encode_around",
        "gct.ddp.parts",
        "gct.decoder.speaks",
        "gct.messages.encode",
        "gct.messages.fields",
        "indi.numbers.format_time",
        *(f"j1939.{each}" for each in ("pgn", "mask", "source", "destination")),
        *(f"modbus.data.Write{each}" for each in ("Coil", "Register")),
        *(f"modbus.data.Write{each}s" for each in ("Coil", "Register")),
        "modbus.framing.encode",
        *(f"modbus.framing.encode_{each}" for each in ("mbap", "rtu", "ascii")),
        "modbus.pdu.check_span",
        "modbus.pdu.exception",
        "modbus.values.number",
        "slcan.encode",
        "slcan.opening",
        "usrcanet.encode",
    )
)


def public_names() -> Iterator[str]:
    """Yield every public function of the codecs, and every class that has a method."""
    for found in pkgutil.walk_packages(busbar.codecs.__path__, "busbar.codecs."):
        module = importlib.import_module(found.name)
        for name, each in vars(module).items():
            own = getattr(each, "__module__", None) == module.__name__
            if own and not name.startswith("_") and _takes_something(each):
                yield f"{found.name.removeprefix('busbar.codecs.')}.{name}"


def _takes_something(each: Any) -> bool:
    if inspect.isfunction(each):
        return bool(inspect.signature(each).parameters)
    if not inspect.isclass(each) or getattr(each, "_is_protocol", False):
        return False
    for name, member in vars(each).items():
        if not name.startswith("_") and _is_method(member):
            return True
    return False


def _is_method(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, classmethod)
