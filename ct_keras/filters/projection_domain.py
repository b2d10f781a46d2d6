"""The baselines of the projection domain, as filters: `recon:NAME` on the command line.

A network that works on images should be compared with methods that work on the scan.
Where the sinogram is known (a simulated scan), use `ct_keras.simulation` directly; what
these filters do to a finished image, and cannot do, stands in
`ct_keras.simulation.reprojection`.
"""

from __future__ import annotations

from ct_keras.errors import CtKerasError
from ct_keras.filters.registry import Filter
from ct_keras.simulation import reprojection

PREFIX = "recon:"
_PIXEL = {"pixel_mm": reprojection.PIXEL_MM}
_PIXEL_MEANING = {"pixel_mm": "distance of pixels in mm"}

_RECONSTRUCTIONS = {
    entry.name.removeprefix(PREFIX): entry
    for entry in (
        Filter(
            PREFIX + "sinogram",
            "Penalised-likelihood smoothing of the sinogram",
            reprojection.penalised,
            {"beta": 400.0, "view_share": 1.0} | _PIXEL,
            {"beta": (25.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)},
            {
                "beta": "weight of differences of neighbouring rays, photons",
                "view_share": "weight of neighbouring views relative to bins",
            }
            | _PIXEL_MEANING,
        ),
        Filter(
            PREFIX + "adaptive",
            "Adaptive smoothing of the sinogram",
            reprojection.adaptive,
            {"photons": 8000.0} | _PIXEL,
            {"photons": (1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0)},
            {"photons": "rays are averaged until they hold so many photons"}
            | _PIXEL_MEANING,
        ),
        Filter(
            PREFIX + "sart",
            "Simultaneous algebraic reconstruction, stopped early",
            reprojection.sart,
            {"iterations": 3, "subsets": 16} | _PIXEL,
            {"iterations": (1, 2, 3, 4, 6)},
            {
                "iterations": "how often all views are used",
                "subsets": "how many subsets the views are divided into",
            }
            | _PIXEL_MEANING,
        ),
        Filter(
            PREFIX + "tv",
            "Statistical reconstruction with total variation",
            reprojection.tv,
            {"strength": 0.015, "iterations": 100} | _PIXEL,
            {"strength": (0.005, 0.01, 0.015, 0.02, 0.03)},
            {
                "strength": "weight of total variation, 1/HU between neighbours",
                "iterations": "of monotone FISTA",
            }
            | _PIXEL_MEANING,
        ),
    )
}


def list_reconstructions() -> list[str]:
    """Returns the names of the projection-domain baselines."""
    return list(_RECONSTRUCTIONS)


def get_reconstruction(name: str, **parameters: float) -> Filter:
    """Returns a projection-domain baseline.

    Args:
        name: One of `list_reconstructions()`.
        **parameters: Instead of the defaults; `pixel_mm` should be that of the images.

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
            "no reconstruction of that name",
            received=name,
            expected=", ".join(_RECONSTRUCTIONS),
        )
    return _RECONSTRUCTIONS[name].with_parameters(**parameters)
