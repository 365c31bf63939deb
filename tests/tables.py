"""Tables of a README whose rows a test executes."""

import re


def codes(text: str) -> list[list[list[str]]]:
    """Return the rows whose first cell begins with code: what is code in each cell."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [
        [re.findall("`([^`]+)`", cell) for cell in line.strip("|\n ").split(" | ")]
        for line in lines
    ]
