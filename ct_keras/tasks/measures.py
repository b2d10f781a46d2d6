"""How well a task is done: Dice of each organ, area under the ROC curve."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from ct_keras.errors import CtKerasError


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
    """Dice of each class: of every patient that has it, then the mean over patients.

    Args:
        reference: Class numbers (n, rows, columns).
        prediction: The same, as a network found them.
        patients: Whose slice it is, (n,).
        names: Name of each class from class 1 on; class 0 is background and left out.

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


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a present case scores higher.

    The Mann-Whitney statistic over the number of pairs; ties count one half.

    Args:
        truth: 0 or 1, (n,).
        score: Higher means present, (n,).

    Raises:
        CtKerasError: CTK-E000, if one of the two classes is missing.

    Example:
        >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
        0.75
    """
    truth = np.asarray(truth).astype(bool)
    present, absent = np.count_nonzero(truth), np.count_nonzero(~truth)
    if not present or not absent:
        raise CtKerasError(
            "CTK-E000",
            "an ROC curve needs both classes",
            received=f"{present} present, {absent} absent",
        )
    ranks = rankdata(score)
    return float((ranks[truth].sum() - present * (present + 1) / 2) / present / absent)
