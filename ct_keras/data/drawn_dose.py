"""Draws another dose, with new noise, each time a record is read.

The scanner's physics lies in the record (see `SlicePhysics`), so the same slice comes
at any dose and never twice with the same noise. A slice without noise of its own (a
phantom) is seen by another scanner each time.
"""

from __future__ import annotations

import math

import numpy as np

from ct_keras.data.manifest import Manifest
from ct_keras.data.slice_facts import Record
from ct_keras.errors import CtKerasError
from ct_keras.hu import FLOOR_HU, to_stored
from ct_keras.simulation.dose import check_dose

#: Little is added to a scan above this dose, and nothing is learnt from it.
_HIGHEST_OF_SCANS = 0.85


def check_doses(
    doses: tuple[float, float], manifest: Manifest, split: str
) -> tuple[float, float]:
    """Returns the range of doses, if the records of the split can be simulated.

    Raises:
        CtKerasError: CTK-E000 for an invalid range; CTK-E085, if the records do not
            hold the physics of their scans.
    """
    lowest, highest = map(check_dose, doses)
    if lowest > min(highest, _HIGHEST_OF_SCANS):
        raise CtKerasError(
            "CTK-E000",
            "invalid range of doses",
            received=doses,
            expected=f"the lower end first, and at most {_HIGHEST_OF_SCANS}",
        )
    if not all(shard.physics for shard in manifest.of_split(split)):
        raise CtKerasError(
            "CTK-E085",
            "other doses cannot be drawn: the records do not describe their scanners",
            received=f"records of the layout {manifest.layout}, schema "
            f"{manifest.schema_version}",
            expected="simulated pairs at their own pixel spacing, schema 1.3 or later",
            fix="convert normal-dose scans again by the layout single (--layout of "
            "convert) without resampling, or train on the pairs of the records",
        )
    return lowest, highest


def draw_dose(
    record: Record, doses: tuple[float, float], seeds: np.ndarray
) -> tuple[np.ndarray, float]:
    """Simulates a record's slice at a random dose.

    Args:
        record: A record with `physics`.
        doses: The range of the dose, which is log-uniform; a scan with noise of its own
            is drawn at 0.85 at most.
        seeds: int64 (2,), determines dose, noise and scanner.

    Returns:
        int16 (rows, columns), stored values of the low dose; and the noise share, the
        variance of the noise of `record.full` over that of the low dose.
    """
    generator = np.random.default_rng(np.asarray(seeds).view(np.uint64))
    physics = record.physics
    if physics.noise_free:
        physics = physics.varied(generator)
    highest = doses[1] if physics.noise_free else min(doses[1], _HIGHEST_OF_SCANS)
    dose = math.exp(generator.uniform(math.log(doses[0]), math.log(highest)))
    slope, intercept = np.float32(record.rescale_slope), record.rescale_intercept
    hu = record.full * slope + np.float32(intercept)
    simulator = physics.simulator(hu.shape, record.spacing_mm)
    counts = simulator.counts(hu, padding=record.padding)
    (low,) = simulator.low_doses(
        hu,
        [dose],
        seed=int(generator.integers(2**62)),
        padding=record.padding,
        counts=counts,
    )
    # Networks see nothing below the floor; int16 might not reach as low as the noise.
    stored = to_stored(np.maximum(low, FLOOR_HU), float(slope), intercept)
    limits = np.iinfo(np.int16)
    stored = np.clip(stored, limits.min, limits.max).astype(np.int16)
    return stored, simulator.noise_share(counts, dose)
