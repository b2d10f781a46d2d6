"""Labelled images from phantoms: organs to segment, lesions to find.

Anatomy, exact labels, lesions and noise follow from the seeds of the patients. Noise is
added to whole slices (see `ct_keras.simulation.DoseSimulator`) and `denoise` is applied
to whole slices, before they are cropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.hu import to_network
from ct_keras.phantoms import LABELS, REGIONS, make_phantom
from ct_keras.phantoms.lesions import add_lesions
from ct_keras.phantoms.painter import BLUR_MM
from ct_keras.progress import track
from ct_keras.simulation import DoseSimulator

#: An argument of `as_method`; None keeps the noise.
Denoise = Method | Callable[[np.ndarray], np.ndarray] | None

#: Organ -> its tissues in the phantoms. Class 0 is everything else.
ORGANS: dict[str, tuple[str, ...]] = {
    "lung": ("lung", "airway", "lung_vessel", "lung_nodule"),
    "heart": ("heart", "blood"),
    "aorta": ("aorta",),
    "liver": ("liver", "liver_vessel", "liver_lesion"),
    "spleen": ("spleen",),
    "kidney": ("kidney_cortex", "kidney_medulla"),
    "bone": ("cortical_bone", "trabecular_bone"),
}
#: Incident photons per ray at full dose for slices of 5 mm.
PHOTONS = 8e5
FIELD_OF_VIEW_MM = 400.0
#: Half the default of `DoseSimulator`, enough for pixels of 1.5 mm; the dose is the
#: same.
_VIEWS = 360
_NOISE_SEED, _LESION_SEED = 11, 12


@dataclass(frozen=True, eq=False)
class TaskData:
    """Images with their ground truth.

    Attributes:
        hu: float32 (n, rows, columns), HU.
        truth: uint8: class numbers (n, rows, columns), or present (1) and absent (0)
            (n,).
        dose: float32 (n,), fraction of the full dose.
        patient: int64 (n,), seed of the patient.
        names: Names of the classes from class 1 on.
    """

    hu: np.ndarray
    truth: np.ndarray
    dose: np.ndarray
    patient: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.hu)

    @property
    def inputs(self) -> np.ndarray:
        """The input of networks: float32 (n, rows, columns, 1), network units."""
        return to_network(self.hu)[..., None]

    def at_dose(self, dose: float) -> TaskData:
        """The images of one dose."""
        rows = np.isclose(self.dose, dose)
        arrays = {
            name: getattr(self, name)[rows]
            for name in ("hu", "truth", "dose", "patient")
        }
        return replace(self, **arrays)


def organ_classes(labels: np.ndarray) -> np.ndarray:
    """Converts a phantom's label volume to class numbers of `ORGANS`.

    Args:
        labels: uint8, any shape, numbered by `ct_keras.phantoms.LABELS`.

    Returns:
        uint8 of the same shape; 0 is background.
    """
    table = np.zeros(256, np.uint8)
    for number, tissues in enumerate(ORGANS.values(), start=1):
        table[[LABELS[tissue] for tissue in tissues]] = number
    return table[labels]


def organ_slices(
    seeds: Iterable[int],
    *,
    doses: Sequence[float] = (1.0,),
    slices: int = 10,
    pixels: int = 128,
    slice_mm: float = 10.0,
    denoise: Denoise | Mapping[str, Denoise] = None,
    progress: bool = False,
) -> TaskData | dict[str, TaskData]:
    """Makes whole slices of thorax and abdomen, with the organ of every pixel.

    Args:
        seeds: One patient each; both regions of every patient are used.
        doses: Fractions of the full dose; every slice is included at each of them.
        slices: Slices of each region.
        pixels: Rows and columns; the field of view is 400 mm.
        slice_mm: Slice thickness and spacing. The noise is that of 5 mm.
        denoise: Denoiser applied slice by slice, see `ct_keras.denoising.as_method`; or
            a mapping from names to denoisers (None for no denoising), which all get the
            same noisy slices.
        progress: Whether a progress bar is shown.

    Returns:
        Patients in order, each slice at all doses; with a mapping, one such data set
        for each name.
    """
    simulator = _simulator(pixels)
    spacing_mm = (slice_mm, FIELD_OF_VIEW_MM / pixels, FIELD_OF_VIEW_MM / pixels)
    collected = _Collection(doses, denoise, spacing_mm[1:])
    for seed in track(list(seeds), "Phantom patients", enabled=progress):
        for number, region in enumerate(REGIONS):
            phantom = make_phantom(
                seed,
                region=region,
                shape=(slices, pixels, pixels),
                spacing_mm=spacing_mm,
            )
            classes = organ_classes(phantom.labels)
            for index in range(slices):
                place = slices * number + index
                noisy = _scans(simulator, phantom.hu[index], doses, seed, place)
                collected.add(noisy, classes[index], seed)
    return collected.data(tuple(ORGANS))


def lesion_crops(
    seeds: Iterable[int],
    *,
    doses: Sequence[float] = (1.0,),
    contrast_hu: float = 12.0,
    draws: int = 3,
    pixels: int = 256,
    crop: int = 32,
    slices: int = 10,
    jitter: int = 4,
    denoise: Denoise | Mapping[str, Denoise] = None,
    progress: bool = False,
) -> TaskData | dict[str, TaskData]:
    """Makes crops of the liver, half of them with a lesion.

    Each lesion gives two crops of the same patient, with and without it, at the same
    position and with independent noise. So they differ only by the lesion, not by
    position or anatomy. Lesions have the sizes and signs that the phantoms give them
    (radius 3.5 to 14 mm, four of five dark), but all have the same contrast.

    Args:
        seeds: One patient each.
        doses: Fractions of the full dose; every crop is included at each of them.
        contrast_hu: Contrast of lesions to the liver, HU.
        draws: Sets of lesions drawn for each patient.
        pixels: Rows and columns of a slice; the field of view is 400 mm.
        crop: Rows and columns of a crop.
        slices: Slices of 5 mm searched for room for lesions.
        jitter: Largest distance of a lesion from the centre of its crop, in pixels
            along each axis.
        denoise: Denoiser applied slice by slice, see `ct_keras.denoising.as_method`; or
            a mapping from names to denoisers (None for no denoising), which all get the
            same noisy slices.
        progress: Whether a progress bar is shown.

    Returns:
        Present and absent alternately, each at all doses; with a mapping, one such data
        set for each name.
    """
    simulator = _simulator(pixels)
    spacing_mm = (5.0, FIELD_OF_VIEW_MM / pixels, FIELD_OF_VIEW_MM / pixels)
    collected = _Collection(doses, denoise, spacing_mm[1:])
    for seed in track(list(seeds), "Phantom patients", enabled=progress):
        patient = make_phantom(
            seed,
            region="abdomen",
            shape=(slices, pixels, pixels),
            spacing_mm=spacing_mm,
            lesions=False,
        )
        for draw in range(draws):
            rng = np.random.default_rng([seed, _LESION_SEED, draw])
            hu, labels = patient.hu.copy(), patient.labels.copy()
            lesions = add_lesions(hu, labels, spacing_mm, blur_mm=BLUR_MM, rng=rng)
            for number, lesion in enumerate(lesions):
                if lesion.organ != "liver":
                    continue
                index = int(lesion.center[0])
                absent = patient.hu[index]
                fade = np.float32(contrast_hu / abs(lesion.contrast_hu))
                present = absent + fade * (hu[index] - absent)
                window = _window(lesion.center[1:], crop, jitter, pixels, rng)
                for truth, plane in ((1, present), (0, absent)):
                    place = 100 * draw + 2 * number + truth
                    noisy = _scans(simulator, plane, doses, seed, place)
                    collected.add(noisy, truth, seed, window)
    return collected.data(("lesion",))


class _Collection:
    """Collects denoised images with their ground truth, dose and patient.

    Args:
        doses: Fractions of the full dose.
        denoise: One denoiser, or several by name.
        spacing_mm: Row and column spacing of the slices.
    """

    def __init__(
        self,
        doses: Sequence[float],
        denoise: Denoise | Mapping[str, Denoise],
        spacing_mm: tuple[float, float],
    ):
        self._doses = tuple(doses)
        self._spacing_mm = spacing_mm
        self._alone = not isinstance(denoise, Mapping)
        given = {"": denoise} if self._alone else denoise
        self._methods = {
            name: None if one is None else as_method(one) for name, one in given.items()
        }
        self._hu = {name: [] for name in self._methods}
        self._truth, self._patient = [], []

    def add(self, scans: list[np.ndarray], truth, patient: int, window=...) -> None:
        """Adds a slice at every dose, cropped to a window."""
        for noisy in scans:
            for name, method in self._methods.items():
                image = noisy
                if method is not None:
                    image = method.denoise_image(noisy, self._spacing_mm)
                self._hu[name].append(np.asarray(image, np.float32)[window])
            self._truth.append(truth)
            self._patient.append(patient)

    def data(self, names: tuple[str, ...]) -> TaskData | dict[str, TaskData]:
        """Returns everything that was added."""
        repeats = len(self._truth) // len(self._doses)
        known = (
            np.array(self._truth, np.uint8),
            np.tile(np.array(self._doses, np.float32), repeats),
            np.array(self._patient, np.int64),
            names,
        )
        found = {name: TaskData(np.stack(hu), *known) for name, hu in self._hu.items()}
        return found[""] if self._alone else found


def _scans(simulator, plane, doses, seed: int, place: int) -> list[np.ndarray]:
    """A slice at every dose."""
    noise_seed = _NOISE_SEED * 10**6 + seed
    return simulator.low_doses(plane, doses, seed=noise_seed, slice_index=place)


def _simulator(pixels: int) -> DoseSimulator:
    pixel_mm = FIELD_OF_VIEW_MM / pixels
    return DoseSimulator(
        (pixels, pixels),
        (pixel_mm, pixel_mm),
        photons=PHOTONS,
        noise_free=True,
        views=_VIEWS,
    )


def _window(center, crop: int, jitter: int, pixels: int, rng) -> tuple[slice, slice]:
    """A square around a position, shifted at random and kept inside the slice."""
    corner = np.round(center).astype(int) - crop // 2
    corner += rng.integers(-jitter, jitter + 1, 2)
    corner = np.clip(corner, 0, pixels - crop)
    return tuple(slice(start, start + crop) for start in corner)
