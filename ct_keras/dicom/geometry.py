"""Order and spacing of the slices of one stack, and irregularities.

A stack is sorted by the projection of ImagePositionPatient on row x column; for axial
images that is feet to head. Its spacing is the distance between positions, never a
thickness or spacing tag. Irregularities are findings; `require_volume` turns those that
matter to a 2.5-D or 3-D network into refusals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ct_keras.dicom.sources import SourceSlice
from ct_keras.errors import CtKerasError, Finding
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions

#: Slices closer than this are at the same position.
SAME_POSITION_MM = 0.01
TILT_DEGREES = 0.5
#: No gantry tilts so far (30 degrees is usual): the positions mean something else.
STEEPEST_DEGREES = 60.0
#: A gap is uneven beyond the larger of these two.
GAP_MM = 0.1
GAP_SHARE = 0.02


@dataclass(frozen=True)
class Geometry:
    """Order and spacing of the slices of one stack.

    Attributes:
        order: Indices that sort the slices.
        spacing_mm: (slice, row, column); NaN where unknown.
        tilt_degrees: Angle between the stacking direction and the slice normal.
        findings: Irregularities, in the order of the checks.
    """

    order: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    tilt_degrees: float
    findings: tuple[Finding, ...]


def slice_normal(orientation: Sequence[float]) -> np.ndarray:
    """Returns the unit normal, row direction x column direction."""
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def has_positions(sources: Sequence[SourceSlice]) -> bool:
    """Whether every slice has a position and an orientation."""
    return all(source.position and source.orientation for source in sources)


def heights(sources: Sequence[SourceSlice]) -> np.ndarray | None:
    """Returns the height of each slice along the stack in mm.

    Computed from positions if all slices have one, otherwise from SliceLocation; None
    without either.
    """
    if has_positions(sources):
        normal = slice_normal(sources[0].orientation)
        return np.array([source.position for source in sources]) @ normal
    locations = [source.slice_location for source in sources]
    return None if None in locations else np.array(locations, np.float64)


def stack_geometry(sources: Sequence[SourceSlice]) -> Geometry:
    """Sorts one stack and measures it.

    Args:
        sources: Slices of one orientation and matrix, in any order.

    Returns:
        The order, the spacing and the findings CTK-W032, I033, W036, W037 and I038.
    """
    along = heights(sources)
    numbers = [
        (source.instance_number is None, source.instance_number or 0)
        for source in sources
    ]
    if along is None:
        order = sorted(range(len(sources)), key=lambda i: (numbers[i], i))
        steps = np.array([])
    else:
        rounded = np.round(along / SAME_POSITION_MM)
        order = sorted(range(len(sources)), key=lambda i: (rounded[i], numbers[i], i))
        steps = np.diff(along[order])
    findings = _position_findings(sources, located=along is not None)
    tilt = _tilt(sources, order)
    if tilt > STEEPEST_DEGREES:
        text = "the positions of the slices do not form a stack"
        findings.append(Finding("CTK-W036", text))
        steps, tilt = np.array([]), 0.0
    findings += _gap_findings(steps)
    if tilt > TILT_DEGREES:
        findings.append(
            Finding("CTK-I033", f"gantry tilt {tilt:.1f}°: the stack is sheared")
        )
    slice_mm = _tagged_spacing(sources)
    if len(steps):
        slice_mm = round(float(np.median(steps)), 6)  # headers hold decimal text
    findings += _tag_findings(sources, slice_mm, measured=len(steps) > 0)
    in_plane = sources[0].pixel_spacing_mm or (math.nan, math.nan)
    return Geometry(tuple(order), (slice_mm, *in_plane), tilt, tuple(findings))


def _position_findings(
    sources: Sequence[SourceSlice], *, located: bool
) -> list[Finding]:
    findings = []
    missing = sum(not (source.position and source.orientation) for source in sources)
    if missing:
        instead = "SliceLocation" if located else "InstanceNumber"
        text = f"{missing} slices have no position; sorted by {instead}"
        findings.append(Finding("CTK-W036", text))
    frames = {source.frame_of_reference_uid for source in sources} - {None}
    if len(frames) > 1:
        text = f"the positions are given in {len(frames)} frames of reference"
        findings.append(Finding("CTK-W036", text))
    if any(source.pixel_spacing_mm is None for source in sources):
        text = "PixelSpacing is missing or impossible"
        findings.append(Finding("CTK-W037", text))
    return findings


def _gap_findings(steps: np.ndarray) -> list[Finding]:
    if len(steps) < 2:
        return []
    median = float(np.median(steps))
    uneven = _uneven(steps)
    if not uneven.any():
        return []
    first = int(np.argmax(uneven))
    text = f"slice gap {steps[first]:.1f} mm after slice {first + 1}"
    text += f" (median {median:.1f})"
    missing = round(steps[first] / median) - 1 if median > 0 else 0
    if missing >= 1 and abs(steps[first] - (missing + 1) * median) < 0.2 * median:
        text += f": probably {missing} missing slice{'s' * (missing > 1)}"
    if uneven.sum() > 1:
        text += f", and {uneven.sum() - 1} more uneven gaps"
    return [Finding("CTK-W032", text)]


def _uneven(steps: np.ndarray) -> np.ndarray:
    median = float(np.median(steps))
    return np.abs(steps - median) > max(GAP_MM, GAP_SHARE * median)


def even_runs(sources: Sequence[SourceSlice]) -> list[slice]:
    """Cuts sorted slices at uneven gaps into runs of evenly spaced ones."""
    along = heights(sources)
    steps = np.array([]) if along is None else np.diff(along)
    cuts = np.flatnonzero(_uneven(steps)) + 1 if len(steps) > 1 else []
    edges = [0, *map(int, cuts), len(sources)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _tilt(sources: Sequence[SourceSlice], order: Sequence[int]) -> float:
    """Degrees between the line through the slice positions and the slice normal."""
    if len(sources) < 2 or not has_positions(sources):
        return 0.0
    first, last = (np.array(sources[order[i]].position) for i in (0, -1))
    length = float(np.linalg.norm(last - first))
    if length < SAME_POSITION_MM:
        return 0.0
    along = abs((last - first) @ slice_normal(sources[0].orientation)) / length
    return math.degrees(math.acos(min(1.0, along)))


def _tagged_spacing(sources: Sequence[SourceSlice]) -> float:
    """SliceThickness, for stacks without usable positions, or NaN."""
    thickness = sources[0].thickness_mm
    return thickness or math.nan


def _tag_findings(
    sources: Sequence[SourceSlice], slice_mm: float, *, measured: bool
) -> list[Finding]:
    tolerance = max(GAP_MM, GAP_SHARE * slice_mm)
    spacing = sources[0].spacing_tag_mm
    thickness = sources[0].thickness_mm
    wrong = spacing is not None and abs(spacing - slice_mm) > tolerance
    if measured and (wrong or not thickness):
        text = "thickness and spacing tags disagree; positions are used"
        if not wrong:
            text = "SliceThickness is missing; positions are used"
        return [Finding("CTK-I038", text)]
    if not measured and math.isnan(slice_mm):
        return [Finding("CTK-I038", "unknown slice spacing: no tag, no positions")]
    return []


def require_volume(
    sources: Sequence[SourceSlice], options: ReadOptions = DEFAULT_OPTIONS
) -> list[Finding]:
    """Refuses a stack that is not a regular volume, for 2.5-D and 3-D networks.

    Args:
        sources: The sorted slices of one series.
        options: What is accepted: `allow_gaps`, `allow_tilt`.

    Returns:
        What was accepted.

    Raises:
        CtKerasError: CTK-E032, E033, E036 or E037.
    """
    geometry = stack_geometry(sources)
    texts = {finding.code: finding.text for finding in geometry.findings}
    fix = "use a 2-D network"
    for code in ("036", "037"):
        if text := texts.get(f"CTK-W{code}"):
            raise CtKerasError(f"CTK-E{code}", text, fix=fix)
    accepted = []
    if text := texts.get("CTK-W032"):
        error = CtKerasError("CTK-E032", text, fix=fix)
        runs = len(even_runs(sources))
        finding = options.settle("allow_gaps", error)
        told = f"{text}; {runs} runs of slices are volumes of their own"
        accepted.append(replace(finding, text=told))
    if geometry.tilt_degrees > TILT_DEGREES:
        text = f"gantry tilt {geometry.tilt_degrees:.1f}°: 3-D model needs orthogonal "
        error = CtKerasError("CTK-E033", text + "stack", fix=fix)
        accepted.append(options.settle("allow_tilt", error))
    return accepted
