"""The best strength of each method, beside its default.

A network that was trained to remove all noise and a cautious filter are compared fairly
only if each may leave as much noise as suits the reference. The errors at every
strength of `STRENGTHS` are measured with the clipping of the main protocol, so nothing
is interpolated, and the strength with the least mean squared error is chosen for each
dose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ct_keras.denoising.classical import INPUT
from ct_keras.denoising.method import blend
from ct_keras.metrics import statistics
from ct_keras.metrics.pixelwise import psnr_of_mse
from ct_keras.metrics.protocols import MAIN, PROTOCOLS

#: The strengths that are tried.
STRENGTHS = tuple(step / 20 for step in range(21))
#: Where the best strength was chosen.
OTHERS, THESE = "other patients", "the evaluated slices"
_PROTOCOL = PROTOCOLS[MAIN]


def errors_by_strength(
    *, low_hu: np.ndarray, denoised_hu: np.ndarray, reference_hu: np.ndarray
) -> np.ndarray:
    """Returns the mean squared error at every strength, in the main protocol.

    Args:
        low_hu: (rows, columns), HU, the input.
        denoised_hu: The same shape, the output at strength 1.
        reference_hu: The same shape.

    Returns:
        float64 (strengths,), HU^2.
    """
    low, denoised = (np.asarray(hu, np.float32) for hu in (low_hu, denoised_hu))
    reference = _PROTOCOL.map(reference_hu)
    limits = _PROTOCOL.low_hu, _PROTOCOL.high_hu
    # Where both images exceed the same limit, every blend is clipped to that limit.
    equal = ((low <= limits[0]) & (denoised <= limits[0])) | (
        (low >= limits[1]) & (denoised >= limits[1])
    )
    constant = np.sum(np.square(_PROTOCOL.map(low[equal]) - reference[equal]))
    low, denoised, target = low[~equal], denoised[~equal], reference[~equal]
    sums = [
        np.sum(np.square(_PROTOCOL.map(blend(low, denoised, strength)) - target))
        for strength in STRENGTHS
    ]
    return (constant + np.array(sums)) / reference.size


@dataclass
class StrengthTable:
    """Collects the errors of all methods and slices.

    Attributes:
        defaults: Method -> its default strength.
        fitted: The table of slices of other patients, on which the best strength is
            chosen if they include the method and the dose; None to choose it on the
            slices of this table.
    """

    defaults: Mapping[str, float]
    fitted: StrengthTable | None = None
    _slices: dict[str, list[tuple[str, float | None, np.ndarray]]] = field(
        default_factory=dict
    )

    def add(
        self, model: str, case: str, dose: float | None, errors: np.ndarray
    ) -> None:
        """Adds a slice: its patient, its dose and its `errors_by_strength`."""
        self._slices.setdefault(model, []).append((case, dose, errors))

    def entries(
        self, model: str, wanted: Callable[[float | None], bool] = lambda dose: True
    ) -> dict[str, object]:
        """Returns what a row says about the strength of a method.

        Args:
            model: The method.
            wanted: Whether the row includes slices of a dose.

        Returns:
            ``strength`` (the default), ``best_strength``, ``best_strength_from`` (where
            it was chosen), and ``psnr_best_strength`` and ``rmse_hu_best_strength``,
            means over patients. All None for the input, which has no strength.
        """
        cases, errors = self._of(model, wanted)
        if model == INPUT or not cases:
            return dict.fromkeys(ENTRIES)
        chosen_from, table = THESE, self
        if self.fitted is not None and self.fitted._of(model, wanted)[0]:
            chosen_from, table = OTHERS, self.fitted
        best = _least(*table._of(model, wanted))
        own = [float(each[best]) for each in errors]
        psnr = [psnr_of_mse(each, data_range=_PROTOCOL.range_hu) for each in own]
        values = (
            self.defaults.get(model, 1.0),
            STRENGTHS[best],
            chosen_from,
            statistics.summarize(psnr, cases)["mean"],
            statistics.summarize([math.sqrt(each) for each in own], cases)["mean"],
        )
        return dict(zip(ENTRIES, values, strict=True))

    def _of(
        self, model: str, wanted: Callable[[float | None], bool]
    ) -> tuple[list[str], list[np.ndarray]]:
        """The patients and the errors of the slices of a method."""
        found = [each for each in self._slices.get(model, ()) if wanted(each[1])]
        return [case for case, _, _ in found], [errors for _, _, errors in found]


#: The keys of `StrengthTable.entries`.
ENTRIES = (
    "strength",
    "best_strength",
    "best_strength_from",
    "psnr_best_strength",
    "rmse_hu_best_strength",
)


def _least(cases: Sequence[str], errors: Sequence[np.ndarray]) -> int:
    """The index of the strength with the least error, patients weighted equally."""
    by_case: dict[str, list[np.ndarray]] = {}
    for case, each in zip(cases, errors, strict=True):
        by_case.setdefault(case, []).append(each)
    means = [np.mean(each, axis=0) for each in by_case.values()]
    return int(np.argmin(np.mean(means, axis=0)))
