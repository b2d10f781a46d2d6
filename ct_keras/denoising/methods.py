"""Anything that can be asked to denoise, by the text that names it.

`input` (do nothing), `filter:NAME`, `recon:NAME` (baselines of the projection domain),
published weights, a run, or a `.keras` file: all become something with the call and the
`identity` of a `Denoiser`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ct_keras import filters
from ct_keras.denoising.denoiser import Denoiser, Identity, apply_slicewise
from ct_keras.denoising.loading import load
from ct_keras.reconstruction import registry as projection_domain

INPUT = "input"
FILTER_PREFIX = "filter:"


class FilterDenoiser:
    """A classical filter with the call of a `Denoiser`.

    Args:
        chosen: From `ct_keras.filters.get`, or tuned.
    """

    prefix = FILTER_PREFIX

    def __init__(self, chosen: filters.Filter):
        self.filter = chosen
        given = {
            key: value for key, value in chosen.parameters.items() if value is not None
        }
        self.identity = Identity(self.prefix + chosen.name, parameters=given)

    def __call__(self, hu: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
        """Filters HU; see `Denoiser.__call__`."""
        return apply_slicewise(self.filter, hu, strength=strength)

    def on_pair(self, pair) -> np.ndarray:
        """Filters the low dose of a `SlicePair`, with all that the pair tells."""
        return self.filter.on_pair(pair)


class ReconstructionDenoiser(FilterDenoiser):
    """A projection-domain baseline with the call of a `Denoiser`.

    Args:
        chosen: From `ct_keras.reconstruction.registry.get_reconstruction`, or tuned.
    """

    prefix = ""  # it is part of the name already

    def with_spacing(
        self, spacing_mm: Sequence[float] | None
    ) -> ReconstructionDenoiser:
        """Returns the method for pixels of this size; see `ProjectionFilter`."""
        return type(self)(self.filter.with_spacing(spacing_mm))


class Untreated:
    """The input itself, the row that every comparison needs."""

    identity = Identity(INPUT)

    def __call__(self, hu: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
        """Returns a copy of the input."""
        return apply_slicewise(np.copy, hu, strength=strength)


def get_method(text: str) -> Denoiser | FilterDenoiser | Untreated:
    """Finds what a command line's MODEL argument names.

    Raises:
        CtKerasError: CTK-E092, if there is nothing of that name; else as `load`.
    """
    if text == INPUT:
        return Untreated()
    if text.startswith(FILTER_PREFIX):
        return FilterDenoiser(filters.get_denoiser(text.removeprefix(FILTER_PREFIX)))
    if text.startswith(projection_domain.PREFIX):
        name = text.removeprefix(projection_domain.PREFIX)
        return ReconstructionDenoiser(projection_domain.get_reconstruction(name))
    return load(text)


def methods_by_label(models: Sequence[str]) -> dict:
    """The methods that the texts name, by the names that tables give them.

    A run or file is called by its own name, unless two are called alike.
    """
    names = [Path(text).name for text in models]
    labels = {
        text: text if names.count(name) > 1 else name
        for text, name in zip(models, names, strict=True)
    }
    return {label: get_method(text) for text, label in labels.items()}
