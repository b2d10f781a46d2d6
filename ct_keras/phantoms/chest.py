"""Lungs, heart, great vessels, airways and oesophagus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.phantoms.anatomy import Patient, Place, heart_axes
from ct_keras.phantoms.brush import Brush
from ct_keras.phantoms.shapes import Ellipsoid, Tubes
from ct_keras.phantoms.trees import (
    grow_tree,
    join,
    path_tubes,
    points_in,
    thinner,
    tree_tubes,
)

_ARTERY_ENDS, _VEIN_ENDS = 620, 460
#: Chamber -> centre along the heart's axes and radii along them, mm.
_CHAMBERS = {
    "left_ventricle": ((10.0, -17.0, 0.0), (36.0, 17.0, 19.0)),
    "right_ventricle": ((8.0, 24.0, 2.0), (44.0, 20.0, 33.0)),
    "left_atrium": ((-39.0, -19.0, 2.0), (20.0, 24.0, 29.0)),
    "right_atrium": ((-37.0, 25.0, -2.0), (23.0, 21.0, 29.0)),
}


class Chest:
    """The organs of one patient's chest.

    Args:
        patient: The patient.
        rng: Random generator for the branching vessels.
    """

    def __init__(self, patient: Patient, rng: np.random.Generator):
        self.patient = patient
        self._vessels, self.airways = self._grow(rng)
        self._large = self._large_vessels()

    def paint_lungs(self, brush: Brush, trunk: np.ndarray) -> None:
        """Paints lung tissue, its vessels and airways.

        Args:
            brush: Brush of the plane.
            trunk: Distance to the trunk's outline (rows, columns).
        """
        x, y, z = brush.canvas.model
        if float(z.max()) < -95:
            return
        rows = np.flatnonzero((trunk < 0).any(axis=1))
        columns = np.flatnonzero((trunk < 0).any(axis=0))
        if not len(rows):
            return
        window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        x, y, z = brush.model(window)
        cavity = self.patient.cavity(x, y, z.mean(), trunk[window])
        lungs = self.patient.lungs(x, y, z, cavity) + brush.rough(window, 1.2, 0.5)
        weight = brush.value("lung", window) + 0.35 * (y - 20)
        weight += 38 * np.exp(-(self._fissure(x, y, z) ** 2))
        brush.fill("lung", window, lungs, weight)
        brush.fill_tubes({"lung_vessel": 0.0}, self._vessels)

    def paint_mediastinum(self, brush: Brush) -> None:
        """Paints heart, great vessels, trachea and oesophagus."""
        self._paint_heart(brush)
        for name, wall, tubes in self._large:
            layers = {"heart": 0.0, name: wall} if wall else {name: 0.0}
            brush.fill_tubes(layers, tubes)
        brush.fill_tubes({"muscle": -1.3, "airway": 0.0}, self.airways)

    def _paint_heart(self, brush: Brush) -> None:
        outline = self.patient.heart()
        window = brush.box(outline)
        if window is None:
            return
        x, y, z = brush.model(window)
        heart = outline.distance(x, y, z) + brush.rough(window, 0.8, 0.5)
        heart = np.maximum(heart, 0.8 * (self.patient.diaphragm(x, y) - z) + 4)
        brush.fill("heart", window, heart)
        axes = heart_axes()
        size = self.patient.jitter["heart"][1]
        for center, radii in _CHAMBERS.values():
            middle = np.asarray(outline.center) + size * np.asarray(center) @ axes
            radii = tuple(size * r for r in radii)
            chamber = Ellipsoid(tuple(middle.tolist()), radii, axes)
            inside = chamber.distance(x, y, z) + brush.rough(window, 0.8, 1.0)
            brush.fill("blood", window, np.maximum(inside, heart + 2.5))

    def _fissure(self, x: Place, y: Place, z: Place) -> np.ndarray:
        """Distance to the main fissure of each lung, in units of its half thickness."""
        slope = np.where(x > 0, 0.95, 0.85)
        return (y * slope - (z - 45) * 0.62 + 0.001 * (x * x)) / 1.1 + 4

    def _large_vessels(self) -> list[tuple[str, float, Tubes]]:
        """(tissue, wall in mm, rods) in the order in which they are painted."""
        patient = self.patient
        shift = patient.jitter["aorta"][0] * 0.5
        size = patient.jitter["aorta"][1]
        spine = patient.spine_y

        def tube(points: Sequence, radii: Sequence[float] | float) -> Tubes:
            moved = np.asarray(points, float) + shift
            radii = np.asarray(radii, float) * size
            return path_tubes(patient.deformation, moved, radii)

        aorta = [(2, -16, 40), (-14, -24, 58), (-18, -25, 82), (-15, -18, 104)]
        aorta += [(-2, -4, 119), (12, 12, 119), (21, spine(103) - 20, 103)]
        aorta += [(22, spine(z) - 19, z) for z in (80, 40, 0)]
        aorta += [(14, spine(-40) - 26, -40)]
        aorta += [(7, spine(z) - 31, z) for z in (-80, -120, -170, -220)]
        aorta_radii = (13, 15, 15.5, 15, 14, 13, 12.5, 12, 11.5, 11)
        aorta_radii += (10.5, 10, 9.5, 9, 8.5)
        upper = [(-30, -14, 150), (-30, -13, 100), (-31, -10, 68), (-30, -12, 48)]
        trunk = [(4, -50, 44), (10, -46, 58), (16, -30, 72), (22, -6, 80)]
        gullet = [(3, 24, 170), (2, spine(95) - 22, 95), (3, spine(60) - 22, 60)]
        gullet += [(8, spine(10) - 26, 10), (16, spine(-14) - 34, -14), (38, -6, -34)]
        azygos = [(-8, spine(z) - 18, z) for z in (-60, -20, 20, 60, 92)]
        return [
            ("oesophagus", 0.0, tube(gullet, 6.8)),
            ("vena_cava", 0.0, tube(upper, 9.5)),
            ("vena_cava", 0.0, tube(azygos, 3.2)),
            ("blood", 0.0, tube([(16, -26, 76), (-10, -6, 72), (-40, 6, 68)], 9.0)),
            ("blood", 0.0, tube([(20, -10, 79), (44, 10, 76)], 9.0)),
            ("blood", 0.0, tube(trunk, 13.0)),
            ("aorta", 1.2, tube(aorta, aorta_radii)),
        ]

    def _grow(self, rng: np.random.Generator) -> tuple[Tubes, Tubes]:
        """Arteries and veins, and airways, of both lungs."""
        patient = self.patient
        vessels, airways = [], []
        windpipe = [(0, 4, 175), (0, 10, 125), (-1, 14, 92)]
        airways.append(path_tubes(patient.deformation, windpipe, (9, 8.8, 8.5)))
        for side, hilum_y in ((-1, 8.0), (1, 11.0)):
            box = ((side * 5, side * 150), (-110, 110), (-75, 160))
            box = [tuple(sorted(pair)) for pair in box]
            sample = points_in(rng, patient.lungs, box, count=1500, depth_mm=3.0)
            root = (side * 42.0, hilum_y, 68.0)
            arteries = grow_tree(rng, root, sample[:_ARTERY_ENDS], leaf_radius_mm=0.62)
            ends = sample[_ARTERY_ENDS : _ARTERY_ENDS + _VEIN_ENDS]
            veins = grow_tree(rng, (side * 34.0, 12.0, 40.0), ends, leaf_radius_mm=0.6)
            vessels += [tree_tubes(patient.deformation, *t) for t in (arteries, veins)]
            airways += self._bronchi(side, root, arteries)
        return join(vessels), join(airways)

    def _bronchi(
        self, side: int, root: tuple, arteries: tuple[np.ndarray, np.ndarray]
    ) -> list[Tubes]:
        """Airways that run along the larger arteries."""
        patient = self.patient
        main = [(-1, 14, 92), (side * 20, 17, 76), (root[0], root[1] + 9, root[2] - 4)]
        radius = 6.6 if side < 0 else 6.0
        tubes = [path_tubes(patient.deformation, main, (7.5, radius, 4.6))]
        branches, radii = arteries
        chosen = np.flatnonzero(radii[:, 1] > 1.45)
        beside = branches[chosen] + np.array((0.0, 1.0, 0.0)) * (
            1.9 * radii[chosen, :1, None] + 0.8
        )
        bronchi = tree_tubes(patient.deformation, beside, radii[chosen] * 0.72)
        return [*tubes, thinner(bronchi, 0.2)]
