"""Print INDI traces for reading: python -m tests.traces.indi_show mount-goto ..."""

import sys

from busbar.codecs.indi import DefVector, DelProperty, Element, Message
from tests.traces.indi_text import parsed
from tests.traces.trace import Line, load, names


def shown(line: Line) -> list[str]:
    """Return a line in words, one row for each element."""
    head = f"{line.t:7.3f} {line.connection} {line.direction}"
    return [f"{head} {_words(each)}" for each in parsed(line.data)] or [head]


def _words(element: Element) -> str:
    match element:
        case Message(text=text):
            return f"message {text}"
        case DelProperty(device=device, name=name):
            return f"delProperty {device} {name}"
        case DefVector():
            members = {each.name: each.value for each in element.members}
            return f"def {element.name} {element.state} {_members(members)}"
    name = getattr(element, "name", "")
    state = getattr(element, "state", "") or ""
    message = getattr(element, "message", "")
    said = f"{type(element).__name__} {name} {state} "
    return said + _members(getattr(element, "members", {})) + " " + message


def _members(members: dict[str, str]) -> str:
    return " ".join(f"{name}={value[:12]}" for name, value in members.items())


def main() -> None:
    """Print the traces of the command line, or all."""
    for name in sys.argv[1:] or names("indi"):
        trace = load(f"indi/{name}")
        print(f"== {name}: {trace.about['about']}")
        for line in trace.lines:
            print("\n".join(shown(line)))


if __name__ == "__main__":
    main()
