"""Writes the table of odd inputs into its page: ``python tools/input_table.py``.

The rows are those that `tests/dicom/test_failure_table.py` runs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "input.md"
_TABLE = re.compile(r"^\|.*\|\n(?:\|.*\|\n)+", re.MULTILINE)


def main() -> None:
    """Replaces the first table of the page."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "dicom")]
    from failure_rows import markdown

    table = markdown()
    PAGE.write_text(_TABLE.sub(lambda _: table, PAGE.read_text(), count=1))


if __name__ == "__main__":
    main()
