"""Paints the slices of one patient: trunk and table, then the organs."""

from __future__ import annotations

import cv2
import numpy as np

from ct_keras.phantoms.abdomen import Abdomen
from ct_keras.phantoms.anatomy import SKIN_MM, Patient
from ct_keras.phantoms.brush import Brush
from ct_keras.phantoms.chest import Chest
from ct_keras.phantoms.shapes import Canvas, ellipse, smooth_max
from ct_keras.phantoms.skeleton import Skeleton
from ct_keras.phantoms.texture import Textures

#: Gaussian blur in the plane, near the resolution of a soft kernel (50 % at 3.6/cm).
BLUR_MM = 0.5
_SLAB_MM = 2.5  # a slice is averaged over planes that are at most this far apart
_CRADLE_MM = 520.0  # radius of the table's curve
_TABLE_HALF_WIDTH_MM = 210.0
_TABLE_DEPTH_MM = 34.0
_PRESS_MM = 7.0  # how far the table flattens the back


class Painter:
    """Paints the slices of one patient in order.

    Args:
        patient: The patient to paint.
        shape: Slices, rows and columns.
        spacing_mm: Slice, row and column spacing.
        middle_mm: Height of the middle of the volume, scanner coordinates.
        texture_seed: Seed of the texture.
    """

    def __init__(
        self,
        patient: Patient,
        shape: tuple[int, int, int],
        *,
        spacing_mm: tuple[float, float, float],
        middle_mm: float,
        texture_seed: list[int],
    ):
        rng = np.random.default_rng([patient.seed, 2])
        self.patient = patient
        self.spacing_mm = spacing_mm
        self.skeleton = Skeleton(patient)
        self.chest = Chest(patient, rng)
        self.abdomen = Abdomen(patient, rng)
        axes = [
            (np.arange(n) - (n - 1) / 2) * s
            for n, s in zip(shape, spacing_mm, strict=True)
        ]
        self.z = axes[0] + middle_mm
        self.x, self.y = axes[2].astype(np.float32), axes[1].astype(np.float32)
        self.table_y = _table_height(patient, self.z)
        self.textures = Textures(
            shape[1:], spacing_mm, np.random.default_rng(texture_seed)
        )

    def paint_next(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Paints one slice; the texture requires painting slices in order.

        Args:
            index: The slice, counted from the feet.

        Returns:
            HU float32 and labels uint8 (rows, columns).
        """
        z = float(self.z[index])
        model = self.patient.deformation.on_slice(self.x, self.y, z)
        base = Canvas(self.x, self.y, z, model)
        brush = Brush(
            self.patient,
            base,
            self.textures.next_slice(),
            tuple(w.on_slice(self.x, self.y, z) for w in self.patient.wobble),
        )
        trunk = self._paint_trunk(brush)
        count = int(self.spacing_mm[0] / _SLAB_MM) // 2 * 2 + 1
        total = np.zeros_like(base.hu)
        labels = base.labels
        for step in range(-(count // 2), count // 2 + 1):
            shift = step * self.spacing_mm[0] / count
            plane = (model[0], model[1], model[2] + np.float32(shift))
            brush.canvas = Canvas(self.x, self.y, z + shift, plane)
            brush.canvas.hu[:] = base.hu
            brush.canvas.labels[:] = base.labels
            self._paint_inside(brush, trunk)
            total += brush.canvas.hu
            labels = brush.canvas.labels if step == 0 else labels
        return self._blurred(total / np.float32(count)), labels

    def _paint_trunk(self, brush: Brush) -> np.ndarray:
        """Paints air, table, skin, fat and muscle; returns the trunk distance."""
        canvas, whole = brush.canvas, brush.whole
        canvas.hu[:] = self.patient.hu["air"]
        canvas.labels[:] = 0
        self._paint_table(brush)
        x, y, z = canvas.model
        level = float(z.mean())
        trunk = self.patient.trunk(x, y, level)
        skin = self.patient.skin(x, y, z, trunk) + brush.rough(whole, 0.8, 0.15)
        below = self._above_table(canvas.x, canvas.y) + _PRESS_MM
        skin = smooth_max(skin, below, 10.0)
        brush.fill("skin", whole, skin)
        brush.fill("fat", whole, skin + SKIN_MM)
        for breast in self.patient.breasts():
            window = brush.box(breast)
            if window is not None:
                gland = breast.distance(*brush.model(window)) + 15
                gland = gland + 9 * np.abs(brush.wobble[1][window])
                brush.fill("gland", window, np.maximum(gland, -trunk[window] + 3))
        muscle = np.maximum(trunk + brush.rough(whole, 0.7, 0.5), skin + 4)
        brush.fill("muscle", whole, muscle)
        self._paint_wall_fat(brush, trunk, level)
        return trunk

    def _paint_wall_fat(self, brush: Brush, trunk: np.ndarray, level: float) -> None:
        """Paints the fat between the muscles of the wall, and inside the wall."""
        x, y, _ = brush.canvas.model
        wall = self.patient.wall(x, level)
        lines = np.full_like(trunk, 1e3)
        long, short = brush.wobble
        for share, width, wave in ((0.34, 0.3, 1.0), (0.7, -0.2, -1.0)):
            depth = trunk + share * wall + wave * (2.2 * long + 0.5 * short)
            thin = width + 0.3 * short - 0.7 * wave * long
            np.minimum(lines, np.abs(depth) - thin, out=lines)
        for side in (-1, 1):  # no fat inside the long muscles of the back
            back = ellipse(
                x, y, (side * 26.0, self.patient.spine_y(level) + 34), (25, 19)
            )
            lines = np.maximum(lines, -back)
        brush.fill("fat", brush.whole, lines)
        cavity = trunk + wall + brush.rough(brush.whole, 0.6, 0.3)
        brush.fill("fat", brush.whole, cavity)

    def _paint_inside(self, brush: Brush, trunk: np.ndarray) -> None:
        self.abdomen.paint(brush, trunk)
        self.chest.paint_lungs(brush, trunk)
        self._paint_back(brush)
        self.skeleton.paint_cage(brush)
        self.skeleton.paint_spine(brush)
        self.chest.paint_mediastinum(brush)

    def _paint_back(self, brush: Brush) -> None:
        """Paints the long muscles beside the spine."""
        level = float(brush.canvas.model[2].mean())
        middle = float(self.patient.spine_y(level))
        for side in (-1, 1):
            center = (side * 26.0, middle + 34.0)
            place = self.patient.deformation.to_scanner((*center, level))
            window = brush.canvas.window(place, np.array((25.0, 19.0, 1e3)))
            if window is None:
                continue
            x, y, _ = brush.model(window)
            back = ellipse(x, y, center, (24.0, 18.0))
            brush.fill("muscle", window, back + brush.rough(window, 0.7, 0.7))

    def _above_table(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance (rows, columns) to the table's upper surface, negative above."""
        return y[:, None] - (self.table_y - x * x * np.float32(0.5 / _CRADLE_MM))

    def _paint_table(self, brush: Brush) -> None:
        """Paints a curved carbon shell filled with foam."""
        canvas = brush.canvas
        top = -self._above_table(canvas.x, canvas.y) + 1.0
        across = np.abs(canvas.x) - _TABLE_HALF_WIDTH_MM
        rise = np.float32(2.2e-4) * canvas.x**2
        bottom = -top - (_TABLE_DEPTH_MM - rise)
        shell = np.maximum(np.maximum(top, bottom), across)
        brush.fill("table", brush.whole, shell)
        foam = np.float32(-935.0)
        brush.fill("table", brush.whole, shell + 1.8, foam)

    def _blurred(self, hu: np.ndarray) -> np.ndarray:
        down, across = (BLUR_MM / s for s in self.spacing_mm[1:])
        return cv2.GaussianBlur(hu, (0, 0), sigmaX=across, sigmaY=down)


def _table_height(patient: Patient, z: np.ndarray) -> float:
    """Scanner y of the table's middle, where it touches the back, mm."""
    x, y = np.meshgrid(np.arange(-90, 91, 15.0), np.arange(30.0, 190.0, 1.0))
    lowest = []
    for height in np.linspace(z[0], z[-1], 5):
        points = np.stack([x, y, np.full_like(x, height)], axis=-1)
        model = patient.deformation.to_model(points)
        inside = patient.skin(*np.moveaxis(model, -1, 0)) < 0
        fallen = y + x * x * 0.5 / _CRADLE_MM
        lowest.append(fallen[inside].max(initial=60.0))
    return float(max(lowest))
