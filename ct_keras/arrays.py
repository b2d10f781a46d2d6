"""Checks of the axes and values of arrays in Hounsfield units."""

from __future__ import annotations

import numpy as np

from ct_keras.errors import CtKerasError

#: Lengths of a channel axis: grey, RGB, RGBA.
_CHANNELS = (1, 3, 4)
_NARROW = 4
#: Kinds of types that are not real numbers: complex, texts, times.
_NO_NUMBERS = "cSUMm"


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Returns an array, or what can become one, after checking that it holds numbers.

    Raises:
        CtKerasError: CTK-E047, if a conversion would drop something: imaginary parts,
            a mask, or what is not a number.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        array = np.array("")
    masked = np.ma.is_masked(values)
    if masked or array.dtype.kind in _NO_NUMBERS:
        raise CtKerasError(
            "CTK-E047",
            "the values are not plain numbers",
            received="an array with masked pixels" if masked else "other values",
            expected="integers or floating point, one for each pixel",
            fix="fill masked pixels with -1024" if masked else None,
        )
    return array


def as_hu(hu: np.ndarray) -> np.ndarray:
    """Returns an image or a volume as float32, after checking it.

    Args:
        hu: (rows, columns) or (slices, rows, columns).

    Raises:
        CtKerasError: CTK-E041 for wrong axes or no pixels, CTK-E044 for values that are
            not finite, CTK-E047 as `as_numbers`.
    """
    hu = np.asarray(as_numbers(hu), np.float32)
    check_axes(hu.shape)
    finite = np.isfinite(hu)
    if not finite.all():
        raise CtKerasError(
            "CTK-E044",
            "the input holds values that are not finite",
            received=f"{np.count_nonzero(~finite)} NaN or infinite pixels",
            expected="Hounsfield units",
        )
    return hu


def check_axes(shape: tuple[int, ...]) -> None:
    """Refuses axes that are not those of an image or a volume (CTK-E041)."""
    if len(shape) not in (2, 3) or 0 in shape or _ends_in_channels(shape):
        raise CtKerasError(
            "CTK-E041",
            "not the axes of an image or a volume",
            received=shape,
            expected="(rows, columns) or (slices, rows, columns), at least one pixel",
            fix="for (rows, columns, 1), or a batch of it, give array[..., 0]",
        )


def _ends_in_channels(shape: tuple[int, ...]) -> bool:
    """Whether the last axis is a channel axis: far shorter than the other two."""
    return (
        len(shape) == 3
        and shape[2] in _CHANNELS
        and min(shape[:2]) >= _NARROW * shape[2]
    )
