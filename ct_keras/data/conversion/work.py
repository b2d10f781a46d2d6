"""The work on a few slices of one series: a pure function, run in any process.

TensorFlow is not imported here, so that worker processes start quickly.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ct_keras.data.conversion.images import (
    Image,
    is_exact,
    quantize,
    read_image,
    resample,
)
from ct_keras.data.conversion.layouts.series_pair import SourcePair
from ct_keras.data.slice_facts import Record, SliceFacts, facts_of
from ct_keras.dicom.plausibility import displaced, displacement_hu
from ct_keras.errors import CtKerasError
from ct_keras.hu import FLOOR_HU
from ct_keras.simulation.calibration import Calibration
from ct_keras.simulation.slice_physics import SlicePhysics


@dataclass(frozen=True)
class Recipe:
    """How the low dose is made and how images are stored, the same for all series.

    Attributes:
        doses: Dose fractions to simulate.
        seed: Seed of the simulated noise.
        resample_mm: Common in-plane spacing; None keeps that of each scan.
        simulation: Options of `ct_keras.simulation.calibrate`.
        resample_slices_mm: Common slice spacing; None keeps the slices of each scan.

    Raises:
        CtKerasError: CTK-E000 for a spacing that is not above 0.
    """

    doses: tuple[float, ...]
    seed: int = 0
    resample_mm: float | None = None
    simulation: tuple[tuple[str, object], ...] = ()
    resample_slices_mm: float | None = None

    def __post_init__(self):
        for spacing_mm in (self.resample_mm, self.resample_slices_mm):
            if spacing_mm is not None and not 0 < spacing_mm < math.inf:
                raise CtKerasError(
                    "CTK-E000",
                    "not a valid common spacing",
                    received=f"{spacing_mm} mm",
                    expected="a number above 0",
                )

    @property
    def resamples(self) -> bool:
        """Whether images are not stored at the spacing of their scan."""
        return (self.resample_mm, self.resample_slices_mm) != (None, None)


@dataclass(frozen=True)
class Job:
    """A few slices of one series.

    Attributes:
        pairs: The slices and, for each, the hash of its UID.
        facts: Properties common to all slices; patient and series are hashes.
        seed: Seed of the simulated noise of this series.
        calibration: Calibration of the series; None if the low dose is read.
        recipe: The recipe, the same for all jobs.
    """

    pairs: tuple[tuple[SourcePair, str], ...]
    facts: SliceFacts
    seed: int
    calibration: Calibration | None
    recipe: Recipe


@dataclass(frozen=True)
class Done:
    """The result of a job.

    Attributes:
        records: One for each slice and dose.
        exact: Whether each image that was read, and not simulated, kept its values.
        hu_range: Smallest and largest HU of the normal-dose images.
        displaced: How many normal-dose images have values far from those of a body.
    """

    records: tuple[Record, ...]
    exact: bool
    hu_range: tuple[float, float]
    displaced: int = 0


def series_seed(seed: int, series_key: str) -> int:
    """Returns a separate seed for each series, the same in every conversion."""
    digest = hashlib.sha256(f"{seed} {series_key}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def run(job: Job) -> Done:
    """Reads, simulates and stores the slices of a job.

    Raises:
        CtKerasError: Errors of the reader; CTK-E039, if a low-dose picture differs in
            size; CTK-E070, if an image is not finite.
    """
    records: list[Record] = []
    all_exact, lowest, highest, wrong = True, np.inf, -np.inf, 0
    slices = _Slices(job)
    for pair, uid_hash in job.pairs:
        full, lows, physics = slices.blended(pair)
        if job.facts.scale is None:
            wrong += displaced(displacement_hu(full))
        padding, scanned = full.padding, physics is None
        full, lows, spacing_mm = _resampled(job, full, lows)
        if job.recipe.resamples:
            physics = None  # the noise has another texture on the new pixels
        lowest = min(lowest, float(full.hu.min()))
        highest = max(highest, float(full.hu.max()))
        for low in lows:
            stored_low, stored, slope, intercept, exact = quantize(full, low.hu)
            if scanned and exact:
                exact = is_exact(stored_low, slope, intercept, low.hu)
            all_exact &= exact and not job.recipe.resamples
            own = {
                "slice_index": pair.slice_index,
                "spacing_mm": spacing_mm,
                "dose_fraction": low.dose,
            }
            record = Record(
                stored_low,
                stored,
                slope,
                intercept,
                uid_hash,
                noise_share=low.noise_share,
                physics=physics,
                padding=None if physics is None else padding,
                **facts_of(job.facts) | own,
            )
            records.append(record)
    return Done(tuple(records), all_exact, (lowest, highest), wrong)


class _Low(NamedTuple):
    """A low-dose image; what is not known is None."""

    hu: np.ndarray
    dose: float | None
    noise_share: float | None


class _Made(NamedTuple):
    """A slice of a scan: both doses, and the physics if the low one was simulated."""

    full: Image
    lows: list[_Low]
    physics: SlicePhysics | None


class _Slices:
    """Makes the slices of a job; each slice of the scan is read and simulated once.

    Args:
        job: The job.
    """

    def __init__(self, job: Job):
        self.job = job
        self.made: dict[int, _Made] = {}

    def blended(self, pair) -> _Made:
        """Returns the weighted mean of the parts of a slice pair."""
        made = {part.slice_index: self._made(part) for part, _ in pair.parts}
        self.made = made  # the next slice needs some of these, and no others
        if len(made) == 1:
            return next(iter(made.values()))
        weights = [weight for _, weight in pair.parts]
        nearest = made[max(pair.parts, key=lambda part: part[1])[0].slice_index]
        hu = _mean([each.full.hu for each in made.values()], weights)
        full = Image(hu, hu <= FLOOR_HU, nearest.full.slope, nearest.full.intercept)
        lows = [
            low._replace(
                hu=_mean([each.hu for each in same_dose], weights),
                noise_share=_known_mean([each.noise_share for each in same_dose]),
            )
            for low, *same_dose in zip(
                nearest.lows, *(each.lows for each in made.values()), strict=True
            )
        ]
        return _Made(full, lows, None)

    def _made(self, pair) -> _Made:
        if pair.slice_index in self.made:
            return self.made[pair.slice_index]
        full = read_image(pair.full)
        return _Made(full, *_low_images(self.job, pair, full))


def _mean(images: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The weighted mean; where there is no measurement, -1024 HU count."""
    floored = (np.maximum(image, np.float32(FLOOR_HU)) for image in images)
    return sum(np.float32(w) * hu for w, hu in zip(weights, floored, strict=True))


def _known_mean(shares: Sequence[float | None]) -> float | None:
    return None if None in shares else float(np.mean(shares))


def _low_images(job, pair, full) -> tuple[list[_Low], SlicePhysics | None]:
    """Reads or simulates the low-dose images; the physics only if simulated."""
    if pair.low is not None:
        dose = job.facts.dose_fraction
        return [_Low(_read_low(pair, full), dose, dose)], None
    simulator = job.calibration.simulator(full.hu.shape, job.facts.spacing_mm)
    doses = job.recipe.doses
    current = job.calibration.currents[pair.slice_index]
    counts = simulator.counts(full.hu, padding=full.padding, current=current)
    images = simulator.low_doses(
        full.hu,
        doses,
        seed=job.seed,
        slice_index=pair.slice_index,
        padding=full.padding,
        counts=counts,
        layers=job.calibration.layers[pair.slice_index],
    )
    lows = [
        _Low(image, dose, simulator.noise_share(counts, dose))
        for dose, image in zip(doses, images, strict=True)
    ]
    return lows, SlicePhysics.of(simulator, current)


def _read_low(pair, full: Image) -> np.ndarray:
    low = read_image(pair.low)
    if low.hu.shape != full.hu.shape:
        raise CtKerasError(
            "CTK-E039",
            "low and normal dose do not fit together: the matrix differs",
            received="{} x {}".format(*low.hu.shape),
            expected="{} x {}".format(*full.hu.shape),
        )
    for image in (low, full):
        if not np.isfinite(image.hu).all():
            raise CtKerasError("CTK-E070", "a source image is not finite")
    return low.hu


def _resampled(job: Job, full: Image, lows):
    """Resamples a slice to the common spacing, if there is one."""
    target = job.recipe.resample_mm
    if target is None:
        return full, lows, job.facts.spacing_mm
    factors = tuple(spacing / target for spacing in job.facts.spacing_mm)
    images = [
        low._replace(
            hu=resample(
                Image(low.hu, full.padding, full.slope, full.intercept), factors
            ).hu
        )
        for low in lows
    ]
    return resample(full, factors), images, (target, target)


def freeze(options: Mapping[str, object] | None) -> tuple[tuple[str, object], ...]:
    """Returns options as a sorted tuple, which can be compared and pickled."""
    return tuple(sorted((options or {}).items()))
