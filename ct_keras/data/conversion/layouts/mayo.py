"""Layout `mayo`: the tree of the 2016 NIH-AAPM-Mayo Clinic Low Dose CT Grand Challenge.

``L067/full_3mm``, ``L067/quarter_3mm`` and the same for 1 mm and the sharp kernel; some
copies are nested the other way round, ``full_3mm/L067`` or ``full_3mm/L067/full_3mm``.
The sharp kernel is named there (``full_3mm_sharp``) or has a folder of its own
(``sharps``) above or below it.

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
from ct_keras.files.labels import label_of

_NAME = re.compile(r"(full|quarter)[ _-]?([13])mm(?:[ _-]?(sharps?))?", re.IGNORECASE)
_SHARP = re.compile(r"(?:[13]mm[ _-]?)?sharps?(?:[ _-]?kernels?)?", re.IGNORECASE)
_PATIENT = re.compile(r"[A-Z]\d{3}", re.IGNORECASE)
QUARTER = 0.25


def mayo(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the patients of a grand challenge tree and their reconstructions.

    Args:
        root: The tree, or one patient's folder.
        options: `variants` selects from 3mm, 1mm, 3mm_sharp and 1mm_sharp.

    Raises:
        CtKerasError: CTK-E001, if a reconstruction has only one of the two doses;
            CTK-E030, if two folders are the same reconstruction; the errors of the
            reader and of pairing.
    """
    places = _places(root)
    found: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for (patient, variant, dose), folder in places.items():
        if not options.variants or variant in options.variants:
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
            only_series(folders[dose], options, without=places.values())
            for dose in ("quarter", "full")
        )
        options_of = {
            "patient": patient,
            "dose": options.dose or QUARTER,
            "variant": variant,
        }
        series_pairs.append(make_series_pair(full, low, **options_of))
    return series_pairs


def _places(root: Path) -> dict[tuple[str, str, str], Path]:
    """Patient, variant and dose -> the one folder that holds these images."""
    found: dict[tuple[str, str, str], Path] = {}
    for folder in _leaves(root):
        place = _place(folder.relative_to(root).parts, root.name)
        if place is None:
            continue
        first = found.setdefault(place, folder)
        if first not in (folder, *folder.parents):
            raise CtKerasError(
                "CTK-E030",
                f"two folders hold the {place[2]} dose, {place[1]} images of a patient",
                received=f"{label_of(first)} and {label_of(folder)}",
                expected="one folder for each patient, dose and reconstruction",
                fix="convert them separately, or remove one of them",
            )
    return found


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
    named = [_SHARP.fullmatch(part) for part in parts]
    variant = f"{thickness}mm" + ("_sharp" if sharp or any(named) else "")
    others = [i for i, part in enumerate(parts) if not (matches[i] or named[i])]
    below = [parts[i] for i in others if i > last]
    above = [parts[i] for i in others if i < last]
    numbered = [p.upper() for p in (*parts, root_name) if _PATIENT.fullmatch(p)]
    patient = (numbered or below or above[-1:] or [root_name])[0]
    return patient, variant, dose.lower()
