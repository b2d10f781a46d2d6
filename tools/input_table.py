"""Writes the tables of odd inputs into their page: ``python tools/input_table.py``.

The rows are those that `tests/dicom/test_failure_table.py` runs, and the real files of
`tests/dicom/test_hard_files.py`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "input.md"
_TABLE = re.compile(r"^\|.*\|\n(?:\|.*\|\n)+", re.MULTILINE)


def main() -> None:
    """Replaces the tables of the page that come from the tests."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "dicom")]
    import failure_rows
    import test_hard_files

    made = {
        table.splitlines()[0]: table
        for table in (failure_rows.markdown(), test_hard_files.markdown())
    }
    page = _TABLE.sub(
        lambda found: made.get(found[0].splitlines()[0], found[0]), PAGE.read_text()
    )
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
