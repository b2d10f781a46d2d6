"""Model observers in the frequency domain: the detectability index d'.

With the task W (the Fourier transform of the signal, HU mm^2), the transfer function T
and the noise power N (HU^2 mm^2), integrals over both frequencies:

    NPW   d'^2 = (I W^2 T^2)^2 / I W^2 T^2 N            does not know the noise texture
    PW    d'^2 = I W^2 T^2 / N                          knows it: the ideal observer
    NPWE  d'^2 = (I W^2 T^2 E^2)^2 / I W^2 T^2 (E^4 N + E^2 N_i)    with a human eye E

Every function takes samples of W, T and N at the same frequencies and `cell`, the area
du dv of each sample: one number on a 2-D grid, ``2 pi f df`` on a radial one.

Reference:
    ICRU Report 54, 1996; AAPM Report 233 (TG-233), 2019; Burgess, J Opt Soc Am A
    11(4), 1237-1242, 1994, doi:10.1364/JOSAA.11.001237 (eye filter).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import j1, ndtr, ndtri

#: Peak of the eye filter f^1.3 exp(-c f^2), in cycles per degree.
_EYE_POWER, _EYE_PEAK = 1.3, 4.0


def disc_task(
    frequency_mm: np.ndarray, *, contrast_hu: float, radius_mm: float
) -> np.ndarray:
    """Returns the Fourier transform of a disc, HU mm^2: dC pi R^2 2 J1(x) / x."""
    x = 2 * np.pi * radius_mm * np.asarray(frequency_mm, np.float64)
    safe = np.where(x > 0, x, 1)
    shape = np.where(x > 0, 2 * j1(safe) / safe, 1.0)
    return contrast_hu * np.pi * radius_mm**2 * shape


def gaussian_task(
    frequency_mm: np.ndarray, *, contrast_hu: float, sigma_mm: float
) -> np.ndarray:
    """Returns the Fourier transform of a Gaussian bump of width sigma, HU mm^2."""
    frequency = np.asarray(frequency_mm, np.float64)
    shape = np.exp(-2 * (np.pi * sigma_mm * frequency) ** 2)
    return contrast_hu * 2 * np.pi * sigma_mm**2 * shape


def eye_filter(
    frequency_mm: np.ndarray, *, distance_mm: float = 500.0, zoom: float = 1.0
) -> np.ndarray:
    """Returns the response of the eye, 1 at its peak of 4 cycles per degree.

    Args:
        frequency_mm: Cycles per mm of the object.
        distance_mm: Distance from the eye to the display.
        zoom: Millimetres on the display per millimetre of the object.
    """
    per_degree = np.asarray(frequency_mm, np.float64) / zoom * math.radians(distance_mm)
    relative = per_degree / _EYE_PEAK
    return (relative * np.exp((1 - relative**2) / 2)) ** _EYE_POWER


def npw(
    task: np.ndarray, transfer: np.ndarray, noise: np.ndarray, *, cell: np.ndarray
) -> float:
    """Returns d' of the non-prewhitening observer; arguments as for `npwe`."""
    signal = np.square(task * transfer)
    return _ratio(np.sum(signal * cell), np.sum(signal * noise * cell))


def npwe(
    task: np.ndarray,
    transfer: np.ndarray,
    noise: np.ndarray,
    *,
    eye: np.ndarray,
    cell: np.ndarray,
    internal_noise: float = 0.0,
) -> float:
    """Returns d' of the non-prewhitening observer with an eye filter.

    Args:
        task: W, HU mm^2.
        transfer: T.
        noise: N, HU^2 mm^2.
        eye: E, for example from `eye_filter`.
        cell: Area of each sample, mm^-2.
        internal_noise: N_i, white noise of the observer in HU^2 mm^2.
    """
    seen = np.square(task * transfer * eye)
    heard = seen * (np.square(eye) * noise + internal_noise)
    return _ratio(np.sum(seen * cell), np.sum(heard * cell))


def pw(
    task: np.ndarray, transfer: np.ndarray, noise: np.ndarray, *, cell: np.ndarray
) -> float:
    """Returns d' of the prewhitening observer; arguments as for `npwe`.

    Frequencies without noise are left out: in measurements, a method (or the removal of
    a trend) has left no signal there.
    """
    noise = np.asarray(noise, np.float64)
    heard = noise > 1e-9 * noise.max()
    signal = np.square(task * transfer) * np.ones_like(noise) * cell
    return math.sqrt(float(np.sum(signal[heard] / noise[heard])))


def auc_of(dprime: float) -> float:
    """Returns the area under the ROC curve for d', Phi(d' / sqrt 2).

    Example:
        >>> round(float(auc_of(2.8359)), 4)
        0.9775
    """
    return float(ndtr(dprime / math.sqrt(2)))


def dprime_of(auc: float) -> float:
    """Returns d' for an area under the ROC curve."""
    return float(math.sqrt(2) * ndtri(auc))


def _ratio(signal: float, variance: float) -> float:
    return float(signal / math.sqrt(variance)) if variance > 0 else math.inf
