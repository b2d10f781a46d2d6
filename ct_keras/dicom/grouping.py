"""Splits the slices of one SeriesInstanceUID into stacks that can be processed.

One series may hold several stacks: two orientations, two tube voltages, several phases
at the same positions. Each becomes a separate stack. Slices that cannot be separated,
or that never belong in one series, are refused.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ct_keras.dicom.geometry import SAME_POSITION_MM, has_positions, slice_normal
from ct_keras.dicom.pixels import read_stored
from ct_keras.dicom.sources import SourceSlice
from ct_keras.errors import CtKerasError, Finding

ORIENTATION_TOLERANCE = 1e-3
#: A smaller group that lies across the others is taken as a localizer.
SMALLEST_STACK = 4
_ACROSS_COS = math.cos(math.radians(45))

Stack = list[SourceSlice]


def split_series(sources: Stack) -> tuple[list[Stack], list[Finding], int]:
    """Splits the slices of one series into stacks.

    Args:
        sources: Slices that share one SeriesInstanceUID.

    Returns:
        The stacks, the findings CTK-W031, W034, W035 and W036, and how many slices were
        left out as localizers.

    Raises:
        CtKerasError: CTK-E031, two different images at one position; CTK-E035, mixed
            kernels; CTK-E036, slices that may belong to several stacks; CTK-E051, mixed
            patients.
    """
    _refuse_mixed_patients(sources)
    findings = []
    sources = _with_orientation(sources, findings)
    stacks, localizers = _split_by_orientation(sources)
    if len(stacks) > 1:
        text = f"series split into {len(stacks)} orientations"
        findings.append(Finding("CTK-W034", text))
    stacks, split = _split_by_acquisition(stacks)
    for stack in stacks:
        _refuse_mixed_kernels(stack)
    if split:
        text = f"series split into {len(stacks)} stacks by {' and '.join(split)}"
        findings.append(Finding("CTK-W035", text))
    result, dropped = [], 0
    for stack in stacks:
        kept, duplicates = drop_duplicates(stack)
        result += split_phases(kept)
        dropped += duplicates
    if len(result) > len(stacks):
        text = f"series split into {len(result)} phases at the same positions"
        findings.append(Finding("CTK-W035", text))
    if dropped:
        text = f"dropped {dropped} duplicate slices (same position and pixels)"
        findings.append(Finding("CTK-W031", text))
    return result, findings, localizers


def _refuse_mixed_patients(sources: Stack) -> None:
    patients = {source.patient_id for source in sources} - {""}
    studies = {source.study_uid for source in sources}
    for count, what in ((len(patients), "patients"), (len(studies), "studies")):
        if count > 1:
            raise CtKerasError(
                "CTK-E051",
                f"one series mixes {count} {what}",
                fix="put each patient in a separate folder with a separate series UID",
            )


def _refuse_mixed_kernels(stack: Stack) -> None:
    kernels = {source.kernel.casefold() for source in stack if source.kernel}
    if len(kernels) > 1:
        raise CtKerasError(
            "CTK-E035",
            f"one stack mixes {len(kernels)} reconstruction kernels",
            fix="split it into one series per reconstruction",
        )


def _distinct(tuples) -> list[tuple[float, ...]]:
    """The tuples that differ by more than 0.1 % from all before them."""
    found: list[tuple[float, ...]] = []
    for value in tuples:
        if value is not None and not _alike(value, found):
            found.append(value)
    return found


def _with_orientation(sources: Stack, findings: list[Finding]) -> Stack:
    """Gives slices without an orientation the one that all others have."""
    unknown = sum(source.orientation is None for source in sources)
    if unknown in (0, len(sources)):
        return sources
    known = [source for source in sources if source.orientation is not None]
    if not all(_same_orientation(source, known[0]) for source in known):
        raise _ambiguous(unknown, "orientation")
    text = f"{unknown} slices have no orientation; taken as that of the others"
    findings.append(Finding("CTK-W036", text))
    return [
        source
        if source.orientation
        else replace(source, orientation=known[0].orientation)
        for source in sources
    ]


def _ambiguous(count: int, what: str) -> CtKerasError:
    """The refusal of slices that may belong to any of several stacks."""
    return CtKerasError(
        "CTK-E036",
        f"{count} slices have no {what}, and the others have several",
        fix="put each stack in a separate folder with a separate series UID",
    )


def _split_by_orientation(sources: Stack) -> tuple[list[Stack], int]:
    groups: list[Stack] = []
    for source in sources:
        for group in groups:
            if _same_orientation(source, group[0]):
                group.append(source)
                break
        else:
            groups.append([source])
    largest = max(groups, key=len)
    if len(groups) == 1 or len(largest) < SMALLEST_STACK:
        return groups, 0
    kept = [
        group
        for group in groups
        if len(group) >= SMALLEST_STACK or not _lies_across(group[0], largest[0])
    ]
    return kept, len(sources) - sum(len(group) for group in kept)


def _lies_across(first: SourceSlice, second: SourceSlice) -> bool:
    """Whether the planes of two images cut each other at more than 45 degrees."""
    normals = slice_normal(first.orientation), slice_normal(second.orientation)
    return abs(float(np.dot(*normals))) < _ACROSS_COS


def _same_orientation(first: SourceSlice, second: SourceSlice) -> bool:
    if first.orientation is None or second.orientation is None:
        return first.orientation is second.orientation
    pairs = zip(first.orientation, second.orientation, strict=True)
    return all(abs(a - b) <= ORIENTATION_TOLERANCE for a, b in pairs)


def _split_by_acquisition(stacks: list[Stack]) -> tuple[list[Stack], list[str]]:
    """Splits by what a stack has in common; returns the names of what differed."""
    split = []
    spacings = _distinct(each.pixel_spacing_mm for stack in stacks for each in stack)

    def spacing(source: SourceSlice) -> tuple[float, ...] | None:
        return next(iter(_alike(source.pixel_spacing_mm, spacings)), None)

    keys: dict[str, Callable[[SourceSlice], object]] = {
        "image size": lambda source: (source.rows, source.columns),
        "pixel spacing": spacing,
        "kVp": lambda source: source.kvp,
        "slice thickness": lambda source: _rounded(source.thickness_mm),
    }
    for name, key in keys.items():
        parts = [part for stack in stacks for part in _group_known(stack, key, name)]
        if len(parts) > len(stacks):
            split.append(name)
        stacks = parts
    return stacks, split


def _alike(value, others: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Those of the others that differ by at most 0.1 %."""
    if value is None:
        return []
    return [other for other in others if np.allclose(value, other, rtol=1e-3, atol=0)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _group_known(
    stack: Stack, key: Callable[[SourceSlice], object], name: str
) -> list[Stack]:
    """Groups by a value; slices that lack it belong to the only group there is."""
    known = {key(source) for source in stack} - {None}
    unknown = sum(key(source) is None for source in stack)
    if len(known) > 1 and unknown:
        raise _ambiguous(unknown, name)
    return [stack] if len(known) < 2 else _group(stack, key)


def _group(stack: Stack, key: Callable[[SourceSlice], object]) -> list[Stack]:
    groups = defaultdict(list)
    for source in stack:
        groups[key(source)].append(source)
    return list(groups.values())


def _places(stack: Stack) -> list[Stack]:
    """Groups slices at the same position or with the same SOPInstanceUID."""
    if not has_positions(stack):
        return _group(stack, lambda source: source.image_key)
    normal = slice_normal(stack[0].orientation)
    ordered = sorted(stack, key=lambda source: float(normal @ source.position))
    groups: list[Stack] = []
    for source in ordered:
        if groups:
            step = np.subtract(source.position, groups[-1][0].position)
            if np.abs(step).max() < SAME_POSITION_MM:
                groups[-1].append(source)
                continue
        groups.append([source])
    return groups


def drop_duplicates(stack: Stack) -> tuple[Stack, int]:
    """Removes slices with the same position, pixels and rescale as another one."""
    kept = []
    for place in _places(stack):
        images: list[tuple[SourceSlice, np.ndarray]] = []
        for source in place if len(place) > 1 else ():
            stored, _ = read_stored(source)
            same = (
                (other.slope, other.intercept) == (source.slope, source.intercept)
                and np.array_equal(stored, pixels)
                for other, pixels in images
            )
            if not any(same):
                images.append((source, stored))
        kept += [source for source, _ in images] if images else place
    return sorted(kept, key=lambda source: source.number), len(stack) - len(kept)


def split_phases(stack: Stack) -> list[Stack]:
    """Splits a stack in which one position holds several different images.

    Raises:
        CtKerasError: CTK-E031, if no tag distinguishes them.
    """
    crowded = [place for place in _places(stack) if len(place) > 1]
    if not crowded:
        return [stack]
    for index in range(len(stack[0].stack_key)):
        distinct = all(
            len({source.stack_key[index] for source in place}) == len(place)
            for place in crowded
        )
        if distinct:
            return _group(stack, lambda source, index=index: source.stack_key[index])
    largest = max(len(place) for place in crowded)
    raise CtKerasError(
        "CTK-E031",
        f"{largest} different images at the same position",
        expected="an acquisition number, temporal position, echo, stack, image type or "
        "kVp that distinguishes them",
        fix="put each phase in a separate folder with a separate series UID",
    )
