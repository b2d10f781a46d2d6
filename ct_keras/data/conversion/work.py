"""The work on a few slices of one series: a pure function, run in any process.

TensorFlow is not imported here, so that worker processes start quickly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ct_keras.data.conversion.images import (
    Image,
    quantize,
    read_image,
    resample,
)
from ct_keras.data.conversion.layouts.series_pair import SourcePair
from ct_keras.data.slice_facts import Record, SliceFacts, facts_of
from ct_keras.dicom.plausibility import displaced, displacement_hu
from ct_keras.errors import CtKerasError
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
    """

    doses: tuple[float, ...]
    seed: int = 0
    resample_mm: float | None = None
    simulation: tuple[tuple[str, object], ...] = ()


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
        exact: Whether each normal-dose image kept its stored values.
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
    for pair, uid_hash in job.pairs:
        full = read_image(pair.full)
        if job.facts.scale is None:
            wrong += displaced(displacement_hu(full))
        lows, physics = _low_images(job, pair, full)
        padding = full.padding
        full, lows, spacing_mm = _resampled(job, full, lows)
        if job.recipe.resample_mm is not None:
            physics = None  # the noise has another texture on the new pixels
        lowest = min(lowest, float(full.hu.min()))
        highest = max(highest, float(full.hu.max()))
        for low in lows:
            stored_low, stored, slope, intercept, exact = quantize(full, low.hu)
            all_exact &= exact and job.recipe.resample_mm is None
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
    if job.facts.spacing_mm is None:
        raise CtKerasError(
            "CTK-E037",
            "the pixel spacing is unknown, so images cannot be resampled",
            fix="omit the common spacing",
        )
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
