"""Detectability against dose, and the equivalent dose of a denoised image.

With an unchanged noise texture, d' is proportional to the square root of the dose. So
d' is interpolated linearly in that root, which is exact for filtered back-projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.image_quality.observers import dprime_of

_NEVER_SURE = 1e-4


def equivalent_dose(
    doses: Sequence[float], aucs: Sequence[float], target: float
) -> float | None:
    """Returns the dose at which a reference reaches an AUC.

    Args:
        doses: Dose fractions of the reference, at least two.
        aucs: Its AUC at each dose.
        target: The AUC to reach, for example that of a denoised low dose.

    Returns:
        The lowest such dose, or None if the AUC is outside the curve.

    Raises:
        CtKerasError: CTK-E041, if there are fewer than two doses.

    Example:
        >>> from ct_keras.image_quality.observers import auc_of
        >>> aucs = [auc_of(0.1**0.5), auc_of(1)]
        >>> round(equivalent_dose([0.1, 1], aucs, auc_of(0.5)), 6)
        0.25
    """
    if len(doses) < 2 or len(doses) != len(aucs):
        raise CtKerasError(
            "CTK-E041",
            "a dose curve needs at least two doses and an AUC for each",
            received=(len(doses), len(aucs)),
        )
    order = np.argsort(doses)
    roots = np.sqrt(np.asarray(doses, np.float64)[order])
    found = np.array([_dprime(aucs[index]) for index in order])
    wanted = _dprime(target)
    for left in range(len(roots) - 1):
        low, high = found[left], found[left + 1]
        if min(low, high) <= wanted <= max(low, high):
            share = (wanted - low) / (high - low) if high != low else 0.0
            return float(roots[left] + share * (roots[left + 1] - roots[left])) ** 2
    return None


def dose_curves(
    results: Mapping[str, Mapping[str, Mapping[float, Mapping]]], reference: str
) -> dict:
    """Collects AUC against dose, for every insert and method.

    Args:
        results: Method -> insert -> dose -> ``auc`` and ``auc_interval``.
        reference: The method that represents the images of the scanner.

    Returns:
        Insert -> method -> ``doses``, ``auc``, ``auc_interval`` and
        ``equivalent_dose``, lists of equal length. The last is the dose at which the
        reference reaches the same AUC, None if it does not within its range of doses.
    """
    curves: dict[str, dict] = {}
    for method, inserts in results.items():
        for insert, by_dose in inserts.items():
            doses = sorted(by_dose)
            curves.setdefault(insert, {})[method] = {
                "doses": doses,
                "auc": [by_dose[dose]["auc"] for dose in doses],
                "auc_interval": [by_dose[dose]["auc_interval"] for dose in doses],
            }
    for methods in curves.values():
        scanner = methods[reference]
        for curve in methods.values():
            curve["equivalent_dose"] = [
                equivalent_dose(scanner["doses"], scanner["auc"], auc)
                if len(scanner["doses"]) > 1
                else None
                for auc in curve["auc"]
            ]
    return curves


def _dprime(auc: float) -> float:
    if not math.isfinite(auc):
        return math.nan
    return dprime_of(min(max(auc, _NEVER_SURE), 1 - _NEVER_SURE))
