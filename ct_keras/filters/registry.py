"""The classical denoisers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ct_keras import hu
from ct_keras.errors import CtKerasError
from ct_keras.filters import smoothing


@dataclass(frozen=True)
class Filter:
    """A classical denoiser with its parameters.

    Contract: float32 HU in and out, (rows, columns) or (slices, rows, columns), slice
    by slice; pixels below -1024 HU (outside the reconstruction circle) are kept.

    Attributes:
        name: The key in the registry.
        title: What it is.
        function: Filters one float32 (rows, columns) image in HU.
        parameters: Keyword arguments of the function.
        grid: Values of each parameter among which tuning chooses.

    Example:
        >>> get("median", size=3)(np.zeros((8, 8))).shape
        (8, 8)
    """

    name: str
    title: str
    function: Callable[..., np.ndarray]
    parameters: Mapping[str, float] = field(default_factory=dict)
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __call__(self, hu_in: np.ndarray) -> np.ndarray:
        """Filters an image or a volume; see the class."""
        image = np.asarray(hu_in, np.float32)
        if image.ndim not in (2, 3) or image.size == 0:
            raise CtKerasError(
                "CTK-E041",
                "cannot filter an array of this shape",
                received=image.shape,
                expected="(rows, columns) or (slices, rows, columns)",
            )
        volume = image.reshape(-1, *image.shape[-2:])
        return np.stack([self._filter(plane) for plane in volume]).reshape(image.shape)

    def _filter(self, image: np.ndarray) -> np.ndarray:
        floored = np.maximum(image, np.float32(hu.FLOOR_HU))
        filtered = self.function(floored, **self.parameters)
        return np.where(image < hu.FLOOR_HU, image, filtered).astype(np.float32)

    def with_parameters(self, **parameters: float) -> Filter:
        """The same filter with some parameters replaced.

        Raises:
            CtKerasError: CTK-E000, for a parameter that it does not have.
        """
        unknown = set(parameters) - set(self.parameters)
        if unknown:
            raise CtKerasError(
                "CTK-E000",
                f"the {self.name} filter has no such parameter",
                received=", ".join(sorted(unknown)),
                expected=", ".join(self.parameters),
            )
        return replace(self, parameters=dict(self.parameters) | parameters)


_FILTERS = {
    entry.name: entry
    for entry in (
        Filter(
            "gaussian",
            "Gaussian smoothing",
            smoothing.gaussian,
            {"sigma": 1.0},
            {"sigma": (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)},
        ),
        Filter(
            "median",
            "Median of a square window",
            smoothing.median,
            {"size": 3},
            {"size": (3, 5)},
        ),
        Filter(
            "nlm",
            "Non-local means",
            smoothing.nlm,
            {"h": 0.8, "patch_size": 5, "patch_distance": 6},
            {"h": (0.4, 0.6, 0.8, 1.0, 1.3), "patch_size": (3, 5)},
        ),
    )
}


def list_filters() -> list[str]:
    """Returns the names of all filters."""
    return list(_FILTERS)


def get(name: str, **parameters: float) -> Filter:
    """Returns a classical denoiser.

    Args:
        name: One of `list_filters()`.
        **parameters: Instead of the defaults.

    Returns:
        A callable from HU to HU.

    Raises:
        CtKerasError: CTK-E092 for an unknown name, CTK-E000 for an unknown parameter.
    """
    if name not in _FILTERS:
        raise CtKerasError(
            "CTK-E092",
            "no filter of that name",
            received=name,
            expected=", ".join(_FILTERS),
        )
    return _FILTERS[name].with_parameters(**parameters)
