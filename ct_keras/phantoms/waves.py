"""Smooth random fields in space, as sums of plane waves.

A plane wave is a product of one-dimensional functions, so a whole slice of a field
costs one small matrix product, and the same field can be evaluated at single points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WaveField:
    """A field of zero mean and the given standard deviation.

    Attributes:
        vectors: Wave vectors (waves, 3) along x, y, z in radians per mm.
        phases: Phases (waves,) in radians.
        deviation: Standard deviation of the field, in its unit.
    """

    vectors: np.ndarray
    phases: np.ndarray
    deviation: float

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        deviation: float,
        *,
        count: int,
        wavelength_mm: tuple[float, float],
    ) -> WaveField:
        """Draws waves in random directions with wavelengths in a range."""
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        wavelengths = rng.uniform(*wavelength_mm, count)
        vectors = directions * (2 * np.pi / wavelengths)[:, None]
        return cls(vectors, rng.uniform(0, 2 * np.pi, count), deviation)

    def at(self, points: np.ndarray) -> np.ndarray:
        """Returns the field (...) at points (..., 3) in mm."""
        angles = np.asarray(points) @ self.vectors.T + self.phases
        return np.sin(angles).sum(axis=-1) * self._amplitude

    def on_slice(self, x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
        """Returns the field (rows, columns), float32, for axes in mm."""
        across = np.outer(self.vectors[:, 0], x)
        down = np.outer(y, self.vectors[:, 1]) + (self.phases + self.vectors[:, 2] * z)
        left = np.concatenate([np.sin(down), np.cos(down)], axis=1)
        right = np.concatenate([np.cos(across), np.sin(across)], axis=0)
        left *= self._amplitude
        return left.astype(np.float32) @ right.astype(np.float32)

    @property
    def _amplitude(self) -> float:
        return self.deviation * float(np.sqrt(2 / len(self.phases)))


@dataclass(frozen=True)
class Deformation:
    """Maps scanner coordinates to the model patient and back.

    Both are x (to the patient's left), y (to the back), z (to the head) in mm.

    Attributes:
        matrix: Rotation and scale (3, 3) from scanner to model.
        offset_mm: The scanner coordinates (3,) of the model's origin.
        waves: Three smooth displacement fields, along x, y and z, in mm.
    """

    matrix: np.ndarray
    offset_mm: np.ndarray
    waves: tuple[WaveField, WaveField, WaveField]

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Maps scanner points (..., 3) to model coordinates."""
        points = np.asarray(points, np.float64)
        moved = np.stack([wave.at(points) for wave in self.waves], axis=-1)
        return (points - self.offset_mm) @ self.matrix.T + moved

    def to_scanner(self, points: np.ndarray) -> np.ndarray:
        """Maps model points (..., 3) to scanner coordinates."""
        points = np.asarray(points, np.float64)
        inverse = np.linalg.inv(self.matrix).T
        found = points @ inverse + self.offset_mm
        for _ in range(10):
            found = found + (points - self.to_model(found)) @ inverse
        return found

    def on_slice(
        self, x: np.ndarray, y: np.ndarray, z: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns model x, y, z, each float32 (rows, columns), of one slice."""
        across, down = x - self.offset_mm[0], y - self.offset_mm[1]
        up = z - self.offset_mm[2]
        model = []
        for row, wave in zip(self.matrix, self.waves, strict=True):
            plane = (row[0] * across).astype(np.float32) + (
                row[1] * down + row[2] * up
            ).astype(np.float32)[:, None]
            model.append(plane + wave.on_slice(x, y, z))
        return tuple(model)
