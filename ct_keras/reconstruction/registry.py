"""Projection-domain baselines as filters: `recon:NAME` on the command line.

A network that works on images should be compared with methods that work on projections.
If the low dose is simulated in the same run, its sinogram is known and used. For what
these filters do with a finished image, and their limits, see
`ct_keras.reconstruction.reprojection`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.filters.registry import Filter
from ct_keras.reconstruction import reprojection
from ct_keras.simulation import Rays

PREFIX = "recon:"
_PIXEL = {"pixel_mm": None}
_PIXEL_MEANING = {
    "pixel_mm": "pixel spacing in mm; None for that of the series, "
    f"{reprojection.PIXEL_MM} if unknown"
}
_LEAST = {"iterations": 1, "subsets": 1}


class ProjectionFilter(Filter):
    """A filter that works on rays: known ones, or projections of the image.

    Example:
        >>> get_reconstruction("sart").with_spacing((0.7, 0.7)).parameters["pixel_mm"]
        0.7
    """

    def on_pair(self, pair) -> np.ndarray:
        """Filters the low dose of a pair, with its rays if they are known."""
        rays = getattr(pair, "rays", None)
        chosen = self.with_spacing(getattr(pair, "spacing_mm", None))
        return (
            chosen(pair.low_hu) if rays is None else chosen.of_scan(pair.low_hu, rays)
        )

    def of_scan(self, hu_in: np.ndarray, rays: Rays) -> np.ndarray:
        """Filters an image whose rays are known.

        Args:
            hu_in: (rows, columns), HU.
            rays: From `ct_keras.simulation.low_dose_rays`.

        Returns:
            float32 (rows, columns), HU.

        Raises:
            CtKerasError: CTK-E041, if the rays belong to another pixel grid.
        """
        image = np.asarray(hu_in, np.float32)
        if image.shape != rays.beam.shape:
            raise CtKerasError(
                "CTK-E041",
                "the rays do not belong to this image",
                received=image.shape,
                expected=rays.beam.shape,
            )
        return self._filter(image, rays=rays)

    def with_spacing(self, spacing_mm: Sequence[float] | None) -> ProjectionFilter:
        """Returns the filter for a pixel spacing, unless `pixel_mm` is set already.

        Args:
            spacing_mm: Row and column spacing; None or NaN if unknown.
        """
        given = self.parameters["pixel_mm"] is not None
        if given or spacing_mm is None or not np.isfinite(spacing_mm).all():
            return self
        return self.with_parameters(pixel_mm=float(np.mean(spacing_mm)))


_RECONSTRUCTIONS = {
    entry.name.removeprefix(PREFIX): entry
    for entry in (
        ProjectionFilter(
            PREFIX + "sinogram",
            "Penalised-likelihood smoothing of the sinogram",
            reprojection.penalised,
            {"beta": 400.0, "view_share": 1.0} | _PIXEL,
            {"beta": (25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)},
            {
                "beta": "weight of differences between neighbouring rays, photons",
                "view_share": "weight of neighbouring views relative to bins",
            }
            | _PIXEL_MEANING,
            _LEAST,
        ),
        ProjectionFilter(
            PREFIX + "adaptive",
            "Adaptive smoothing of the sinogram",
            reprojection.adaptive,
            {"photons": 8000.0} | _PIXEL,
            {"photons": (1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0)},
            {"photons": "number of photons up to which rays are averaged"}
            | _PIXEL_MEANING,
            _LEAST,
        ),
        ProjectionFilter(
            PREFIX + "sart",
            "Simultaneous algebraic reconstruction, stopped early",
            reprojection.sart,
            {"iterations": 3, "subsets": 16} | _PIXEL,
            {"iterations": (1, 2, 3, 4, 6)},
            {
                "iterations": "passes over all views",
                "subsets": "number of subsets of the views",
            }
            | _PIXEL_MEANING,
            _LEAST,
        ),
        ProjectionFilter(
            PREFIX + "tv",
            "Statistical reconstruction with total variation",
            reprojection.tv,
            {"strength": 0.015, "iterations": 100} | _PIXEL,
            {"strength": (0.005, 0.01, 0.015, 0.02, 0.03)},
            {
                "strength": "weight of total variation, 1/HU between neighbours",
                "iterations": "iterations of monotone FISTA",
            }
            | _PIXEL_MEANING,
            _LEAST,
        ),
    )
}


def list_reconstructions() -> list[str]:
    """Returns the names of the projection-domain baselines."""
    return list(_RECONSTRUCTIONS)


def get_reconstruction(name: str, /, **parameters: float) -> ProjectionFilter:
    """Returns a projection-domain baseline.

    Args:
        name: One of `list_reconstructions()`.
        **parameters: Values that replace the defaults.

    Returns:
        A callable from HU to HU; its `name` has the prefix `recon:`.

    Raises:
        CtKerasError: CTK-E092 for an unknown name, CTK-E000 for an unknown parameter.

    Example:
        >>> get_reconstruction("tv", pixel_mm=0.7).parameters["pixel_mm"]
        0.7
    """
    if name not in _RECONSTRUCTIONS:
        raise CtKerasError(
            "CTK-E092",
            "unknown reconstruction",
            received=name,
            expected=", ".join(_RECONSTRUCTIONS),
        )
    return _RECONSTRUCTIONS[name].with_parameters(**parameters)
