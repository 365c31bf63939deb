"""Checks of writes (2), only with --all.

Every property that can be read and written gets the value it has.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from busbar.cli.check.conformance.active_commands import REFUSED_BY_DEVICE
from busbar.cli.check.conformance.active_locks import free, lease, lock
from busbar.cli.check.conformance.caller import PATIENCE, TTL, Caller, Outcome, Target
from busbar.cli.check.conformance.checks import Verdict, active, verdict
from busbar.cli.schemas.json_schema import problem
from busbar.contract import messages
from busbar.contract.messages import PropertyInfo

NEEDS = "a property to write that has a good value, of a device that is online,"


def writable(caller: Caller) -> Iterator[tuple[Target, str, PropertyInfo, Any]]:
    """Yield device, path, property and value of what can be written unchanged."""
    for device in caller.devices:
        if not device.online:
            continue
        for path, about in device.info.properties.items():
            value = _present(device, path, about)
            if value is not UNSET and problem(value, about.schema) is None:
                yield device, path, about, value


def _present(device: Target, path: str, about: PropertyInfo) -> Any:
    """Return the value of a property to write, UNSET if it cannot be known."""
    if "w" not in about.access or "{" in path or about.readback is None:
        return UNSET
    if isinstance(about.readback, str):
        return device.good(about.readback)
    return device.good(path)


async def write(caller: Caller, device: Target, target: str, payload: Any) -> Outcome:
    """Send a write and wait as long as a device may take."""
    return await caller.ask(device.name, target, payload, limit=TTL + TTL + PATIENCE)


def forms(value: Any) -> Iterator[bytes]:
    """Yield the payloads that all mean this value."""
    yield messages.encode({"_value": value})
    yield msgspec.msgpack.encode({"_value": value})
    yield messages.encode(value)
    if value is True:
        yield from (b"on", b"TRUE", b"1")
    elif value is False:
        yield from (b"off", b"False", b"0")
    elif isinstance(value, str) and _is_bare(value):
        yield value.encode()


def _is_bare(text: str) -> bool:
    """Return whether a text is taken verbatim, not as JSON."""
    return bool(text) and not text.strip().startswith(('"', "{"))


@active(
    "2",
    "Every form of a payload writes the same value, and that is what appears",
    NEEDS,
    everything=True,
)
async def every_form(caller: Caller) -> AsyncIterator[Verdict]:
    for device, path, about, value in writable(caller):
        for payload in forms(value):
            outcome = await write(caller, device, f"set/{path}", payload)
            yield outcome.expect(*REFUSED_BY_DEVICE)
            result = outcome.result if outcome.code == "ok" else None
            yield verdict(
                result is None or problem(result, about.schema) is None,
                f"{outcome.topic}: the result {outcome.result!r} is not of the schema",
            )


@active(
    "2",
    "`set` of several takes an object of paths and values",
    NEEDS,
    everything=True,
)
async def several(caller: Caller) -> AsyncIterator[Verdict]:
    for device in caller.devices:
        values = {
            path: value for each, path, _, value in writable(caller) if each is device
        }
        if values:
            outcome = await write(caller, device, "set", values)
            yield outcome.expect(*REFUSED_BY_DEVICE)


@active(
    "2",
    "`set` of several is validated whole before anything is written",
    NEEDS,
    everything=True,
)
async def validated_whole(caller: Caller) -> AsyncIterator[Verdict]:
    for device, path, _, value in writable(caller):
        outcome = await write(caller, device, "set", {path: value, caller.unused: 1})
        yield outcome.expect("unknown")
        error = outcome.reply.error if outcome.reply else None
        applied = None
        if isinstance(error, messages.ReplyError):
            applied = error.detail.get("applied")
        yield verdict(not applied, f"{outcome.topic}: {applied} was applied")


@active(
    "2",
    "A value out of range or of the wrong type is refused",
    NEEDS,
    everything=True,
)
async def refused(caller: Caller) -> AsyncIterator[Verdict]:
    for device, path, about, _ in writable(caller):
        for value, code in _wrong(about.schema):
            outcome = await write(caller, device, f"set/{path}", {"_value": value})
            yield outcome.expect(code)


def _wrong(schema: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield values that do not fit, with the code of their refusal."""
    if schema.get("type") in ("number", "integer"):
        yield "no number", "bad_request"
        if "maximum" in schema:
            yield schema["maximum"] + 1, "out_of_range"
        if "minimum" in schema:
            yield schema["minimum"] - 1, "out_of_range"
    elif schema.get("type") == "boolean":
        yield 17, "bad_request"
    elif "enum" in schema and all(isinstance(each, str) for each in schema["enum"]):
        yield "".join(schema["enum"]) + "-not", "out_of_range"


@active(
    "2",
    "Unknown keys beside `_value` and misspelt metadata are `bad_request`",
    NEEDS,
    everything=True,
)
async def unknown_keys(caller: Caller) -> AsyncIterator[Verdict]:
    for device, path, about, value in writable(caller):
        misspelt = {"_value": value, "_tll": 3}
        outcome = await write(caller, device, f"set/{path}", misspelt)
        yield outcome.expect("bad_request")
        if about.schema.get("type") in ("number", "integer", "boolean"):
            outcome = await write(caller, device, f"set/{path}", {"value": value})
            yield outcome.expect("bad_request")


@active(
    "2",
    "An object with `_value` that is no JSON is `bad_request`, never taken as text",
    NEEDS,
    everything=True,
)
async def no_json(caller: Caller) -> AsyncIterator[Verdict]:
    for device, path, _, _ in writable(caller):
        outcome = await write(caller, device, f"set/{path}", b'{"_value": NaN}')
        yield outcome.expect("bad_request")


@active(
    "2",
    "A lock keeps writes of others out, and lets those with its lease pass",
    NEEDS,
    everything=True,
)
async def locked(caller: Caller) -> AsyncIterator[Verdict]:
    unlocked = free(caller)
    for device, path, _, value in writable(caller):
        if device not in unlocked:
            continue
        async with lock(caller, device) as held:
            if held.code != "ok":
                continue
            target = f"set/{path}"
            others = await write(caller, device, target, {"_value": value})
            yield others.expect("locked")
            ours = {"_value": value, "_lease": lease(held)}
            outcome = await write(caller, device, target, ours)
            yield outcome.expect(*REFUSED_BY_DEVICE)
