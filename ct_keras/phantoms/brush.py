"""Fills shapes with a patient's tissues on one plane."""

from __future__ import annotations

import numpy as np

from ct_keras.phantoms.anatomy import Patient
from ct_keras.phantoms.shapes import Canvas, Ellipsoid, Tubes, Window
from ct_keras.phantoms.tissues import TISSUES


class Brush:
    """A canvas with the HU and texture of one patient's tissues.

    Args:
        patient: The patient, for the mean HU.
        canvas: The plane to paint on.
        texture: Texture group -> HU deviation (rows, columns).
        wobble: Long-wave and short-wave roughness of outlines, each (rows, columns).
    """

    def __init__(
        self,
        patient: Patient,
        canvas: Canvas,
        texture: dict[str, np.ndarray],
        wobble: tuple[np.ndarray, np.ndarray],
    ):
        self.patient = patient
        self.canvas = canvas
        self.texture = texture
        self.wobble = wobble

    @property
    def whole(self) -> Window:
        """The window of the whole plane."""
        return slice(None), slice(None)

    def model(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Model x, y, z of a window's pixels."""
        return tuple(axis[window] for axis in self.canvas.model)

    def box(self, shape: Ellipsoid) -> Window | None:
        """The window around an ellipsoid of the model, None if the plane misses it."""
        center = self.patient.deformation.to_scanner(shape.center)
        return self.canvas.window(center, shape.extent)

    def rough(self, window: Window, long_mm: float, short_mm: float) -> np.ndarray:
        """The roughness of an outline in mm, to add to a distance."""
        return long_mm * self.wobble[0][window] + short_mm * self.wobble[1][window]

    def value(self, name: str, window: Window) -> np.ndarray | float:
        """HU of a tissue in a window, with its texture."""
        group = TISSUES[name].texture
        mean = self.patient.hu[name]
        return mean if group is None else mean + self.texture[group][window]

    def fill(
        self,
        name: str,
        window: Window,
        distance: np.ndarray,
        value: np.ndarray | float | None = None,
    ) -> None:
        """Paints a tissue where `distance` is negative; `value` replaces its HU."""
        value = self.value(name, window) if value is None else value
        self.canvas.paint(window, distance, value, TISSUES[name].label)

    def fill_ellipsoid(self, name: str, shape: Ellipsoid) -> None:
        """Paints an ellipsoidal organ with a slightly rough outline."""
        window = self.box(shape)
        if window is not None:
            distance = shape.distance(*self.model(window))
            self.fill(name, window, distance + self.rough(window, 0.8, 0.5))

    def fill_tubes(self, layers: dict[str, float], tubes: Tubes) -> None:
        """Paints rods from the outside in.

        Args:
            layers: Tissue name -> depth below the rods' surface at which it begins, mm.
            tubes: The rods.
        """
        outside = max(0.0, -min(layers.values()))
        found = tubes.paint_area(self.canvas, 1.5 + outside)
        if found is None:
            return
        window, distance = found
        for name, depth in layers.items():
            self.fill(name, window, distance + depth)
