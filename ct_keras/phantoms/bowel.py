"""Small and large bowel, and the vessels between their loops."""

from __future__ import annotations

import numpy as np

from ct_keras.phantoms.anatomy import Patient
from ct_keras.phantoms.brush import Brush
from ct_keras.phantoms.shapes import Ellipsoid, Tubes, Window, smooth_max
from ct_keras.phantoms.trees import (
    grow_tree,
    path_tubes,
    points_in,
    thinner,
    tree_tubes,
)


def belly(brush: Brush, window: Window, trunk: np.ndarray, gap_mm: float) -> np.ndarray:
    """The space inside the abdominal wall and below the diaphragm.

    Args:
        brush: Brush of the plane.
        window: Where to compute the distance.
        trunk: Distance to the trunk's outline (rows, columns).
        gap_mm: Gap to wall and diaphragm.

    Returns:
        Signed distance in mm, of the window's shape.
    """
    x, y, z = brush.model(window)
    cavity = brush.patient.cavity(x, y, float(z.mean()), trunk[window])
    below = 0.72 * (z - brush.patient.diaphragm(x, y))
    return smooth_max(cavity, below, 6.0) + gap_mm


class Bowel:
    """The bowel of one patient.

    Args:
        patient: The patient.
        rng: Random generator for the loops and their content.
    """

    def __init__(self, patient: Patient, rng: np.random.Generator):
        self.patient = patient
        self.mesentery = self._mesentery(rng)
        self.loops = self._small_bowel(rng)
        self.colon, self.colon_gas = self._colon(rng)
        self.oral_contrast = float(rng.uniform(0, 160)) if rng.random() < 0.4 else 0.0

    def paint(self, brush: Brush, trunk: np.ndarray) -> None:
        """Paints vessels, small and large bowel; arguments as for `belly`."""
        brush.fill_tubes({"vessel": 0.0}, self.mesentery)
        self._paint_loops(brush)
        self._paint_colon(brush, trunk)

    def _paint_loops(self, brush: Brush) -> None:
        """Paints the small bowel: a wall, and fluid in some of the loops."""
        found = self.loops.paint_area(brush.canvas)
        if found is None:
            return
        window, distance = found
        distance = distance + brush.rough(window, 0.5, 0.9)
        wall = brush.value("bowel", window) + (22 if self.patient.enhanced else 6)
        brush.fill("bowel", window, distance, wall)
        fluid = brush.value("bowel", window) - 12 + 0.6 * self.oral_contrast
        filled = distance + 3.0 + 2.5 * np.maximum(brush.wobble[0][window], 0)
        brush.fill("bowel", window, filled, fluid)

    def _paint_colon(self, brush: Brush, trunk: np.ndarray) -> None:
        found = self.colon.paint_area(brush.canvas)
        if found is None:
            return
        window, distance = found
        inside = belly(brush, window, trunk, 3.0)
        distance = smooth_max(distance + brush.rough(window, 0.8, 1.2), inside, 5.0)
        brush.fill("bowel", window, distance)
        stool = brush.patient.hu["bowel"] - 10 + self.oral_contrast
        stool = stool + brush.texture["stool"][window]
        brush.fill("bowel", window, distance + 2.2, stool)
        found = self.colon_gas.paint_area(brush.canvas)
        if found is not None:
            area, gas = found
            gas = np.maximum(gas, cut_out(distance, window, area) + 2.6)
            brush.fill("gas", area, gas + brush.rough(area, 0.0, 1.5))

    def _mesentery(self, rng: np.random.Generator) -> Tubes:
        """Small vessels in the mesenteric fat."""
        room = Ellipsoid((8.0, -30.0, -140.0), (95.0, 48.0, 75.0))
        box = ((-90, 105), (-80, 20), (-215, -65))
        ends = points_in(rng, room.distance, box, count=70, depth_mm=2.0)
        tree = grow_tree(rng, (6.0, -18.0, -105.0), ends, leaf_radius_mm=0.75)
        return tree_tubes(self.patient.deformation, *tree)

    def _small_bowel(self, rng: np.random.Generator) -> Tubes:
        """Loops in the lower left and middle of the abdomen."""
        points = np.array((35.0, -30.0, -118.0)) + np.zeros((150, 3))
        heading = np.array((1.0, 0.0, -0.3))
        center, radii = np.array((26.0, -34.0, -150.0)), np.array((72.0, 34.0, 52.0))
        for i in range(1, len(points)):
            heading = 0.75 * heading + 0.6 * rng.standard_normal(3)
            offset = (points[i - 1] - center) / radii
            if np.linalg.norm(offset) > 0.75:
                heading -= 0.9 * offset
            heading /= np.linalg.norm(heading)
            points[i] = points[i - 1] + 11 * heading
        radii = 10.0 + 1.8 * np.sin(np.arange(len(points)) * 0.9)
        return path_tubes(self.patient.deformation, points, radii, fine=2)

    def _colon(self, rng: np.random.Generator) -> tuple[Tubes, Tubes]:
        """The large bowel and the gas in parts of it."""
        path = [(-104, 14, -220), (-104, 6, -165), (-92, -24, -142), (-58, -62, -136)]
        path += [(-15, -72, -142), (35, -70, -132), (78, -50, -100), (100, -8, -84)]
        path += [(108, 28, -110), (108, 26, -160), (104, 18, -220)]
        path = np.asarray(path, float)
        path[1:-1] += rng.normal(0, 5, (len(path) - 2, 3))
        radii = np.array((22, 22, 20, 18, 17, 17, 16, 15, 14, 13, 13.0))
        tubes = path_tubes(self.patient.deformation, path, radii, fine=9)
        folds = 1 + 0.13 * np.sin(np.arange(len(tubes.start)) * 1.25)
        tubes = Tubes(
            *(tubes.start, tubes.end),
            *(tubes.start_radius * folds, tubes.end_radius * np.roll(folds, -1)),
        )
        wave = np.cumsum(rng.standard_normal(len(folds))) / 4 + rng.uniform(-1, 2)
        kept = np.flatnonzero(np.sin(wave) > 0.1)
        gas = thinner(tubes, 5.0, (0.0, -3.5, 0.0))
        names = ("start", "end", "start_radius", "end_radius")
        return tubes, Tubes(*(getattr(gas, name)[kept] for name in names))


def cut_out(values: np.ndarray, window: Window, area: Window) -> np.ndarray:
    """Crops and pads the distances of a window to another area.

    Args:
        values: Distances in mm, one for each pixel of `window`.
        window: The pixels of `values`.
        area: The pixels of the result; those outside `window` get a large distance.
    """
    rows, columns = ((a.stop - a.start) for a in area)
    result = np.full((rows, columns), 1e3, np.float32)
    top, left = max(window[0].start, area[0].start), max(window[1].start, area[1].start)
    bottom, right = min(window[0].stop, area[0].stop), min(window[1].stop, area[1].stop)
    if bottom > top and right > left:
        result[
            top - area[0].start : bottom - area[0].start,
            left - area[1].start : right - area[1].start,
        ] = values[
            top - window[0].start : bottom - window[0].start,
            left - window[1].start : right - window[1].start,
        ]
    return result
