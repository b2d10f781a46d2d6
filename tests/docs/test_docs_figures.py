"""Figures that the documentation prints are computed again."""

import re
from pathlib import Path

import numpy as np
import pytest

import ct_keras
from ct_keras.metrics import PROTOCOLS

DOCS = Path(__file__).resolve().parents[2] / "docs"
LARGEST_PICTURE = 200_000


def one_pair() -> tuple[np.ndarray, np.ndarray]:
    """The pair of the page: reference and test image, HU."""
    row, column = np.indices((128, 128))
    reference = np.sin(2 * np.pi * row / 64) * np.cos(2 * np.pi * column / 48)
    reference = 40 + 300 * reference
    reference[:16], reference[112:] = -1000, 900
    wave = np.sin(2 * np.pi * (7 * row + 11 * column) / 32)
    return reference, reference + 25 * wave + 3


def protocol_rows() -> list[str]:
    """The rows of the table of `explained/protocols.md`."""
    reference, test = one_pair()
    values = ct_keras.evaluate(test, reference)
    rows = []
    for protocol in PROTOCOLS.values():
        end = "" if protocol.id == "report" else f"_{protocol.id}"
        span = protocol.data_range
        shown = (
            "largest minus smallest value of the reference"
            if span == "reference"
            else f"{span / protocol.scale:.0f} HU"
        )
        what = f"values from {protocol.low_hu:.0f} to {protocol.high_hu:.0f} HU"
        psnr, ssim = values[f"psnr{end}"], values[f"ssim{end}"]
        rows.append(
            f"| `{protocol.id}` | {what}, range {shown} | {psnr:.2f} | {ssim:.3f} |"
        )
    return rows


def test_the_table_of_protocols_is_what_evaluate_returns():
    page = (DOCS / "explained" / "protocols.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\w+` \| values .+\|$", page, re.M)
    assert rows == protocol_rows()
    lowest, *_, highest = sorted(float(row.split("|")[3]) for row in rows)
    assert (round(lowest), round(highest)) == (21, 47)  # the title of the page


def test_every_picture_is_small_and_shown():
    pictures = {path.name for path in (DOCS / "images").iterdir()}
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    assert pictures == set(re.findall(r"images/([\w.]+)", text))
    for path in (DOCS / "images").iterdir():
        assert path.stat().st_size < LARGEST_PICTURE, path.name


def test_pictures_are_drawn_by_the_tool(tmp_path):
    import runpy

    tool = runpy.run_path(str(DOCS.parent / "tools" / "draw_docs.py"))
    assert {f"{name}.webp" for name in tool["PICTURES"]} == {
        path.name for path in (DOCS / "images").iterdir()
    }
    tool["main"](["patients", "--size", "48", "--out", str(tmp_path)])
    assert (tmp_path / "patients.webp").read_bytes()[8:12] == b"WEBP"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_into_the_repository_lead_somewhere(page):
    root = DOCS.parent
    text = (root / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    for link in links:
        path, _, anchor = link.partition("#")
        assert (root / path).exists(), link
        if anchor:
            assert anchor in _anchors(root / path), link


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
