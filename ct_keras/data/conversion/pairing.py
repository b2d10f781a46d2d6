"""Pairs low-dose slices with normal-dose slices: by position, never by order.

Exports number files and instances in arbitrary ways: two folders of the same scan can
be listed in different orders, repeat a UID, or one of them lacks a slice. Only the
position in the patient shows which slices belong together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ct_keras.containers import VolumeFile
from ct_keras.data.reading import SlicePair
from ct_keras.data.slice_facts import facts_of, series_facts
from ct_keras.dicom import Series, SourceSlice
from ct_keras.dicom.geometry import has_positions, heights, slice_normal
from ct_keras.errors import CtKerasError, Finding

#: Slices farther apart than this share of the slice distance are not partners.
_TOLERANCE = 0.25
_SMALLEST_TOLERANCE_MM = 0.05
#: Maximum in-plane shift between partners, in pixels.
_SHIFT_PIXELS = 0.1
_SPACING_SHARE = 1e-3
#: A low dose with more than this times the exposure of its reference is not one.
_MORE_EXPOSURE = 1.1


@dataclass(frozen=True)
class Matches:
    """The partners that were found.

    Attributes:
        pairs: (low, full) indices, ascending in `full`.
        unmatched_low: Low-dose slices without a partner.
        unmatched_full: Normal-dose slices without a partner.
    """

    pairs: tuple[tuple[int, int], ...]
    unmatched_low: int
    unmatched_full: int


def lonely_findings(count: int) -> list[Finding]:
    """Tells of slices that have no partner (CTK-W039), if there are any."""
    if not count:
        return []
    text = f"{count} slices have no partner and were left out"
    return [Finding("CTK-W039", text)]


def match_slices(low: Sequence[SourceSlice], full: Sequence[SourceSlice]) -> Matches:
    """Matches two stacks slice by slice.

    Args:
        low: Low-dose slices in any order.
        full: Normal-dose slices in any order.

    Raises:
        CtKerasError: CTK-E039, if matrix, spacing, orientation or in-plane position
            differ or no slice has a partner; CTK-E036, if slices have no position.
    """
    check_grid(low[0], full[0])
    pairs = _by_height(low, full)
    if not pairs:
        raise _different("no two slices have the same position")
    return Matches(tuple(pairs), len(low) - len(pairs), len(full) - len(pairs))


def _by_height(low, full) -> list[tuple[int, int]]:
    low_mm, full_mm = _heights(low, full)
    order = np.argsort(full_mm, kind="stable")
    steps = np.diff(full_mm[order])
    steps = steps[steps > 0.01]
    step_mm = float(np.median(steps)) if len(steps) else 1.0
    tolerance_mm = max(_SMALLEST_TOLERANCE_MM, _TOLERANCE * step_mm)
    best: dict[int, tuple[float, int]] = {}
    for i, height in enumerate(low_mm):
        nearest = int(np.argmin(np.abs(full_mm - height)))
        distance = abs(full_mm[nearest] - height)
        if distance <= tolerance_mm and (distance, i) < best.get(nearest, (1e9, 0)):
            best[nearest] = (distance, i)
    pairs = [(best[i][1], i) for i in sorted(best)]
    for i, j in pairs:
        _check_same_place(low[i], full[j])
    return pairs


def _heights(low, full) -> tuple[np.ndarray, np.ndarray]:
    """Heights of both stacks along one axis: the normal of the normal-dose slices."""
    if has_positions(low) and has_positions(full):
        normal = slice_normal(full[0].orientation)
        return tuple(
            np.array([source.position for source in sources]) @ normal
            for sources in (low, full)
        )
    both = heights(low), heights(full)
    if has_positions(low) != has_positions(full) or both[0] is None or both[1] is None:
        raise CtKerasError(
            "CTK-E036",
            "slices have no position, so partners cannot be found",
            expected="ImagePositionPatient or SliceLocation in every slice",
        )
    return both


def check_grid(low: SourceSlice, full: SourceSlice) -> None:
    """Refuses images of different matrix, pixel spacing or orientation.

    Raises:
        CtKerasError: CTK-E039.
    """
    if (low.rows, low.columns) != (full.rows, full.columns):
        raise _different(
            "the matrix differs",
            received=f"{low.rows} x {low.columns}",
            expected=f"{full.rows} x {full.columns}",
        )
    spacings = low.pixel_spacing_mm, full.pixel_spacing_mm
    if all(spacings) and not np.allclose(*spacings, rtol=_SPACING_SHARE):
        raise _different(
            "the pixel spacing differs",
            received="{:g} x {:g} mm".format(*spacings[0]),
            expected="{:g} x {:g} mm".format(*spacings[1]),
        )
    turns = low.orientation, full.orientation
    if all(turns) and not np.allclose(*turns, atol=1e-3):
        raise _different("the orientation differs")


def check_partners(low: SourceSlice, full: SourceSlice) -> None:
    """Refuses two images, matched by name, that are at different positions.

    Raises:
        CtKerasError: CTK-E039.
    """
    check_grid(low, full)
    if has_positions([low, full]) and not _by_height([low], [full]):
        raise _different("same-named images are at different heights")


def _check_same_place(low: SourceSlice, full: SourceSlice) -> None:
    """Partners must show the same field of view, not only the same height."""
    if not (low.position and full.position and full.pixel_spacing_mm):
        return
    offset = np.subtract(low.position, full.position)
    row, column = full.orientation[:3], full.orientation[3:]
    shift = np.abs([offset @ np.array(column), offset @ np.array(row)])
    pixels = float(np.max(shift / np.array(full.pixel_spacing_mm)))
    if pixels > _SHIFT_PIXELS:
        raise _different(
            "the fields of view are shifted",
            received=f"{pixels:.1f} pixels",
            expected=f"at most {_SHIFT_PIXELS} pixels",
        )


def pair_findings(low: Series | VolumeFile, full: Series | VolumeFile) -> list[Finding]:
    """Tells what is doubtful about two scans as low dose and reference.

    Args:
        low: The low-dose series.
        full: The normal-dose series.

    Returns:
        CTK-W039 for slices that have no partner, and as `kinship_findings`; nothing for
        volumes of files, which must be alike.

    Raises:
        CtKerasError: As `match_slices`.
    """
    if isinstance(low, VolumeFile) or isinstance(full, VolumeFile):
        return []
    matches = match_slices(low.sources, full.sources)
    lonely = matches.unmatched_low + matches.unmatched_full
    return [*lonely_findings(lonely), *kinship_findings(low, full)]


def kinship_findings(low: Series, full: Series) -> list[Finding]:
    """Tells if two series may not be low dose and reference of the same body.

    Returns:
        CTK-W051 for different patients, CTK-W036 for different frames of reference;
        CTK-W039 for the same images, or a low dose of more exposure than its reference.
    """
    found = []
    if [each.file.label for each in low.sources] == [
        each.file.label for each in full.sources
    ]:
        text = "low dose and reference are the same files"
        found.append(Finding("CTK-W039", text))
    ratio = (low.exposure_mas or 0.0) / (full.exposure_mas or math.inf)
    if ratio > _MORE_EXPOSURE:
        text = f"the low dose has {ratio:.3g} times the exposure of its reference: "
        text += "they may be exchanged"
        found.append(Finding("CTK-W039", text))
    patients = {scan.patient_key.strip() for scan in (low, full)} - {""}
    if len(patients) > 1:
        text = "low dose and reference are of different patients, by PatientID"
        found.append(Finding("CTK-W051", text))
    frames = [_frames_of_reference(scan) for scan in (low, full)]
    if all(frames) and frames[0].isdisjoint(frames[1]):
        text = "low dose and reference give their positions in different frames of "
        text += "reference"
        found.append(Finding("CTK-W036", text))
    return found


def _frames_of_reference(series: Series) -> set[str]:
    return {source.frame_of_reference_uid for source in series.sources} - {None}


def _different(reason: str, **details) -> CtKerasError:
    return CtKerasError(
        "CTK-E039", f"low and normal dose do not fit together: {reason}", **details
    )


def pair_series(
    low: Series | VolumeFile, full: Series | VolumeFile
) -> Iterator[SlicePair]:
    """Pairs two series by slice position, or two volumes of files by slice number.

    Args:
        low: The low-dose series.
        full: The normal-dose series.

    Returns:
        An iterator of `SlicePair`, from the feet upwards. The dose fraction is the
        ratio of the exposures, if both series have them.

    Raises:
        CtKerasError: CTK-E039 or E036, if the series do not fit together.
    """
    volumes = [isinstance(scan, VolumeFile) for scan in (low, full)]
    if not any(volumes):
        return _pairs(low, full, match_slices(low.sources, full.sources))
    if not all(volumes):
        raise _different("one is a DICOM series, the other a file of another format")
    return _pairs_of_volumes(low, full)


def check_volumes(low: VolumeFile, full: VolumeFile) -> None:
    """Refuses volumes of different matrix, scale or place.

    Raises:
        CtKerasError: CTK-E039.
    """
    if low.shape != full.shape:
        received, expected = ("x".join(map(str, scan.shape)) for scan in (low, full))
        raise _different("the matrix differs", received=received, expected=expected)
    if low.scale != full.scale:
        raise _different("one is a picture, the other CT")
    if not low.content.lies_like(full.content):
        raise _different("spacing, orientation or position differ")


def _pairs_of_volumes(low: VolumeFile, full: VolumeFile) -> Iterator[SlicePair]:
    check_volumes(low, full)
    known = not np.isnan(full.spacing_mm[1:]).any()
    spacing_mm = full.spacing_mm[1:] if known else None
    for index in range(len(full)):
        yield SlicePair(
            low_hu=low.read(index).hu,
            full_hu=full.read(index).hu,
            case="1",
            series="1",
            slice_index=index,
            spacing_mm=spacing_mm,
            scale=full.scale,
        )


def _pairs(low: Series, full: Series, matches: Matches) -> Iterator[SlicePair]:
    known = series_facts(
        full, case="1", series="1", dose_fraction=dose_between(low, full)
    )
    for low_index, slice_index in matches.pairs:
        yield SlicePair(
            low_hu=low.read(low_index).hu,
            full_hu=full.read(slice_index).hu,
            **facts_of(known) | {"slice_index": slice_index},
        )


def dose_between(low: Series, full: Series) -> float | None:
    """Returns the ratio of the tagged exposures, None if it is not a lower dose."""
    if low.exposure_mas and full.exposure_mas:
        ratio = low.exposure_mas / full.exposure_mas
        if 0 < ratio < 0.99:
            return round(ratio, 4)
    return None
