"""The work on a few slices of one series: a pure function, run in any process.

TensorFlow is not imported here, so that worker processes start quickly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ct_keras.data.conversion.images import (
    Image,
    quantize,
    read_image,
    resample,
)
from ct_keras.data.conversion.layouts.series_pair import SourcePair
from ct_keras.data.slice_facts import Record, SliceFacts, facts_of
from ct_keras.errors import CtKerasError
from ct_keras.simulation.calibration import Calibration


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
    """

    records: tuple[Record, ...]
    exact: bool
    hu_range: tuple[float, float]


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
    all_exact, lowest, highest = True, np.inf, -np.inf
    for pair, uid_hash in job.pairs:
        full = read_image(pair.full)
        lows = _low_images(job, pair, full)
        full, lows, spacing_mm = _resampled(job, full, lows)
        lowest = min(lowest, float(full.hu.min()))
        highest = max(highest, float(full.hu.max()))
        for dose, low_hu in lows:
            low, stored, slope, intercept, exact = quantize(full, low_hu)
            all_exact &= exact and job.recipe.resample_mm is None
            own = {
                "slice_index": pair.slice_index,
                "spacing_mm": spacing_mm,
                "dose_fraction": dose,
            }
            known = facts_of(job.facts) | own
            record = Record(low, stored, slope, intercept, uid_hash, **known)
            records.append(record)
    return Done(tuple(records), all_exact, (lowest, highest))


def _low_images(job, pair, full) -> list[tuple[float | None, np.ndarray]]:
    """Dose and low-dose HU, read or simulated."""
    if pair.low is not None:
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
        return [(job.facts.dose_fraction, low.hu)]
    simulator = job.calibration.simulator(full.hu.shape, job.facts.spacing_mm)
    doses = job.recipe.doses
    images = simulator.low_doses(
        full.hu,
        doses,
        seed=job.seed,
        slice_index=pair.slice_index,
        padding=full.padding,
        current=job.calibration.currents[pair.slice_index],
    )
    return list(zip(doses, images, strict=True))


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
        (
            dose,
            resample(Image(hu, full.padding, full.slope, full.intercept), factors).hu,
        )
        for dose, hu in lows
    ]
    return resample(full, factors), images, (target, target)


def freeze(options: Mapping[str, object] | None) -> tuple[tuple[str, object], ...]:
    """Returns options as a sorted tuple, which can be compared and pickled."""
    return tuple(sorted((options or {}).items()))
