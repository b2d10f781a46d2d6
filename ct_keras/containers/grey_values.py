"""What the values of a file mean: HU, or the grey values of a picture."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ct_keras.containers.formats import Content
from ct_keras.errors import CtKerasError
from ct_keras.hu import picture_rescale


@dataclass(frozen=True)
class GreyValues:
    """What a file does not say about its values; None if nothing is to be added.

    Attributes:
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
        spacing_mm: Row and column spacing.
        pictures: The values are those of pictures, such as X-ray images, and not HU.
            Without any of these, 8-bit values of PNG and TIFF are.
    """

    slope: float | None = None
    intercept: float | None = None
    spacing_mm: tuple[float, float] | None = None
    pictures: bool = False

    @property
    def given(self) -> bool:
        """Whether anything is to be added."""
        return any(getattr(self, each.name) != each.default for each in fields(self))

    @property
    def rescaled(self) -> bool:
        """Whether the scale is given."""
        return self.slope is not None or self.intercept is not None


@dataclass(frozen=True)
class Scale:
    """How stored values become values on the scale of HU.

    Attributes:
        slope: HU per stored unit.
        intercept: HU of the stored value 0.
        name: None for HU; "picture" for grey values of a picture, whose darkest is that
            of the lowest HU, and whose range fills that of network units.
    """

    slope: float
    intercept: float
    name: str | None = None


def scale_of(content: Content, values: GreyValues) -> Scale:
    """Decides what the values of a file mean.

    Args:
        content: What the file holds.
        values: What it does not say.

    Raises:
        CtKerasError: CTK-E000, if two scales are given; CTK-E040, if there is none;
            CTK-E047, pictures that are not unsigned integers.
    """
    kind = content.stored.dtype
    if values.rescaled:
        return _given(content, values)
    if values.pictures or (not content.scaled and kind == np.uint8):
        if kind.kind != "u" or kind.itemsize > 2:
            raise CtKerasError(
                "CTK-E047",
                "the values are not those of a picture",
                received=kind,
                expected="unsigned integers of 8 or 16 bits",
            )
        return Scale(*picture_rescale(8 * kind.itemsize), name="picture")
    if not content.scaled:
        raise CtKerasError(
            "CTK-E040",
            "pictures of 16 bits do not define how their values convert to HU",
            fix="give slope and intercept, HU = value * slope + intercept, or pictures "
            "if they are not CT (--slope, --intercept and --pictures of denoise, "
            "simulate, evaluate and convert)",
        )
    return Scale(content.slope, content.intercept)


def _given(content: Content, values: GreyValues) -> Scale:
    if values.pictures:
        raise CtKerasError(
            "CTK-E000",
            "grey values of pictures have no slope and intercept",
            expected="either of them",
        )
    if (content.slope, content.intercept) != (1.0, 0.0):
        raise CtKerasError(
            "CTK-E000",
            "the file itself says how its values convert to HU",
            received=f"another slope or intercept than {content.slope:g} and "
            f"{content.intercept:g}",
            fix="omit slope and intercept",
        )
    slope = 1.0 if values.slope is None else values.slope
    if not (np.isfinite(slope) and slope):
        raise CtKerasError(
            "CTK-E000", "a slope must be a number other than 0", received=slope
        )
    return Scale(slope, values.intercept or 0.0)
