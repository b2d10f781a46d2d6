"""Builds each notebook from its .py: without outputs, and reproducible byte for byte.

python colab/build.py          # writes the .ipynb files

With the address of the repository in GITHUB, each notebook begins with a badge that
opens it in Colab, and installs the package from there.
"""

from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).parent
#: OWNER/NAME on GitHub, where the branch main is; empty as long as it is on none.
GITHUB = ""
_COLAB = "https://colab.research.google.com"
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


def with_address(cells: list, name: str, github: str) -> None:
    """Adds the badge above the first cell's text, and sets what the next one installs.

    Args:
        cells: Of the notebook: a text, and the cell that installs the package.
        name: File name of the notebook.
        github: OWNER/NAME.
    """
    link = f"{_COLAB}/github/{github}/blob/main/colab/{name}"
    badge = f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({link})"
    cells[0].source = f"{badge}\n\n{cells[0].source}"
    here, there = 'SOURCE = ".."', f'SOURCE = "git+https://github.com/{github}"'
    assert here in cells[1].source
    cells[1].source = cells[1].source.replace(here, there)


def notebook_text(source: Path, github: str = GITHUB) -> str:
    """Returns the text of the .ipynb of a source."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
    if github:
        with_address(notebook.cells, source.with_suffix(".ipynb").name, github)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def main() -> None:
    """Writes all notebooks."""
    for source in sources():
        source.with_suffix(".ipynb").write_text(notebook_text(source), encoding="utf-8")


if __name__ == "__main__":
    main()
