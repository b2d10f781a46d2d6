"""Detectability of low-contrast discs by all observers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.image_quality import observers
from ct_keras.image_quality.channels import get_channels
from ct_keras.image_quality.cho import ObserverResult, cho
from ct_keras.image_quality.nps import NoisePower, squares
from ct_keras.image_quality.ttf import TaskTransfer
from ct_keras.phantoms.quality_phantoms import Insert, QualityPhantom

#: Width of the regions relative to the diameter of the largest disc.
_REGION_SHARE = 2.4
_SAMPLES = 2000


def observe(
    phantom: QualityPhantom,
    present: np.ndarray,
    absent: np.ndarray,
    *,
    names: Sequence[str],
    seed: int = 0,
) -> dict[tuple[str, str], ObserverResult]:
    """Runs the channelised Hotelling observer on every disc.

    Discs of one kind in one image count as separate images: at their distance, the
    noise is independent.

    Args:
        phantom: The low-contrast phantom.
        present: (repeats, rows, columns) HU, its scans.
        absent: (repeats, rows, columns) HU, scans of water only.
        names: Sets of channels; see `get_channels`.
        seed: Seed of the random halves and the bootstrap.

    Returns:
        (insert, channels) -> result.

    Raises:
        CtKerasError: CTK-E000, if a disc is inside the region of another.
    """
    check_regions(phantom)
    size = _region_size(phantom)
    found = {}
    for name, inserts in kinds(phantom).items():
        centers = [phantom.center(insert) for insert in inserts]
        regions = [
            squares(stack, centers, size).reshape(-1, size, size)
            for stack in (present, absent)
        ]
        diameter = inserts[0].diameter_mm / phantom.spacing_mm
        for channels in names:
            shapes = get_channels(channels, size, diameter=diameter)
            found[name, channels] = cho(*regions, shapes, seed=seed)
    return found


def check_regions(phantom: QualityPhantom) -> None:
    """Refuses a phantom whose discs are so close that regions contain parts of others.

    The other disc would appear only in images with the signal, so an observer would
    detect a disc that a method has removed.

    Raises:
        CtKerasError: CTK-E000, if so.
    """
    spacing = phantom.spacing_mm
    # One more pixel: edges are blurred, and regions are aligned to whole pixels.
    reach = (_region_size(phantom) / 2 + 1) * spacing
    for one, other in permutations(phantom.inserts, 2):
        away = np.abs(np.subtract(one.offset_mm, other.offset_mm)).max()
        if away - other.diameter_mm / 2 < reach:
            raise CtKerasError(
                "CTK-E000",
                "the low-contrast discs are too close together for an observer",
                received=f"a field of view of {len(phantom.hu) * spacing:.0f} mm",
                expected="no part of a disc in the region around another",
                fix="use more pixels or a larger spacing; 170 mm suffice for the usual "
                "discs",
            )


def spectral(
    phantom: QualityPhantom, power: NoisePower, transfers: Mapping[str, TaskTransfer]
) -> list[dict]:
    """Returns d' of the observers in the frequency domain for every disc.

    The transfer function is that of the rod with the contrast closest to the disc's;
    without one, there is no d'.

    Args:
        phantom: The low-contrast phantom.
        power: Noise power of the method at the dose.
        transfers: Rod -> its transfer function, for the rods that may be used.
    """
    frequency = np.linspace(0, 0.5 / phantom.spacing_mm, _SAMPLES)
    cell = 2 * np.pi * frequency * (frequency[1] - frequency[0])
    noise = np.interp(frequency, *power.radial())
    eye = observers.eye_filter(frequency)
    records = []
    for name, inserts in kinds(phantom).items():
        disc = inserts[0]
        record = {
            "insert": name,
            "contrast_hu": disc.contrast_hu,
            "diameter_mm": disc.diameter_mm,
            "ttf_of": _nearest(transfers, disc.contrast_hu),
        }
        values = dict.fromkeys(("npw", "pw", "npwe"), math.nan)
        if record["ttf_of"] is not None and power.variance > 0:
            task = observers.disc_task(
                frequency,
                contrast_hu=disc.contrast_hu,
                radius_mm=disc.diameter_mm / 2,
            )
            given = (task, transfers[record["ttf_of"]].at(frequency), noise)
            values = {
                "npw": observers.npw(*given, cell=cell),
                "pw": observers.pw(*given, cell=cell),
                "npwe": observers.npwe(*given, eye=eye, cell=cell),
            }
        record["dprime"] = values
        record["auc"] = {key: observers.auc_of(value) for key, value in values.items()}
        records.append(record)
    return records


def kinds(phantom: QualityPhantom) -> dict[str, list[Insert]]:
    """Returns the inserts by name; inserts with the same name are equal."""
    found: dict[str, list[Insert]] = {}
    for insert in phantom.inserts:
        found.setdefault(insert.name, []).append(insert)
    return found


def _region_size(phantom: QualityPhantom) -> int:
    """Returns the rows and columns of a region, an even number."""
    widest = max(insert.diameter_mm for insert in phantom.inserts)
    return 2 * round(_REGION_SHARE * widest / phantom.spacing_mm / 2)


def _nearest(transfers: Mapping[str, TaskTransfer], contrast_hu: float) -> str | None:
    return min(
        transfers,
        key=lambda name: abs(abs(transfers[name].contrast_hu) - abs(contrast_hu)),
        default=None,
    )
