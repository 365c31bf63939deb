"""Check rules of the house that ruff has no rule for.

`style.py [--strict] [PATH...]` prints each finding; with --strict any finding is an
error. The rules, for the library and the services:

- one conditional expression or comprehension in a statement, so that each step has a
  name and a line;
- no assignment of more than two values at once: `self.a, self.b, self.c = x, y, z`;
- functions of at most 50 lines, docstrings not counted;
- what speaks to a device (a module of a service that imports `busbar.bridge.streams`)
  knows nothing of sessions and properties (`busbar.bridge`).
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("common/src", "services/*/src")
FUNCTION_LIMIT = 50  # lines
BRANCHES = (ast.IfExp, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
STREAMS = "busbar.bridge.streams"
# These open streams for their sessions, and are what sessions are made of.
MAY_KNOW_BOTH = ("bridge.py", "link.py", "session.py")

Finding = tuple[int, str]  # line, what is wrong


def main() -> int:
    """Print the findings; return the exit code."""
    parser = argparse.ArgumentParser(description="rules that ruff does not have")
    parser.add_argument("paths", nargs="*", type=Path, help="default: all sources")
    parser.add_argument("--strict", action="store_true", help="a finding is an error")
    arguments = parser.parse_args()
    count = 0
    for path in arguments.paths or sources():
        for line, text in sorted(findings(path)):
            count += 1
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f"{shown}:{line}: {text}")
    print(f"style: {count} findings")
    return 1 if count and arguments.strict else 0


def sources() -> list[Path]:
    """Return the modules of the library and of all services."""
    folders = [folder for pattern in SOURCES for folder in ROOT.glob(pattern)]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def findings(path: Path) -> Iterator[Finding]:
    """Return what is wrong in a module."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            yield from _branches(node)
        if isinstance(node, ast.Assign):
            yield from _assignment(node)
        if isinstance(node, FUNCTIONS):
            yield from _length(node)
    yield from _imports(tree, path)


def _branches(statement: ast.stmt) -> Iterator[Finding]:
    count = sum(isinstance(each, BRANCHES) for each in _expressions(statement))
    if count > 1:
        text = f"{count} conditional expressions or comprehensions in one statement"
        yield statement.lineno, text


def _expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Return the nodes of a statement without those of the statements inside it."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if not isinstance(child, ast.stmt):
                yield child
                waiting.append(child)


def _assignment(statement: ast.Assign) -> Iterator[Finding]:
    for target in statement.targets:
        if not isinstance(target, ast.Tuple) or len(target.elts) <= 2:
            continue
        attributes = sum(isinstance(each, ast.Attribute) for each in target.elts)
        if attributes > 2 or isinstance(statement.value, ast.Tuple):
            yield statement.lineno, f"{len(target.elts)} values assigned at once"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Finding]:
    lines = _lines(function)
    if ast.get_docstring(function) is not None:
        lines -= _lines(function.body[0])
    if lines > FUNCTION_LIMIT:
        text = f"{function.name} has {lines} lines, at most {FUNCTION_LIMIT}"
        yield function.lineno, text


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _imports(tree: ast.Module, path: Path) -> Iterator[Finding]:
    if "services" not in path.absolute().parts or path.name in MAY_KNOW_BOTH:
        return
    imported = {
        node.module: node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    if STREAMS in imported and "busbar.bridge" in imported:
        text = f"imports both {STREAMS} and busbar.bridge: device side or session?"
        yield imported["busbar.bridge"], text


if __name__ == "__main__":
    sys.exit(main())
