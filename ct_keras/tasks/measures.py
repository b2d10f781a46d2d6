"""The quality of a segmentation: the Dice coefficient of each organ."""

from __future__ import annotations

import numpy as np


def dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Dice coefficient ``2 |A n B| / (|A| + |B|)`` of two masks, NaN if both are empty.

    Args:
        reference: bool, any shape.
        prediction: bool of the same shape.

    Example:
        >>> dice(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool))
        0.5
    """
    total = np.count_nonzero(reference) + np.count_nonzero(prediction)
    if not total:
        return float("nan")
    return 2 * np.count_nonzero(reference & prediction) / total


def dice_by_class(
    reference: np.ndarray,
    prediction: np.ndarray,
    patients: np.ndarray,
    names: tuple[str, ...],
) -> dict[str, float]:
    """Dice of each class per patient, then the mean over the patients that have it.

    Args:
        reference: Class numbers (n, rows, columns).
        prediction: Predicted class numbers, the same shape.
        patients: The patient of each slice, (n,).
        names: Name of each class from class 1 on; class 0, background, is left out.

    Returns:
        Name -> mean Dice; NaN for a class that no patient has.
    """
    found = {}
    for number, name in enumerate(names, start=1):
        values = []
        for patient in np.unique(patients):
            rows = patients == patient
            truth = reference[rows] == number
            if truth.any():
                values.append(dice(truth, prediction[rows] == number))
        found[name] = float(np.mean(values)) if values else float("nan")
    return found
