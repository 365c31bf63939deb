"""Document asyncapi.yaml: the topics of the contract, seen from a bridge.

Sources: AsyncAPI 3.0.0, its MQTT bindings 0.2.0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from busbar.contract import messages, names, topics
from busbar.contract.describe import Command
from busbar.net.endpoint import Endpoint

Part = dict[str, Any]

VERSION = "3.0.0"
BINDINGS = "0.2.0"
_BRIDGE = f"{{root}}/{{bridge}}/{topics.BRIDGE}"
_DEVICE = "{root}/{bridge}/{device}"
_JSON = "application/json"
_BYTES = "application/octet-stream"


@dataclass(frozen=True)
class ApiChannel:
    """One channel; `schemas` are its messages, name -> file, None for any payload."""

    name: str
    address: str
    action: Literal["send", "receive"]
    title: str
    schemas: Mapping[str, str | None]
    qos: int = 1
    retain: bool = False
    content_type: str = _JSON

    @property
    def parameters(self) -> list[str]:
        return [name for name in _PARAMETERS if f"{{{name}}}" in self.address]


def _camel(name: str) -> str:
    first, *rest = name.replace("_", "-").split("-")
    return first + "".join(map(_capital, rest))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _out(
    name: str,
    path: str,
    title: str,
    schema: str | None,
    base: str = _DEVICE,
    **options: Any,
) -> ApiChannel:
    return ApiChannel(
        name,
        f"{base}/{path}",
        "send",
        title,
        {name: schema and f"{schema}.json"},
        **options,
    )


def _in(
    name: str, path: str, title: str, schemas: Iterable[str], base: str = _DEVICE
) -> ApiChannel:
    named = {_camel(schema): f"{schema}.json" for schema in schemas}
    return ApiChannel(name, f"{base}/{path}", "receive", title, named)


# docs/contract.md, 1: direction, retained, QoS
_TOPICS = (
    _out(
        "status",
        "status",
        "Availability (3.1); of the device `bridge` it is the Last Will",
        "status",
        retain=True,
    ),
    _out("info", "info", "What the device is and offers (3.2)", "info", retain=True),
    _out(
        "state",
        "state",
        "The whole snapshot in one message (3.3)",
        "state",
        retain=True,
    ),
    _out(
        "stateLeaf",
        "state/{property}",
        "One value, plain JSON; newest only",
        None,
        qos=0,
        retain=True,
    ),
    _out(
        "lockState",
        "state/_lock",
        "Who has locked the device, or null",
        "lock-state",
        qos=0,
        retain=True,
    ),
    _out(
        "eventChange",
        "event/change",
        "The lossless history of the state (3.4)",
        "event-change",
    ),
    _out(
        "eventProgress",
        "event/progress",
        "Progress of a long command (3.4)",
        "event-progress",
    ),
    _out("eventLog", "event/log", "The log from WARNING up (4)", "event-log", _BRIDGE),
    _out(
        "event",
        "event/{event}",
        "Something that happened (3.4); `info` has its schema",
        "event",
    ),
    _out(
        "blob",
        "blob/{blob}",
        "Raw bytes; the property of this name describes them",
        None,
        qos=0,
        content_type=_BYTES,
    ),
    _in("set", "set", "Write several properties at once (2)", ["set"]),
    _in("setProperty", "set/{property}", "Write one property (2)", ["set-property"]),
    _in(
        "call",
        "call/{command}",
        "Run a command of the device's own; `info` has its schemas (2)",
        ["call"],
    ),
    _out("reply", "reply", "The outcome of every command (3.5)", "reply"),
    ApiChannel(
        "privateReply",
        f"{{root}}/{topics.REPLY}/{{address}}",
        "send",
        "The outcome of a command that asked for it with `_reply` or a Response "
        "Topic (2)",
        {"privateReply": "reply.json"},
    ),
)

_PARAMETERS: Mapping[str, Part] = {
    "root": {
        "default": "busbar",
        "description": "Configured; may have several levels.",
    },
    "bridge": {
        "description": f"Name of a bridge process: {names.LEVEL.pattern}, "
        f"not `{topics.REPLY}`."
    },
    "device": {
        "description": f"Name of a device, or `{topics.BRIDGE}` for the bridge itself."
    },
    "property": {"description": "Path of a property; may have several levels."},
    "event": {"description": "Name of an event in `info`."},
    "blob": {"description": "Name of a blob in `info`; may have several levels."},
    "command": {"description": "Name of a command in `info`."},
    "address": {"description": "One to four levels of the asker's choice."},
}


def document(
    device: Mapping[str, Command],
    bridge: Mapping[str, Command],
    opens: Mapping[str, Command],
) -> Part:
    """Return the document for these commands; `opens` are `open` of each kind."""
    listed = [*_TOPICS, *_commands(device, bridge, opens)]
    operations = {}
    built = {}
    for topic in listed:
        operation = topic.action + _capital(topic.name)
        operations[operation] = _operation(topic)
        for name in topic.schemas:
            built[name] = _message(topic, name)
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Busbar",
            "version": str(messages.CONTRACT),
            "description": "Devices on MQTT in one shape. Operations are those of a "
            "bridge: a client receives what it sends, and sends what it receives. "
            "Generated; the contract is docs/contract.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {"broker": _server()},
        "channels": {topic.name: _channel(topic) for topic in listed},
        "operations": operations,
        "components": {"messages": built, "parameters": dict(_PARAMETERS)},
    }


def _commands(
    device: Mapping[str, Command],
    bridge: Mapping[str, Command],
    opens: Mapping[str, Command],
) -> Iterable[ApiChannel]:
    for base, commands in ((_DEVICE, device), (_BRIDGE, bridge)):
        for name, each in commands.items():
            schema = f"call-{name}"
            yield _in(_camel(schema), f"call/{name}", each.title, [schema], base)
    schemas = [f"call-open-{kind}" for kind in opens]
    for each in list(opens.values())[:1]:
        yield _in("callOpen", "call/open", each.title, schemas, _BRIDGE)


def _server() -> Part:
    will = {
        "topic": f"{_BRIDGE}/status",
        "qos": 1,
        "retain": True,
        "message": "The status `offline`, as JSON.",
    }
    binding = {
        "cleanSession": True,
        "keepAlive": Endpoint.keepalive,
        "lastWill": will,
        "bindingVersion": BINDINGS,
    }
    return {
        "host": "{host}:{port}",
        "protocol": "mqtt",
        "protocolVersion": Endpoint.protocol,
        "description": "Any MQTT 3.1.1 or 5 broker; also with TLS.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "1883"}},
        "bindings": {"mqtt": binding},
    }


def _channel(topic: ApiChannel) -> Part:
    return {
        "address": topic.address,
        "title": topic.title,
        "messages": _components("messages", topic.schemas),
        "parameters": _components("parameters", topic.parameters),
    }


def _components(what: str, names_: Iterable[str]) -> Part:
    return {name: _ref("components", what, name) for name in names_}


def _operation(topic: ApiChannel) -> Part:
    own = ("channels", topic.name)
    binding = {
        "qos": topic.qos,
        "retain": topic.retain,
        "bindingVersion": BINDINGS,
    }
    built = {
        "action": topic.action,
        "channel": _ref(*own),
        "messages": [_ref(*own, "messages", name) for name in topic.schemas],
        "bindings": {"mqtt": binding},
    }
    if topic.action == "receive":
        answer = [_ref("channels", "reply", "messages", "reply")]
        built["reply"] = {"channel": _ref("channels", "reply"), "messages": answer}
    return built


def _message(topic: ApiChannel, name: str) -> Part:
    file = topic.schemas[name]
    return {
        "name": name,
        "title": topic.title,
        "contentType": topic.content_type,
        "payload": {} if file is None else {"$ref": file},
        "bindings": {"mqtt": _message_binding(topic)},
    }


def _message_binding(topic: ApiChannel) -> Part:
    """Return what the properties of MQTT 5 hold."""
    correlation = {"type": "string", "description": "Any bytes; echoed in the outcome."}
    if topic.action == "receive":
        response = {
            "type": "string",
            "description": f"<root>/{topics.REPLY}/ plus one to four levels.",
        }
        return {
            "correlationData": correlation,
            "responseTopic": response,
            "bindingVersion": BINDINGS,
        }
    if topic.name in ("reply", "privateReply"):
        return {"correlationData": correlation, "bindingVersion": BINDINGS}
    return {"bindingVersion": BINDINGS}


def _ref(*parts: str) -> Part:
    return {"$ref": "/".join(["#", *parts])}
