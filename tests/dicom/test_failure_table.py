"""Every row of the table of odd inputs, by the command line, and its page.

``python tools/input_table.py`` writes the table into the page.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest
from failure_rows import ROWS, Row, markdown
from pydicom import dcmread

from ct_keras.cli.main import main
from ct_keras.denoising.methods import as_method
from ct_keras.dicom import ReadOptions, read_series

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "input.md"


def method_for(row: Row, factory, folder: Path):
    """An unchanged copy, 2-D or 3-D, during which the input may change."""

    def copy(hu: np.ndarray) -> np.ndarray:
        if row.disturb is not None:
            row.disturb(factory, folder)
        return hu

    copy.dimensions = row.dimensions
    method = as_method(copy)
    method.ranges = row.ranges
    return method


@pytest.fixture
def run(factory, tmp_path, monkeypatch, capsys):
    """Runs the command of a row; returns its exit status and all that it says."""

    def call(row: Row) -> tuple[int, str]:
        source, out = tmp_path / "SECRETX in", tmp_path / "out"
        source.mkdir()
        row.make(factory, source)
        method = method_for(row, factory, source)
        monkeypatch.setattr(
            "ct_keras.denoising.methods.get_method", lambda *_, **__: method
        )
        with pytest.raises(SystemExit) as end:
            main([row.command, str(source), str(out), *row.options])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return call


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_code_exit_status_and_result(row, run, tmp_path):
    status, said = run(row)
    assert status == row.status, said
    if row.code is None:
        assert "CTK-" not in said
    else:
        assert f"{row.code} " in said
    assert "SECRETX" not in said
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    frames = sum(int(dcmread(path).get("NumberOfFrames", 1)) for path in written)
    assert frames == (row.slices or 0)
    assert not any("SECRETX" in str(path.relative_to(tmp_path)) for path in written)


@pytest.mark.parametrize("number", [11, 20, 24, 26, 28])
def test_what_is_not_refused_is_written_bit_for_bit(number, run, tmp_path):
    row = next(row for row in ROWS if row.number == number and row.status == 0)
    run(row)
    options = ReadOptions()
    before, after = (
        read_series(tmp_path / name, options=options) for name in ("SECRETX in", "out")
    )
    assert len(after) == 5
    for index in range(5):
        old, new = before.read(index), after.read(index)
        assert np.array_equal(old.stored, new.stored)
        assert np.array_equal(old.hu, new.hu)


def test_every_row_of_the_list_is_there():
    assert {row.number for row in ROWS} == set(range(1, 35))
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_page_says_the_same():
    assert markdown() in PAGE.read_text()


def test_the_tool_writes_the_table(tmp_path):
    tool = runpy.run_path(str(PAGE.parents[2] / "tools" / "input_table.py"))["main"]
    lines = PAGE.read_text().splitlines(keepends=True)
    page = tmp_path / "input.md"
    page.write_text("".join(line for line in lines if "CTK-E0" not in line))
    tool.__globals__["PAGE"] = page
    tool()
    assert page.read_text() == PAGE.read_text()
