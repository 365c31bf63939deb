"""Checks of topics, retained flags and QoS (1), and of the bridge itself (3.1, 4)."""

from collections.abc import Iterator

from busbar.cli.check.conformance.checks import Verdict, passive, verdict
from busbar.cli.check.conformance.record import DeviceRecord, Record, may_have, split
from busbar.cli.observe import Seen
from busbar.contract.messages import CONTRACT
from busbar.contract.names import LEVEL

DEVICE_COMMANDS = ("refresh", "cancel", "lock", "unlock")
LINK_COMMANDS = ("connect", "disconnect", "reconnect")
BRIDGE_COMMANDS = (  # `open` is there where a bridge can open devices
    "list",
    "scan",
    "close",
    "disconnect_all",
    "reload",
    "log_level",
    "clean",
    "shutdown",
)
OWN_PROPERTIES = (
    "uptime",
    "version",
    "devices",
    "published",
    "received",
    "dropped",
    "suppressed",
    "queued",
    "log_left_out",
    "errors",
    "reconnects",
    "loop_lag",
    "rss",
    "clock",
)
EVENTS = ("change", "received", "progress")  # of every device


def devices(record: Record) -> list[DeviceRecord]:
    """Return all devices, the bridge's own last."""
    return sorted(
        record.devices.values(),
        key=lambda device: (device is record.bridge, device.name),
    )


@passive(
    "1",
    (
        "Topics are <root>/<bridge>/<device>/<channel>[/<path>] with levels of A-Z "
        "a-z 0-9 _ -"
    ),
    "a message",
)
def topics(record: Record) -> Iterator[Verdict]:
    for topic in record.strange:
        yield f"{topic}: no topic of the contract"
    for device in devices(record):
        for _ in device.messages:
            yield None


@passive(
    "1", "status, info and state of every device are there and retained", "a device"
)
def retained(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel in ("status", "info", "state"):
            topic = f"{record.base}{device.name}/{channel}"
            yield verdict(
                topic in record.late, f"{topic}: a late subscriber gets nothing"
            )


@passive("1", "state/<property> is retained", "a leaf")
def leaves_are_retained(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        newest: dict[str, Seen] = {}
        for channel, path, seen in device.messages:
            if _is_leaf(channel, path):
                newest[path] = seen
        for seen in newest.values():
            fine = not seen.payload or seen.topic in record.late
            yield verdict(fine, f"{seen.topic}: a late subscriber gets nothing")


def _is_leaf(channel: str, path: str) -> bool:
    return channel == "state" and bool(path)


@passive(
    "1",
    "Events, replies and commands are never retained",
    "an event, reply or command",
)
def not_retained(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel, _, _ in device.messages:
            if channel in ("event", "reply"):
                yield None
    for topic in record.late:
        _, channel, _ = split(topic.removeprefix(record.base))
        if channel in ("event", "reply", "set", "call"):
            yield f"{topic}: is retained"


@passive("1", "status, info, state, events and replies have QoS 1", "a message")
def qos_1(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel, path, seen in device.messages:
            if channel != "blob" and not _is_leaf(channel, path):
                yield _qos(seen, 1)


@passive("1", "state/<property> and blobs have QoS 0", "a leaf or blob")
def qos_0(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel, path, seen in device.messages:
            unqueued = channel == "blob" or _is_leaf(channel, path)
            if unqueued and seen.payload:
                yield _qos(seen, 0)


def _qos(seen: Seen, wanted: int) -> Verdict:
    return verdict(seen.qos == wanted, f"{seen.topic}: QoS {seen.qos}, not {wanted}")


@passive(
    "1", "info names every leaf, event and blob that comes", "a leaf, event or blob"
)
def named(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info = device.last("info")
        if info is None:
            continue
        for path in device.leaves.keys() - _gone(device):
            yield verdict(
                may_have(info, path),
                f"{device.name}: info has no property {path!r} of a leaf",
            )
        for name in device.events:
            yield verdict(
                name in info.events or name in EVENTS,
                f"{device.name}: info has no event {name!r}",
            )
        for name in device.blobs:
            yield verdict(
                name in info.blobs and may_have(info, name),
                f"{device.name}: info has no blob {name!r} with its property",
            )


def _gone(device: DeviceRecord) -> set[str]:
    """Return the paths of properties that the device no longer has."""
    paths: set[str] = set()
    for _, event in device.changes():
        paths.update(each.path for each in event.changes if each.gone is True)
    return paths


@passive(
    "1",
    "The names in info are topic levels; a device's name is never reserved",
    "info",
)
def names(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info = device.last("info")
        if info is None:
            continue
        for name in [*info.properties, *info.events, *info.blobs, *info.commands]:
            levels = name.replace("{", "").replace("}", "").split("/")
            yield verdict(
                all(map(LEVEL.fullmatch, levels)),
                f"{device.name}: {name!r} is no path of levels",
            )


@passive(
    "2",
    "Every device has the commands of every device, and the bridge its own",
    "info",
)
def commands(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info = device.last("info")
        if info is None:
            continue
        own = BRIDGE_COMMANDS if device is record.bridge else LINK_COMMANDS
        for name in (*DEVICE_COMMANDS, *own):
            yield verdict(
                name in info.commands, f"{device.name}: has no command {name!r}"
            )


@passive("3.1", "boot is the same everywhere", "a payload with boot")
def boot(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel in ("status", "info", "state"):
            for message in device.read[channel][-1:]:
                found = message.content.boot
                yield verdict(
                    found == record.boot,
                    f"{message.topic}: boot {found}, the bridge's status has "
                    f"{record.boot}",
                )
        for events in device.events.values():
            for event in events:
                found = event.content["boot"]
                yield verdict(
                    found == record.boot,
                    f"{event.topic}: boot {found}, not {record.boot}",
                )


@passive(
    "3.1",
    "info.revision and state.seq reach those in status",
    "a device with status, info and state",
)
def whole_picture(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        status = device.last("status")
        info = device.last("info")
        state = device.last("state")
        if None in (status, info, state):
            continue
        if record.is_recent(device):
            continue
        fine = info.revision >= status.revision and state.seq >= status.seq
        found = f"info has revision {info.revision} and state seq {state.seq}"
        wanted = f"status says {status.revision} and {status.seq}"
        yield verdict(fine, f"{device.name}: {found}, {wanted}")


@passive(
    "3.2",
    (
        "info says contract, bridge and device of its topic, and the bridge is of kind "
        "bridge"
    ),
    "info",
)
def identity(record: Record) -> Iterator[Verdict]:
    bridge = record.base.rstrip("/").rpartition("/")[2]
    for device in devices(record):
        wanted = (CONTRACT, bridge, device.name)
        for message in device.read["info"]:
            info = message.content
            fine = (info.contract, info.bridge, info.device) == wanted
            fine &= (info.kind == "bridge") == (device is record.bridge)
            yield verdict(
                fine,
                f"{message.topic}: contract {info.contract}, "
                f"{info.bridge}/{info.device}, kind {info.kind!r}",
            )


@passive(
    "4",
    "The bridge's own state has its counters, and they are numbers",
    "the bridge's state",
)
def own_state(record: Record) -> Iterator[Verdict]:
    state = record.bridge.last("state")
    if state is None:
        return
    for path in OWN_PROPERTIES:
        value = state.values.get(path)
        yield verdict(
            _fits_own(path, value), f"{record.base}bridge/state: {path} is {value!r}"
        )


def _fits_own(path: str, value: object) -> bool:
    if path == "version":
        return isinstance(value, str)
    if isinstance(value, bool) or path == "clock":
        return isinstance(value, bool) and path == "clock"
    return isinstance(value, int | float)
