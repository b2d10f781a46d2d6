"""Isotropic total variation of an image and its proximal operator."""

from __future__ import annotations

import numpy as np

_STEPS = 8


def total_variation(image: np.ndarray) -> float:
    """Returns the sum of the gradient magnitudes, with forward differences.

    Args:
        image: (rows, columns).
    """
    rows, columns = _gradient(np.asarray(image, np.float32))
    return float(np.sqrt(rows**2 + columns**2).sum(dtype=np.float64))


def prox_tv(
    image: np.ndarray,
    weight: float,
    dual: np.ndarray | None = None,
    *,
    steps: int = _STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimises ``1/2 |x - image|^2 + weight total_variation(x)``.

    Projected gradient with momentum on the dual problem.

    Args:
        image: float32 (rows, columns).
        weight: In units of the image.
        dual: The dual variable of the previous call as a warm start; None for zeros.
        steps: Number of iterations; more come closer to the minimum.

    Returns:
        The image and the dual variable, float32 (2, rows, columns).

    Reference:
        Beck and Teboulle, IEEE Trans Image Process 18(11), 2419-2434, 2009,
        doi:10.1109/TIP.2009.2028250.
    """
    image = np.asarray(image, np.float32)
    if dual is None:
        dual = np.zeros((2, *image.shape), np.float32)
    if weight <= 0:
        return image, dual
    ahead, momentum = dual, 1.0
    for _ in range(steps):
        primal = image + np.float32(weight) * _divergence(ahead)
        new = ahead + np.float32(1 / (8 * weight)) * _gradient(primal)
        new /= np.maximum(1, np.sqrt(new[0] ** 2 + new[1] ** 2))
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + np.float32((momentum - 1) / following) * (new - dual)
        dual, momentum = new, following
    return image + np.float32(weight) * _divergence(dual), dual


def _gradient(image) -> np.ndarray:
    gradient = np.zeros((2, *image.shape), np.float32)
    np.subtract(image[1:], image[:-1], out=gradient[0, :-1])
    np.subtract(image[:, 1:], image[:, :-1], out=gradient[1, :, :-1])
    return gradient


def _divergence(field) -> np.ndarray:
    """Applies minus the transpose of `_gradient`."""
    rows, columns = field
    result = np.zeros(rows.shape, np.float32)
    result[:-1] += rows[:-1]
    result[1:] -= rows[:-1]
    result[:, :-1] += columns[:, :-1]
    result[:, 1:] -= columns[:, :-1]
    return result
