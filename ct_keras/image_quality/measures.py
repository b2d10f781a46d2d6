"""Measurements in the scans of water and rods, as records."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from ct_keras.image_quality.cnr import cnr, disc_mask, mean_and_sd
from ct_keras.image_quality.nps import (
    NoisePower,
    mean_radial_frequency,
    nnps_difference,
    noise_of_repeats,
    noise_power_spectrum,
    peak_frequency,
    squares,
)
from ct_keras.image_quality.ttf import TaskTransfer, task_transfer
from ct_keras.phantoms.quality_phantoms import QualityPhantom

#: Size of a region for the noise power spectrum, relative to the field of view.
_NPS_SHARE = 0.25
#: Share of the radius of an insert in which its material is measured.
_CORE_SHARE = 0.7
#: Number of samples of a transfer function.
_KEPT = 64
_UPPER = 0.975


def noise_power(absent: np.ndarray, spacing_mm: float) -> NoisePower:
    """Measures five overlapping regions: in the centre and around it."""
    extent = absent.shape[-1]
    size = round(extent * _NPS_SHARE / 2) * 2
    middle, step = (extent - 1) / 2, round(extent * _NPS_SHARE / 2)
    around = [(-step, 0), (step, 0), (0, -step), (0, step)]
    centers = [(middle + row, middle + column) for row, column in [(0, 0), *around]]
    regions = squares(noise_of_repeats(absent), centers, size)
    spacing = (spacing_mm, spacing_mm)
    return noise_power_spectrum(regions.reshape(-1, size, size), spacing, trend="none")


def noise_record(absent: np.ndarray, power: NoisePower, reference: NoisePower) -> dict:
    """Returns bias, noise level and noise texture of water.

    Args:
        absent: (repeats, rows, columns) HU, scans of water.
        power: Their noise power.
        reference: Noise power of the images with which the texture is compared.
    """
    frequency, radial = power.radial()
    half = absent.shape[-1] // 2
    core = slice(half - half // 4, half + half // 4)
    return {
        "bias_hu": float(absent[:, core, core].mean()),
        "sd_hu": math.sqrt(power.variance),
        "frequency_mm": frequency,
        "nps_hu2_mm2": radial,
        "nnps_mm2": power.normalised()[1],
        "peak_frequency_mm": peak_frequency(frequency, radial),
        "mean_frequency_mm": mean_radial_frequency(frequency, radial),
        "nnps_rms_difference_mm2": nnps_difference(power, reference),
    }


def materials(phantom: QualityPhantom, images: np.ndarray) -> list[dict]:
    """Measures HU, noise and CNR in the rods and in the water between them.

    Bias includes its 95 % interval over repeats.
    """
    shape = phantom.hu.shape
    middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    width = phantom.inserts[0].diameter_mm
    places = [("water", 0.0, middle)] + [
        (insert.name, insert.contrast_hu, phantom.center(insert))
        for insert in phantom.inserts
    ]
    radius = _CORE_SHARE * width / 2 / phantom.spacing_mm
    values = [images[:, disc_mask(shape, place, radius)] for *_, place in places]
    records = []
    for (name, nominal, _), inside in zip(places, values, strict=True):
        means = inside.mean(axis=1)
        mean = float(means.mean())
        records.append(
            {
                "name": name,
                "hu": nominal,
                "mean_hu": mean,
                "bias_hu": mean - nominal,
                "bias_interval_hu": _interval(means - nominal),
                "sd_hu": float(np.mean([mean_and_sd(one)[1] for one in inside])),
                "cnr": None if name == "water" else _mean_cnr(inside, values[0]),
            }
        )
    return records


def _interval(values: np.ndarray) -> list[float]:
    """Returns the 95 % interval of a mean over repeats (Student's t)."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, _UPPER) * error)
    return [float(values.mean()) - reach, float(values.mean()) + reach]


def _mean_cnr(inside: np.ndarray, water: np.ndarray) -> float:
    return float(np.mean([cnr(*pair) for pair in zip(inside, water, strict=True)]))


def transfers(phantom: QualityPhantom, images: np.ndarray) -> dict[str, TaskTransfer]:
    """Returns the transfer function of every rod, from the mean of the scans."""
    mean = images.mean(axis=0)
    return {
        insert.name: task_transfer(
            mean,
            phantom.spacing_mm,
            radius_mm=insert.diameter_mm / 2,
            center=phantom.center(insert),
        )
        for insert in phantom.inserts
    }


def transfer_record(name: str, found: TaskTransfer) -> dict:
    """Returns the transfer function of a rod as a record."""
    every = max(1, found.frequency_mm.size // _KEPT)
    return {
        "name": name,
        "contrast_hu": found.contrast_hu,
        "f50_mm": found.f50,
        "f10_mm": found.f10,
        "cnr": found.cnr,
        "reliable": found.reliable,
        "frequency_mm": found.frequency_mm[::every],
        "ttf": found.transfer[::every],
    }
