"""Pages and citations: what is cited exists, and links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("common", "services", "tests")
NUMBER = r"\d+(?:\.\d+)?"
CITED = re.compile(rf"docs/([\w/-]+\.md), ({NUMBER}(?:(?:, | and | to ){NUMBER})*)")
HEADING = re.compile(r"#{2,3} (\d+(?:\.\d+)?)\.? ")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
# forms of pages that are not in the repository
GONE = re.compile(
    rf"\breference {NUMBER}|\bkernel-lab\b"
    rf"|(?<![\w/-])[\w-]+\.md,? {NUMBER}|Source: {NUMBER}[,.\s]",
    re.IGNORECASE,
)


def ours(pattern: str, *folders: str) -> Iterator[Path]:
    for folder in folders or (".",):
        for path in sorted((ROOT / folder).rglob(pattern)):
            parts = path.relative_to(ROOT).parts
            hidden = any(part.startswith(".") for part in parts)
            if not hidden and "node_modules" not in parts:
                yield path


def flowing(text: str) -> str:
    """Return a text with its lines joined, so that no citation is cut in two."""
    return re.sub(r"\s*\n\s*(?:# ?)?", " ", text)


def sections(page: Path) -> set[str]:
    headings = map(HEADING.match, page.read_text("utf-8").splitlines())
    return {heading[1] for heading in headings if heading}


def slug(title: str) -> str:
    """Return the anchor of a heading, as the repository host makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text("utf-8"))
    return {slug(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def unknown_citations(text: str) -> Iterator[str]:
    for page, numbers in CITED.findall(flowing(text)):
        path = ROOT / "docs" / page
        if not path.is_file():
            yield f"docs/{page} does not exist"
            continue
        for number in re.findall(NUMBER, numbers):
            if number not in sections(path):
                yield f"docs/{page} has no section {number}"


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            yield f"{link} leads nowhere"
        elif anchor and anchor not in anchors(target):
            yield f"{link}: there is no such heading"


def failures(pattern: str, check, *folders: str) -> list[str]:
    found = []
    for path in ours(pattern, *folders):
        if path != Path(__file__):  # has wrong ones on purpose
            found += [f"{path.relative_to(ROOT)}: {each}" for each in check(path)]
    return found


def test_every_section_that_is_cited_exists():
    def wrong(path: Path) -> Iterator[str]:
        return unknown_citations(path.read_text("utf-8"))

    assert failures("*.py", wrong, *CODE) == []


def test_nothing_cites_a_page_outside_the_repository():
    def wrong(path: Path) -> list[str]:
        return [found[0] for found in GONE.finditer(flowing(path.read_text("utf-8")))]

    assert failures("*.py", wrong, *CODE) == []


def test_every_link_of_a_page_leads_somewhere():
    assert failures("*.md", broken_links) == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs/protocols").glob("*.md")))
def test_the_sections_of_a_protocol_are_numbered_in_order(page):
    headings = filter(None, map(HEADING.match, page.read_text("utf-8").splitlines()))
    numbers = [[int(part) for part in found[1].split(".")] for found in headings]
    assert numbers == sorted(numbers)
    chapters = [number[0] for number in numbers if len(number) == 1]
    assert chapters == list(range(1, len(chapters) + 1))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Source: docs/protocols/cip.md, 6.4", []),
        ("Source: docs/protocols/cip.md,\n    # 5.1 to 5.3 and 7.", []),
        ("(docs/contract.md, 2 and 3.5)", []),
        ("docs/protocols/cip.md, 6.99", ["docs/protocols/cip.md has no section 6.99"]),
        ("docs/protocols/dmx.md, 1", ["docs/protocols/dmx.md does not exist"]),
    ],
)
def test_what_a_citation_is(text, wrong):
    assert list(unknown_citations(text)) == wrong


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Source: reference 1.8.", True),
        ("(reference 2)", True),
        ("Reference\n# kernel-lab.md 3", True),
        ("Source: gpio.md 4", True),
        ("Source: 1.4.", True),
        ("Source: docs/protocols/gpio.md, 4", False),
        ("Source: 488.2, 7.7.5", True),
        ("Source: IEEE 488.2, 7.7.5", False),
        ("Source: ISO 15765-2, 9.6.5.4", False),
    ],
)
def test_what_is_no_citation_any_more(text, gone):
    assert bool(GONE.search(flowing(text))) is gone
