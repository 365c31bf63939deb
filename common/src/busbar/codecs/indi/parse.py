"""One whole element as text -> its struct; raise Malformed.

Source: INDI 1.7, and what indiserver 1.9.9 makes of it.
"""

import math
import re
from collections.abc import Callable
from functools import partial

from busbar.codecs.indi.elements import (
    KINDS,
    PERMS,
    RULES,
    STATES,
    DefMember,
    DefVector,
    DelProperty,
    Element,
    EnableBLOB,
    GetProperties,
    Kind,
    Message,
    NewVector,
    PingReply,
    PingRequest,
    Range,
    SetVector,
)
from busbar.codecs.indi.text import Text

# What follows the name in a start tag, up to its ">". "<" is never within a value: a
# quotation mark that is missing costs its own element only.
ATTRIBUTES = r"""([^<>"']*+(?:"[^"<]*+"[^<>"']*+|'[^'<]*+'[^<>"']*+)*+)"""
_ATTRIBUTE = re.compile(r"""([A-Za-z_:][\w:.-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_PLAIN_ATTRIBUTE = re.compile(r"""([A-Za-z_:][\w:.-]*)\s*=\s*"([^"]*)\"""")
_MEMBER = re.compile(rf"<([A-Za-z]+){ATTRIBUTES}(?:(?<=/)>|>([^<]*)</\1\s*>)")
_PLAIN_MEMBER = {
    kind: re.compile(rf'<one{kind} name="([^"<&]+)">([^<&]*)</one{kind}>')
    for kind in KINDS
}
# What has no end takes all the rest: looking for the end of each would take for ever.
_MARKUP = re.compile(
    r"<!--(?:.*?-->|.*())|<\?(?:.*?\?>|.*())|<!\[CDATA\[(?:(.*?)\]\]>|.*())", re.DOTALL
)
_LONGEST = 86400.0 * 365  # s of a timeout

Attributes = dict[str, str]
Members = list[tuple[str, Attributes, str]]


class Malformed(Exception):
    """The element cannot be used; the message says why."""


def parse(name: bytes, attributes: str, body: str, read: Text) -> Element:
    """Return an element from the attributes of its start tag and what follows up to its end tag."""
    return _PARSERS[name](attributes_of(attributes, read), body, read)


def attributes_of(tag: str, read: Text) -> Attributes:
    """Return the attributes of a start tag."""
    if "&" not in tag and "'" not in tag:
        return dict(_PLAIN_ATTRIBUTE.findall(tag))
    return {
        key: read.plain(one or other) for key, one, other in _ATTRIBUTE.findall(tag)
    }


def _values(kind: Kind, body: str, read: Text) -> tuple[dict[str, str], Members]:
    """Return the values of a set or new vector.

    And its members, unless they are as plain as they mostly are.
    """
    plain = _PLAIN_MEMBER[kind].findall(body)
    if 2 * len(plain) == body.count("<"):
        members: Members = []
        values = {name: text.strip() for name, text in plain}
    else:
        members = [each for each in _members(body, read) if each[0] == f"one{kind}"]
        values = {_needed(each, "name"): value for _, each, value in members}
    if kind in ("Switch", "Light"):
        for value in values.values():
            _check(kind, value)
    return values, members


def _members(body: str, read: Text) -> Members:
    """Return tag, attributes and text of each child.

    Raise Malformed if something else is among them.
    """
    found = _MEMBER.findall(body)
    if 2 * len(found) != body.count("<"):
        body = _MARKUP.sub(_escaped, body)
        found = _MEMBER.findall(body)
        rest = _MEMBER.sub("", body)
        if "<" in rest:
            raise Malformed(f"{rest.strip()[:60]!r} is no member")
    return [
        (tag, attributes_of(tags, read), read.plain(text.strip()))
        for tag, tags, text in found
    ]


def _escaped(markup: re.Match[str]) -> str:
    """Return CDATA as ordinary text.

    Comments and instructions are nothing; "<" for what has no end.
    """
    if "" in (markup[1], markup[2], markup[4]):
        return "<"
    return (markup[3] or "").replace("&", "&amp;").replace("<", "&lt;")


def _needed(attributes: Attributes, key: str) -> str:
    value = attributes.get(key, "")
    if not value:
        raise Malformed(f"no {key}")
    return value


def _seconds(text: str) -> float:
    """Return a timeout (s); what is no number of seconds is none."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and 0 <= value <= _LONGEST else 0.0


def _one_of(
    attributes: Attributes, key: str, allowed: tuple[str, ...], default: str
) -> str:
    value = attributes.get(key, default)
    if value not in allowed:
        raise Malformed(f"{key} {value[:40]!r} is none of {', '.join(allowed)}")
    return value


def _def(kind: Kind, attributes: Attributes, body: str, read: Text) -> DefVector:
    members = [each for each in _members(body, read) if each[0] == f"def{kind}"]
    return DefVector(
        kind,
        _needed(attributes, "device"),
        _needed(attributes, "name"),
        tuple(_def_member(kind, each, value) for _, each, value in members),
        attributes.get("label", ""),
        attributes.get("group", ""),
        _one_of(attributes, "state", STATES, "Idle"),
        "ro" if kind == "Light" else _one_of(attributes, "perm", PERMS, "rw"),
        _one_of(attributes, "rule", RULES, "AnyOfMany") if kind == "Switch" else "",
        _seconds(attributes.get("timeout", "")),
        attributes.get("timestamp", ""),
        attributes.get("message", ""),
    )


def _def_member(kind: Kind, attributes: Attributes, value: str) -> DefMember:
    name, label = _needed(attributes, "name"), attributes.get("label", "")
    if kind == "Number":
        return DefMember(
            name,
            label,
            value,
            *(attributes.get(key, "") for key in ("format", "min", "max", "step")),
        )
    _check(kind, value)
    return DefMember(name, label, value)


def _check(kind: Kind, value: str) -> None:
    if kind == "Switch" and value not in ("On", "Off"):
        raise Malformed(f"a switch is On or Off, not {value[:40]!r}")
    if kind == "Light" and value not in STATES:
        raise Malformed(f"a light is one of {', '.join(STATES)}, not {value[:40]!r}")


def _set(kind: Kind, attributes: Attributes, body: str, read: Text) -> SetVector:
    values, members = _values(kind, body, read)
    state = attributes.get("state")
    if state is not None and state not in STATES:
        raise Malformed(f"state {state[:40]!r} is none of {', '.join(STATES)}")
    return SetVector(
        kind,
        _needed(attributes, "device"),
        _needed(attributes, "name"),
        values,
        state,
        _seconds(attributes["timeout"]) if "timeout" in attributes else None,
        attributes.get("timestamp", ""),
        attributes.get("message", ""),
        _ranges(members) if members and kind == "Number" else None,
    )


def _ranges(members: Members) -> dict[str, Range] | None:
    """Return the bounds that come with numbers.

    Source: IUUpdateMinMax of the C library.
    """
    found = {
        each["name"]: Range(*(each.get(key, "") for key in ("min", "max", "step")))
        for _, each, _ in members
    }
    return {name: bounds for name, bounds in found.items() if bounds != Range()} or None


def _new(kind: Kind, attributes: Attributes, body: str, read: Text) -> NewVector:
    values, _ = _values(kind, body, read)
    device, name = _needed(attributes, "device"), _needed(attributes, "name")
    return NewVector(kind, device, name, values, attributes.get("timestamp", ""))


def _message(attributes: Attributes, _body: str, _read: Text) -> Message:
    return Message(
        attributes.get("message", ""),
        attributes.get("device", ""),
        attributes.get("timestamp", ""),
    )


def _del(attributes: Attributes, _body: str, _read: Text) -> DelProperty:
    optional = (attributes.get(key, "") for key in ("name", "timestamp", "message"))
    return DelProperty(_needed(attributes, "device"), *optional)


def _get(attributes: Attributes, _body: str, _read: Text) -> GetProperties:
    return GetProperties(
        *(attributes.get(key, "") for key in ("device", "name", "version"))
    )


def _enable(attributes: Attributes, body: str, read: Text) -> EnableBLOB:
    value = _one_of(
        {"value": body.strip()}, "value", ("Never", "Also", "Only"), "Never"
    )
    return EnableBLOB(_needed(attributes, "device"), value, attributes.get("name", ""))


def _ping(
    reply: bool, attributes: Attributes, _body: str, _read: Text
) -> PingRequest | PingReply:
    return (
        PingReply(attributes.get("uid", ""))
        if reply
        else PingRequest(attributes.get("uid", ""))
    )


_PARSERS: dict[bytes, Callable[[Attributes, str, Text], Element]] = {
    **{b"def%bVector" % kind.encode(): partial(_def, kind) for kind in KINDS},
    **{b"set%bVector" % kind.encode(): partial(_set, kind) for kind in KINDS},
    **{
        b"new%bVector" % kind.encode(): partial(_new, kind)
        for kind in KINDS
        if kind != "Light"
    },
    b"message": _message,
    b"delProperty": _del,
    b"getProperties": _get,
    b"enableBLOB": _enable,
    b"pingRequest": partial(_ping, False),
    b"pingReply": partial(_ping, True),
}
NAMES = tuple(_PARSERS)
