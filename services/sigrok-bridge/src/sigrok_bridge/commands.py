"""Commands of an instrument: capture, decode, scan."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from busbar.bridge import BadRequest, BlobValue, Outlet, Turn, command
from busbar.codecs.sigrok import Annotation
from sigrok_bridge.capture import Captured, Value, Wanted
from sigrok_bridge.instrument import Instrument
from sigrok_bridge.settings import Device, driver

SAMPLES = 1000  # where neither `samples` nor `seconds` is asked for
REPEATS = 1000
SHOWN = 1000  # annotations in a result; the blob has all
HOUR = 3600.0  # s
SESSION = "application/vnd.sigrok.session"
LINES = "application/jsonl"
CAPTURE = "capture"
ANNOTATIONS = "annotations"

_DECODER = r"[a-z0-9][a-z0-9_]{0,63}(?::[a-z0-9_]{1,64}=[A-Za-z0-9_.+-]{1,64}){0,32}"
_STACK = re.compile(f"{_DECODER}(?:,{_DECODER}){{0,8}}")
Text = Annotated[str, Meta(min_length=1, max_length=100)]
Stack = Annotated[
    str,
    Meta(
        max_length=2000,
        description="as sigrok-cli -P: uart:rx=D0:baudrate=9600,modbus",
    ),
]
Stacks = Annotated[list[Stack], Meta(max_length=16)]


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `capture`: no channels are all, no samplerate is the highest."""

    channels: Annotated[list[Text], Meta(max_length=512)] = []
    samplerate: Annotated[int, Meta(ge=1, le=10**12)] | None = None  # Hz
    samples: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    seconds: Annotated[float, Meta(gt=0, le=HOUR)] | None = None
    triggers: dict[Text, Text] = {}  # channel -> 0 1 r f e
    from_trigger: bool = False  # true: without what came before the trigger
    config: dict[Text, Value] = {}  # options for this capture only
    group: Text | None = None  # the group of channels that `config` is for
    decoders: Stacks = []


class Captures(Capture, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `captures`: those of `capture`, and how often."""

    count: Annotated[int, Meta(ge=2, le=REPEATS)]


class Decode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `decode`: decoders as for `sigrok-cli -P`, stacked with a comma."""

    decoders: Stacks


class Scan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `scan`: one driver, with `:conn=` where it needs that."""

    driver: str


class Found(msgspec.Struct, frozen=True):
    """A device that a driver has found."""

    address: str
    title: str
    channels: list[str]


class Taken(msgspec.Struct, frozen=True):
    """Result of `capture`: what there is, compared with what was asked for."""

    time: float  # Unix s at the start of sigrok-cli
    samplerate: int | None  # Hz, as the device had it
    samples: int
    asked: int | None  # samples; None where only a time was given to the device
    complete: bool  # false: fewer than were asked for
    channels: list[str]
    trigger: int | None  # samples before it; null: none, or not told by the driver
    gap: float | None  # s without samples since the capture before, of a series
    ended: str | None  # `time` or `size`: the limit that has ended it
    size: int
    file: str | None
    annotations: int | UnsetType = UNSET


class Latest(BlobValue, frozen=True):
    """Value of `capture`: the latest one."""

    time: float = 0.0
    samplerate: int | None = None
    samples: int = 0
    complete: bool = True
    channels: tuple[str, ...] = ()
    trigger: int | None = None


class Decoded(msgspec.Struct, frozen=True):
    """Result of `decode`: the first annotations; the blob has all of them."""

    count: int
    left_out: int
    skipped: int
    annotations: list[Annotation]


class InstrumentCommands:
    """What can be asked of an instrument."""

    def __init__(
        self, outlet: Outlet, instrument: Instrument, latest: dict[str, Any]
    ) -> None:
        self._outlet = outlet
        self._instrument = instrument
        self._latest = latest  # by blob: what its property says

    @command(timeout=HOUR)
    async def capture(self, device: str, arguments: Capture, turn: Turn) -> Taken:
        """Capture samples of some or all channels."""
        wanted = self._wanted(arguments)
        taken, _ = await self._once(wanted, arguments.decoders, turn, None)
        return taken

    @command(timeout=HOUR)
    async def captures(
        self, device: str, arguments: Captures, turn: Turn
    ) -> list[Taken]:
        """Capture several times, one after the other, and tell the gaps between."""
        wanted = self._wanted(arguments)
        found: list[Taken] = []
        before: Captured | None = None
        for number in range(arguments.count):
            taken, before = await self._once(wanted, arguments.decoders, turn, before)
            found.append(taken)
            turn.progress((number + 1) / arguments.count, f"{number + 1} captures")
        return found

    @command(timeout=HOUR)
    async def decode(self, device: str, arguments: Decode, turn: Turn) -> Decoded:
        """Let protocol decoders look at the latest capture."""
        return await self._decode(arguments.decoders, turn)

    @command(timeout=120.0)
    async def scan(self, device: str, arguments: Scan, turn: Turn) -> list[Found]:
        """Look for the devices of one driver."""
        try:
            asked = Device(name="scan", address=arguments.driver)
        except ValueError as error:
            raise BadRequest(str(error).replace("address", "driver")) from error
        found = await self._instrument.scan(driver(asked.address))
        return [Found(each.address, each.title, list(each.channels)) for each in found]

    async def _once(
        self, wanted: Wanted, decoders: list[str], turn: Turn, before: Captured | None
    ) -> tuple[Taken, Captured]:
        came = await self._instrument.capture(wanted, turn.asked)
        for message in came.messages:
            turn.message(message)
        taken = _taken(wanted, came, before)
        file = await self._publish(taken, came)
        count: int | UnsetType = UNSET
        if decoders:
            count = (await self._decode(decoders, turn)).count
        replaced = msgspec.structs.replace(taken, file=file, annotations=count)
        return replaced, came

    async def _publish(self, taken: Taken, came: Captured) -> str | None:
        about = msgspec.to_builtins(taken)
        own = {name: about[name] for name in _OWN}
        return await self._blob(CAPTURE, came.data, SESSION, own)

    async def _blob(
        self, name: str, data: bytes, kind: str, about: Mapping[str, Any]
    ) -> str | None:
        """Publish data; return the file where they were too large for the bus."""
        outcome = await self._outlet.blob(name, data, kind, about=about)
        outcome.check()
        latest = {"size": len(data), "content_type": kind, "file": outcome.file}
        self._latest[name] = {**about, **latest}
        return outcome.file

    async def _decode(self, stacks: list[str], turn: Turn) -> Decoded:
        for each in stacks:
            if not _STACK.fullmatch(each):
                raise BadRequest(f"{each!r:.100} is no decoder like uart:rx=D0")
        if not stacks:
            raise BadRequest("decoders: none is given")
        came = await self._instrument.decode(stacks, turn.asked)
        lines = b"\n".join(msgspec.json.encode(each) for each in came.found) + b"\n"
        await self._blob(ANNOTATIONS, lines, LINES, {})
        count = len(came.found) + came.left_out
        return Decoded(count, came.left_out, came.skipped, came.found[:SHOWN])

    def _wanted(self, arguments: Capture) -> Wanted:
        """Return what to capture; raise BadRequest for what the device has not."""
        self._check(arguments)
        rate = arguments.samplerate
        if rate is None and arguments.group is None:
            rate = self._instrument.chosen or self._instrument.highest_rate
        samples = arguments.samples
        if arguments.seconds is not None and rate:
            samples = max(1, round(arguments.seconds * rate))
        elif samples is None and arguments.seconds is None:
            samples = SAMPLES
        return Wanted(
            tuple(dict.fromkeys(arguments.channels)),
            rate,
            samples,
            arguments.seconds,
            arguments.triggers,
            arguments.from_trigger,
            arguments.group,
            arguments.config,
        )

    def _check(self, arguments: Capture) -> None:
        options = self._instrument.options
        _among("channels", arguments.channels, options.device.channels)
        _among("triggers", arguments.triggers, options.device.channels)
        _among("triggers", arguments.triggers.values(), options.triggers)
        if arguments.group is not None:
            _among("group", [arguments.group], options.groups)
            if arguments.samplerate is not None:
                raise BadRequest(
                    "samplerate: sigrok-cli cannot set it together with options of "
                    "a group; the device keeps the rate that it has"
                )
        known = [each.key for each in options.options if each.group == arguments.group]
        _among("config", arguments.config, known)
        if "samplerate" in arguments.config:
            raise BadRequest("config: the rate is the argument `samplerate`")
        if arguments.samples is not None and arguments.seconds is not None:
            raise BadRequest("samples and seconds: give one of them")
        if arguments.from_trigger and not arguments.triggers:
            raise BadRequest("from_trigger: there are no `triggers`")


_OWN = ("time", "samplerate", "samples", "complete", "channels", "trigger")


def _among(what: str, given: Iterable[str], there: Iterable[str]) -> None:
    allowed = list(there)
    for each in given:
        if each not in allowed:
            names = ", ".join(allowed[:20]) or "none"
            raise BadRequest(f"{what}: no {each!r:.60}; there are: {names}")


def _taken(wanted: Wanted, came: Captured, before: Captured | None) -> Taken:
    rate, samples = came.capture.rate, came.capture.samples
    gap = None
    if before is not None:
        length = samples / rate if rate else 0.0
        gap = round(max(0.0, came.ended - before.ended - length), 6)
    return Taken(
        round(came.started, 6),
        rate,
        samples,
        wanted.samples,
        came.limit is None and samples >= (wanted.samples or 0),
        list(came.capture.channels),
        came.trigger,
        gap,
        came.limit,
        len(came.data),
        None,
    )
