"""PSNR, RMSE, and errors in Hounsfield units over the body and its tissues."""

from __future__ import annotations

import math

import numpy as np

from ct_keras.metrics.tissues import body_mask, tissue_masks


def mse(*, reference: np.ndarray, test: np.ndarray) -> float:
    """Returns the mean squared error of two images of the same shape (float64)."""
    difference = np.subtract(test, reference, dtype=np.float64)
    return float(np.mean(np.square(difference)))


def rmse(*, reference: np.ndarray, test: np.ndarray) -> float:
    """Returns the root mean squared error, in the unit of the images."""
    return math.sqrt(mse(reference=reference, test=test))


def psnr(*, reference: np.ndarray, test: np.ndarray, data_range: float) -> float:
    """Returns the peak signal-to-noise ratio in dB.

    Args:
        reference: Any shape.
        test: The same shape and unit.
        data_range: The span R of possible values in that unit.

    Returns:
        10 log10(R^2 / MSE); inf for an identical pair, NaN if R is 0.
    """
    return psnr_of_mse(mse(reference=reference, test=test), data_range=data_range)


def psnr_of_mse(error: float, *, data_range: float) -> float:
    """Returns the PSNR in dB for a mean squared error."""
    if not data_range > 0:
        return math.nan
    if error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / error)


def hu_errors(*, reference: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Measures errors in HU, without a window.

    Args:
        reference: (rows, columns), HU.
        test: (rows, columns), HU.

    Returns:
        ``rmse_hu_hu`` and ``mae_hu`` over all pixels; ``rmse_hu_body``, ``mae_hu_body``
        and ``bias_hu`` (mean of test - reference) in the body; ``bias_hu_<tissue>`` for
        every class of `TISSUES`. NaN for an empty region.
    """
    reference = np.asarray(reference, np.float64)
    difference = np.asarray(test, np.float64) - reference
    inside = difference[body_mask(reference)]
    found = {
        "rmse_hu_hu": _root_mean_square(difference),
        "mae_hu": float(np.mean(np.abs(difference))),
        "rmse_hu_body": _root_mean_square(inside),
        "mae_hu_body": _mean(np.abs(inside)),
        "bias_hu": _mean(inside),
    }
    for name, mask in tissue_masks(reference).items():
        found[f"bias_hu_{name}"] = _mean(difference[mask])
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _root_mean_square(values: np.ndarray) -> float:
    return math.sqrt(_mean(np.square(values))) if values.size else math.nan
