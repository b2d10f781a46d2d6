"""Methods without a network: the input itself, functions, filters, reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ct_keras import filters
from ct_keras.arrays import as_hu
from ct_keras.denoising.method import FILTER_PREFIX, Identity, Method, Spacing
from ct_keras.dicom.provenance import Derivation
from ct_keras.filters.registry import require_hu

if TYPE_CHECKING:
    from ct_keras.denoising.denoiser import Denoiser

INPUT = "input"


class Unchanged(Method):
    """The unchanged input, the baseline of every comparison."""

    identity = Identity(INPUT)

    def _denoise(self, hu: np.ndarray) -> np.ndarray:
        return hu.copy()

    def _derivation(self, details: dict) -> Derivation:
        return Derivation.unchanged(**details)


class FunctionMethod(Method):
    """Any function from HU to HU.

    Args:
        function: Maps (rows, columns) to the same shape or, if it has an attribute
            `dimensions` of 3, (slices, rows, columns). Its attribute `identity`, if
            any, is kept.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]):
        name = getattr(function, "__name__", type(function).__name__)
        self.identity = getattr(function, "identity", Identity(name))
        self.dimensions = getattr(function, "dimensions", 2)
        self._function = function

    def _denoise(self, hu: np.ndarray) -> np.ndarray:
        return self._function(hu)

    def denoise_slices(self, slices, shape, spacing_mm, strength=None):
        """Denoises the slices of a volume; see `Method`."""
        if self.dimensions == 2:
            return super().denoise_slices(slices, shape, spacing_mm, strength)
        strength = self.chosen_strength(strength)
        return iter(self._blended(as_hu(np.stack(list(slices))), strength, 0))

    def neighbours(self, slices: int) -> int:
        """Number of neighbouring slices; see `Method`."""
        return 0 if self.dimensions == 2 else slices


class FilterMethod(Method):
    """A classical filter.

    Args:
        chosen: From `ct_keras.filters.get`.
        tuned: Whether its parameters were fitted to slice pairs.

    Raises:
        CtKerasError: CTK-E000 for a filter that is for display only.
    """

    prefix = FILTER_PREFIX
    tunable = True

    def __init__(self, chosen: filters.Filter, *, tuned: bool = False):
        self.filter = require_hu(chosen)
        self._tuned = tuned
        given = {
            key: value for key, value in chosen.parameters.items() if value is not None
        }
        self.identity = Identity(self.prefix + chosen.name, parameters=given)

    def _denoise(self, hu: np.ndarray) -> np.ndarray:
        return self.filter(hu)

    def denoise_pairs(
        self, pairs: Sequence, strength: float | None = None
    ) -> list[np.ndarray]:
        """Filters the low dose of slice pairs; see `Method`."""
        strength = self.chosen_strength(strength)
        return [
            self._mixed(as_hu(pair.low_hu), self.filter.on_pair(pair), strength, index)
            for index, pair in enumerate(pairs)
        ]

    def tuned(self, pairs: Sequence, *, progress: bool = False) -> FilterMethod:
        """Returns the filter with parameters fitted to the pairs."""
        best = filters.tune(self.filter, pairs, progress=progress)
        return type(self)(best, tuned=True)

    def facts(self, *, rays: bool) -> dict:
        """Entries of a table row; see `Method`."""
        return super().facts(rays=rays) | {
            "settings": self.identity.parameters,
            "tuned_among": dict(self.filter.grid) if self._tuned else None,
        }

    def _derivation(self, details: dict) -> Derivation:
        return Derivation.filtered(**details | {"model_name": self.filter.name})

    def as_denoiser(self) -> Denoiser:
        """Returns a linear filter as a network with its name and parameters.

        Its hash is that of the kernels, so it differs between parameters.

        Raises:
            CtKerasError: CTK-E000 for a filter that is not linear.
        """
        from ct_keras.denoising.denoiser import Denoiser
        from ct_keras.filters.linear_models import linear_model

        denoiser = Denoiser(linear_model(self.filter))
        digest = denoiser.identity.weights_sha256
        denoiser.identity = replace(self.identity, weights_sha256=digest)
        return denoiser


class ReconstructionMethod(FilterMethod):
    """A baseline of the projection domain, which requires the pixel spacing.

    Args:
        chosen: From `ct_keras.reconstruction.registry.get_reconstruction`.
        tuned: As for a filter.
    """

    prefix = ""  # already part of the name
    scales = (None,)

    def with_spacing(self, spacing_mm: Spacing) -> ReconstructionMethod:
        """Returns the method for this pixel spacing; see `ProjectionFilter`."""
        chosen = self.filter.with_spacing(spacing_mm)
        return type(self)(chosen, tuned=self._tuned)

    def facts(self, *, rays: bool) -> dict:
        """Entries of a table row; see `Method`."""
        sinogram = "known" if rays else "projected from the image"
        return super().facts(rays=rays) | {"sinogram": sinogram}

    def _derivation(self, details: dict) -> Derivation:
        return Derivation.reconstructed(**details)
