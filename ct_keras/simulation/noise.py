"""Plain pixel noise, as the reports train on, with no model of dose or projections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.hu import to_hu, to_network

MODES = ("multiplicative", "additive")


#: Kind of contamination -> what its amount is.
CONTAMINATIONS = {
    "gaussian": "the standard deviation in HU",
    "uniform": "the limit of U(-amount, amount) in HU",
    "multiplicative": "the limit of the factor U(0, amount) of network units",
}


def contaminate(
    hu: np.ndarray, kind: str, amount: float, *, seed: int | Sequence[int] = 0
) -> np.ndarray:
    """Contaminates an image with plain noise, by name.

    Args:
        hu: Any shape, HU.
        kind: One of `CONTAMINATIONS`.
        amount: How strong it is; see `CONTAMINATIONS`.
        seed: The same seed gives the same noise.

    Returns:
        float32 of the same shape, HU.

    Raises:
        CtKerasError: CTK-E000, for another kind or an amount that is not above 0.

    Example:
        >>> noisy = contaminate(np.zeros(100_000), "uniform", 30.0)
        >>> float(noisy.std().round(1))  # 30 / sqrt(3)
        17.3
    """
    check_contamination(kind, amount)
    if kind == "gaussian":
        return add_gaussian_noise(hu, amount, seed=seed)
    mode = "additive" if kind == "uniform" else "multiplicative"
    return add_uniform_noise(hu, amount, mode=mode, seed=seed)


def check_contamination(kind: str, amount: float) -> None:
    """Refuses an unknown kind of noise, or an amount that is not above 0 (CTK-E000)."""
    if kind not in CONTAMINATIONS:
        raise CtKerasError(
            "CTK-E000",
            "unknown kind of noise",
            received=kind,
            expected=", ".join(CONTAMINATIONS),
        )
    if not 0 < amount < np.inf:
        raise CtKerasError(
            "CTK-E000",
            "invalid amount of noise",
            received=amount,
            expected=f"{CONTAMINATIONS[kind]}, above 0",
        )


def add_gaussian_noise(
    hu: np.ndarray, sigma_hu: float, *, seed: int | Sequence[int] = 0
) -> np.ndarray:
    """Adds independent normal noise to every pixel.

    Args:
        hu: Any shape, HU.
        sigma_hu: Standard deviation in HU.
        seed: The same seed gives the same noise.

    Returns:
        float32 of the same shape, HU.

    Raises:
        CtKerasError: CTK-E000, if `sigma_hu` is negative or not finite.

    Example:
        >>> float(add_gaussian_noise(np.zeros(100_000), 20.0).std().round())
        20.0
    """
    if not (np.isfinite(sigma_hu) and sigma_hu >= 0):
        raise CtKerasError(
            "CTK-E000", "invalid noise level", received=sigma_hu, expected="HU >= 0"
        )
    hu = np.asarray(hu, np.float32)
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(hu.shape, dtype=np.float32)
    return hu + np.float32(sigma_hu) * noise


def add_uniform_noise(
    hu: np.ndarray,
    high: float = 2.5,
    *,
    low: float | None = None,
    mode: str = "multiplicative",
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """Applies independent uniform noise to every pixel.

    ``multiplicative`` multiplies network units ``(HU + 1024) / 4096`` by U(low, high);
    the defaults are those of the convolutional ResNet report, ``x * U(0, 2.5)``: mean
    1.25 x, relative standard deviation 0.722. ``additive`` adds U(low, high) HU.

    Args:
        hu: Any shape, HU.
        high: Upper end: a factor, or HU.
        low: Lower end; None for 0 (multiplicative) or ``-high`` (additive).
        mode: "multiplicative" or "additive".
        seed: The same seed gives the same noise.

    Returns:
        float32 of the same shape, HU.

    Raises:
        CtKerasError: CTK-E000, for another mode or if `low` is above `high`.

    Example:
        >>> add_uniform_noise(np.full((2, 3), -1024.0)).tolist()[0]
        [-1024.0, -1024.0, -1024.0]
    """
    if mode not in MODES:
        raise CtKerasError(
            "CTK-E000", "unknown mode", received=mode, expected=" or ".join(MODES)
        )
    if low is None:
        low = 0.0 if mode == "multiplicative" else -high
    if not low <= high:
        raise CtKerasError(
            "CTK-E000",
            "invalid noise range",
            received=(low, high),
            expected="low <= high",
        )
    hu = np.asarray(hu, np.float32)
    draws = np.random.default_rng(seed).random(hu.shape, dtype=np.float32)
    draws = np.float32(low) + np.float32(high - low) * draws
    if mode == "additive":
        return hu + draws
    return to_hu(to_network(hu) * draws)
