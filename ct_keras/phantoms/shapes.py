"""Implicit shapes in mm and the slice on which they are painted.

A shape gives a signed distance in mm, negative inside. Painting converts it to the
covered fraction of each pixel, so edges are soft over one pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Window = tuple[slice, slice]
FAR_MM = np.float32(1e3)
_MARGIN_MM = 12.0  # how far a deformed organ may extend beyond its box


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid in model coordinates.

    Attributes:
        center: x, y, z in mm.
        radii: Along its own three axes in mm.
        axes: Its unit axes as rows (3, 3), or None if they are x, y, z.
    """

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    axes: np.ndarray | None = None

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns 0 at the centre, 1 on the surface, growing outwards."""
        return np.sqrt(sum(p * p for p in self.local(x, y, z)))

    def local(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
        """Returns the three coordinates along its axes, in units of the radii."""
        offsets = (x - self.center[0], y - self.center[1], z - self.center[2])
        if self.axes is None:
            return [p / r for p, r in zip(offsets, self.radii, strict=True)]
        scaled = (self.axes / np.asarray(self.radii)[:, None]).tolist()
        return [a * offsets[0] + b * offsets[1] + c * offsets[2] for a, b, c in scaled]

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the distance to the surface along the ray from the centre, mm."""
        level = np.maximum(self.level(x, y, z), 1e-3)
        ray = np.sqrt(
            (x - self.center[0]) ** 2
            + (y - self.center[1]) ** 2
            + (z - self.center[2]) ** 2
        )
        return ray * (1 - 1 / level)

    @property
    def extent(self) -> np.ndarray:
        """Half the size (3,) of its box along x, y, z in mm."""
        axes = np.eye(3) if self.axes is None else self.axes
        return np.linalg.norm(axes * np.asarray(self.radii)[:, None], axis=0)


def ellipse(
    x: np.ndarray,
    y: np.ndarray,
    center: tuple[np.ndarray | float, np.ndarray | float],
    radii: tuple[float, float],
) -> np.ndarray:
    """The distance to an infinite cylinder along z, on the ray from its axis, mm."""
    across, down = x - center[0], y - center[1]
    level = np.sqrt((across / radii[0]) ** 2 + (down / radii[1]) ** 2)
    ray = np.sqrt(across * across + down * down)
    return ray * (1 - 1 / np.maximum(level, 1e-3))


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Returns axes (3, 3) rotated by angles in degrees about z, then y, then x."""
    axes = np.eye(3)
    for angle, (i, j) in ((yaw, (0, 1)), (pitch, (0, 2)), (roll, (1, 2))):
        turn = np.eye(3)
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn[i, i] = turn[j, j] = cosine
        turn[i, j], turn[j, i] = sine, -sine
        axes = axes @ turn
    return axes


def smooth_min(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The union of two shapes, the seam rounded over `width` mm."""
    overlap = np.maximum(width - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap * overlap * (0.25 / width)


def smooth_max(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The intersection of two shapes, the seam rounded over `width` mm."""
    return -smooth_min(-a, -b, width)


@dataclass(frozen=True)
class Tubes:
    """Tapered round rods in scanner coordinates: vessels, airways, ribs, bowel.

    Attributes:
        start: (rods, 3) in mm.
        end: (rods, 3) in mm.
        start_radius: (rods,) in mm.
        end_radius: (rods,) in mm.
        z_scale: Factor on z in distances; below 1, the rods are taller than wide.
    """

    start: np.ndarray
    end: np.ndarray
    start_radius: np.ndarray
    end_radius: np.ndarray
    z_scale: float = 1.0

    def paint_area(
        self, canvas: Canvas, reach_mm: float = 1.5
    ) -> tuple[Window, np.ndarray] | None:
        """Returns the window where they cross a slice and the distances, or None."""
        z = canvas.z * self.z_scale
        start_z, end_z = self.start[:, 2], self.end[:, 2]
        radius = np.maximum(self.start_radius, self.end_radius) + reach_mm
        near = np.minimum(start_z, end_z) - radius <= z
        near &= np.maximum(start_z, end_z) + radius >= z
        chosen = np.flatnonzero(near)
        low = np.minimum(self.start, self.end)[chosen, :2] - radius[chosen, None]
        high = np.maximum(self.start, self.end)[chosen, :2] + radius[chosen, None]
        first, last = canvas.pixels(low, high)
        seen = np.all(last > first, axis=1)
        chosen, first, last = chosen[seen], first[seen], last[seen]
        if not len(chosen):
            return None
        origin, corner = first.min(axis=0), last.max(axis=0)
        area = np.full((corner - origin)[::-1], FAR_MM, np.float32)
        for rod, (c0, r0), (c1, r1) in zip(chosen, first, last, strict=True):
            part = area[
                r0 - origin[1] : r1 - origin[1], c0 - origin[0] : c1 - origin[0]
            ]
            rod_mm = self._rod(rod, canvas.x[c0:c1], canvas.y[r0:r1], z)
            np.minimum(part, rod_mm, out=part)
        return (slice(origin[1], corner[1]), slice(origin[0], corner[0])), area

    def _rod(self, rod: int, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
        """Distance (rows, columns) to one rod on the slice at (scaled) height z."""
        sx, sy, sz = self.start[rod].tolist()
        bx, by, bz = (self.end[rod] - self.start[rod]).tolist()
        across, down, up = x - np.float32(sx), (y - np.float32(sy))[:, None], z - sz
        length = bx * bx + by * by + bz * bz + 1e-6
        along = (across * (bx / length)) + (down * (by / length) + up * bz / length)
        np.clip(along, 0, 1, out=along)
        square = (across - along * bx) ** 2
        square += (down - along * by) ** 2
        square += (up - along * bz) ** 2
        radius = float(self.start_radius[rod])
        np.sqrt(square, out=square)
        return square - (radius + along * (float(self.end_radius[rod]) - radius))


class Canvas:
    """One plane of a phantom while it is painted.

    Attributes:
        x, y: Scanner axes (columns,), (rows,) in mm, float32.
        z: Scanner height in mm.
        model: Model x, y, z, each (rows, columns).
        hu: float32 (rows, columns), painted so far.
        labels: uint8 (rows, columns), the tissue at each pixel's centre.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        z: float,
        model: tuple[np.ndarray, np.ndarray, np.ndarray],
    ):
        self.x, self.y, self.z = x, y, z
        self.model = model
        self.step = (float(x[1] - x[0]), float(y[1] - y[0]))
        self.hu = np.empty(model[0].shape, np.float32)
        self.labels = np.empty(model[0].shape, np.uint8)

    def pixels(self, low: np.ndarray, high: np.ndarray) -> tuple:
        """Maps boxes (n, 2) in x, y mm to first and end (column, row) pixels."""
        origin = np.array([self.x[0], self.y[0]])
        size = np.array([len(self.x), len(self.y)])
        first = np.floor((low - origin) / self.step).astype(int)
        last = np.ceil((high - origin) / self.step).astype(int) + 1
        return np.clip(first, 0, size), np.clip(last, 0, size)

    def window(self, center: np.ndarray, extent: np.ndarray) -> Window | None:
        """Returns the pixels of a box (scanner mm), or None if the slice misses it."""
        extent = np.asarray(extent) + _MARGIN_MM
        if abs(self.z - center[2]) > extent[2]:
            return None
        low, high = center[:2] - extent[:2], center[:2] + extent[:2]
        (first,), (last,) = self.pixels(low[None], high[None])
        if np.any(last <= first):
            return None
        return slice(first[1], last[1]), slice(first[0], last[0])

    def paint(
        self,
        window: Window,
        distance: np.ndarray,
        value: np.ndarray | float,
        label: int,
    ) -> None:
        """Fills the inside of a shape with a tissue.

        Args:
            window: The pixels that `distance` is for.
            distance: Signed distance in mm, negative inside.
            value: HU, one number or one per pixel of the window.
            label: The tissue's number.
        """
        cover = np.clip(0.5 - distance * np.float32(1 / self.step[0]), 0, 1)
        hu = self.hu[window]
        hu += cover * (value - hu)
        self.labels[window][cover > 0.5] = label
