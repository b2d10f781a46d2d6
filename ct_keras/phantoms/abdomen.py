"""Liver, spleen, kidneys, stomach, bowel and the vessels of the abdomen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.phantoms.anatomy import Patient, Place
from ct_keras.phantoms.bowel import Bowel, belly, cut_out
from ct_keras.phantoms.brush import Brush
from ct_keras.phantoms.shapes import Ellipsoid, Tubes, smooth_max, smooth_min, turned
from ct_keras.phantoms.trees import grow_tree, path_tubes, points_in, tree_tubes

_LIVER_CUT = np.array((0.50, 0.42, -0.76))  # outward normal of the liver's underside
_LIVER_CUT_POINT = np.array((-48.0, 22.0, -104.0))
_PYRAMIDS = 7.0  # around a kidney


class Abdomen:
    """The organs of one patient's abdomen.

    Args:
        patient: The patient.
        rng: Random generator for vessels, bowel loops and bowel content.
    """

    def __init__(self, patient: Patient, rng: np.random.Generator):
        self.patient = patient
        place = patient.place
        self.right_lobe = place("liver", (-80, -6, -58), (86, 96, 96))
        self.left_lobe = place("left_lobe", (0, -50, -36), (76, 38, 46))
        self.caudate = place("liver", (-14, 2, -42), (19, 17, 28))
        self.spleen = place("spleen", (96, 36, -46), (37, 62, 54), turned(-24, 10))
        self.hollow = place("spleen", (58, 14, -50), (26, 42, 50), turned(-24))
        self.stomach = place("stomach", (58, -28, -48), (42, 44, 52), turned(-30, 25))
        self.antrum = place("stomach", (22, -50, -88), (40, 22, 20), turned(-15, -20))
        self.gallbladder = place("gallbladder", (-46, -46, -100), (14, 22, 27))
        self.kidneys = [
            place("right_kidney", (-62, 36, -110), (27, 30, 54), turned(-25, -12)),
            place("left_kidney", (65, 36, -94), (27, 30, 54), turned(25, 12)),
        ]
        self.portal, self.hepatic = self._liver_trees(rng)
        self.tubes = self._belly_tubes()
        self.bowel = Bowel(patient, rng)
        self.fluid = float(rng.uniform(-0.5, 0.2))

    def liver(
        self, x: Place, y: Place, z: Place, cavity: np.ndarray | None = None
    ) -> np.ndarray:
        """The outline of the liver; coordinates of any shape."""
        patient = self.patient
        cavity = patient.cavity(x, y, z) if cavity is None else cavity
        normal, point = _LIVER_CUT.tolist(), _LIVER_CUT_POINT.tolist()
        cut = sum(n * (p - c) for n, p, c in zip(normal, (x, y, z), point, strict=True))
        right = smooth_max(self.right_lobe.distance(x, y, z), cut, 30.0)
        left = self.left_lobe.distance(x, y, z)
        both = smooth_min(right, left, 22.0)
        both = smooth_min(both, self.caudate.distance(x, y, z), 10.0)
        both = smooth_max(both, cavity + 3.0, 8.0)
        return smooth_max(both, 0.72 * (z - patient.diaphragm(x, y)) + 2.5, 6.0)

    def paint(self, brush: Brush, trunk: np.ndarray) -> None:
        """Paints everything below the diaphragm.

        Args:
            brush: Brush of the plane.
            trunk: Distance to the trunk's outline (rows, columns).
        """
        if float(brush.canvas.model[2].min()) > 20:
            return
        self.bowel.paint(brush, trunk)
        self._paint_spleen(brush, trunk)
        self._paint_stomach(brush, trunk)
        self._paint_liver(brush, trunk)
        brush.fill_ellipsoid("gallbladder", self.gallbladder)
        for kidney in self.kidneys:
            self._paint_kidney(brush, kidney)
        for name, tubes in self.tubes:
            brush.fill_tubes({name: 0.0}, tubes)

    def _paint_liver(self, brush: Brush, trunk: np.ndarray) -> None:
        outer = Ellipsoid((-45.0, -6.0, -58.0), (145.0, 110.0, 120.0))
        window = brush.box(outer)
        if window is None:
            return
        x, y, z = brush.model(window)
        cavity = self.patient.cavity(x, y, float(z.mean()), trunk[window])
        liver = self.liver(x, y, z, cavity) + brush.rough(window, 1.2, 0.5)
        brush.fill("liver", window, liver)
        bend = x + 14 + 0.25 * (y + 60) + brush.rough(window, 3.0, 1.5)
        notch = np.maximum(np.abs(bend) - 1.8 + 0.08 * (y + 80), y + 52)
        brush.fill("fat", window, np.maximum(notch, np.maximum(liver, z + 52)))
        for tubes in (self.portal, self.hepatic):
            found = tubes.paint_area(brush.canvas)
            if found is not None:
                area, distance = found
                distance = np.maximum(distance, cut_out(liver, window, area) + 3.0)
                brush.fill("liver_vessel", area, distance)

    def _paint_spleen(self, brush: Brush, trunk: np.ndarray) -> None:
        window = brush.box(self.spleen)
        if window is None:
            return
        x, y, z = brush.model(window)
        spleen = self.spleen.distance(x, y, z) + brush.rough(window, 1.2, 0.8)
        spleen = smooth_max(spleen, -self.hollow.distance(x, y, z), 8.0)
        inside = belly(brush, window, trunk, 4.0)
        brush.fill("spleen", window, smooth_max(spleen, inside, 6.0))

    def _paint_stomach(self, brush: Brush, trunk: np.ndarray) -> None:
        both = Ellipsoid((44.0, -38.0, -66.0), (72.0, 66.0, 72.0))
        window = brush.box(both)
        if window is None:
            return
        x, y, z = brush.model(window)
        stomach = smooth_min(
            self.stomach.distance(x, y, z), self.antrum.distance(x, y, z), 25.0
        )
        stomach = stomach + brush.rough(window, 2.0, 0.8)
        stomach = smooth_max(stomach, belly(brush, window, trunk, 4.0), 8.0)
        wall = brush.value("stomach", window) + (35 if self.patient.enhanced else 12)
        brush.fill("stomach", window, stomach, wall)
        content = brush.value("stomach", window) - 18 + self.bowel.oral_contrast
        inner = stomach + 3.5 + np.abs(brush.rough(window, 0.0, 1.0))
        brush.fill("stomach", window, inner, content)
        level = self.stomach.center[1] + self.fluid * self.stomach.radii[1]
        down = brush.canvas.y[window[0]][:, None]  # fluid levels are horizontal
        brush.fill("gas", window, np.maximum(inner + 0.5, down - level))

    def _paint_kidney(self, brush: Brush, kidney: Ellipsoid) -> None:
        window = brush.box(kidney)
        if window is None:
            return
        x, y, z = brush.model(window)
        side = np.sign(kidney.center[0])
        u, v, w = kidney.local(x, y, z)
        level = np.sqrt(u * u + v * v + w * w)
        distance = kidney.distance(x, y, z) + brush.rough(window, 0.6, 0.5)
        capsule = np.minimum(9.0, 6.5 * self.patient.fat_mm / 16) * (1 - 0.5 * w)
        around = brush.rough(window, 1.5, 1.0) - np.maximum(capsule, 1.5)
        brush.fill("fat", window, distance + around)
        brush.fill("kidney_cortex", window, distance)
        angle = np.arctan2(v, u)
        rough = brush.rough(window, 0.5, 0.6)
        rays = np.cos(_PYRAMIDS * angle + 2.5 * np.sin(4.0 * w) + rough)
        pyramid = np.maximum(distance + 6.0 + rough, -6.0 * (rays + 0.25) * level)
        pyramid = np.maximum(pyramid, 22 * (0.5 - level))
        brush.fill("kidney_medulla", window, 0.35 * pyramid)
        along, across = (u + 0.7 * side) / 0.6, (v + 0.15) / 0.34
        sinus = np.sqrt(along**2 + across**2 + (w / 0.5) ** 2)
        sinus = 13 * (sinus - 1) + brush.rough(window, 0.5, 2.5)
        brush.fill("fat", window, sinus)

    def _liver_trees(self, rng: np.random.Generator) -> tuple[Tubes, Tubes]:
        box = ((-150, 80), (-100, 95), (-150, 0))
        sample = points_in(rng, self.liver, box, count=420, depth_mm=5.0)
        middle = len(sample) // 2
        deformation = self.patient.deformation
        porta = (-34.0, -6.0, -72.0)
        portal = grow_tree(
            rng, porta, sample[:middle], leaf_radius_mm=0.95, exponent=2.6
        )
        hepatic = grow_tree(
            rng, (-22.0, 2.0, -22.0), sample[middle:], leaf_radius_mm=0.95, exponent=2.6
        )
        return tree_tubes(deformation, *portal), tree_tubes(deformation, *hepatic)

    def _belly_tubes(self) -> list[tuple[str, Tubes]]:
        """(tissue, rods) of pancreas, vessels, adrenals and muscles of the back."""
        spine = self.patient.spine_y
        shift, size = self.patient.jitter["pancreas"]
        head = [(-30, -10, -118), (-26, -16, -100), (-8, -26, -90), (14, -26, -86)]
        tail = [(40, -12, -78), (66, 2, -70)]
        pancreas = np.asarray(head + tail, float) + shift
        splenic = pancreas[:1:-1] + np.array((0, 12 * size, 2))
        porta = [(-20, -10, -80), (-34, -6, -72)]
        mesenteric = [(-20, -10, -80), (-2, -16, -110), (4, -30, -170)]
        artery = [(6, spine(-82) - 36, -82), (6, spine(-90) - 50, -92), (8, -28, -170)]
        cava = [(-21, spine(z) - 27, z) for z in (-220, -160, -110, -70)]
        cava += [(-24, spine(-40) - 30, -40), (-22, 2, -18), (-24, -6, 16)]
        return [
            self._tube("pancreas", pancreas, np.array((12, 13, 9, 8, 9, 8)) * size),
            self._tube("vena_cava", cava, (11, 11.5, 12, 12, 12.5, 13, 13)),
            *self._beside_spine(-1),
            *self._beside_spine(1),
            self._tube("vessel", np.concatenate([splenic, porta]), 5.0),
            self._tube("vessel", mesenteric, 5.5),
            self._tube("vessel", artery, (4.0, 3.8, 3.2)),
        ]

    def _beside_spine(self, side: int) -> list[tuple[str, Tubes]]:
        """Psoas, crus of the diaphragm, renal vein and adrenal of one side."""
        spine = self.patient.spine_y
        psoas = [(side * 27, spine(z) + 2, z) for z in (-80, -130, -220)]
        crus = [(side * 15 + 3, spine(z) - 22, z) for z in (-30, -70, -110)]
        x, y, z = (float(c) for c in self.kidneys[(side + 1) // 2].center)
        vein = [(side * 8 - 12, spine(z) - 30, z + 8), (side * 28, y - 20, z + 6)]
        vein.append((x - side * 18, y - 4, z + 4))
        gland = [(side * 30, y - 18, z + 50), (side * 37, y - 4, z + 46)]
        return [
            self._tube("muscle", psoas, (4.0, 14.0, 20.0)),
            self._tube("muscle", crus, (4.0, 5.0, 3.0)),
            self._tube("vessel", vein, 4.2),
            self._tube("adrenal", gland, 2.8),
        ]

    def _tube(
        self, name: str, points: Sequence, radii: Sequence[float] | float
    ) -> tuple[str, Tubes]:
        return name, path_tubes(self.patient.deformation, points, radii)
