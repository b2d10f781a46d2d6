"""One random patient: size, fat, deformation, and the outlines of the trunk.

Model coordinates are those of an average adult in mm: x to the patient's left (to the
right in the picture), y to the back (down), z to the head. z = 0 is the top of the
right half of the diaphragm. A smooth deformation maps them to scanner coordinates.

All outline functions take coordinates of any shape and return signed distances in mm,
negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ct_keras.phantoms.shapes import Ellipsoid, ellipse, smooth_max, smooth_min
from ct_keras.phantoms.tissues import draw_hu
from ct_keras.phantoms.waves import Deformation, WaveField

#: Coordinates or angles: one number, or an array of any shape.
Place = np.ndarray | float

SKIN_MM = 1.9
#: Half width and half depth of the trunk without fat, by height (mm).
_HEIGHTS = (-200.0, -120.0, -60.0, 0.0, 60.0, 120.0, 170.0)
_HALF_WIDTHS = (138.0, 140.0, 146.0, 151.0, 154.0, 150.0, 132.0)
_HALF_DEPTHS = (90.0, 93.0, 99.0, 104.0, 104.0, 94.0, 80.0)
_SQUARENESS = 2.4
#: Top (x, y, z) of the right and the left dome of the diaphragm, mm.
_DOMES = ((-72.0, -6.0, 0.0), (68.0, -6.0, -14.0))
_DOME_DEPTH = 78.0


@dataclass(frozen=True)
class Patient:
    """The parameters of one patient.

    Attributes:
        seed: Seed of the patient.
        enhanced: Whether iodine was given.
        female: Whether breasts are modelled.
        hu: Tissue name -> mean HU of this patient.
        deformation: Scanner to model coordinates.
        fat_mm: Mean thickness of the fat under the skin.
        girth: Factors on the half width and half depth of the trunk.
        wobble: Fields of unit deviation that roughen outlines, long-wave, short-wave.
        spine_phase_mm: Height of one intervertebral disc.
        jitter: Organ name -> (shift (3,) in mm, factor on its size).
    """

    seed: int
    enhanced: bool
    female: bool
    hu: dict[str, float]
    deformation: Deformation
    fat_mm: float
    girth: tuple[float, float]
    wobble: tuple[WaveField, WaveField]
    spine_phase_mm: float
    jitter: dict[str, tuple[np.ndarray, float]]

    def trunk(self, x: Place, y: Place, z: Place) -> np.ndarray:
        """The outline of the muscles, under skin and fat."""
        width = _at(z, _HALF_WIDTHS) * self.girth[0]
        depth = _at(z, _HALF_DEPTHS) * self.girth[1]
        p = _SQUARENESS
        level = np.power(np.abs(x) / width, p) + np.power(np.abs(y) / depth, p)
        level = np.power(np.maximum(level, 1e-6), -1 / p)
        groove = 5 * np.exp(-((x / 20) ** 2)) * np.clip(y / 60, 0, 1)
        return np.sqrt(x * x + y * y) * (1 - level) + groove

    def trunk_radius(self, angle: Place, z: Place) -> np.ndarray:
        """The distance of the trunk's outline from the axis, mm.

        Args:
            angle: Radians from the back, towards the patient's left.
            z: Height in mm.
        """
        width = _at(z, _HALF_WIDTHS) * self.girth[0]
        depth = _at(z, _HALF_DEPTHS) * self.girth[1]
        p = _SQUARENESS
        level = np.abs(np.sin(angle) / width) ** p + np.abs(np.cos(angle) / depth) ** p
        return level ** (-1 / p)

    def wall(self, x: Place, z: Place) -> np.ndarray:
        """The thickness of the trunk's wall (muscle, ribs) in mm."""
        width = _at(z, _HALF_WIDTHS) * self.girth[0]
        lateral = np.interp(z, _HEIGHTS, (0, 0, 0, 3, 7, 14, 20)).astype(np.float32)
        chest = np.interp(z, _HEIGHTS, (11, 11, 13, 15, 16, 17, 18)).astype(np.float32)
        return _plain(chest) + _plain(lateral) * (x / width) ** 2

    def skin(
        self, x: Place, y: Place, z: Place, trunk: np.ndarray | None = None
    ) -> np.ndarray:
        """The outline of the body before the table flattens the back."""
        trunk = self.trunk(x, y, z) if trunk is None else trunk
        backward = y / np.sqrt(x * x + y * y + 25)
        belly = _plain(np.interp(z, (-120, 40), (0.35, 0.0)).astype(np.float32))
        fat = self.fat_mm * (1 - 0.22 * backward + belly * np.maximum(-backward, 0))
        skin = trunk - fat
        for breast in self.breasts():
            skin = smooth_min(skin, breast.distance(x, y, z), 22.0)
        return skin

    def breasts(self) -> list[Ellipsoid]:
        """Both breasts, displaced outwards as in a supine patient."""
        if not self.female:
            return []
        shift, size = self.jitter["breast"]
        radii = (50 * size, 34 * size, 52 * size)
        depth = -88.0 * self.girth[1] - 6
        return [
            Ellipsoid(
                (side * (88 + float(shift[0])), depth, 42 + float(shift[2])), radii
            )
            for side in (-1, 1)
        ]

    def diaphragm(self, x: Place, y: Place) -> np.ndarray:
        """Height of the diaphragm in mm."""
        domes = []
        for center_x, center_y, top in _DOMES:
            outward = (x - center_x) * np.sign(center_x)
            across = np.where(outward > 0, outward / 84, outward / 150)
            down = y - center_y
            along = np.where(down > 0, down / 98, down / 175)
            domes.append(top - _DOME_DEPTH * (across * across + along * along))
        return smooth_max(domes[0], domes[1], 30.0)

    def cavity(
        self, x: Place, y: Place, z: Place, trunk: np.ndarray | None = None
    ) -> np.ndarray:
        """The space inside the ribs and the abdominal wall."""
        trunk = self.trunk(x, y, z) if trunk is None else trunk
        return trunk + self.wall(x, z)

    def lungs(
        self, x: Place, y: Place, z: Place, cavity: np.ndarray | None = None
    ) -> np.ndarray:
        """Both lungs."""
        cavity = self.cavity(x, y, z) if cavity is None else cavity
        apex = Ellipsoid((0.0, 5.0, 20.0), (170.0, 150.0, 165.0)).distance(x, y, z)
        above = 0.72 * (self.diaphragm(x, y) - z) + 1.5
        inside = smooth_max(smooth_max(cavity + 1.0, apex, 15.0), above, 4.0)
        return smooth_max(inside, -self.mediastinum(x, y, z), 6.0)

    def mediastinum(self, x: Place, y: Place, z: Place) -> np.ndarray:
        """The middle of the chest, between the lungs."""
        narrow = 24.0 - 12.0 * np.clip(-(y + 30) / 40, 0, 1)
        middle = np.abs(x - 2 - 0.1 * (y + 30)) - narrow
        spine = ellipse(x, y, (0.0, self.spine_y(z) + 8.0), (25.0, 36.0))
        both = smooth_min(middle, spine, 10.0)
        both = smooth_min(both, self.heart().distance(x, y, z) - 4.0, 14.0)
        for side in (-1, 1):
            hilum = Ellipsoid((side * 34.0, 8.0, 66.0), (17.0, 20.0, 24.0))
            both = smooth_min(both, hilum.distance(x, y, z), 12.0)
        return both

    def heart(self) -> Ellipsoid:
        """The outline of the heart, its long axis pointing left, forward and down."""
        shift, size = self.jitter["heart"]
        center = np.array((20.0, -32.0, 27.0)) + 0.5 * shift
        return Ellipsoid(
            tuple(center.tolist()), (62 * size, 45 * size, 45 * size), heart_axes()
        )

    def spine_y(self, z: Place) -> np.ndarray:
        """The y of the centre of the vertebral bodies, mm."""
        back = _at(z, _HALF_DEPTHS) * self.girth[1]
        return back - 58 - 6 * _plain(np.interp(z, (-150, -20), (0.6, 0.0)))

    def place(
        self,
        name: str,
        center: tuple[float, float, float],
        radii: tuple[float, float, float],
        axes: np.ndarray | None = None,
    ) -> Ellipsoid:
        """An ellipsoidal organ, shifted and scaled for this patient."""
        shift, size = self.jitter[name]
        moved = (np.asarray(center, float) + shift).tolist()
        return Ellipsoid(tuple(moved), tuple(float(r * size) for r in radii), axes)


def heart_axes() -> np.ndarray:
    """Rows: to the apex, from the left to the right ventricle, and their normal."""
    apex = np.array((0.74, -0.50, -0.45))
    apex /= np.linalg.norm(apex)
    across = np.array((-0.62, -0.78, 0.0))
    across -= apex * (across @ apex)
    across /= np.linalg.norm(across)
    return np.stack([apex, across, np.cross(apex, across)])


_ORGANS = (
    *("heart", "liver", "left_lobe", "spleen", "stomach", "gallbladder", "pancreas"),
    *("left_kidney", "right_kidney", "breast", "aorta", "vena_cava"),
)


def draw_patient(seed: int) -> Patient:
    """Draws the patient of a seed, independent of region and pixel grid.

    Args:
        seed: Any whole number >= 0.
    """
    rng = np.random.default_rng([seed, 1])
    enhanced, female = bool(rng.random() < 0.7), bool(rng.random() < 0.5)
    scale = rng.uniform(0.93, 1.04)
    girth = (float(rng.uniform(0.93, 1.04)), float(rng.uniform(0.93, 1.07)))
    room = 184 * scale - 155 * girth[0]  # what the field of view leaves for fat
    fat = float(min(rng.gamma(5.0, 3.2) + 5.0, room, 30.0))
    jitter = {
        name: (rng.normal(0, (3.0, 3.0, 5.0)).clip(-8, 8), float(rng.uniform(0.9, 1.1)))
        for name in _ORGANS
    }
    return Patient(
        seed=seed,
        enhanced=enhanced,
        female=female,
        hu=draw_hu(rng, enhanced),
        deformation=_draw_deformation(rng, scale),
        fat_mm=fat,
        girth=girth,
        wobble=(
            WaveField.random(rng, 1.0, count=16, wavelength_mm=(45, 90)),
            WaveField.random(rng, 1.0, count=24, wavelength_mm=(14, 34)),
        ),
        spine_phase_mm=float(rng.uniform(0, 27)),
        jitter=jitter,
    )


def _draw_deformation(rng: np.random.Generator, scale: float) -> Deformation:
    turn_z, turn_x = np.radians(rng.normal(0, 2.0)), np.radians(rng.normal(0, 1.5))
    about_z = np.array(
        [
            [np.cos(turn_z), -np.sin(turn_z), 0],
            [np.sin(turn_z), np.cos(turn_z), 0],
            [0, 0, 1],
        ]
    )
    about_x = np.array(
        [
            [1, 0, 0],
            [0, np.cos(turn_x), -np.sin(turn_x)],
            [0, np.sin(turn_x), np.cos(turn_x)],
        ]
    )
    waves = tuple(
        WaveField.random(rng, deviation, count=8, wavelength_mm=(130, 320))
        for deviation in (2.6, 2.6, 3.2)
    )
    offset = np.array([rng.normal(0, 3), rng.normal(0, 3), 0.0])
    return Deformation(about_z @ about_x / scale, offset, waves)


def _at(z: Place, values: tuple[float, ...]) -> Place:
    return _plain(np.interp(z, _HEIGHTS, values).astype(np.float32))


def _plain(value: Place) -> Place:
    """A Python number for a scalar, so that float32 arrays are not promoted."""
    return float(value) if np.ndim(value) == 0 else value
