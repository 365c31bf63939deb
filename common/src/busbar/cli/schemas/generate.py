"""JSON Schemas and asyncapi.yaml, generated from the types that the code itself uses.

What a bridge publishes may have unknown keys, which readers ignore; what it is sent may
not. Source: docs/contract.md, 2 and 3.
"""

import argparse
import importlib
import inspect
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

from busbar.cli.schemas import asyncapi
from busbar.command.builtin import DeviceCommands, LinkCommands
from busbar.config import loader
from busbar.contract import describe, messages, names
from busbar.contract.describe import Command
from busbar.contract.values import schema
from busbar.link import open_link
from busbar.runtime.bridge_device import BridgeDeviceCommands
from busbar.runtime.service import Service

Schema = dict[str, Any]

GROUP = "busbar.bridges"  # entry points: the packages of installed bridges
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# of a property; "_" is ours, and never written
PATH = rf"^(?!_){names.LEVEL.pattern}(/{names.LEVEL.pattern})*$"

_PUBLISHED: Mapping[str, tuple[str, Any]] = {
    "status": ("Status of a device or bridge", messages.Status),
    "info": ("Description of a device", messages.Info),
    "state": ("State of a device", messages.State),
    "event": ("Head of every event", messages.Event),
    "event-change": ("event/change", messages.ChangeEvent),
    "event-progress": ("event/progress", messages.ProgressEvent),
    "event-log": ("event/log of a bridge", messages.LogEvent),
    "reply": ("Outcome of a command", messages.Reply),
    "lock-state": (
        f"state/{open_link.LOCK.path}: owner and end of the lock, or null",
        open_link.LOCK.type,
    ),
    "blob-value": ("The property of a blob", describe.BlobValue),
}

_METADATA = {
    key: {"$ref": f"#/$defs/Metadata/properties/{key}"}
    for key in sorted(messages.METADATA)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write every file into a folder; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="busbar.cli.schemas", description="write the schemas of the contract"
    )
    parser.add_argument("outdir", type=Path, metavar="OUTDIR")
    folder: Path = parser.parse_args(argv).outdir
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return 0


def files() -> dict[str, str]:
    """Return the name and text of every file."""
    bridges = services()
    written = {}
    for name, built in sorted(documents(bridges).items()):
        written[f"{name}.json"] = _json(built)
    about = asyncapi.document(
        device_commands(), bridge_commands(), open_commands(bridges)
    )
    written["asyncapi.yaml"] = _yaml(about)
    return written


def services() -> dict[str, Service]:
    """Return every installed bridge by its kind."""
    found: dict[str, Service] = {}
    for point in entry_points(group=GROUP):
        service = importlib.import_module(f"{point.value}.bridge").SERVICE
        found[service.kind] = service
    return dict(sorted(found.items()))


def device_commands() -> dict[str, Command]:
    """Return the commands that every device has."""
    return describe.commands(DeviceCommands, LinkCommands)


def bridge_commands() -> dict[str, Command]:
    """Return what only the device `bridge` has, whatever its kind."""
    return describe.commands(BridgeDeviceCommands)


def open_commands(bridges: Mapping[str, Service]) -> dict[str, Command]:
    """Return the command `open` by the kind of bridge.

    Its arguments are the settings of a device of that kind.
    """
    # only a command that runs asks its bridge
    no_bridge = cast("BridgeDeviceCommands", None)
    found = {}
    for kind, service in bridges.items():
        if service.device is not None:
            found[kind] = BridgeDeviceCommands.opening(no_bridge, service.device)
    return found


def documents(bridges: Mapping[str, Service]) -> dict[str, Schema]:
    """Return every JSON Schema by name."""
    built = [*_published(), *_sent_to_any(), *_called()]
    for kind, command in open_commands(bridges).items():
        built.append(called(f"call-open-{kind}", command))
    found = {}
    for each in built:
        _, _, name = str(each["$id"]).rpartition(":")
        found[name] = each
    for kind, service in bridges.items():
        found[f"config-{kind}"] = configured(kind, service)
    return found


def _published() -> Iterator[Schema]:
    for name, (title, type_) in _PUBLISHED.items():
        yield published(name, title, type_)
    yield published("metadata", "Metadata of a command", messages.Metadata)


def _called() -> Iterator[Schema]:
    for name, command in {**device_commands(), **bridge_commands()}.items():
        yield called(f"call-{name}", command)
        if command.result not in (None, type(None)):
            title = f"Result of {name}"
            yield published(f"result-{name}", title, command.result, command.title)


def headed(name: str, built: Mapping[str, Any]) -> Schema:
    """Return a schema with its identity."""
    return {
        **built,
        "$schema": DIALECT,
        "$id": f"urn:busbar:contract:{messages.CONTRACT}:{name}",
    }


def published(name: str, title: str, type_: Any, about: str | None = None) -> Schema:
    """Return the schema of a type on the wire."""
    built = {"description": about or title, **schema(type_), "title": title}
    return headed(name, built)


def configured(kind: str, service: Service) -> Schema:
    """Return the schema of a configuration file."""
    about = inspect.getdoc(service.config) or ""
    identity = {
        "$id": f"urn:busbar:config:{kind}",
        "title": f"Configuration of {kind}-bridge",
        "description": about,
    }
    return loader.schema(service.config) | identity


def called(name: str, command: Command) -> Schema:
    """Return the schema of the payload of `call/<command>`.

    Arguments and metadata, or the bare required argument.
    """
    arguments = schema(command.arguments)
    fields = arguments.get("properties", {})
    required = arguments.get("required", [])
    built = _closed(fields, required)
    if len(required) == 1:
        others = dict(fields)
        bare = others.pop(required[0])
        wrapped = _closed({"_value": bare, **others}, ["_value"])
        built = {"anyOf": [built, wrapped, bare]}
    title = f"call/{command.name}"
    return _sent(name, title, command.title, built, arguments.get("$defs"))


def _sent_to_any() -> Iterator[Schema]:
    """Yield the schemas of `set` and `call` whatever the device."""
    plain = {"type": ["array", "boolean", "null", "number", "string"]}
    fields = {"type": "object", "properties": _METADATA}
    arguments = (
        "The arguments that `info` has, as an object; or the only required one as it "
        "is, text not as JSON."
    )
    yield _sent("call", "call/<command>", arguments, {"anyOf": [plain, fields]})
    wrapped = _closed({"_value": {}}, ["_value"])
    bare = {"type": "object", "properties": {**_METADATA, "_value": False}}
    value = (
        "A value of the property's own schema, which `info` has; text may also come as "
        "it is, not as JSON."
    )
    yield _sent(
        "set-property", "set/<property>", value, {"anyOf": [plain, wrapped, bare]}
    )
    nothing = {"propertyNames": {"enum": sorted(_METADATA)}}
    several = "Property paths and values, validated whole, then applied in order."
    paths = {**_closed({}), "patternProperties": {PATH: {}}, "not": nothing}
    yield _sent("set", "set", several, paths)


def _closed(fields: Mapping[str, Any], required: Sequence[str] = ()) -> Schema:
    """Return the schema of an object with these fields and metadata.

    Anything else is refused.
    """
    built: Schema = {
        "type": "object",
        "properties": {**fields, **_METADATA},
        "additionalProperties": False,
    }
    if required:
        built["required"] = list(required)
    return built


def _sent(
    name: str, title: str, about: str, built: Schema, definitions: Schema | None = None
) -> Schema:
    """Return the schema of what a bridge is sent: it may have metadata."""
    known = {**(definitions or {}), "Metadata": schema(messages.Metadata)}
    return headed(name, {**built, "$defs": known, "title": title, "description": about})


def _json(document: Schema) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _yaml(document: Schema) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 120
    stream = io.StringIO()
    # copied: equal parts become no aliases
    yaml.dump(json.loads(json.dumps(document, sort_keys=True)), stream)
    return stream.getvalue()
