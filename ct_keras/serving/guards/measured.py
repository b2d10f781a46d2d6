"""Judges noise level and texture together, by losses that were measured.

A model card can hold a table of how far the model fell behind a tuned filter, by noise
index and mean frequency of the noise (`benchmarks/operating_range.py`). A smallest and
a largest value of each could not tell where only the combination is bad.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence

from ct_keras.errors import Finding


def noise_findings(
    noise_hu: float | None, frequency_per_cm: float | None, losses: dict, model: str
) -> list[Finding]:
    """Returns CTK-W061 or W062 where the model loses, or was not measured.

    Args:
        noise_hu: Noise index of the scan.
        frequency_per_cm: Mean frequency of its noise.
        losses: The entry `losses` of the card's ranges: edges of the cells, loss in
            each in dB (null where there was no measurement), the usual loss (0 if the
            model usually gains), the loss from which to warn, and the strength at which
            it was measured.
        model: Name of the model.
    """
    if noise_hu is None or frequency_per_cm is None:
        return []
    place = f"noise index {noise_hu:.0f} HU at {frequency_per_cm:.1f} per cm"
    edges = losses["noise_index_hu"], losses["noise_frequency_per_cm"]
    loss = _loss_at(losses["loss_db"], edges, (noise_hu, frequency_per_cm))
    if noise_hu < edges[0][0]:
        text = f"{place}: already low noise, denoising may just blur"
        return [Finding("CTK-W061", text)]
    if loss is None:
        text = f"{model} was not measured with such noise: {place}"
        return [Finding("CTK-W062", text)]
    if loss > losses["margin_db"]:
        text = f"{model} at strength {losses['strength']:g} was {loss:.1f} dB worse "
        text += f"than a tuned filter with such noise: {place}"
        if losses["usual_db"]:
            text += f" (usually {losses['usual_db']:.1f} dB)"
        return [Finding("CTK-W062", text)]
    return []


def _loss_at(
    table: Sequence[Sequence[float | None]],
    edges: tuple[Sequence[float], Sequence[float]],
    values: tuple[float, float],
) -> float | None:
    """The loss in the cell of the values; in an empty one the worst beside it."""
    row, column = (
        bisect_right(each, value) - 1 for each, value in zip(edges, values, strict=True)
    )
    if not (0 <= row < len(table) and 0 <= column < len(edges[1]) - 1):
        return None
    if table[row][column] is not None:
        return table[row][column]
    around = itertools.product(
        range(max(0, row - 1), min(len(table), row + 2)),
        range(max(0, column - 1), min(len(edges[1]) - 1, column + 2)),
    )
    return max(
        (loss for i, j in around if (loss := table[i][j]) is not None), default=None
    )
