"""The classical denoisers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ct_keras import hu
from ct_keras.arrays import as_hu
from ct_keras.errors import CtKerasError
from ct_keras.registry import Registry


@dataclass(frozen=True)
class Filter:
    """A classical denoiser with its parameters.

    Contract: float32 HU in and out, (rows, columns) or (slices, rows, columns), slice
    by slice; pixels below -1500 HU (outside the reconstruction circle) are kept, and
    their neighbours see air there.

    Attributes:
        name: The key in the registry.
        title: A short description.
        function: Filters one float32 (rows, columns) image in HU.
        parameters: Keyword arguments of the function.
        grid: Values of each parameter to try in tuning.
        meanings: Description of each parameter, with its unit.
        least: Smallest valid value of each parameter; 0 if not listed.
        hu_preserving: Whether the output is in HU. `clahe` and `outline` are for
            display only and are refused where HU are expected.

    Example:
        >>> get("median", size=3)(np.zeros((8, 8))).shape
        (8, 8)
    """

    name: str
    title: str
    function: Callable[..., np.ndarray]
    parameters: Mapping[str, float | None] = field(default_factory=dict)
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    hu_preserving: bool = True

    def __call__(self, hu_in: np.ndarray) -> np.ndarray:
        """Filters an image or a volume; see the class."""
        image = as_hu(hu_in)
        volume = image.reshape(-1, *image.shape[-2:])
        return np.stack([self._filter(plane) for plane in volume]).reshape(image.shape)

    def on_pair(self, pair) -> np.ndarray:
        """Filters the low dose of a `ct_keras.data.SlicePair`."""
        return self(pair.low_hu)

    def _filter(self, image: np.ndarray, **known) -> np.ndarray:
        padding = image < hu.NO_MEASUREMENT_HU
        measured = np.where(padding, np.float32(hu.FLOOR_HU), image)
        filtered = self.function(measured, **self.parameters, **known)
        return np.where(padding, image, filtered).astype(np.float32)

    def with_parameters(self, **parameters: float | None) -> Filter:
        """Returns the same filter with some parameters replaced.

        Raises:
            CtKerasError: CTK-E000 for an unknown parameter, or a value that is too
                small or not finite.
        """
        unknown = set(parameters) - set(self.parameters)
        if unknown:
            raise CtKerasError(
                "CTK-E000",
                f"unknown parameter of the {self.name} filter",
                received=", ".join(sorted(unknown)),
                expected=", ".join(self.parameters) or "no parameters",
            )
        for name, value in parameters.items():
            least = self.least.get(name, 0)
            if value is not None and not least <= value < np.inf:
                raise CtKerasError(
                    "CTK-E000",
                    f"invalid {name} of the {self.name} filter",
                    received=value,
                    expected=f"at least {least}: {self.meanings.get(name, name)}",
                )
        return replace(self, parameters=dict(self.parameters) | parameters)


def list_filters(*, hu_preserving: bool | None = True) -> list[str]:
    """Returns names of filters.

    Args:
        hu_preserving: True for denoisers, False for filters for display only, None for
            both.
    """
    return [
        entry.name
        for entry in _catalogue().values()
        if hu_preserving in (None, entry.hu_preserving)
    ]


def get(name: str, /, **parameters: float | None) -> Filter:
    """Returns a filter; its `hu_preserving` says whether its output is in HU.

    Args:
        name: One of `list_filters(hu_preserving=None)`.
        **parameters: Values that replace the defaults.

    Returns:
        A callable on HU.

    Raises:
        CtKerasError: CTK-E092 for an unknown name, CTK-E000 for an unknown parameter.
    """
    return _catalogue().find(name).with_parameters(**parameters)


def get_denoiser(name: str, /, **parameters: float | None) -> Filter:
    """Returns a filter from HU to HU, for callers that write or measure HU.

    Raises:
        CtKerasError: CTK-E000 for a filter for display only; otherwise as `get`.
    """
    return require_hu(get(name, **parameters))


def require_hu(chosen: Filter) -> Filter:
    """Returns the filter, or refuses it if its output is not in HU (CTK-E000)."""
    if not chosen.hu_preserving:
        raise CtKerasError(
            "CTK-E000",
            f"the {chosen.name} filter is for display only; its output is not in HU",
            received=chosen.name,
            expected=", ".join(list_filters()),
            fix=f'ct_keras.filters.get("{chosen.name}")(hu) gives an image to look at',
        )
    return chosen


def _catalogue() -> Registry[Filter]:
    # Imported here, so that listing names and errors does not load OpenCV and SciPy.
    from ct_keras.filters.catalogue import FILTERS

    return FILTERS
