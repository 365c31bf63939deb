"""Report of a run: text by section, JSON, JUnit."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from xml.etree import ElementTree

from busbar.cli.check.conformance.checks import CHECKS, TITLES, Check, Level, Result
from busbar.cli.output import printable

SHOWN = 5  # violations of one check
_MARKS = {"holds": "ok", "violated": "VIOLATED", "not tried": "-"}
_OPTIONS: Mapping[Level, str] = {"active": "--active", "all": "--all"}
_INDENT = " " * 12
LEVELS: tuple[Level, ...] = ("passive", "active", "all")


@dataclass(frozen=True)
class Report:
    """The results of one run and what was looked at."""

    bridge: str
    broker: str
    protocol: str
    level: Level
    devices: list[str]
    seconds: float
    messages: int
    commands: int
    results: list[Result]

    @property
    def violated(self) -> list[Result]:
        return [each for each in self.results if each.state == "violated"]

    def count(self, state: str) -> int:
        return sum(each.state == state for each in self.results)

    @property
    def left_out(self) -> list[Check]:
        """The checks that were not asked for."""
        levels = LEVELS[LEVELS.index(self.level) + 1 :]
        return [each for each in CHECKS if each.level in levels]


def text(report: Report) -> str:
    """Return the report for people."""
    devices = _one_line(", ".join(report.devices))
    lines = [
        f"{report.bridge} on {report.broker} (MQTT {report.protocol}): {devices}",
        f"{report.seconds:.0f} s, {report.messages} messages, {report.commands} "
        "commands of ours",
    ]
    ordered = sorted(report.results, key=lambda each: each.section)
    for section, results in groupby(ordered, key=lambda each: each.section):
        lines += ["", f"{section} {TITLES[section]}"]
        for result in results:
            lines += _lines(result)
    lines += ["", _summary(report)]
    return "\n".join(lines)


def _lines(result: Result) -> Iterator[str]:
    mark = _MARKS[result.state]
    many = _many(result)
    yield f"  {mark:<8}  {result.sentence}{many}"
    if result.why_not:
        tried = "partly not tried" if result.made else "not tried"
        yield f"{_INDENT}{tried}: {_one_line(result.why_not)}"
    for wrong in result.wrong[:SHOWN]:
        yield f"{_INDENT}{_one_line(wrong)}"
    more = len(result.wrong) - SHOWN
    if more > 0:
        yield f"{_INDENT}and {more} more"


def _one_line(text: str) -> str:
    """Return a text of a bridge so that it steers no terminal and forges no line."""
    return printable(text).replace("\n", "\\n")


def _many(result: Result) -> str:
    """Return how many things were looked at, and how many are wrong."""
    if result.wrong:
        return f" ({result.bad} of {result.made})"
    if result.made:
        return f" ({result.made})"
    return ""


def _summary(report: Report) -> str:
    hold = report.count("holds")
    violated = report.count("violated")
    not_tried = report.count("not tried")
    parts = [f"{hold} hold, {violated} violated, {not_tried} not tried"]
    left_out = Counter(each.level for each in report.left_out)
    for level, option in _OPTIONS.items():
        count = left_out[level]
        if count:
            parts.append(f"{count} more with {option}")
    return "; ".join(parts)


def as_json(report: Report) -> str:
    """Return the report for programs."""
    document = asdict(report)
    results = document.pop("results")
    for each, result in zip(results, report.results, strict=True):
        each["state"] = result.state
    document["summary"] = {state: report.count(state) for state in _MARKS}
    document["not_asked_for"] = [
        {"section": each.section, "sentence": each.sentence} for each in report.left_out
    ]
    document["checks"] = results
    return json.dumps(document, indent=2, ensure_ascii=False)


def junit(report: Report) -> bytes:
    """Return the report as JUnit XML: one test case per check."""
    counts = {
        "tests": len(report.results),
        "failures": report.count("violated"),
        "skipped": report.count("not tried"),
    }
    attributes = {"name": f"busbar conformance {report.bridge}"}
    for key, count in counts.items():
        attributes[key] = str(count)
    suite = ElementTree.Element("testsuite", attributes)
    for each in report.results:
        about = {
            "classname": f"{each.section} {TITLES[each.section]}",
            "name": each.sentence,
        }
        case = ElementTree.SubElement(suite, "testcase", about)
        if each.state == "violated":
            message = {"message": _xml(each.wrong[0])}
            failure = ElementTree.SubElement(case, "failure", message)
            failure.text = _xml("\n".join(each.wrong))
        elif each.state == "not tried":
            message = {"message": _xml(each.why_not or "")}
            ElementTree.SubElement(case, "skipped", message)
    document: bytes = ElementTree.tostring(
        suite, encoding="utf-8", xml_declaration=True
    )
    return document


def _xml(text: str) -> str:
    """Return a text with "?" for what XML 1.0 cannot hold."""
    return "".join(map(_xml_character, text))


def _xml_character(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return "?"
