"""Layout `images`: folders of noisy and clean pictures with same-named files.

Each sub-folder is one patient; files directly in the two folders are one patient.
Pictures are 16-bit PNG or TIFF, float TIFF, or DICOM files. Pictures are ordered by the
numbers in their names, DICOM files by position. The pages of a TIFF form a separate
series.
"""

from __future__ import annotations

import re
from pathlib import Path

from ct_keras.data.conversion.images import Picture, count_pages, read_image
from ct_keras.data.conversion.layouts.series_pair import (
    LayoutOptions,
    SeriesPair,
    SourcePair,
    make_series_pair,
)
from ct_keras.data.conversion.pairing import Matches, check_partners
from ct_keras.data.slice_facts import SliceFacts, patient_of
from ct_keras.dicom import Series, SourceSlice, find_series
from ct_keras.dicom.plausibility import check_hu
from ct_keras.errors import CtKerasError

#: Suffixes that are removed from a name; other text after a dot is part of the name.
_PICTURES = (".png", ".tif", ".tiff")
_DICOM = (".dcm", ".dicom", ".ima")
_DIGITS = re.compile(r"(\d+)")


def images(root: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Finds the pictures that exist in both folders.

    Args:
        root: Not used; the options name the folders.
        options: `low`, `full`, `slope`, `intercept`, `spacing_mm`, `dose`, `force_hu`.

    Raises:
        CtKerasError: CTK-E000 or E005 for the folders; CTK-E001, no common name;
            CTK-E030, two files of one name; CTK-E039, different numbers of pages;
            CTK-E040, pictures without `slope` and `intercept`; CTK-E044, values that
            are not HU; CTK-E041 or E047, pictures that cannot be read as CT.
    """
    low, full = options.both_folders()
    files = [_pictures(folder) for folder in (low, full)]
    if not files[0] and not files[1]:
        return _dicom_or_nothing(low, full, options)
    common = sorted(set(files[0]) & set(files[1]), key=_natural)
    if not common:
        raise _nothing_common()
    if options.slope is None or options.intercept is None:
        raise CtKerasError(
            "CTK-E040",
            "pictures do not define how their values convert to HU",
            fix="give slope and intercept, HU = value * slope + intercept (--slope and "
            "--intercept of convert)",
        )
    stacks: dict[tuple[str, str], list[SourcePair]] = {}
    for number, name in enumerate(common, start=1):
        patient = name.split("/")[0] if "/" in name else full.name
        pages = _pages(files[0][name], files[1][name], number)
        stack = stacks.setdefault((patient, name if pages > 1 else ""), [])
        for page in range(pages):
            noisy, clean = (
                Picture(
                    each[name],
                    number,
                    f"{name}#{page}" if pages > 1 else name,
                    options.slope,
                    options.intercept,
                    page,
                )
                for each in files
            )
            stack.append(SourcePair(full=clean, low=noisy, slice_index=len(stack)))
    lonely = len(set(files[0]) ^ set(files[1]))
    series_pairs = []
    for (patient, volume), pairs in sorted(stacks.items()):
        series_pairs.append(_picture_pair(patient, volume, pairs, options, lonely))
        lonely = 0
    return series_pairs


def _picture_pair(patient, volume, pairs, options: LayoutOptions, lonely) -> SeriesPair:
    if not options.force_hu:
        for image in ("full", "low"):
            check_hu(lambda i, of=image: read_image(getattr(pairs[i], of)), len(pairs))
    return SeriesPair(
        patient=patient,
        names=frozenset({patient}),
        series_key=volume or patient,
        order=volume,
        pairs=tuple(pairs),
        facts=SliceFacts(dose_fraction=options.dose, spacing_mm=options.spacing_mm),
        unmatched=lonely,
    )


def _pages(low: Path, full: Path, number: int) -> int:
    pages = [count_pages(path, number) for path in (low, full)]
    if pages[0] != pages[1]:
        raise CtKerasError(
            "CTK-E039",
            "low and normal dose do not fit together: same-named files have different "
            "numbers of pages",
            received=f"{pages[0]} pages",
            expected=f"{pages[1]} pages",
        )
    return pages[0]


def _pictures(folder: Path) -> dict[str, Path]:
    """Name, see `_name` -> file, for every picture below a folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _PICTURES and path.is_file():
            name = _name(path, folder, _PICTURES)
            if found.setdefault(name, path) != path:
                raise CtKerasError(
                    "CTK-E030",
                    "two pictures in one folder differ only in their suffix",
                    received=f"{path.suffix} and {found[name].suffix}",
                    expected="one picture per name",
                )
    return found


def _name(path: Path, folder: Path, suffixes: tuple[str, ...]) -> str:
    """The path relative to the folder, without a known suffix; other dots are kept."""
    name = path.relative_to(folder).as_posix()
    return name[: -len(path.suffix)] if path.suffix.lower() in suffixes else name


def _image_name(source: SourceSlice, folder: Path) -> str:
    """The name of a DICOM file; in a multi-frame file, also the number of the frame."""
    name = _name(source.path, folder, _DICOM)
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
            expected="16-bit PNG, 16-bit or float TIFF, or DICOM files",
            fix="write arrays as float TIFF in HU and give slope 1 and intercept 0 "
            "(--slope and --intercept of convert)",
        ) from error


def _dicom_pairs(low: Path, full: Path, options: LayoutOptions) -> list[SeriesPair]:
    """Same-named DICOM files; each pair must have the same position."""
    noisy, clean = (
        [
            (series, [_image_name(source, folder) for source in series.sources])
            for series in find_series(folder, force_hu=options.force_hu)
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
        expected="same-named PNG, TIFF or DICOM files",
    )
