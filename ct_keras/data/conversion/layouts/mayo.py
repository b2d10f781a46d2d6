"""Layout `mayo`: the tree of the 2016 NIH-AAPM-Mayo Clinic Low Dose CT Grand Challenge.

``L067/full_3mm``, ``L067/quarter_3mm`` and the same for 1 mm and the sharp kernel; some
copies are nested the other way round, ``full_3mm/L067`` or ``full_3mm/L067/full_3mm``.

Reference:
    McCollough et al., Med Phys 44(10), e339-e352, 2017, doi:10.1002/mp.12345.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    make_series_pair,
    only_series,
)
from ct_keras.errors import CtKerasError
from ct_keras.files import MARKER

_NAME = re.compile(r"(full|quarter)[ _-]?([13])mm(?:[ _-]?(sharp))?", re.IGNORECASE)
_PATIENT = re.compile(r"[A-Z]\d{3}", re.IGNORECASE)
QUARTER = 0.25


def mayo(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the patients of a grand challenge tree and their reconstructions.

    Args:
        root: The tree, or one patient's folder.
        options: `variants` selects from 3mm, 1mm, 3mm_sharp and 1mm_sharp.

    Raises:
        CtKerasError: CTK-E001, if a reconstruction has only one of the two doses; the
            errors of the reader and of pairing.
    """
    found: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for folder in _leaves(root):
        place = _place(folder.relative_to(root).parts, root.name)
        if place and (not options.variants or place[1] in options.variants):
            patient, variant, dose = place
            found[patient, variant][dose] = folder
    series_pairs = []
    for (patient, variant), folders in sorted(found.items()):
        if set(folders) != {"full", "quarter"}:
            raise CtKerasError(
                "CTK-E001",
                f"a patient has the {variant} images of one dose only",
                received=next(iter(folders)),
                expected="full and quarter",
            )
        low, full = (
            only_series(folders[dose], options) for dose in ("quarter", "full")
        )
        options_of = {
            "patient": patient,
            "dose": options.dose or QUARTER,
            "variant": variant,
        }
        series_pairs.append(make_series_pair(full, low, **options_of))
    return series_pairs


def _leaves(root: Path) -> list[Path]:
    """Folders that hold files, sorted, without following links."""
    return sorted(
        Path(folder)
        for folder, _, files in os.walk(root)
        if set(files) - {MARKER} and folder != root
    )


def _place(parts: tuple[str, ...], root_name: str) -> tuple[str, str, str] | None:
    """Returns patient, variant and dose of a folder in the tree, or None."""
    matches = [_NAME.fullmatch(part) for part in parts]
    last = max((i for i, match in enumerate(matches) if match), default=None)
    if last is None:
        return None
    dose, thickness, sharp = matches[last].groups()
    variant = f"{thickness}mm" + ("_sharp" if sharp else "")
    below = list(parts[last + 1 :])
    above = [parts[i] for i in range(last) if not matches[i]]
    numbered = [p.upper() for p in (*parts, root_name) if _PATIENT.fullmatch(p)]
    patient = (numbered or below or above[-1:] or [root_name])[0]
    return patient, variant, dose.lower()
