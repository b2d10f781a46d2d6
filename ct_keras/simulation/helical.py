"""Helical scans: the path of the source, broader slices, and helical artefacts.

While the tube rotates, the table moves by pitch times collimation per rotation. So each
view shows another height, and a slice is reconstructed from views that are interpolated
between two heights: a whole rotation apart (360LI), or half of one, since opposite rays
are the same (180LI). The larger the pitch, the broader the slices.

Reference:
    Kalender, Seissler, Klotz, Vock, Radiology 176(1), 181-183, 1990,
    doi:10.1148/radiology.176.1.2353088; Crawford and King, Med Phys 17(6), 967-982,
    1990, doi:10.1118/1.596464.
"""

from __future__ import annotations

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.hu import AIR_HU
from ct_keras.simulation.kernels import Kernel, get_kernel
from ct_keras.simulation.projection import parallel_beam

#: Name -> rotations between the two heights of an interpolation.
INTERPOLATIONS = {"360LI": 1.0, "180LI": 0.5}
#: Usual distance of the tube from the axis.
RADIUS_MM = 570.0
_VIEWS = 360
#: Steps per mm in which a profile is searched for its half height.
_STEPS_PER_MM = 1000


def helical_path(
    pitch: float,
    collimation_mm: float,
    *,
    rotations: float = 3.0,
    radius_mm: float = RADIUS_MM,
    views: int = _VIEWS,
) -> np.ndarray:
    """Returns the positions of the X-ray source.

    Args:
        pitch: Table movement per rotation over the collimation.
        collimation_mm: Width of the beam along z, at the axis.
        rotations: Number of rotations.
        radius_mm: Distance of the source from the axis.
        views: Positions per rotation.

    Returns:
        float64 (positions, 3): x, y, z in mm.

    Raises:
        CtKerasError: CTK-E000, if pitch or collimation are not above 0.

    Example:
        >>> helical_path(1.5, 5.0, rotations=1)[-1].round(3).tolist()
        [570.0, -0.0, 7.5]
    """
    _check(pitch, collimation_mm)
    turns = np.linspace(0, rotations, round(rotations * views) + 1)
    angles = 2 * np.pi * turns
    return np.stack(
        [
            radius_mm * np.cos(angles),
            radius_mm * np.sin(angles),
            pitch * collimation_mm * turns,
        ],
        axis=-1,
    )


def slice_profile(
    offset_mm: np.ndarray,
    *,
    pitch: float,
    collimation_mm: float,
    interpolation: str = "180LI",
) -> np.ndarray:
    """Returns the slice sensitivity profile of a helical scan.

    The beam, a rectangle of the collimation, is convolved with the triangle of the
    linear interpolation.

    Args:
        offset_mm: Any shape, distances from the middle of the slice.
        pitch: Table movement per rotation over the collimation.
        collimation_mm: Width of the beam along z.
        interpolation: One of `INTERPOLATIONS`.

    Returns:
        float64 of the same shape, per mm; its integral is 1.

    Raises:
        CtKerasError: CTK-E000 for an unknown interpolation, or if pitch or collimation
            are not above 0.
    """
    reach_mm = _reach_mm(pitch, collimation_mm, interpolation)
    offset_mm = np.asarray(offset_mm, np.float64)
    half = collimation_mm / 2
    inside = _triangle_below(offset_mm + half, reach_mm)
    return (inside - _triangle_below(offset_mm - half, reach_mm)) / collimation_mm


def slice_width_mm(
    *, pitch: float, collimation_mm: float, interpolation: str = "180LI"
) -> float:
    """Returns the full width at half maximum of `slice_profile`.

    Example:
        >>> for pitch in (1.0, 1.5, 2.5):
        ...     round(slice_width_mm(pitch=pitch, collimation_mm=5.0), 2)
        5.0
        5.43
        7.5
    """
    known = {"pitch": pitch, "collimation_mm": collimation_mm}
    known["interpolation"] = interpolation
    reach_mm = _reach_mm(pitch, collimation_mm, interpolation) + collimation_mm / 2
    offset_mm = np.arange(0, reach_mm, 1 / _STEPS_PER_MM)
    profile = slice_profile(offset_mm, **known)
    return float(2 * np.interp(-profile[0] / 2, -profile, offset_mm))


def helical_scan(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    pitch: float,
    collimation_mm: float,
    interpolation: str = "180LI",
    kernel: str | Kernel = "ramp",
    views: int = _VIEWS,
    start: float = 0.0,
) -> np.ndarray:
    """Returns a volume as a helical scan with one row of detectors shows it.

    Slices are as broad as `slice_profile` says, and where the patient changes along z,
    the views of a slice do not fit together: the helical artefacts. Rays are parallel,
    and there is no noise; `simulate_dose` adds it.

    Args:
        hu: (slices, rows, columns), HU, evenly spaced; thin slices are best.
        spacing_mm: (slice, row, column).
        pitch: Table movement per rotation over the collimation.
        collimation_mm: Width of the beam along z.
        interpolation: One of `INTERPOLATIONS`.
        kernel: Reconstruction kernel, see `KERNELS`.
        views: Views over 180 degrees.
        start: Where the rotation is at the first slice, in rotations.

    Returns:
        float32 of the same shape, HU, at the same heights.

    Raises:
        CtKerasError: CTK-E000 as `slice_profile`, or for an unknown kernel.
    """
    hu = np.asarray(hu, np.float32)
    step_mm, *pixel_mm = map(float, spacing_mm)
    reach_mm = _reach_mm(pitch, collimation_mm, interpolation)
    beam = parallel_beam(hu.shape[1:], tuple(pixel_mm), views=views)
    sinograms = np.stack([beam.project(plane - AIR_HU) for plane in hu])
    # Height of the first position at the angle of each view, modulo the reach.
    turns = start + np.arange(views) / (2 * views)
    first_mm = pitch * collimation_mm * turns
    chosen = get_kernel(kernel)
    scanned = np.empty_like(hu)
    for index in range(len(hu)):
        weights = _weights(
            index * step_mm, first_mm, reach_mm, len(hu), step_mm, collimation_mm
        )
        sinogram = np.einsum("sv,sbv->bv", weights, sinograms)
        scanned[index] = beam.reconstruct(sinogram, chosen) + AIR_HU
    return scanned


def _weights(
    height_mm: float,
    first_mm: np.ndarray,
    reach_mm: float,
    slices: int,
    step_mm: float,
    collimation_mm: float,
) -> np.ndarray:
    """How much each slice of the volume counts in each view of a slice.

    Returns:
        float64 (slices, views); each column adds up to 1.
    """
    below_mm = first_mm + np.floor((height_mm - first_mm) / reach_mm) * reach_mm
    share = (height_mm - below_mm) / reach_mm
    return (1 - share) * _seen(below_mm, slices, step_mm, collimation_mm) + (
        share * _seen(below_mm + reach_mm, slices, step_mm, collimation_mm)
    )


def _seen(
    height_mm: np.ndarray, slices: int, step_mm: float, collimation_mm: float
) -> np.ndarray:
    """The share of each slice in a beam at a height; beyond the ends, the last one."""
    edges_mm = (np.arange(slices + 1) - 0.5) * step_mm
    edges_mm[0], edges_mm[-1] = -np.inf, np.inf
    low, high = height_mm - collimation_mm / 2, height_mm + collimation_mm / 2
    cuts = np.clip(edges_mm[:, None], low, high)
    return np.diff(cuts, axis=0) / collimation_mm


def _triangle_below(offset_mm: np.ndarray, reach_mm: float) -> np.ndarray:
    """The integral of the triangle of half base `reach_mm` and area 1 up to a place."""
    place = np.clip(offset_mm / reach_mm, -1, 1)
    return 0.5 + place - np.sign(place) * place**2 / 2


def _reach_mm(pitch: float, collimation_mm: float, interpolation: str) -> float:
    """Distance of the two heights between which is interpolated."""
    _check(pitch, collimation_mm)
    if interpolation not in INTERPOLATIONS:
        raise CtKerasError(
            "CTK-E000",
            "unknown interpolation",
            received=interpolation,
            expected=" or ".join(INTERPOLATIONS),
        )
    return pitch * collimation_mm * INTERPOLATIONS[interpolation]


def _check(pitch: float, collimation_mm: float) -> None:
    if not (0 < pitch < np.inf and 0 < collimation_mm < np.inf):
        raise CtKerasError(
            "CTK-E000",
            "invalid pitch or collimation",
            received=f"{pitch:g} and {collimation_mm:g} mm",
            expected="numbers above 0",
        )
