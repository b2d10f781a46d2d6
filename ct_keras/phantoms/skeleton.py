"""Spine, ribs and sternum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.phantoms.anatomy import Patient
from ct_keras.phantoms.brush import Brush
from ct_keras.phantoms.shapes import Tubes, ellipse
from ct_keras.phantoms.trees import join, path_tubes

PERIOD_MM = 27.0  # one vertebra and its disc
_DISC_MM = 6.0
_CANAL_BACK_MM = 23.0  # from the middle of the vertebral body
_LEVELS = range(-8, 9)


class Skeleton:
    """The bones of one patient.

    Args:
        patient: The patient.
    """

    def __init__(self, patient: Patient):
        self.patient = patient
        self.arches = self._arches()
        self.ribs, self.cartilage = self._ribs()
        self.scapulae = self._scapulae()

    def paint_cage(self, brush: Brush) -> None:
        """Paints ribs, rib cartilage and sternum."""
        brush.fill_tubes({"cartilage": 0.0}, self.cartilage)
        brush.fill_tubes({"cortical_bone": 0.0, "trabecular_bone": 1.7}, self.ribs)
        brush.fill_tubes({"cortical_bone": 0.0, "trabecular_bone": 1.5}, self.scapulae)
        self._paint_sternum(brush)

    def paint_spine(self, brush: Brush) -> None:
        """Paints vertebrae, discs and the spinal canal."""
        patient = self.patient
        level = float(brush.canvas.model[2].mean())
        middle = patient.spine_y(level)
        lumbar = float(np.interp(level, (-90, 60), (1.0, 0.0)))
        center = np.array((0.0, middle + 15, level))
        place = patient.deformation.to_scanner(center)
        window = brush.canvas.window(place, np.array((40, 45, 1e3)))
        if window is None:
            return
        x, y, z = brush.model(window)
        phase = (z - patient.spine_phase_mm) / PERIOD_MM
        phase = (phase - np.floor(phase)) * PERIOD_MM
        height = (PERIOD_MM - _DISC_MM) / 2
        from_middle = np.abs(phase - PERIOD_MM / 2)
        waist = 1.8 * (1 - (from_middle / height) ** 2).clip(0, 1)
        radii = (16.5 + 6 * lumbar, 14.0 + 3.0 * lumbar)
        across = ellipse(x, y, (0.0, middle), radii) + brush.rough(window, 0.3, 0.25)
        canal = ellipse(
            x, y, (0.0, middle + _CANAL_BACK_MM), (10.5 + 1.5 * lumbar, 8.5)
        )
        across = np.maximum(across, -1.5 - canal)
        brush.fill("disc", window, across + 0.5)
        body = np.maximum(across + waist, from_middle - height)
        brush.fill("cortical_bone", window, body)
        marrow = np.maximum(across + waist + 1.3, from_middle - height + 1.2)
        brush.fill("trabecular_bone", window, marrow)
        brush.fill_tubes({"cortical_bone": 0.0, "trabecular_bone": 1.9}, self.arches)
        brush.fill("spinal_canal", window, canal)

    def _arches(self) -> Tubes:
        """Pedicles, laminae, joints, transverse and spinous processes."""
        rods = []
        for level in _LEVELS:
            z = self.patient.spine_phase_mm + (level + 0.5) * PERIOD_MM
            lumbar = float(np.interp(z, (-90, 60), (1.0, 0.0)))
            y = self.patient.spine_y(z)
            for side in (-1, 1):
                rods += self._half_arch(side, y, z, lumbar)
            tip = y + 54 - 2 * lumbar
            spine = [(0, y + 35, z - 2), (0, y + 44, z - 6), (0, tip, z - 12)]
            rods.append(self._rod(spine, (3.2, 2.6, 3.6)))
        return join(rods)

    def _half_arch(self, side: int, y: float, z: float, lumbar: float) -> list[Tubes]:
        out = side * (12 + 3 * lumbar)
        wide = side * (31 + 6 * lumbar)
        return [
            self._rod([(out, y + 9, z + 4), (out * 1.15, y + 21, z + 3)], 4.2),
            self._rod([(out * 1.15, y + 21, z + 3), (side * 2, y + 36, z - 4)], 3.2),
            self._rod(
                [(out * 1.1, y + 20, z + 3), (wide, y + 25 - 4 * lumbar, z + 4)],
                (4.0, 3.6),
            ),
            self._rod([(out * 1.25, y + 24, z + 13), (out * 1.3, y + 26, z - 13)], 5.0),
        ]

    def _rod(self, points: list[tuple], radii: Sequence[float] | float) -> Tubes:
        return path_tubes(self.patient.deformation, points, radii, fine=1)

    def _ribs(self) -> tuple[Tubes, Tubes]:
        ribs, cartilage = [], []
        for number in range(2, 13):
            top = self.patient.spine_phase_mm + (10.5 - number) * PERIOD_MM - 8.0
            for side in (-1, 1):
                bone, front = self._rib(number, side, top)
                ribs.append(bone)
                if front is not None:
                    cartilage.append(front)
        return join(ribs), join(cartilage)

    def _rib(self, number: int, side: int, top: float) -> tuple[Tubes, Tubes | None]:
        """One rib from the spine to its cartilage, and the cartilage."""
        last = {11: 1.7, 12: 1.1}.get(number, 2.35)
        drop = float(np.interp(number, (2, 7, 12), (45, 68, 62)))
        points = [(side * 15.0, self.patient.spine_y(top) + 9, top + 8)]
        points += [
            self._on_cage(side, angle, top + 6 - drop * (1 - np.cos(angle)) / 1.7)
            for angle in np.linspace(0.42, last, 14)
        ]
        radii = np.interp(np.arange(len(points)), (0, 3, 14), (4.6, 4.2, 4.4))
        deformation = self.patient.deformation
        bone = path_tubes(deformation, points, radii, fine=2, z_scale=0.62)
        if number > 10:
            return bone, None
        start_z = points[-1][2]
        rise = float(np.interp(number, (2, 6, 10), (-4, 14, 40)))
        ends = float(np.interp(number, (2, 7, 10), (2.93, 2.93, 2.72)))
        curve = [
            self._on_cage(side, angle, start_z + rise * share)
            for share, angle in zip(
                np.linspace(0, 1, 6), np.linspace(last, ends, 6), strict=True
            )
        ]
        return bone, path_tubes(deformation, curve, 4.6, fine=2, z_scale=0.62)

    def _on_cage(self, side: int, angle: float, z: float) -> tuple:
        """A point inside the trunk's wall, `angle` from the back."""
        patient = self.patient
        radius = patient.trunk_radius(angle, z)
        x = radius * np.sin(angle)
        radius -= patient.wall(x, z) - 5.5
        return (side * radius * np.sin(angle), radius * np.cos(angle), z)

    def _scapulae(self) -> Tubes:
        """Shoulder blades: thin plates outside the upper ribs."""
        rods = []
        for side in (-1, 1):
            for z in np.arange(62.0, 165.0, 3.0):
                points = []
                for angle in np.linspace(0.95, 1.45, 4):
                    radius = self.patient.trunk_radius(angle, z) - 9.0
                    points.append(
                        (side * radius * np.sin(angle), radius * np.cos(angle), z)
                    )
                rods.append(self._rod(points, (2.6, 1.7, 1.9, 4.2)))
        return join(rods)

    def _paint_sternum(self, brush: Brush) -> None:
        patient = self.patient
        level = float(brush.canvas.model[2].mean())
        if not 5 < level < 175:
            return
        radius = float(patient.trunk_radius(np.pi, level))
        front = -(radius - float(patient.wall(0.0, level)) + 5.0)
        half = float(np.interp(level, (5, 40, 110, 150), (7.0, 15.0, 18.0, 28.0)))
        place = patient.deformation.to_scanner((0.0, front, level))
        window = brush.canvas.window(place, np.array((half, 8.0, 1e3)))
        if window is None:
            return
        x, y, z = brush.model(window)
        distance = ellipse(x, y, (0.0, front), (half, 6.0))
        distance = np.maximum(distance + brush.rough(window, 0.3, 0.4), 14 - z)
        brush.fill("cortical_bone", window, distance)
        brush.fill("trabecular_bone", window, distance + 1.3)
