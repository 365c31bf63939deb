"""schemas/ is what the generator makes, what bridges publish fits it, and asyncapi.yaml
holds together."""

import asyncio
import contextlib
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from ruamel.yaml import YAML

from busbar.cli.schemas import generate
from busbar.command.builtin import DeviceCommands
from busbar.config.loader import Config
from busbar.contract.describe import (
    Blob,
    Description,
    Event,
    NoArguments,
    Property,
    by_path,
    command,
    commands,
)
from busbar.contract.values import Reader
from busbar.errors import BusbarError, ProtocolError
from busbar.link.session import Link
from busbar.net.endpoint import Endpoint
from busbar.runtime.bridge import Bridge
from busbar.runtime.bridge_device import BridgeDeviceCommands
from busbar.runtime.bridge_spec import BridgeSpec
from busbar.runtime.service import Service
from busbar.testing.fakes import Clock, MemoryBus, settle

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "schemas"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
PUBLISHED = (
    "status",
    "info",
    "state",
    "event",
    "event-change",
    "event-progress",
    "event-log",
    "reply",
)


def schema(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def fits(name: str, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema(name)).is_valid(value))


def check(name: str, value: Any) -> None:
    jsonschema.Draft202012Validator(schema(name)).validate(value)


@pytest.fixture(scope="module")
def document() -> Any:
    return YAML(typ="safe", pure=True).load(
        (FOLDER / "asyncapi.yaml").read_text(encoding="utf-8")
    )


class Trigger(msgspec.Struct, frozen=True):
    edge: str


class ToySession:
    """A device that shows everything that can be published."""

    def __init__(self, outlet: Any) -> None:
        self.outlet = outlet

    async def serve(self) -> None:
        self.outlet.values(
            {
                "voltage": 5.0,
                "pair": {"RA": 5.1},
                "current": float("nan"),
                "broken": True,
            }
        )
        self.outlet.bad(["broken"], ProtocolError("nonsense"))
        self.outlet.event("trigger", {"edge": "rising"})
        self.outlet.blob("trace", b"\x00\xff", "application/octet-stream")
        await asyncio.sleep(1)
        self.outlet.values({"broken": False})
        self.outlet.gone(["pair"])
        logging.getLogger("busbar.toy").warning("something", extra={"device": "toy"})
        await asyncio.Event().wait()

    async def refresh(self, device: str) -> None:
        pass

    async def set(self, device: str, path: str, value: Any, turn: Any) -> Any:
        self.outlet.values({path: value})
        return value

    @command(safe=True)
    async def slow(self, device: str, arguments: NoArguments, turn: Any) -> None:
        """Take a while."""
        turn.progress(0.5, "half of it")


def toy() -> Link:
    properties = [
        Property("voltage", access="rw", unit="V", class_="voltage"),
        Property("current"),
    ]
    properties += [Property("pair", dict[str, float]), Property("broken", bool)]
    properties += [
        Property(
            "digital/{join}",
            bool,
            "rw",
            parameters={"join": range(1, 9)},
            default=False,
        )
    ]
    about = Description(
        "scpi",
        by_path(properties),
        commands(ToySession),
        {"trigger": Event("trigger", Trigger)},
    )

    @contextlib.asynccontextmanager
    async def open_(port: Any) -> Any:
        yield ToySession(port.outlet("toy"))

    return Link("toy", "tcp::toy", open_, {"toy": about.with_blob(Blob("trace"))})


COMMANDS = [
    ("toy/set/voltage", "set-property", 7),
    ("toy/set/voltage", "set-property", {"_value": 7.5, "_id": "a-long-id"}),
    ("toy/set/nothing", "set-property", 7),
    ("toy/set", "set", {"voltage": 8, "digital/3": True}),
    ("toy/call/slow", "call", {"_id": 5, "_reply": "busbar/reply/me"}),
    ("toy/call/nothing", "call", {}),
    ("toy/call/lock", "call-lock", {"owner": "bench", "ttl": 3600}),
    ("toy/call/cancel", "call-cancel", "unknown"),
    ("bridge/call/list", "call-list", {}),
    (
        "bridge/call/log_level",
        "call-log_level",
        {"level": "info", "logger": "wire.toy"},
    ),
]


async def play() -> MemoryBus:
    """Run a bridge with the toy, send it the commands, stop it.

    Return the bus with all that was published.
    """
    bus, clock = MemoryBus(), Clock()
    plan = BridgeSpec("scpi", "lab", Endpoint("mqtt://memory"), [toy()])
    bridge = Bridge(plan, now=clock.now, connect=bus.connection)  # type: ignore[arg-type]  # the same face
    running = asyncio.create_task(bridge.run())
    await bridge.connected.wait()
    await clock.advance(3)
    for topic, _, payload in COMMANDS:
        bus.publish(f"busbar/lab/{topic}", json.dumps(payload))
        await settle()
    await clock.advance(3)
    bridge.stop()
    await clock.advance(5)
    await running
    return bus


def sent_to(document: Any, topic: str) -> tuple[str, Any]:
    """Return the name and the operation of the channel that a published topic belongs
    to."""
    several_levels = {"property", "blob", "event", "address"}

    def pattern(address: str) -> str:
        parts = re.split(r"\{(\w+)\}", address)
        levels = (".+" if part in several_levels else "[^/]+" for part in parts[1::2])
        return "".join(
            f"{re.escape(text)}{level}"
            for text, level in zip(parts[::2], [*levels, ""], strict=True)
        )

    channels = sorted(
        document["channels"].items(), key=lambda item: item[1]["address"].count("{")
    )
    name = next(
        n for n, each in channels if re.fullmatch(pattern(each["address"]), topic)
    )
    return name, document["operations"][f"send{name[0].upper()}{name[1:]}"]


async def test_everything_that_a_bridge_publishes_is_as_asyncapi_says(
    document: Any,
) -> None:
    seen = set()
    for message in (await play()).published:
        name, operation = sent_to(document, message.topic)
        if not message.payload:
            continue
        seen.add(name)
        binding = operation["bindings"]["mqtt"]
        assert (message.qos, message.retain) == (binding["qos"], binding["retain"]), (
            message.topic
        )
        payload = document["components"]["messages"][name]["payload"]
        if payload:
            check(Path(payload["$ref"]).stem, json.loads(message.payload))
    sent = {
        name
        for name in document["channels"]
        if f"send{name[0].upper()}{name[1:]}" in document["operations"]
    }
    assert seen == sent


async def test_results_fit_the_schemas_of_their_commands() -> None:
    bus = await play()
    replies = [
        json.loads(payload)
        for device in ("toy", "bridge")
        for payload in bus.payloads(f"busbar/lab/{device}/reply")
    ]
    results = {reply["target"]: reply["result"] for reply in replies if reply["ok"]}
    assert len(replies) == len(COMMANDS)
    assert {reply["target"] for reply in replies if not reply["ok"]} == {
        "set/nothing",
        "call/nothing",
        "call/cancel",
    }
    check("result-lock", results["call/lock"])
    check("result-list", results["call/list"])
    trace = json.loads(bus.payloads("busbar/lab/toy/state/trace")[0])
    check("blob-value", trace)
    assert not fits("blob-value", {**trace, "size": "2"})


@pytest.mark.parametrize("topic, name, payload", COMMANDS)
def test_commands_fit_their_schemas(topic: str, name: str, payload: Any) -> None:
    check(name, payload)


async def test_wrong_payloads_do_not_fit() -> None:
    bus = await play()
    for name in PUBLISHED:
        topic = name.replace("-", "/", 1) if name != "event" else "event/trigger"
        device = "bridge" if name == "event-log" else "toy"
        payload = json.loads(bus.payloads(f"busbar/lab/{device}/{topic}")[0])
        check(name, payload)
        check(name, {**payload, "new_in_version_1_1": 1})
        for key in schema(name)["required"]:
            assert not fits(name, {k: v for k, v in payload.items() if k != key}), (
                f"{name} without {key}"
            )
            assert not fits(name, {**payload, key: [object]}), (
                f"{name} with a wrong {key}"
            )


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("status", {"state": "on", "since": 1.5, "boot": "a", "revision": 1, "seq": 0}),
        (
            "event-change",
            {"boot": "a", "seq": 1, "time": 1, "changes": [{"path": "a"}]},
        ),
        (
            "event-change",
            {
                "boot": "a",
                "seq": 1,
                "time": 1,
                "changes": [{"path": "a", "time": 1, "bad": "x"}],
            },
        ),
        ("state", {"boot": "a", "seq": 1, "time": 1, "values": {}, "bad": {"a": None}}),
        (
            "reply",
            {
                "bridge": "b",
                "device": "d",
                "id": 1.5,
                "target": "set",
                "ok": True,
                "time": 1,
                "took": 1,
            },
        ),
        ("lock-state", "bench"),
        ("metadata", {"_ttl": "10"}),
        ("metadata", {"_tll": 10}),
        ("set", {}),
        ("set", {"_id": "only-metadata"}),
        ("set", {"_lock": None}),
        ("set", {"a b": 1}),
        ("set", 5),
        ("result-lock", {"lease": "x"}),
    ],
)
def test_planted_mistakes_do_not_fit(name: str, payload: Any) -> None:
    assert not fits(name, payload)


def test_a_class_of_a_property_has_its_name_on_the_wire() -> None:
    assert {"class", "readback"} < schema("info")["$defs"]["PropertyInfo"][
        "properties"
    ].keys()
    assert schema("info")["$defs"]["PropertyInfo"]["required"] == ["schema", "access"]


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("lock", {}),
        ("lock", {"ttl": 10, "owner": "me", "_wait": 5}),
        ("lock", {"ttl": 0}),
        ("lock", {"tll": 1}),
        ("lock", {"_idd": "x"}),
        ("lock", {"_wait": "x"}),
        ("lock", {"scope": "world"}),
        ("lock", []),
        ("lock", 5),
        ("cancel", "abc"),
        ("cancel", 5),
        ("cancel", {"id": 5}),
        ("cancel", {}),
        ("cancel", {"_value": 5, "_id": "x"}),
        ("cancel", {"_value": 5, "x": 1}),
        ("list", {}),
        ("list", {"_id": "x"}),
        ("list", {"all": True}),
        ("log_level", "debug"),
        ("log_level", "loud"),
        ("log_level", {"level": "info", "logger": "wire.psu"}),
        ("log_level", {"_value": "info", "logger": "wire.psu"}),
        ("log_level", {"logger": "wire.psu"}),
        ("close", {"name": "a"}),
        ("close", {"name": 5}),
    ],
)
def test_the_schema_of_a_command_accepts_what_the_command_accepts(
    name: str, payload: Any
) -> None:
    known = {**generate.device_commands(), **generate.bridge_commands()}[name]
    try:
        known.read(json.dumps(payload).encode())
    except BusbarError:
        assert not fits(f"call-{name}", payload)
    else:
        check(f"call-{name}", payload)


@pytest.mark.parametrize(
    "payload",
    [
        5,
        {"_value": 5, "_id": "x"},
        {"_value": 5, "x": 1},
        {"_value": 5, "_ttl": "x"},
        {"_value": 5, "_x": 1},
    ],
)
def test_the_schema_of_a_property_accepts_what_the_property_accepts(
    payload: Any,
) -> None:
    try:
        Reader(float).payload(json.dumps(payload).encode())
    except BusbarError:
        assert not fits("set-property", payload)
    else:
        check("set-property", payload)


def test_an_object_may_stand_beside_its_metadata() -> None:
    check("set-property", {"RA": 5.1, "_id": "x"})
    assert not fits("set-property", {"RA": 5.1, "_ttl": "x"})


def test_what_open_takes_is_a_device_of_the_configuration() -> None:
    device = {"name": "psu", "address": "tcp::h:1", "_id": "x"}
    check("call-open-scpi", device)
    assert not fits("call-open-scpi", {**device, "adress": "tcp::h:1"})
    assert not fits("call-open-scpi", {"name": "psu"})


def test_the_example_fits_the_schema_of_its_configuration() -> None:
    path = REPOSITORY / "services/scpi-bridge/src/scpi_bridge/example.yaml"
    example = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    check("config-scpi", example)
    assert not fits("config-scpi", {**example, "devises": []})
    example["devices"][0]["properties"][0]["evry"] = 1
    assert not fits("config-scpi", example)


def test_the_committed_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    # a process of its own, as `make schemas` has it: typing caches annotations that are
    # equal, so that 86400 or 86400.0 would depend on what was imported before
    command = (sys.executable, "-m", "busbar.cli.schemas", str(tmp_path))
    assert subprocess.run(command, check=False).returncode == 0
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {
        path.name: path.read_bytes()
        for path in FOLDER.iterdir()
        if path.name != "README.md"
    }
    stale = sorted(
        name
        for name in made.keys() | committed.keys()
        if made.get(name) != committed.get(name)
    )
    assert not stale, "run `make schemas`, and remove files that it no longer makes"


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_schema_with_an_identity(name: str) -> None:
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert re.fullmatch(r"urn:busbar:(contract:1|config):[A-Za-z_-]+", found["$id"])
    assert found["title"] and found["description"]
    assert all(target.startswith("#/$defs/") for target in references(found))


def references(part: Any) -> list[str]:
    """Return every `$ref` in a document."""
    if isinstance(part, list):
        return [target for one in part for target in references(one)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [target for one in part.values() for target in references(one)]


def resolved(document: Any, target: str) -> Any:
    file, _, pointer = target.partition("#")
    found = schema(file.removesuffix(".json")) if file else document
    for key in filter(None, pointer.split("/")):
        found = found[key]
    return found


def test_every_reference_of_asyncapi_leads_somewhere(document: Any) -> None:
    targets = references(document)
    assert len(targets) > 100
    for target in targets:
        assert resolved(document, target)
    files = {
        target.removesuffix(".json") for target in targets if not target.startswith("#")
    }
    no_message = {"metadata", "blob-value"} | {
        name for name in NAMES if name.startswith(("config-", "result-"))
    }
    assert files == set(NAMES) - no_message


def test_asyncapi_has_the_parts_that_its_specification_asks_for(document: Any) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"] and document["info"]["version"]
    assert document["servers"]["broker"]["protocol"] == "mqtt"
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert len(set(addresses)) == len(addresses)
    for channel in document["channels"].values():
        assert re.findall(r"\{(\w+)\}", channel["address"]) == sorted(
            channel["parameters"], key=channel["address"].index
        )
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert ("reply" in operation) == (operation["action"] == "receive")
        assert operation["bindings"]["mqtt"]["bindingVersion"] == "0.2.0"
        channel = operation["channel"]["$ref"]
        assert all(
            message["$ref"].startswith(f"{channel}/messages/")
            for message in operation["messages"]
        )


def rows() -> list[tuple[str, str, str, str]]:
    """Return topic, direction, retained and QoS of the contract's table."""
    text = (REPOSITORY / "docs/contract.md").read_text(encoding="utf-8")
    table = re.findall(
        (
            r"^\| (`[^|]*`) \| (in|out) \| ([^|]*) "
            r"\| ([01]) \|"
        ),
        text,
        re.MULTILINE,
    )
    return [
        (topic, *rest)
        for topics, *rest in table
        for topic in re.findall(r"`([^`]+)`", topics)
    ]


def test_every_topic_of_the_contract_is_there_with_its_qos_and_retain_flag(
    document: Any,
) -> None:
    found = {}
    for operation in document["operations"].values():
        address = resolved(document, operation["channel"]["$ref"])["address"]
        found[re.sub(r"\{\w+\}", "*", address)] = operation
    assert len(rows()) >= 10
    for topic, direction, retained, qos in rows():
        operation = found[f"*/*/*/{re.sub(r'<[a-z]+>', '*', topic)}"]
        assert operation["action"] == {"in": "receive", "out": "send"}[direction], topic
        assert operation["bindings"]["mqtt"]["retain"] == (retained == "yes"), topic
        assert operation["bindings"]["mqtt"]["qos"] == int(qos), topic
    assert {
        "*/reply/*",
        "*/*/*/event/change",
        "*/*/*/event/progress",
        "*/*/bridge/event/log",
    } <= found.keys()


def test_every_command_that_all_bridges_have_is_a_topic(document: Any) -> None:
    addresses = {channel["address"] for channel in document["channels"].values()}
    for name in commands(DeviceCommands, BridgeDeviceCommands):
        device = "{device}" if name in generate.device_commands() else "bridge"
        assert f"{{root}}/{{bridge}}/{device}/call/{name}" in addresses
    assert "{root}/{bridge}/bridge/call/open" in addresses


def test_a_bridge_that_opens_nothing_has_no_schema_of_open() -> None:
    found = generate.documents({"deaf": Service("deaf", Config, lambda config: [])})
    assert "config-deaf" in found
    assert not any(name.startswith("call-open") for name in found)
