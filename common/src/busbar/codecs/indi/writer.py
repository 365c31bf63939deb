"""Writer of elements: from structs to bytes, in the layout of indiserver."""

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any

from busbar.codecs.indi.elements import (
    DefMember,
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
    Range,
    SetVector,
)
from busbar.errors import BadRequest

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
    """Return the bytes of an element that can be sent.

    Raise BadRequest for half of a character of UTF-16.
    """
    try:
        return _WRITERS[type(element)](element)
    except UnicodeEncodeError as error:
        raise BadRequest(f"text that is no UTF-8 cannot be sent: {error}") from error


def set_blob(vector: SetVector, blobs: dict[str, NewBlob]) -> bytes:
    """Return a set of a BLOB vector with its bytes, each BLOB on one line.

    Source: docs/protocols/indi.md, 4.2.
    """
    head = _attributes(
        device=vector.device,
        name=vector.name,
        state=vector.state,
        timestamp=vector.timestamp,
        message=vector.message,
    )
    return _element("setBLOBVector", head, map(_blob, blobs, blobs.values()))


def _attributes(**values: object) -> str:
    """Return attributes in this order, without those that are "" or None."""
    written = []
    for key, value in values.items():
        if value not in ("", None):
            written.append(f' {key}="{str(value).translate(_ESCAPES)}"')
    return "".join(written)


def _element(
    name: str, attributes: str, children: Iterable[str] = (), text: str = ""
) -> bytes:
    body = "".join(f"    {child}\n" for child in children)
    content = text
    if body and not text:
        content = f"\n{body}"
    if not content:
        return f"<{name}{attributes}/>\n".encode()
    return f"<{name}{attributes}>{content}</{name}>\n".encode()


def _member(tag: str, attributes: str, value: str) -> str:
    return f"<{tag}{attributes}>{value.translate(_ESCAPES)}</{tag}>"


def _def(vector: DefVector) -> bytes:
    perm: str | None = vector.perm
    timeout: str | None = f"{vector.timeout:g}"
    if vector.kind == "Light":
        perm = timeout = None
    head = _attributes(
        device=vector.device,
        name=vector.name,
        label=vector.label,
        group=vector.group,
        state=vector.state,
        perm=perm,
        rule=vector.rule,
        timeout=timeout,
        timestamp=vector.timestamp,
        message=vector.message,
    )
    tag = f"def{vector.kind}"
    members = (_def_member(tag, member) for member in vector.members)
    return _element(f"{tag}Vector", head, members)


def _def_member(tag: str, member: DefMember) -> str:
    head = _attributes(
        name=member.name,
        label=member.label,
        format=member.format,
        min=member.min,
        max=member.max,
        step=member.step,
    )
    return _member(tag, head, member.value)


def _set(vector: SetVector) -> bytes:
    head = _attributes(
        device=vector.device,
        name=vector.name,
        state=vector.state,
        timeout=None if vector.timeout is None else f"{vector.timeout:g}",
        timestamp=vector.timestamp,
        message=vector.message,
    )
    tag = f"one{vector.kind}"
    ranges = vector.ranges or {}
    members = []
    for name, value in vector.members.items():
        bounds = ranges.get(name, Range())
        extra = _attributes(min=bounds.min, max=bounds.max, step=bounds.step)
        members.append(_member(tag, _attributes(name=name) + extra, value))
    return _element(f"set{vector.kind}Vector", head, members)


def _new(vector: NewVector) -> bytes:
    head = _attributes(
        device=vector.device, name=vector.name, timestamp=vector.timestamp
    )
    tag = f"one{vector.kind}"
    if vector.blobs:
        members = [_blob(name, blob) for name, blob in vector.blobs.items()]
    else:
        values = vector.members.items()
        members = [
            _member(tag, _attributes(name=name), value) for name, value in values
        ]
    return _element(f"new{vector.kind}Vector", head, members)


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


def _message(message: Message) -> bytes:
    head = _attributes(
        device=message.device, timestamp=message.timestamp, message=message.text
    )
    return _element("message", head)


def _del(gone: DelProperty) -> bytes:
    head = _attributes(
        device=gone.device,
        name=gone.name,
        timestamp=gone.timestamp,
        message=gone.message,
    )
    return _element("delProperty", head)


def _get(asked: GetProperties) -> bytes:
    head = _attributes(version=asked.version, device=asked.device, name=asked.name)
    return _element("getProperties", head)


def _enable(enable: EnableBLOB) -> bytes:
    head = _attributes(device=enable.device, name=enable.name)
    return _element("enableBLOB", head, text=enable.value)


def _ping_request(ping: PingRequest) -> bytes:
    return _element("pingRequest", _attributes(uid=ping.uid))


def _ping_reply(ping: PingReply) -> bytes:
    return _element("pingReply", _attributes(uid=ping.uid))


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    DefVector: _def,
    SetVector: _set,
    NewVector: _new,
    Message: _message,
    DelProperty: _del,
    GetProperties: _get,
    EnableBLOB: _enable,
    PingRequest: _ping_request,
    PingReply: _ping_reply,
}
