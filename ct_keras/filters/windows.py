"""Checks the size of square windows."""

from __future__ import annotations

from ct_keras.errors import CtKerasError


def odd(size: float) -> int:
    """Returns the side of a window in pixels, or refuses it.

    Raises:
        CtKerasError: CTK-E000 for an even side, a fraction or less than 1.
    """
    if size != int(size) or size < 1 or size % 2 == 0:
        raise CtKerasError(
            "CTK-E000",
            "the window has no centre pixel",
            received=f"{size} pixels",
            expected="an odd number of pixels",
        )
    return int(size)
