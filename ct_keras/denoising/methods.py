"""Finds a method by name, and makes a method of a function or filter.

`input` (unchanged), `filter:NAME`, `recon:NAME` (baselines of the projection domain),
published weights, a run, or a `.keras` file: all become a `Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ct_keras import filters
from ct_keras.denoising.classical import (
    INPUT,
    FilterMethod,
    FunctionMethod,
    ReconstructionMethod,
    Unchanged,
)
from ct_keras.denoising.method import FILTER_PREFIX, Method
from ct_keras.reconstruction import registry as projection_domain


def as_method(given: Method | Callable[[np.ndarray], np.ndarray]) -> Method:
    """Returns a method unchanged; wraps a filter or a function from HU to HU.

    Args:
        given: A `Method`; a filter or reconstruction of `ct_keras.filters.get` or
            `ct_keras.reconstruction.get_reconstruction`; or any function of images,
            (rows, columns), or of volumes if its `dimensions` are 3.

    Raises:
        CtKerasError: CTK-E000 for a filter that is for display only.

    Example:
        >>> as_method(lambda hu: hu - 1).denoise_image([[5.0, 6.0]], None).tolist()
        [[4.0, 5.0]]
    """
    if isinstance(given, Method):
        return given
    if isinstance(given, projection_domain.ProjectionFilter):
        return ReconstructionMethod(given)
    if isinstance(given, filters.Filter):
        return FilterMethod(given)
    return FunctionMethod(given)


def get_method(text: str | Path | None, *, trust: bool = False) -> Method:
    """Returns the method that a MODEL argument names; None is the default model.

    Args:
        text: A name as in the module's description.
        trust: See `ct_keras.load`.

    Raises:
        CtKerasError: CTK-E092, if there is no such method; otherwise as `load`.
    """
    name = str(text)
    if name == INPUT:
        return Unchanged()
    if name.startswith(FILTER_PREFIX):
        return FilterMethod(filters.get(name.removeprefix(FILTER_PREFIX)))
    if name.startswith(projection_domain.PREFIX):
        name = name.removeprefix(projection_domain.PREFIX)
        return ReconstructionMethod(projection_domain.get_reconstruction(name))
    from ct_keras.denoising.loading import load

    return load(text, trust=trust)


def methods_by_label(
    models: Sequence[str], *, trust: bool = False
) -> dict[str, Method]:
    """Returns the methods that the texts name, by their names in tables.

    A run or file goes by its own name, unless two have the same one.
    """
    names = [Path(text).name for text in models]
    labels = {
        text: text if names.count(name) > 1 else name
        for text, name in zip(models, names, strict=True)
    }
    return {label: get_method(text, trust=trust) for text, label in labels.items()}
