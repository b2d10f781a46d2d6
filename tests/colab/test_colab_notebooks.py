"""The notebooks: equal to their sources, without outputs, and they run end to end."""

import importlib.metadata
import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

COLAB = Path(__file__).resolve().parents[2] / "colab"
BUILD = runpy.run_path(str(COLAB / "build.py"))
SOURCES = BUILD["sources"]()
#: What Colab brings along and an installation must not change.
KEPT = ("tensorflow", "numpy", "protobuf")

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def code_cells(source: Path) -> list[str]:
    notebook = jupytext.read(source, fmt="py:percent")
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebooks_are_numbered():
    assert [source.stem[:2] for source in SOURCES] == [f"0{n}" for n in range(1, 10)]
    assert len(list(COLAB.glob("*.ipynb"))) == len(SOURCES)


def test_the_readme_lists_every_notebook():
    readme = (COLAB / "README.md").read_text()
    for source in SOURCES:
        assert f"({source.with_suffix('.ipynb').name})" in readme


@each_source
def test_notebook_is_made_from_its_source(source):
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == BUILD["notebook_text"](source), "run: python colab/build.py"


@each_source
def test_notebook_goes_back_to_its_source(source):
    notebook = jupytext.reads(BUILD["notebook_text"](source, ""), fmt="ipynb")
    ours = jupytext.read(source, fmt="py:percent")
    pairs = zip(notebook.cells, ours.cells, strict=True)
    assert all(
        (cell.cell_type, cell.source) == (own.cell_type, own.source)
        for cell, own in pairs
    )


@each_source
def test_badge_opens_the_notebook_in_colab(source):
    text = BUILD["notebook_text"](source, "someone/ct_keras")
    title, install, *others = jupytext.reads(text, fmt="ipynb").cells
    place = f"someone/ct_keras/blob/main/colab/{source.stem}.ipynb"
    assert title.source.startswith("[![Open in Colab](")
    assert f"](https://colab.research.google.com/github/{place})\n\n# " in title.source
    assert 'SOURCE = "git+https://github.com/someone/ct_keras"  # @param' in install.source
    assert [cell.source for cell in others] == [
        cell.source for cell in jupytext.read(source, fmt="py:percent").cells[2:]
    ]


@each_source
def test_no_outputs_are_stored(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@each_source
def test_one_variable_chooses_the_setting(source):
    settings = [line for cell in code_cells(source) for line in cell.splitlines()]
    assert [line for line in settings if line.startswith("GPU = ")] == [
        'GPU = False  # @param {type:"boolean"}'
    ]


@pytest.fixture
def pip(monkeypatch):
    """Records what would be run, and the constraints that pip would get."""
    calls = []

    def run(command, check):
        assert check
        path = command[command.index("--constraint") + 1]
        calls.append((command, Path(path).read_text().splitlines()))

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@each_source
def test_first_cell_installs_nothing_where_the_package_is(source, pip):
    exec(code_cells(source)[0], {})
    assert pip == []


@each_source
def test_first_cell_leaves_tensorflow_numpy_and_protobuf(source, pip, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "ct_keras" else find(name),
    )
    exec(code_cells(source)[0], {})
    ((command, constraints),) = pip
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert "--upgrade" not in command
    for name in KEPT:
        assert f"{name}=={importlib.metadata.version(name)}" in constraints
    assert not any(part.startswith(KEPT) for part in command)


@each_source
def test_only_the_first_cell_installs_unless_a_download_is_chosen(source):
    for cell in code_cells(source)[1:]:
        always, *_ = cell.split("if DOWNLOAD:\n")
        assert "pip" not in always.split()
        assert '"pip"' not in always
        assert "idc_index" not in always


@each_source
def test_cells_that_train_show_their_progress(source):
    """`model.fit` of Keras, `train` of a run, and `convert` to records."""
    for cell in code_cells(source):
        if re.search(r"\bepochs?=|records\", layout=|convert\(", cell):
            assert "progress=True" in cell or "ProgressBar()" in cell


def test_no_download_is_chosen_at_first():
    cells = code_cells(COLAB / "09_tcia.py")
    lines = [line for cell in cells for line in cell.splitlines()]
    assert 'DOWNLOAD = False  # @param {type:"boolean"}' in lines


@pytest.mark.slow
@each_source
def test_notebook_runs_from_end_to_end(source, tmp_path):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    client = NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert cells[-1].execution_count == len(cells)
    assert len(pictures) >= 5
