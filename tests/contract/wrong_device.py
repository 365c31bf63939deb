"""The devices of the wrong bridge: what they offer, have and do; and their faults."""

import secrets
import time
from typing import Any

from tests.contract.wrong_reading import Refused

NUMBERS = (
    "uptime",
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
)
LOCK = {"ttl": "number", "owner": "string", "scope": "string", "polls": "boolean"}
COMMANDS: dict[str, dict[str, str]] = {
    "refresh": {},
    "cancel": {"id": "string"},
    "lock": LOCK,
    "unlock": {},
}
LINK: dict[str, dict[str, str]] = {"connect": {}, "disconnect": {}, "reconnect": {}}
OWN: dict[str, dict[str, str]] = {
    name: {}
    for name in (
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
}
SAFE = ("refresh", "cancel", "list")
ANY = {"type": "object"}


def _property(schema: dict[str, Any], access: str = "r", **more: Any) -> dict[str, Any]:
    return {"schema": schema, "access": access, **more}


class Device:
    """One device."""

    def __init__(self, name: str, bridge: Any) -> None:
        self.name, self.bridge, self.revision, self.seq, self.ticks = (
            name,
            bridge,
            1,
            0,
            0,
        )
        self.state = "offline" if name == "off" else "online"
        self.lease: tuple[str, str, float] | None = None  # token, owner, end (Unix s)
        self.values: dict[str, Any] = {
            "_lock": None,
            "level": 3.5,
            "on": True,
            "mode": "a",
            "reading": 0,
            "hot": 11,
        }
        self.properties = {
            "_lock": _property({"anyOf": [{"type": "object"}, {"type": "null"}]}),
            "level": _property({"type": "number", "minimum": 0, "maximum": 10}, "rw"),
            "on": _property({"type": "boolean"}, "rw"),
            "mode": _property({"enum": ["a", "b"]}, "rw"),
            "reading": _property({"type": "number"}),
            "hot": _property({"type": "number", "maximum": 10}),
            "family/{member}": _property(
                {"type": "number"}, parameters={"member": {"minimum": 1, "maximum": 4}}
            ),
            "seen/{name}": _property({"type": "number"}),
        }
        if name == "bridge":
            self.values = {
                "_lock": None,
                **dict.fromkeys(NUMBERS, 1),
                "version": "1",
                "clock": True,
            }
            kinds = {"version": "string", "clock": "boolean"}
            self.properties = {
                path: _property({"type": kinds.get(path, "number")})
                for path in self.values
            }
            self.properties["_lock"] = _property({"type": ["object", "null"]})
        self.commands = COMMANDS | (OWN if name == "bridge" else LINK)
        self.bad = {
            path: "offline" for path in self.values if path[0] != "_" and name == "off"
        }
        if name == "lamp":
            self.bad["hot"] = "out_of_range"
        self.times = {path: time.time() for path in self.values}
        self._said = 0.0
        self._plant()

    def has(self, *faults: str) -> bool:
        return self.name != "off" and bool(self.bridge.has(*faults))

    def _plant(self) -> None:
        if self.bridge.has("good values of an offline device"):
            self.bad = {}
        if self.name == "off" and self.bridge.has("a code of its own in bad"):
            self.bad = dict.fromkeys(self.bad, "broken")
        if self.has("a command missing"):
            self.commands = {
                name: each for name, each in self.commands.items() if name != "cancel"
            }
        if self.has("counters missing"):
            for known in (self.values, self.times):
                known.pop("uptime", None)
        if self.name == "lamp" and self.has("a value out of its schema"):
            self.values["level"] = 11
        if self.name == "lamp" and self.has("a good value out_of_range"):
            self.bad["level"] = "out_of_range"
        if self.name == "lamp" and self.has("a bad value of another type"):
            self.values["hot"] = "hot"
        if self.name == "lamp" and self.has("a default out of its schema"):
            self.properties["level"]["default"] = 11
        if self.name == "lamp" and self.has("a schema that is none"):
            self.properties["seen/{name}"] = _property({"enum": 5})
        if self.name == "lamp" and self.has("a family without its range"):
            self.properties["family/{member}"] = _property({"type": "number"}, "rw")

    # What it says.

    def topic(self, channel: str) -> str:
        return f"{self.bridge.base}{self.name}/{channel}"

    def announce(self) -> None:
        if self.name != "bridge":
            self.announce_status()
        self.bridge.say(self.topic("info"), self._info(), retain=True)
        self._announce_state()
        if self.name == "bridge":
            self.announce_status()

    def announce_status(self) -> None:
        revision = self.revision + (1 if self.has("info behind status") else 0)
        said = {
            "state": self.state,
            "since": time.time(),
            "boot": self.bridge.boot,
            "revision": revision,
        }
        reason = (
            {"code": "offline", "message": "switched off"}
            if self.state == "offline"
            else None
        )
        self.bridge.say(
            self.topic("status"),
            {**said, "seq": self.seq, "reason": reason},
            retain=True,
        )

    def _info(self) -> dict[str, Any]:
        commands = {
            name: {
                "title": name,
                "arguments": {**ANY, "required": ["id"] if name == "cancel" else []},
                "result": {"type": "string"} if self.has("another result") else {},
                "timeout": 5.0,
                "safe": name in SAFE,
                "holds": "exchange",
            }
            for name, arguments in self.commands.items()
        }
        if self.name == "lamp" and self.has("a schema that is none"):
            commands["refresh"]["arguments"] = {"properties": 5}
        tick = {
            "type": "object",
            "properties": {"number": {"type": "integer"}},
            "required": ["number"],
        }
        events = (
            {}
            if self.has("an event that info lacks")
            else {"tick": {"title": "tick", "schema": tick}}
        )
        address = (
            "tcp://user:secret@lamp"
            if self.has("a password in address")
            else "tcp::lamp"
        )
        about = {
            "boot": self.bridge.boot,
            "revision": self.revision,
            "address": address,
            "bridge": self.bridge.name,
        }
        about |= {
            "contract": 2 if self.has("another contract") else 1,
            "device": self.name,
        }
        about |= {
            "kind": "bridge" if self.name == "bridge" else "lamp",
            "properties": self.properties,
        }
        if self.name == "bridge" and self.has("an info that is none"):
            return {**about, "properties": 5}
        if self.has("info without commands"):
            return {**about, "events": events, "blobs": {}}
        return {**about, "commands": commands, "events": events, "blobs": {}}

    def _announce_state(self) -> None:
        self._said = time.time()
        boot = "00000000" if self.has("another boot in state") else self.bridge.boot
        bad = {
            path: {"code": code, "message": "why"} for path, code in self.bad.items()
        }
        values = {**self.values}
        if self.name == "lamp" and self.has("a change left out"):
            values["mode"] = "b" if self.seq % 2 else "a"
        if self.has("a value that info lacks"):
            values["extra"] = 1
        times = self.times | ({"nothing": 1.0} if self.has("times of nothing") else {})
        ago = 0.0
        if self.name == "off" and self.bridge.has("a snapshot of long ago"):
            ago = 3600.0
        said = {
            "boot": boot,
            "seq": self.seq,
            "time": time.time() + self._ahead() - ago,
            "values": values,
            "bad": bad,
            "times": times,
        }
        self.bridge.say(self.topic("state"), said, retain=True)

    def _ahead(self) -> float:
        """Return how many seconds a snapshot is ahead of the clock."""
        if self.name == "lamp" and self.has("a snapshot from the future"):
            return 60.0
        if self.name == "lamp" and self.has("a snapshot of yesterday"):
            return -86400.0
        return 0.0

    def announce_leaves(self) -> None:
        for path in self.values:
            self._leaf(path)

    def _leaf(self, path: str) -> None:
        other = self.has("another value in the leaf") and path == "level"
        self.bridge.say(
            self.topic(f"state/{path}"),
            9.99 if other else self.values[path],
            qos=0,
            retain=True,
        )

    def change(self, path: str, value: Any) -> None:
        """Take a new value and tell."""
        if self.values[path] == value:
            return
        self.values[path], self.times[path] = value, time.time()
        self.seq += 2 if self.has("seq with a gap") and self.seq == 3 else 1
        changes = [{"path": path, "value": value, "time": time.time()}]
        said = {
            "boot": self.bridge.boot,
            "seq": self.seq,
            "time": time.time(),
            "changes": changes,
        }
        self.bridge.say(self.topic("event/change"), said)
        self._leaf(path)

    def tick(self) -> None:
        """What happens by itself."""
        if (
            self.lease
            and time.time() > self.lease[2]
            and not self.has("a lock that never ends")
        ):
            self._locked(None)
        if self.name == "lamp":
            self.ticks += 1
            self.change("reading", self.ticks)
            number = "one" if self.has("an event unlike info") else self.ticks
            said = {
                "boot": self.bridge.boot,
                "seq": self.ticks,
                "time": time.time(),
                "number": number,
            }
            self.bridge.say(self.topic("event/tick"), said)
            if self.has("a topic of its own"):
                self.bridge.say(self.topic("value/level"), 1)
        if self.has("too many snapshots"):
            for _ in range(4):  # however seldom it comes to tick on a busy machine
                self.seq += 1
                self._announce_state()
        elif time.time() - self._said > 1.05:
            self._announce_state()

    # What it does.

    def locked_for(self, lease: str | None) -> bool:
        return self.lease is not None and self.lease[0] != lease

    def run(self, target: str, arguments: Any, metadata: dict[str, Any]) -> Any:
        """Carry out a command that has been read; raise Refused."""
        name = target.removeprefix("call/")
        safe = name in SAFE and not self.has("safe commands locked out")
        free = safe or (target.startswith("set") and self.has("writes pass a lock"))
        if self.locked_for(metadata.get("_lease")) and not (
            free or (name == "lock" and self.has("two locks"))
        ):
            assert self.lease is not None
            raise Refused(
                "locked",
                "locked",
                owner=self.lease[1],
                seconds=self.lease[2] - time.time(),
            )
        if target.startswith("set"):
            for path, value in arguments.items():
                self.change(path, value)
            return arguments if target == "set" else next(iter(arguments.values()))
        return getattr(self, f"_{name}", self._nothing)(arguments, metadata)

    def _nothing(self, arguments: Any, metadata: Any) -> None:
        raise Refused("forbidden", "not here")

    def _refresh(self, arguments: Any, metadata: Any) -> None:
        if self.state == "offline":
            raise Refused("offline", "switched off")
        self.announce()

    def _scan(self, arguments: Any, metadata: Any) -> list[Any]:
        if self.has("a scan of nothing known"):
            return ["tcp://lamp"]
        raise Refused("forbidden", "not here")

    def _cancel(self, arguments: Any, metadata: Any) -> None:
        raise Refused("unknown", "nothing runs")

    def _list(self, arguments: Any, metadata: Any) -> list[dict[str, Any]]:
        left_out = "lamp" if self.has("a device not listed") else ""
        return [
            {
                "device": each.name,
                "kind": "bridge" if each is self else "lamp",
                "address": None,
                "status": each.state,
                "since": None,
                "locked_by": each.lease and each.lease[1],
            }
            for each in self.bridge.devices.values()
            if each.name != left_out
        ]

    def _lock(
        self, arguments: dict[str, Any], metadata: dict[str, Any]
    ) -> dict[str, Any]:
        ttl = arguments.get("ttl", 10)
        if not 0 < ttl <= 3600 and not self.has("a lock for ever"):
            raise Refused("out_of_range", "an hour at most")
        token = metadata.get("_lease") or secrets.token_hex(4)
        self._locked(
            (
                token,
                arguments.get("owner") or (self.lease[1] if self.lease else ""),
                time.time() + ttl,
            )
        )
        if self.has("a lock without a lease"):
            return {"until": time.time() + ttl}
        return {"lease": token, "until": time.time() + ttl}

    def _unlock(self, arguments: Any, metadata: Any) -> None:
        self._locked(None)

    def _locked(self, lease: tuple[str, str, float] | None) -> None:
        self.lease = lease
        if not self.has("a lock not shown"):
            self.change(
                "_lock",
                lease and {"owner": lease[1], "until": lease[2], "scope": "device"},
            )
        self.bridge.serve_waiting()
