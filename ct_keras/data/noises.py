"""Artificial noises that replace the low dose of the records.

Some papers train on artificial noise instead of paired doses. These settings describe
their noises, in network units (see `ct_keras.hu`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ct_keras.errors import CtKerasError
from ct_keras.settings import Settings

#: Kind -> the settings of its strength, of which exactly one is given.
_STRENGTHS = {
    "uniform_multiplicative": ("high",),
    "uniform_additive": ("high",),
    "gaussian": ("sigma", "sigma_choice", "sigma_range"),
}


@dataclass(frozen=True)
class DrawnNoise(Settings):
    """A random noise in network units.

    A sigma of s on the grey values 0..255 of pictures is s/255 here.

    Attributes:
        kind: "uniform_multiplicative": every pixel is multiplied by U(0, high). With a
            high of 2.5 the mean is 1.25 and the standard deviation 0.722 times the
            pixel. "uniform_additive": U(0, high) is added. "gaussian": N(0, sigma^2) is
            added.
        high: Upper limit of a uniform noise.
        sigma: Standard deviation of a Gaussian noise.
        sigma_choice: Instead of `sigma`: one of these at random for every patch.
        sigma_range: Instead of `sigma`: U(low, high) for every patch.

    Raises:
        CtKerasError: CTK-E000, for an unknown kind or an invalid setting.

    Example:
        >>> DrawnNoise("gaussian", sigma_choice=(10 / 255, 30 / 255)).kind
        'gaussian'
    """

    kind: Literal["uniform_multiplicative", "uniform_additive", "gaussian"]
    high: float | None = None
    sigma: float | None = None
    sigma_choice: tuple[float, ...] | None = None
    sigma_range: tuple[float, float] | None = None

    def check(self) -> None:
        """Requires exactly one setting of the strength, with valid values."""
        every = {name for names in _STRENGTHS.values() for name in names}
        given = sorted(name for name in every if getattr(self, name) is not None)
        if len(given) != 1 or given[0] not in _STRENGTHS[self.kind]:
            raise CtKerasError(
                "CTK-E000",
                f"wrong settings for the noise {self.kind}",
                received=", ".join(given) or "none",
                expected=f"one of {', '.join(_STRENGTHS[self.kind])}",
            )
        (name,) = given
        value = getattr(self, name)
        numbers = value if isinstance(value, tuple) else (value,)
        in_order = name != "sigma_range" or numbers[0] <= numbers[1]
        if not numbers or min(numbers) < 0 or not in_order:
            raise CtKerasError(
                "CTK-E000",
                f"invalid {name} of the noise {self.kind}",
                received=value,
                expected="numbers >= 0 in network units",
            )
