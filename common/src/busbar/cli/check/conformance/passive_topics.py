"""Topics, retained flags and QoS (section 1), and what the whole bridge says of itself (3.1, 4)."""

from collections.abc import Iterator

from busbar.cli.check.conformance.checks import Verdict, passive
from busbar.cli.check.conformance.record import Device, Record, may_have, split
from busbar.cli.observe import Seen
from busbar.contract.messages import CONTRACT
from busbar.contract.names import LEVEL

DEVICE_COMMANDS = ("refresh", "cancel", "lock", "unlock")
LINK_COMMANDS = ("connect", "disconnect", "reconnect")
BRIDGE_COMMANDS = (
    "list",
    "scan",
    "open",
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
    "reconnects",
    "loop_lag",
    "rss",
    "clock",
)
EVENTS = ("change", "received", "progress")  # of every device
# s; what belongs together has come by then: a snapshot waits for a second at most
SETTLED = 2.0


def devices(record: Record) -> list[Device]:
    """Return all devices, the bridge's own last."""
    return sorted(
        record.devices.values(),
        key=lambda device: (device is record.bridge, device.name),
    )


@passive(
    "1",
    (
        "Topics are <root>/<bridge>/<device>/<channel>[/<path>] with levels of A-Z "
        "a-z 0-9 "
        "_ -"
    ),
    "a message",
)
def topics(record: Record) -> Iterator[Verdict]:
    yield from (f"{topic}: no topic of the contract" for topic in record.strange)
    for device in devices(record):
        yield from (None for _ in device.messages)


@passive(
    "1", ("status, info and state of every device are there and retained"), "a device"
)
def retained(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel in ("status", "info", "state"):
            topic = f"{record.base}{device.name}/{channel}"
            yield (
                None
                if topic in record.late
                else (f"{topic}: a late subscriber gets nothing")
            )


@passive("1", "state/<property> is retained", "a leaf")
def leaves_are_retained(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        newest = {
            path: seen
            for channel, path, seen in device.messages
            if channel == "state" and path
        }
        for seen in newest.values():
            fine = not seen.payload or seen.topic in record.late
            yield None if fine else f"{seen.topic}: a late subscriber gets nothing"


@passive(
    "1",
    ("Events, replies and commands are never retained"),
    "an event, reply or command",
)
def not_retained(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        yield from (
            None for channel, _, _ in device.messages if channel in ("event", "reply")
        )
    for topic in record.late:
        if split(topic.removeprefix(record.base))[1] in (
            "event",
            "reply",
            "set",
            "call",
        ):
            yield f"{topic}: is retained"


@passive("1", "status, info, state, events and replies have QoS 1", "a message")
def qos_1(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel, path, seen in device.messages:
            if channel != "blob" and not (channel == "state" and path):
                yield _qos(seen, 1)


@passive("1", "state/<property> and blobs have QoS 0", "a leaf or blob")
def qos_0(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        for channel, path, seen in device.messages:
            if (channel == "blob" or (channel == "state" and path)) and seen.payload:
                yield _qos(seen, 0)


def _qos(seen: Seen, wanted: int) -> Verdict:
    return None if seen.qos == wanted else f"{seen.topic}: QoS {seen.qos}, not {wanted}"


@passive(
    "1", ("info names every leaf, event and blob that comes"), "a leaf, event or blob"
)
def named(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        if (info := device.last("info")) is None:
            continue
        gone = {
            change.path
            for _, event in device.changes()
            for change in event.changes
            if change.gone is True
        }
        for path in device.leaves.keys() - gone:
            yield (
                None
                if may_have(info, path)
                else (f"{device.name}: info has no property {path!r} of a leaf")
            )
        for name in device.events:
            yield (
                None
                if name in info.events or name in EVENTS
                else (f"{device.name}: info has no event {name!r}")
            )
        for name in device.blobs:
            fine = name in info.blobs and may_have(info, name)
            yield (
                None
                if fine
                else (f"{device.name}: info has no blob {name!r} with its property")
            )


@passive(
    "1",
    ("The names in info are topic levels; a device's name is never reserved"),
    "info",
)
def names(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info = device.last("info")
        groups = (
            (info.properties, info.events, info.blobs, info.commands) if info else ()
        )
        for name in (name for group in groups for name in group):
            levels = name.replace("{", "").replace("}", "").split("/")
            yield (
                None
                if all(map(LEVEL.fullmatch, levels))
                else (f"{device.name}: {name!r} is no path of levels")
            )


@passive(
    "2",
    ("Every device has the commands of every device, and the bridge its own"),
    "info",
)
def commands(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        info = device.last("info")
        own = BRIDGE_COMMANDS if device is record.bridge else LINK_COMMANDS
        for name in (*DEVICE_COMMANDS, *own) if info else ():
            yield (
                None
                if name in info.commands
                else (f"{device.name}: has no command {name!r}")
            )


@passive("3.1", "boot is the same everywhere", "a payload with boot")
def boot(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        told = [
            each
            for channel in ("status", "info", "state")
            for each in device.said[channel][-1:]
        ]
        for seen, said in ((each.seen, each.said.boot) for each in told):
            yield (
                None
                if said == record.boot
                else (
                    f"{seen.topic}: boot {said}, the bridge's status has {record.boot}"
                )
            )
        for event in (each for events in device.events.values() for each in events):
            fine = event.said["boot"] == record.boot
            yield (
                None
                if fine
                else (
                    f"{event.seen.topic}: boot {event.said['boot']}, not {record.boot}"
                )
            )


@passive(
    "3.1",
    ("info.revision and state.seq reach those in status"),
    "a device with status, info and state",
)
def whole_picture(record: Record) -> Iterator[Verdict]:
    for device in devices(record):
        status, info, state = (
            device.last(channel) for channel in ("status", "info", "state")
        )
        recent = status and record.until - device.said["status"][-1].seen.at < SETTLED
        if None in (status, info, state) or recent:
            continue
        fine = info.revision >= status.revision and state.seq >= status.seq
        found = f"info has revision {info.revision} and state seq {state.seq}"
        wanted = f"status says {status.revision} and {status.seq}"
        yield None if fine else f"{device.name}: {found}, {wanted}"


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
        for told in device.said["info"]:
            info = told.said
            fine = (info.contract, info.bridge, info.device) == (
                CONTRACT,
                bridge,
                device.name,
            )
            fine &= (info.kind == "bridge") == (device is record.bridge)
            found = (
                f"contract {info.contract}, {info.bridge}/{info.device}, kind "
                f"{info.kind!r}"
            )
            yield None if fine else f"{told.seen.topic}: {found}"


@passive(
    "4",
    ("The bridge's own state has its counters, and they are numbers"),
    "the bridge's state",
)
def own_state(record: Record) -> Iterator[Verdict]:
    state = record.bridge.last("state")
    for path in OWN_PROPERTIES if state else ():
        value = state.values.get(path)
        kinds = {"version": str, "clock": bool}
        fine = isinstance(value, kinds.get(path, int | float)) and (
            path == "clock" or not isinstance(value, bool)
        )
        yield None if fine else f"{record.base}bridge/state: {path} is {value!r}"
