"""Spherical lesions of known size and contrast, added to a finished phantom."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ct_keras.phantoms.tissues import LABELS

_SLAB_PARTS = 5  # planes per slice at which the partial volume of a sphere is sampled
_GAP_MM = 2.0  # between a lesion and its organ's surface


@dataclass(frozen=True)
class Lesion:
    """One spherical lesion.

    Attributes:
        organ: ``liver`` or ``lung``.
        center: Slice, row and column of its centre, as fractional indices.
        radius_mm: Its radius.
        contrast_hu: Its HU minus those of the surrounding organ tissue.
        label: Its tissue in the label volume, ``liver_lesion`` or ``lung_nodule``.
    """

    organ: str
    center: tuple[float, float, float]
    radius_mm: float
    contrast_hu: float
    label: str


#: Organ -> lesion label, labels that count as the organ, HU range of texture kept.
_ORGANS = {
    "liver": ("liver_lesion", ("liver", "liver_vessel"), 8.0),
    "lung": ("lung_nodule", ("lung", "lung_vessel", "airway"), 25.0),
}


def add_lesions(
    hu: np.ndarray,
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    blur_mm: float,
    rng: np.random.Generator,
) -> tuple[Lesion, ...]:
    """Draws lesions that lie entirely inside their organs and paints them.

    Args:
        hu: (slices, rows, columns) in HU, changed in place.
        labels: uint8 of the same shape, changed in place.
        spacing_mm: Slice, row and column spacing.
        blur_mm: Standard deviation of the blur that edges in `hu` have.
        rng: Random generator for number, position, size and contrast.

    Returns:
        The lesions; those without room in the organ are omitted.
    """
    lesions = []
    for organ, (label, members, _) in _ORGANS.items():
        depth = _depth(np.isin(labels, [LABELS[name] for name in members]), spacing_mm)
        for _ in range(int(rng.integers(2, 6))):
            radius, contrast = _draw(organ, rng)
            center = _site(depth, spacing_mm, radius, rng)
            if center is None:
                continue
            lesion = Lesion(organ, center, radius, contrast, label)
            _paint(lesion, hu, labels, spacing_mm, blur_mm)
            _close(depth, lesion, spacing_mm)
            lesions.append(lesion)
    return tuple(lesions)


def _draw(organ: str, rng: np.random.Generator) -> tuple[float, float]:
    """Radius in mm and contrast in HU."""
    if organ == "liver":
        dark = rng.random() < 0.8
        contrast = rng.uniform(-60, -15) if dark else rng.uniform(15, 40)
        return float(rng.uniform(3.5, 14)), float(contrast)
    solid = rng.random() < 0.75
    contrast = rng.uniform(800, 900) if solid else rng.uniform(220, 420)
    return float(rng.uniform(2.5, 8)), float(contrast)


def _depth(inside: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """In-plane distance in mm from each voxel to the organ's outline."""
    planes = [cv2.distanceTransform(p.astype(np.uint8), cv2.DIST_L2, 3) for p in inside]
    return np.stack(planes) * np.float32(min(spacing_mm[1:]))


def _site(
    depth: np.ndarray,
    spacing_mm: tuple[float, float, float],
    radius: float,
    rng: np.random.Generator,
) -> tuple[float, float, float] | None:
    """A random centre with room for a sphere in all slices that it touches."""
    pick = rng.random(3)
    reach = int((radius + _GAP_MM) / spacing_mm[0])
    free = depth > radius + _GAP_MM
    for step in range(1, reach + 1):
        chord = np.sqrt((radius + _GAP_MM) ** 2 - (step * spacing_mm[0]) ** 2)
        wide = depth > chord
        free[:-step] &= wide[step:]
        free[step:] &= wide[:-step]
    places = np.flatnonzero(free)
    if not len(places):
        return None
    place = np.unravel_index(places[int(pick[0] * len(places))], depth.shape)
    shift = (pick[1:] - 0.5) * 0.8
    return float(place[0]), float(place[1] + shift[0]), float(place[2] + shift[1])


def _paint(
    lesion: Lesion,
    hu: np.ndarray,
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    blur_mm: float,
) -> None:
    spread = _ORGANS[lesion.organ][2]
    margin = lesion.radius_mm + 4 * blur_mm + 2 * max(spacing_mm[1:])
    window = tuple(
        slice(max(0, int(c - margin / s)), int(c + margin / s) + 2)
        for c, s in zip(lesion.center[1:], spacing_mm[1:], strict=True)
    )
    reach = int(np.ceil(lesion.radius_mm / spacing_mm[0]))
    middle = int(lesion.center[0])
    around = hu[middle][window][labels[middle][window] == LABELS[lesion.organ]]
    organ_hu = np.median(around)
    first, last = max(0, middle - reach), min(len(hu), middle + reach + 1)
    for index in range(first, last):
        cover, inside = _cover(lesion, index, window, spacing_mm)
        sigmas = [blur_mm / s for s in spacing_mm[1:]]
        cover = cv2.GaussianBlur(cover, (0, 0), sigmaX=sigmas[1], sigmaY=sigmas[0])
        plane = hu[index][window]
        tissue = np.clip(plane, organ_hu - spread, organ_hu + spread)
        plane += cover * (tissue + np.float32(lesion.contrast_hu) - plane)
        labels[index][window][inside] = LABELS[lesion.label]


def _cover(
    lesion: Lesion,
    index: int,
    window: tuple[slice, slice],
    spacing_mm: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """The fraction of each pixel in the sphere, and whether its centre is inside."""
    rows, columns = (
        ((np.arange(w.start, w.stop) - c) * s)
        for w, c, s in zip(window, lesion.center[1:], spacing_mm[1:], strict=True)
    )
    flat = rows[:, None] ** 2 + columns**2
    height = (index - lesion.center[0]) * spacing_mm[0]
    parts = (np.arange(_SLAB_PARTS) + 0.5) / _SLAB_PARTS - 0.5
    cover = 0.0
    for part in parts * spacing_mm[0]:
        distance = np.sqrt(flat + (height + part) ** 2) - lesion.radius_mm
        cover = cover + np.clip(0.5 - distance / spacing_mm[1], 0, 1) / _SLAB_PARTS
    return cover.astype(np.float32), flat + height**2 < lesion.radius_mm**2


def _close(
    depth: np.ndarray, lesion: Lesion, spacing_mm: tuple[float, float, float]
) -> None:
    """Keeps later lesions away from this one."""
    axes = [
        (np.arange(n) - c) * s
        for n, c, s in zip(depth.shape, lesion.center, spacing_mm, strict=True)
    ]
    flat = np.sqrt(axes[1][:, None] ** 2 + axes[2] ** 2).astype(np.float32)
    for height, plane in zip(axes[0], depth, strict=True):
        away = np.sqrt(flat**2 + np.float32(height) ** 2) - lesion.radius_mm
        np.minimum(plane, np.maximum(away, 0), out=plane)
