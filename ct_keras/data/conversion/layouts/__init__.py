"""Layouts of known data sets: where the series are and which images form a pair.

A layout is a function of a folder and `LayoutOptions` that returns a list of
`SeriesPair`. It reads headers only; pixels are read during the conversion.
"""

from __future__ import annotations

from pathlib import Path

from ct_keras.data.conversion.layouts.mayo import mayo
from ct_keras.data.conversion.layouts.pairs import pairs
from ct_keras.data.conversion.layouts.pictures import images
from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    SourcePair,
)
from ct_keras.data.conversion.layouts.single import single
from ct_keras.data.conversion.layouts.tcia import tcia
from ct_keras.data.conversion.layouts.volumes import check_one_scale
from ct_keras.data.manifest import SPLITS
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files.labels import label_of
from ct_keras.inputs.folders import stands_for_folder

#: Layout name -> the function that finds its series pairs.
LAYOUTS = {
    "images": images,
    "mayo": mayo,
    "pairs": pairs,
    "single": single,
    "tcia": tcia,
}

#: Those that search the source as a whole.
_PACKED = ("single", "tcia")

__all__ = ["LAYOUTS", "SeriesPair", "LayoutOptions", "SourcePair", "find_series_pairs"]


def find_series_pairs(
    src: Path, layout: str, options: LayoutOptions, *, by_folder: bool = False
) -> tuple[list[SeriesPair], list[Finding]]:
    """Finds the series pairs of a source.

    Args:
        src: The source folder, or what stands for one.
        layout: A name in `LAYOUTS`.
        options: See `LayoutOptions`.
        by_folder: Whether the sub-folders train, val and test define the splits.

    Returns:
        The series pairs in a fixed order, and the findings.

    Raises:
        CtKerasError: CTK-E000, unknown layout; CTK-E001, nothing found; CTK-E005, no
            such folder; CTK-E063, CT beside pictures; errors of the layout.
    """
    if layout not in LAYOUTS:
        raise CtKerasError(
            "CTK-E000",
            "unknown layout",
            received=layout,
            expected=", ".join(sorted(LAYOUTS)),
        )
    packed = stands_for_folder(src) and layout in _PACKED
    if not src.is_dir() and not packed:
        raise CtKerasError(
            "CTK-E005",
            "the source folder cannot be read",
            received=label_of(src),
            expected="a folder of patients; the layouts single and tcia also take a "
            "zip archive, or the DICOMDIR of a medium",
            fix="unpack an archive first, and give its folder",
        )
    find = LAYOUTS[layout]
    if not by_folder:
        found, findings = find(src, options), []
    else:
        found, findings = _by_folder(src, find, options)
    if not found:
        raise CtKerasError(
            "CTK-E001",
            f"no series in the layout {layout} was found",
            fix="ct-keras inspect lists the CT series of a folder",
        )
    check_one_scale({each.facts.scale for each in found})
    return sorted(found, key=lambda each: (each.patient, each.order)), findings


def _by_folder(src: Path, find, options) -> tuple[list[SeriesPair], list[Finding]]:
    root = options.full or src
    present = [split for split in SPLITS if (root / split).is_dir()]
    if not present:
        raise CtKerasError(
            "CTK-E084",
            "the source has no sub-folder named after a split",
            expected="train, val or test",
        )
    found = []
    for split in present:
        part = options.below(split)
        found += [each.in_split(split) for each in find(src / split, part)]
    others = sum(p.is_dir() and p.name not in SPLITS for p in root.iterdir())
    findings = []
    if others:
        text = f"{others} folders other than train, val and test were left out"
        findings.append(Finding("CTK-I084", text))
    return found, findings
