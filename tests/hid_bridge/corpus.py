"""Comparison with hid-tools on a folder of public descriptors.

`python -m tests.hid_bridge.corpus FOLDER`, of a clone of wacom-hid-descriptors. Its
files are recordings (lines `R: LENGTH BYTES`) and copies (`.hid.bin`).
hid-tools is not among the requirements: `pip install hid-tools`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from busbar.codecs import hid

_RECORDED = re.compile(r"^R: \d+((?: [0-9a-fA-F]{2})*) *$", re.MULTILINE)


def descriptors(folder: Path) -> set[bytes]:
    """Return the different descriptors of a folder."""
    return {each for file in folder.rglob("*") if file.is_file() for each in _in(file)}


def _in(file: Path) -> Iterator[bytes]:
    data = file.read_bytes()
    if file.name.endswith(".hid.bin"):
        yield data
        return
    for found in _RECORDED.findall(data.decode(errors="replace")):
        yield bytes.fromhex(found)


def sizes(data: bytes) -> dict[int, int]:
    """Return the bytes of each input report with its number, as we compute them."""
    parsed = hid.parse(data)
    numbered = parsed.numbered
    return {
        number: (parsed.length("input", number) or 0) + numbered
        for number in parsed.numbers("input")
    }


def main(folder: str) -> int:
    from hidtools.hid import ReportDescriptor

    differ = 0
    found = sorted(descriptors(Path(folder)))
    for data in found:
        known = ReportDescriptor.from_bytes(data).input_reports
        theirs = {max(number, 0): each.size for number, each in known.items()}
        if sizes(data) != theirs:
            differ += 1
            print(f"{data[:16].hex()}...: {sizes(data)}, hid-tools {theirs}")
    print(f"{len(found)} descriptors, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
