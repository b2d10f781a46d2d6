"""Layout `images`: folders of noisy and clean pictures with same-named files.

Each sub-folder is one patient; files directly in the two folders are one patient.
Files are PNG, TIFF, .npy, NIfTI, NRRD or MetaImage, or DICOM. They are ordered by the
numbers in their names, DICOM files by position. Several slices in one file, such as the
pages of a TIFF, form a separate series.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

from ct_keras.containers import find_volume_files
from ct_keras.data.conversion.images import read_image
from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    make_series_pair,
    make_volume_pair,
)
from ct_keras.data.conversion.layouts.volumes import (
    check_one_scale,
    read_source,
    skipped_findings,
)
from ct_keras.data.conversion.pairing import Matches, check_partners
from ct_keras.data.slice_facts import patient_of
from ct_keras.dicom import Series, SourceSlice, find_series
from ct_keras.dicom.plausibility import check_hu
from ct_keras.errors import CtKerasError

#: Suffixes that are removed from a name; other text after a dot is part of the name.
_DICOM = (".dcm", ".dicom", ".ima")
_DIGITS = re.compile(r"(\d+)")


def images(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the pictures that exist in both folders.

    Args:
        root: Not used; the options name the folders.
        options: `low`, `full`, `dose`, `read_options`, and what the files do not say.

    Raises:
        CtKerasError: CTK-E000 or E005 for the folders; CTK-E001, no common name;
            CTK-E030, two files of one name; CTK-E039, files that do not fit together;
            CTK-E040, 16-bit pictures without a scale; CTK-E044, values that are not HU;
            CTK-E063, CT beside pictures; errors of the reader.
    """
    low, full = options.both_folders()
    files = [find_volume_files(folder) for folder in (low, full)]
    if not files[0] and not files[1]:
        return _dicom_or_nothing(low, full, options)
    common = sorted(set(files[0]) & set(files[1]), key=_natural)
    if not common:
        raise _nothing_common()
    stacks: dict[tuple[str, str], list[SeriesPair]] = {}
    for number, name in enumerate(common, start=1):
        noisy, clean = (
            read_source(each[name], number, options, look=False) for each in files
        )
        patient = name.split("/")[0] if "/" in name else full.name
        found = make_volume_pair(
            clean, noisy, patient=patient, name=name, dose=options.dose
        )
        stack = name if len(clean) > 1 else ""
        stacks.setdefault((patient, stack), []).append(found)
    series_pairs = [_joined(stack, options) for _, stack in sorted(stacks.items())]
    lonely = len(set(files[0]) ^ set(files[1]))
    others = itertools.chain(low.rglob("*"), full.rglob("*"))
    notes = skipped_findings(others, "pictures lie beside them, and only those count")
    findings = (*series_pairs[0].findings, *notes)
    first = replace(series_pairs[0], unmatched=lonely, findings=findings)
    return [first, *series_pairs[1:]]


def _joined(stack: list[SeriesPair], options: LayoutOptions) -> SeriesPair:
    """One series of all slices of a stack."""
    check_one_scale({each.facts.scale for each in stack})
    first = stack[0]
    slices = [pair for each in stack for pair in each.pairs]
    pairs = tuple(replace(pair, slice_index=index) for index, pair in enumerate(slices))
    findings = [*first.findings]
    for image in ("full", "low") if first.facts.scale is None else ():
        findings += check_hu(
            lambda i, of=image: read_image(getattr(pairs[i], of)),
            len(pairs),
            options.read_options,
        )
    several = len(first.pairs) > 1
    return replace(
        first,
        names=frozenset({first.patient}),
        series_key=first.series_key if several else first.patient,
        order=first.order if several else "",
        pairs=pairs,
        series=None,
        findings=tuple(findings),
    )


def _image_name(source: SourceSlice, folder: Path) -> str:
    """The name of a DICOM file; in a multi-frame file, also the number of the frame."""
    name, suffix = source.path.relative_to(folder).as_posix(), source.path.suffix
    name = name[: -len(suffix)] if suffix.lower() in _DICOM else name
    return f"{name}#{source.frame + 1}" if source.file.multi_frame else name


def _natural(name: str) -> list:
    """Sorts by the numbers in a name: slice2 comes before slice10."""
    parts = _DIGITS.split(name)
    return [(int(part), part) if i % 2 else part for i, part in enumerate(parts)]


def _dicom_or_nothing(low: Path, full: Path, options) -> list[SeriesPair]:
    """The pairs of DICOM files; the refusal of anything else names what is read."""
    try:
        return _dicom_pairs(low, full, options)
    except CtKerasError as error:
        if error.code != "CTK-E001" or error.received is None:
            raise
        raise CtKerasError(
            error.code,
            "no pictures or DICOM files in the folders of low and full dose",
            received=error.received,
            expected="PNG, TIFF, .npy, NIfTI, NRRD, MetaImage or DICOM files",
            fix="write arrays in HU with numpy.save, one .npy file for each",
        ) from error


def _dicom_pairs(low: Path, full: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Same-named DICOM files; each pair must have the same position."""
    noisy, clean = (
        [
            (series, [_image_name(source, folder) for source in series.sources])
            for series in find_series(folder, options=options.read_options)
        ]
        for folder in (low, full)
    )
    series_pairs = []
    for series, names in clean:
        for other, other_names in noisy:
            place = {name: index for index, name in enumerate(other_names)}
            pairs = [(place[n], i) for i, n in enumerate(names) if n in place]
            if pairs:
                folder = names[0].split("/")[0] if "/" in names[0] else full.name
                series_pairs.append(_dicom_pair(series, other, pairs, folder, options))
    if not series_pairs:
        raise _nothing_common()
    return series_pairs


def _dicom_pair(full: Series, low: Series, pairs, folder: str, options) -> SeriesPair:
    for i, j in pairs:
        check_partners(low.sources[i], full.sources[j])
    return make_series_pair(
        full,
        low,
        patient=patient_of(full, folder),
        names=[folder],
        dose=options.dose,
        matches=Matches(tuple(pairs), len(low) - len(pairs), len(full) - len(pairs)),
    )


def _nothing_common() -> CtKerasError:
    return CtKerasError(
        "CTK-E001",
        "the folders of noisy and clean pictures have no file name in common",
        expected="same-named files",
    )
