"""One instrument behind sigrok-cli: what it is, its options, its captures."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from busbar.bridge import (
    BadRequest,
    DeviceRefused,
    DeviceTimeout,
    LinkLost,
    ProtocolError,
    TooLarge,
)
from busbar.codecs.sigrok import (
    Annotation,
    AnnotationReader,
    DeviceOptions,
    FoundDevice,
    Option,
    parse_scan,
    parse_show,
    parse_value,
    read,
)
from sigrok_bridge.capture import (
    Annotations,
    Captured,
    Value,
    Wanted,
    arguments,
    packed,
    text_of,
)
from sigrok_bridge.program import Ran, SigrokCli
from sigrok_bridge.settings import Device, driver

GROUPS = 64  # groups of channels whose options are looked at
SCAN = 60.0  # s: drivers that ask every port of a bus take their time
ANNOTATIONS = 100_000  # of one run of the decoders
# drivers that put the enabled channels into the lowest bits, whatever their numbers
# are, while libsigrok 0.5.2 writes and reads them by their numbers (zeros)
PACKING = frozenset({"demo"})
# what a capture says itself, and what does not work (0 bytes)
NO_OPTIONS = frozenset({"limit_samples", "limit_time", "limit_frames", "continuous"})


class Instrument:
    """One instrument; its callers see to it that only one of them asks at a time."""

    def __init__(self, settings: Device, program: SigrokCli) -> None:
        self._settings = settings
        self._program = program
        self._driver = driver(settings.address)
        self._held: dict[str, Value] = {}  # options that it forgets when it is closed
        self.chosen: int | None = None  # samples/s that a set has chosen
        self.options = DeviceOptions(FoundDevice(self._driver, "", ()))
        self.kept: Captured | None = None  # the latest capture

    async def open(self) -> None:
        """Ask what it is; raise LinkLost where it is not there."""
        shown = await self._show()
        options = list(shown.options)
        for group in list(shown.groups)[:GROUPS]:
            options += await self._group_options(group)
        self.options = DeviceOptions(
            shown.device,
            shown.groups,
            tuple(each for each in options if each.key not in NO_OPTIONS),
            shown.triggers,
        )

    async def look(self) -> dict[Option, Value]:
        """Return the options of the device itself as they are now.

        Raise LinkLost where it is not there.
        """
        shown = await self._show()
        found: dict[Option, Value] = {}
        for option in self.options.options:
            if option.group is None:
                text = (shown.option(option.key) or option).current
                value = await self._current(option, text)
                if value is not None:
                    found[option] = value
        return found

    async def look_at(self, option: Option) -> Value:
        """Return an option as the device has it."""
        ran = await self._run(*self._group(option), "--get", option.key)
        ran.check()
        return parse_value(ran.text, option)

    async def set(self, option: Option, value: Value) -> Value:
        """Write an option; return what it is then.

        One that the device forgets is given to it again with each capture.
        """
        given = f"{option.key}={text_of(value)}"
        ran = await self._run(*self._group(option), "-c", given, "--set")
        ran.check()
        now = await self.look_at(option)
        if option.key == "samplerate" and option.group is None:
            self.chosen = int(value)
        if now == value:
            self._held.pop(option.key, None)
            return now
        if option.group is not None:
            raise DeviceRefused(
                f"{option.group}/{option.key} is {now!r} again: this device forgets "
                "it between runs; give it to the capture (`group`, `config`)"
            )
        self._held[option.key] = value
        return value

    @property
    def highest_rate(self) -> int | None:
        """The highest rate of the device (samples/s)."""
        option = self.options.option("samplerate")
        if option is None or option.most is None:
            return None
        return int(option.most)

    async def capture(self, wanted: Wanted, patience: float | None) -> Captured:
        """Capture once.

        Raise DeviceTimeout where nothing has come, TooLarge, DeviceRefused, LinkLost.
        """
        self._check_size(wanted)
        with tempfile.TemporaryDirectory(prefix="busbar-sigrok-") as folder:
            return await self._capture(wanted, patience, Path(folder) / "capture.sr")

    async def _capture(
        self, wanted: Wanted, patience: float | None, file: Path
    ) -> Captured:
        limit = wanted.duration + (patience or self._settings.timeout)
        started = time.time()
        ran = await self._run(
            *self._line(wanted, file),
            limit=limit,
            grows=(file, self._settings.capture_limit),
        )
        ended = time.time()
        if ran.ended == "itself":
            ran.check()
        data = await asyncio.to_thread(self._take, file, ran, limit)
        capture = await asyncio.to_thread(read, data, self._settings.capture_limit)
        if wanted.channels:
            capture = capture.only(wanted.channels)
        if not capture.samples:
            raise self._nothing(ran, limit)
        why = None if ran.ended == "itself" else ran.ended
        trigger = 0 if wanted.from_trigger else ran.log.trigger
        if not wanted.triggers:
            trigger = None
        self.kept = Captured(
            data, capture, started, ended, trigger, ran.log.messages, why
        )
        return self.kept

    async def decode(
        self, stacks: Sequence[str], patience: float | None
    ) -> Annotations:
        """Let protocol decoders look at the latest capture."""
        if self.kept is None:
            raise BadRequest("there is no capture yet")
        reader = AnnotationReader()
        found: list[Annotation] = []
        count = 0

        def take(data: bytes) -> None:
            nonlocal count
            for each in reader.feed(data):
                count += 1
                if len(found) < ANNOTATIONS:
                    found.append(each)

        chosen = [word for each in stacks for word in ("-P", each)]
        with tempfile.TemporaryDirectory(prefix="busbar-sigrok-") as folder:
            file = Path(folder) / "capture.sr"
            await asyncio.to_thread(file.write_bytes, self.kept.data)
            ran = await self._program.run(
                ["-i", str(file), *chosen, "--protocol-decoder-jsontrace"],
                patience or self._settings.timeout,
                take=take,
            )
        if ran.ended == "time":
            raise DeviceTimeout("the decoders have not ended in time")
        ran.check()
        complaints = [each for each in ran.log.messages if _is_complaint(each)]
        if complaints:  # it goes on without, and ends with 0
            raise DeviceRefused("; ".join(complaints))
        for each in reader.close():
            count += 1
            if len(found) < ANNOTATIONS:
                found.append(each)
        return Annotations(found, count - len(found), reader.skipped)

    async def scan(self, driver: str) -> list[FoundDevice]:
        """Return what a driver finds; every driver at once would grab foreign ports."""
        ran = await self._program.run(["-d", driver, "--scan"], SCAN)
        if ran.ended == "time":
            raise DeviceTimeout(f"the driver has not ended within {SCAN:g} s")
        ran.check()
        return parse_scan(ran.text)

    async def _show(self, *group: str) -> DeviceOptions:
        ran = await self._run(*group, "--show")
        if ran.ended == "time":
            limit = self._settings.timeout
            raise LinkLost(f"sigrok-cli has not answered within {limit:g} s")
        ran.check()
        try:
            return parse_show(ran.text)
        except ProtocolError as error:
            said = "; ".join(ran.log.messages) or error.message
            raise LinkLost(f"sigrok-cli finds no such device: {said}") from error

    async def _group_options(self, group: str) -> list[Option]:
        shown = await self._show("-g", group)
        return [each for each in shown.options if each.group == group]

    async def _current(self, option: Option, text: str | None) -> Value | None:
        if option.key in self._held:
            return self._held[option.key]
        if text is not None:
            return parse_value(text, option)
        try:
            return await self.look_at(option)
        except (DeviceRefused, ProtocolError):  # one that can only be written
            return None

    def _group(self, option: Option) -> tuple[str, ...]:
        return () if option.group is None else ("-g", option.group)

    async def _run(
        self,
        *arguments: str,
        limit: float | None = None,
        grows: tuple[Path, int] | None = None,
    ) -> Ran:
        seconds = self._settings.timeout if limit is None else limit
        return await self._program.run(
            ["-d", self._driver, *arguments], seconds, grows=grows
        )

    def _line(self, wanted: Wanted, file: Path) -> list[str]:
        options = dict(wanted.options)
        if wanted.group is None:
            options = {**self._held, **options}
            if wanted.rate is not None:
                options["samplerate"] = wanted.rate
        channels = wanted.channels
        if self._driver.partition(":")[0] in PACKING:
            logic = self.options.groups.get("Logic", ())
            channels = packed(channels, self.options.device.channels, logic)
        return arguments(wanted, channels, options, file)

    def _check_size(self, wanted: Wanted) -> None:
        """Raise TooLarge for what certainly is: a bit of each channel and sample."""
        samples = wanted.samples
        if samples is None:
            samples = int(wanted.duration * (wanted.rate or 0))
        channels = len(wanted.channels or self.options.device.channels)
        size = samples * -(-channels // 8)
        limit = self._settings.capture_limit
        if size > limit:
            raise TooLarge(
                f"{samples} samples of {channels} channels are at least {size} bytes; "
                f"`capture_limit` is {limit}",
                limit=limit,
            )

    def _take(self, file: Path, ran: Ran, limit: float) -> bytes:
        """Return the archive, which is whole after each of its parts."""
        try:
            if file.stat().st_size > 2 * self._settings.capture_limit:
                raise TooLarge("the capture is larger than `capture_limit`")
            return file.read_bytes()
        except OSError as error:
            raise self._nothing(ran, limit) from error

    def _nothing(self, ran: Ran, limit: float) -> DeviceTimeout | DeviceRefused:
        said = "; ".join(ran.log.messages)
        if ran.log.waits and ran.log.trigger is None and ran.ended == "itself":
            return DeviceTimeout("it has ended without a trigger")
        if ran.ended == "time":
            return DeviceTimeout(
                f"no samples within {limit:g} s: {said or 'no trigger'}"
            )
        return DeviceRefused(f"the device has sent no samples: {said}")


def _is_complaint(message: str) -> bool:
    return "No channel with name" in message or message.startswith("Unknown option")
