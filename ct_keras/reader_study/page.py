"""The page of one reader: one file, no network, nothing that reveals the methods.

The images of a screen are embedded as one packed block in the order of its panels, so
that neither size nor name identifies an image. The order of the arms is only in the
key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from ct_keras import hu
from ct_keras.evaluation.pictures import pack_image, unpack_image
from ct_keras.notice import NOTICE
from ct_keras.reader_study.cases import StudyCase
from ct_keras.reader_study.criteria import CRITERIA, FINDINGS, SCORES
from ct_keras.reader_study.design import LETTERS, Showing

ANSWERS_FORMAT = "ct_keras reader study answers"
#: The default windows of the study; the reader can change them.
WINDOWS = (hu.ABDOMEN, hu.LUNG, hu.BRAIN)
#: Packages with the templates: of the page, and those shared with the report.
_TEMPLATES = ("ct_keras.reader_study", "ct_keras.report")


def render_page(
    *,
    title: str,
    study: str,
    reader: str,
    showings: Sequence[Showing],
    cases: Sequence[StudyCase],
    arms: Sequence[str],
    criteria: Sequence[str],
) -> str:
    """Renders the page of one reader.

    Args:
        title: Title of the study, visible to readers.
        study: Identifier that links page, answers and key.
        reader: Such as ``reader-1``.
        showings: From `randomize`.
        cases: The cases of the showings.
        arms: Names of the arms, for the order of the images; not included in the page.
        criteria: Names of `CRITERIA`.

    Returns:
        Self-contained HTML.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room) for room in _TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    screens, blocks = [], []
    for number, showing in enumerate(showings, start=1):
        case = cases[showing.case]
        images = [case.images[arms[arm]] for arm in showing.arms]
        rows, columns = images[0].shape
        screens.append(
            {
                "number": number,
                "rows": rows,
                "columns": columns,
                "spacing_mm": list(case.spacing_mm),
            }
        )
        blocks.append({"number": number, "data": pack_panels(images)})
    setup = {
        "format": ANSWERS_FORMAT,
        "study": study,
        "reader": reader,
        "letters": list(LETTERS[: len(arms)]),
        "scores": list(SCORES),
        "criteria": [asdict(CRITERIA[name]) for name in criteria],
        "findings": [{"id": key, "title": text} for key, text in FINDINGS.items()],
        "windows": [
            {"name": window.name, "center": window.center, "width": window.width}
            for window in WINDOWS
        ],
        "screens": screens,
    }
    template = environment.get_template("reader_study.html.j2")
    return template.render(
        title=title, reader=reader, notice=NOTICE, setup=setup, blocks=blocks
    )


def pack_panels(images: Sequence[np.ndarray]) -> str:
    """Packs the images of a screen, one below the other, as `pack_image` does."""
    return pack_image(np.concatenate(images))


def unpack_panels(data: str, shape: tuple[int, int]) -> list[np.ndarray]:
    """Unpacks the text of `pack_panels`: int16 images of the given shape."""
    rows, columns = shape
    whole = unpack_image(data, (-1, columns))
    return list(whole.reshape(-1, rows, columns))
