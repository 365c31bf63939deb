"""One whole element, from text to its struct.

Source: INDI 1.7; docs/protocols/indi.md, 2 and 4.
"""

import math
import re
from collections.abc import Callable
from functools import partial

from busbar.codecs.indi.elements import (
    KINDS,
    PERMS,
    POLICIES,
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
from busbar.codecs.indi.numbers import decimal
from busbar.codecs.indi.text import TextDecoder

# What follows the name in a start tag, up to its ">". "<" is never within a value: a
# missing quotation mark costs its own element only.
ATTRIBUTES = r"""([^<>"']*+(?:"[^"<]*+"[^<>"']*+|'[^'<]*+'[^<>"']*+)*+)"""
# A name begins where the one before it has ended, so that each is looked at once.
_NAME = r"(?<![\w:.-])([A-Za-z_:][\w:.-]*+)\s*+=\s*+"
_ATTRIBUTE = re.compile(rf"""{_NAME}(?:"([^"]*+)"|'([^']*+)')""")
_PLAIN_ATTRIBUTE = re.compile(rf"""{_NAME}"([^"]*+)\"""")
_MEMBER = re.compile(rf"<([A-Za-z]++){ATTRIBUTES}(?:(?<=/)>|>([^<]*+)</\1\s*+>)")
_PLAIN_MEMBER = {
    kind: re.compile(rf'<one{kind} name="([^"<&]+)">([^<&]*)</one{kind}>')
    for kind in KINDS
}
# Markup without an end takes all the rest: searching the end of each would take for
# ever.
_MARKUP = re.compile(
    r"<!--(?:.*?-->|.*())|<\?(?:.*?\?>|.*())|<!\[CDATA\[(?:(.*?)\]\]>|.*())", re.DOTALL
)
_LONGEST = 86400.0 * 365  # s of a timeout

Attributes = dict[str, str]
Members = list[tuple[str, Attributes, str]]  # tag, attributes, text


class Malformed(Exception):
    """The element cannot be used; the message says why."""


def parse(name: bytes, attributes: str, body: str, text: TextDecoder) -> Element:
    """Return the element of a start tag's attributes and the body up to its end tag.

    Raise Malformed.
    """
    return _PARSERS[name](attributes_of(attributes, text), body, text)


def attributes_of(tag: str, text: TextDecoder) -> Attributes:
    """Return the attributes of a start tag."""
    if "&" not in tag and "'" not in tag:
        return dict(_PLAIN_ATTRIBUTE.findall(tag))
    found = _ATTRIBUTE.findall(tag)
    return {key: text.resolve(double or single) for key, double, single in found}


def _values(kind: Kind, body: str, text: TextDecoder) -> tuple[dict[str, str], Members]:
    """Return the values of a set or new vector, and its members.

    The members are left out if they are plain, as they mostly are.
    """
    plain = _PLAIN_MEMBER[kind].findall(body)
    members: Members = []
    if 2 * len(plain) == body.count("<"):
        values = {name: value.strip() for name, value in plain}
    else:
        members = _members(f"one{kind}", body, text)
        values = {_needed(each, "name"): value for _, each, value in members}
    if kind in ("Switch", "Light"):
        for value in values.values():
            _check(kind, value)
    return values, members


def _members(tag: str, body: str, text: TextDecoder) -> Members:
    """Return the children of one tag.

    Raise Malformed if anything but elements is among the children.
    """
    found = _MEMBER.findall(body)
    if 2 * len(found) != body.count("<"):
        body = _MARKUP.sub(_escaped, body)
        found = _MEMBER.findall(body)
        rest = _MEMBER.sub("", body)
        if "<" in rest:
            raise Malformed(f"{rest.strip()[:60]!r} is no member")
    members = []
    for name, attributes, value in found:
        plain = text.resolve(value.strip())
        member = (name, attributes_of(attributes, text), plain)
        if name == tag:
            members.append(member)
    return members


def _escaped(markup: re.Match[str]) -> str:
    """Return CDATA as ordinary text, nothing for comments and instructions.

    Markup without an end becomes "<".
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
    """Return a timeout (s); 0 if it is not a number of seconds."""
    value = decimal(text)
    if value is None:
        return 0.0
    return value if math.isfinite(value) and 0 <= value <= _LONGEST else 0.0


def _one_of(
    attributes: Attributes, key: str, allowed: tuple[str, ...], default: str
) -> str:
    value = attributes.get(key, default)
    if value not in allowed:
        raise Malformed(f"{key} {value[:40]!r} is none of {', '.join(allowed)}")
    return value


def _def(kind: Kind, attributes: Attributes, body: str, text: TextDecoder) -> DefVector:
    members = _members(f"def{kind}", body, text)
    perm = "ro"
    if kind != "Light":
        perm = _one_of(attributes, "perm", PERMS, "rw")
    rule = ""
    if kind == "Switch":
        rule = _one_of(attributes, "rule", RULES, "AnyOfMany")
    return DefVector(
        kind,
        _needed(attributes, "device"),
        _needed(attributes, "name"),
        tuple(_def_member(kind, each, value) for _, each, value in members),
        attributes.get("label", ""),
        attributes.get("group", ""),
        _one_of(attributes, "state", STATES, "Idle"),
        perm,
        rule,
        _seconds(attributes.get("timeout", "")),
        attributes.get("timestamp", ""),
        attributes.get("message", ""),
    )


def _def_member(kind: Kind, attributes: Attributes, value: str) -> DefMember:
    name = _needed(attributes, "name")
    label = attributes.get("label", "")
    if kind == "Number":
        return DefMember(
            name,
            label,
            value,
            attributes.get("format", ""),
            attributes.get("min", ""),
            attributes.get("max", ""),
            attributes.get("step", ""),
        )
    _check(kind, value)
    return DefMember(name, label, value)


def _check(kind: Kind, value: str) -> None:
    if kind == "Switch" and value not in ("On", "Off"):
        raise Malformed(f"a switch is On or Off, not {value[:40]!r}")
    if kind == "Light" and value not in STATES:
        raise Malformed(f"a light is one of {', '.join(STATES)}, not {value[:40]!r}")


def _set(kind: Kind, attributes: Attributes, body: str, text: TextDecoder) -> SetVector:
    values, members = _values(kind, body, text)
    state = attributes.get("state")
    if state is not None and state not in STATES:
        raise Malformed(f"state {state[:40]!r} is none of {', '.join(STATES)}")
    given = attributes.get("timeout")
    timeout = None if given is None else _seconds(given)
    ranges = _ranges(members) if members and kind == "Number" else None
    return SetVector(
        kind,
        _needed(attributes, "device"),
        _needed(attributes, "name"),
        values,
        state,
        timeout,
        attributes.get("timestamp", ""),
        attributes.get("message", ""),
        ranges,
    )


def _ranges(members: Members) -> dict[str, Range] | None:
    """Return the bounds that come with numbers; None if there are none.

    Source: docs/protocols/indi.md, 2.3 (IUUpdateMinMax of the C library).
    """
    found = {}
    for _, attributes, _ in members:
        found[attributes["name"]] = Range(
            attributes.get("min", ""),
            attributes.get("max", ""),
            attributes.get("step", ""),
        )
    ranges = {name: bounds for name, bounds in found.items() if bounds != Range()}
    return ranges or None


def _new(kind: Kind, attributes: Attributes, body: str, text: TextDecoder) -> NewVector:
    values, _ = _values(kind, body, text)
    return NewVector(
        kind,
        _needed(attributes, "device"),
        _needed(attributes, "name"),
        values,
        attributes.get("timestamp", ""),
    )


def _message(attributes: Attributes, _body: str, _text: TextDecoder) -> Message:
    return Message(
        attributes.get("message", ""),
        attributes.get("device", ""),
        attributes.get("timestamp", ""),
    )


def _del(attributes: Attributes, _body: str, _text: TextDecoder) -> DelProperty:
    return DelProperty(
        _needed(attributes, "device"),
        attributes.get("name", ""),
        attributes.get("timestamp", ""),
        attributes.get("message", ""),
    )


def _get(attributes: Attributes, _body: str, _text: TextDecoder) -> GetProperties:
    return GetProperties(
        attributes.get("device", ""),
        attributes.get("name", ""),
        attributes.get("version", ""),
    )


def _enable(attributes: Attributes, body: str, _text: TextDecoder) -> EnableBLOB:
    policy = _one_of({"value": body.strip()}, "value", POLICIES, "Never")
    return EnableBLOB(_needed(attributes, "device"), policy, attributes.get("name", ""))


def _ping_request(
    attributes: Attributes, _body: str, _text: TextDecoder
) -> PingRequest:
    return PingRequest(attributes.get("uid", ""))


def _ping_reply(attributes: Attributes, _body: str, _text: TextDecoder) -> PingReply:
    return PingReply(attributes.get("uid", ""))


_Parser = Callable[[Attributes, str, TextDecoder], Element]
_PARSERS: dict[bytes, _Parser] = {}
for _kind in KINDS:
    _PARSERS[b"def%bVector" % _kind.encode()] = partial(_def, _kind)
    _PARSERS[b"set%bVector" % _kind.encode()] = partial(_set, _kind)
    if _kind != "Light":
        _PARSERS[b"new%bVector" % _kind.encode()] = partial(_new, _kind)
_PARSERS |= {
    b"message": _message,
    b"delProperty": _del,
    b"getProperties": _get,
    b"enableBLOB": _enable,
    b"pingRequest": _ping_request,
    b"pingReply": _ping_reply,
}
NAMES = tuple(_PARSERS)
