"""Builds each notebook from its .py: without outputs, and reproducible byte for byte.

python colab/build.py          # writes the .ipynb files
"""

from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).parent
METADATA = {
    "colab": {"provenance": [], "toc_visible": True},
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def sources() -> list[Path]:
    """Returns the sources of the notebooks in order."""
    return sorted(HERE.glob("[0-9]*.py"))


def notebook_text(source: Path) -> str:
    """Returns the text of the .ipynb of a source."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def main() -> None:
    """Writes all notebooks."""
    for source in sources():
        source.with_suffix(".ipynb").write_text(notebook_text(source), encoding="utf-8")


if __name__ == "__main__":
    main()
