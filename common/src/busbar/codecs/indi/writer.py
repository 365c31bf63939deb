"""Elements -> bytes, as indiserver writes them.

The timestamp of a new vector only where there is one.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any

from busbar.codecs.indi.elements import (
    DefVector,
    DelProperty,
    Element,
    EnableBLOB,
    GetProperties,
    Message,
    NewBlob,
    NewVector,
    PingReply,
    PingRequest,
    SetVector,
)

_ESCAPES = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&apos;",
        "\n": "&#10;",
        "\r": "&#13;",
        "\t": "&#9;",
    }
)


def encode(element: Element) -> bytes:
    """Return the bytes of an element that can be sent."""
    return _WRITERS[type(element)](element)


def _attributes(**values: object) -> str:
    """Return attributes in this order; what is "" or None is left out."""
    given = ((key, value) for key, value in values.items() if value not in ("", None))
    return "".join(f' {key}="{str(value).translate(_ESCAPES)}"' for key, value in given)


def _element(
    name: str, attributes: str, children: Iterable[str] = (), text: str = ""
) -> bytes:
    body = "".join(f"    {child}\n" for child in children)
    if not body and not text:
        return f"<{name}{attributes}/>\n".encode()
    return f"<{name}{attributes}>{text or chr(10) + body}</{name}>\n".encode()


def _member(tag: str, attributes: str, value: str) -> str:
    return f"<{tag}{attributes}>{value.translate(_ESCAPES)}</{tag}>"


def _def(vector: DefVector) -> bytes:
    kind, light = vector.kind, vector.kind == "Light"
    head = _attributes(
        device=vector.device,
        name=vector.name,
        label=vector.label,
        group=vector.group,
        state=vector.state,
        perm=None if light else vector.perm,
        rule=vector.rule,
        timeout=None if light else f"{vector.timeout:g}",
        timestamp=vector.timestamp,
        message=vector.message,
    )
    members = (
        _member(
            f"def{kind}",
            _attributes(
                name=m.name,
                label=m.label,
                format=m.format,
                min=m.min,
                max=m.max,
                step=m.step,
            ),
            m.value,
        )
        for m in vector.members
    )
    return _element(f"def{kind}Vector", head, members)


def _set(vector: SetVector) -> bytes:
    head = _attributes(
        device=vector.device, name=vector.name, state=vector.state,
        timeout=None if vector.timeout is None else f"{vector.timeout:g}",
        timestamp=vector.timestamp, message=vector.message,
    )  # fmt: skip
    tag, ranges = f"one{vector.kind}", vector.ranges or {}
    members = []
    for name, value in vector.members.items():
        bounds = ranges.get(name)
        extra = (
            _attributes(min=bounds.min, max=bounds.max, step=bounds.step)
            if bounds
            else ""
        )
        members.append(_member(tag, _attributes(name=name) + extra, value))
    return _element(f"set{vector.kind}Vector", head, members)


def set_blob(vector: SetVector, blobs: dict[str, NewBlob]) -> bytes:
    """Return a set of a BLOB vector with its bytes, in one line of base64 as indiserver sends it."""
    head = _attributes(
        device=vector.device,
        name=vector.name,
        state=vector.state,
        timestamp=vector.timestamp,
        message=vector.message,
    )
    return _element("setBLOBVector", head, map(_blob, blobs, blobs.values()))


def _blob(name: str, blob: NewBlob) -> str:
    text = b64encode(blob.data).decode("ascii")
    head = _attributes(
        name=name,
        size=blob.size,
        enclen=len(text),
        format=blob.format,
        len=len(blob.data),
    )
    return f"<oneBLOB{head}>\n{text}\n</oneBLOB>"


def _new(vector: NewVector) -> bytes:
    head = _attributes(
        device=vector.device, name=vector.name, timestamp=vector.timestamp
    )
    tag = f"one{vector.kind}"
    members = (
        _member(tag, _attributes(name=name), value)
        for name, value in vector.members.items()
    )
    blobs = vector.blobs or {}
    return _element(
        f"new{vector.kind}Vector",
        head,
        map(_blob, blobs, blobs.values()) if blobs else members,
    )


def _message(message: Message) -> bytes:
    return _element(
        "message",
        _attributes(
            device=message.device, timestamp=message.timestamp, message=message.text
        ),
    )


def _del(gone: DelProperty) -> bytes:
    return _element(
        "delProperty",
        _attributes(
            device=gone.device,
            name=gone.name,
            timestamp=gone.timestamp,
            message=gone.message,
        ),
    )


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    DefVector: _def,
    SetVector: _set,
    NewVector: _new,
    Message: _message,
    DelProperty: _del,
    GetProperties: lambda e: _element(
        "getProperties", _attributes(version=e.version, device=e.device, name=e.name)
    ),
    EnableBLOB: lambda e: _element(
        "enableBLOB", _attributes(device=e.device, name=e.name), text=e.value
    ),
    PingRequest: lambda e: _element("pingRequest", _attributes(uid=e.uid)),
    PingReply: lambda e: _element("pingReply", _attributes(uid=e.uid)),
}
