"""Smoothing of sinograms before reconstruction, strongest where photons are fewest.

Rays through shoulders and hips count a hundred times fewer photons than those through
the lungs, and their noise becomes streaks. Both filters use the variance of each ray
and hardly change rays with high counts.
"""

from __future__ import annotations

import cv2
import numpy as np

#: Widths of the Gaussians, in rays, between which the adaptive filter interpolates.
_WIDTHS = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
_TOLERANCE = 1e-4
_MOST_STEPS = 200


def smooth_adaptive(
    integrals: np.ndarray, variance: np.ndarray, photons: float
) -> np.ndarray:
    """Averages every ray with its neighbours up to a number of photons.

    A ray that counted n photons (the inverse of its variance) is averaged by a Gaussian
    over ``photons / n`` rays, in both directions of the sinogram; a ray that counted
    more than `photons` is unchanged.

    Args:
        integrals: (bins, views), line integrals.
        variance: (bins, views), their noise variance.
        photons: Number of photons to average over; 0 changes nothing.

    Returns:
        float32 (bins, views).

    Reference:
        Kachelriess et al., Med Phys 28(4), 475-490, 2001, doi:10.1118/1.1358303 (same
        idea with different filters).
    """
    integrals = np.asarray(integrals, np.float32)
    # Smoothed, so that the noise of the counts does not determine the width.
    rays = photons * _blur(np.asarray(variance, np.float32), 1.0)
    known = [_rays_averaged(sd) for sd in _WIDTHS]
    place = np.interp(rays, known, np.arange(len(known))).astype(np.float32)
    smooth = integrals.copy()
    for index, sd in enumerate(_WIDTHS):
        if index == 0 or place.max() <= index - 1:
            continue
        share = np.clip(place - (index - 1), 0, 1)
        smooth += share * (_blur(integrals, sd) - _blur(integrals, _WIDTHS[index - 1]))
    return smooth


def smooth_penalised(
    integrals: np.ndarray,
    variance: np.ndarray,
    beta: float,
    *,
    view_share: float = 1.0,
) -> np.ndarray:
    """Minimises misfit over variance plus the squared differences of neighbours.

    The penalised likelihood in its weighted least-squares form: the result q minimises
    ``sum (q - p)^2 / variance + beta sum (q_i - q_j)^2`` over pairs of neighbouring
    bins and, weighted by `view_share`, neighbouring views; the last view and the
    mirrored first one are neighbours too. A ray that counted n photons is averaged over
    about ``sqrt(beta / n)`` rays to either side.

    Args:
        integrals: (bins, views) p, line integrals.
        variance: (bins, views), their noise variance.
        beta: Weight of the penalty in photons; 0 changes nothing.
        view_share: Weight of neighbouring views relative to neighbouring bins.

    Returns:
        float32 (bins, views).

    Reference:
        La Riviere, Med Phys 32(6), 1676-1683, 2005, doi:10.1118/1.1915015;
        Wang et al., IEEE Trans Med Imaging 25(10), 1272-1283, 2006,
        doi:10.1109/TMI.2006.882141.
    """
    integrals = np.asarray(integrals, np.float32)
    if beta <= 0:
        return integrals.copy()
    weight = 1 / np.maximum(np.asarray(variance, np.float32), 1e-12)

    def penalty(sinogram):
        return np.float32(beta) * _roughness_gradient(sinogram, view_share)

    # Solved for the change q - p, which is small where counts are high.
    right = -penalty(integrals)
    diagonal = weight + np.float32(beta * (2 + 2 * view_share))
    return integrals + _solve(lambda q: weight * q + penalty(q), right, diagonal)


def _rays_averaged(sd: float) -> float:
    """Returns the factor by which a two-dimensional Gaussian reduces the variance."""
    if sd == 0:
        return 1.0
    taps = np.exp(-0.5 * (np.arange(-50, 51) / sd) ** 2)
    return float((taps.sum() ** 2 / (taps**2).sum()) ** 2)


def _blur(sinogram, sd) -> np.ndarray:
    if sd == 0:
        return sinogram
    reach = int(np.ceil(4 * sd))
    padded = _wrapped(sinogram, min(reach, sinogram.shape[1]))
    smooth = cv2.GaussianBlur(padded, (0, 0), sd, borderType=cv2.BORDER_REPLICATE)
    extra = (padded.shape[1] - sinogram.shape[1]) // 2
    return smooth[:, extra : extra + sinogram.shape[1]]


def _wrapped(sinogram, views) -> np.ndarray:
    """Pads the views at both ends with the opposite views, mirrored."""
    mirrored = np.roll(sinogram[::-1], 1 - sinogram.shape[0] % 2, axis=0)
    before = mirrored[:, sinogram.shape[1] - views :]
    return np.concatenate([before, sinogram, mirrored[:, :views]], axis=1)


def _roughness_gradient(sinogram, view_share) -> np.ndarray:
    """Returns half the gradient of the sum of squared differences of neighbours."""
    gradient = np.zeros_like(sinogram)
    difference = np.diff(sinogram, axis=0)
    gradient[1:] += difference
    gradient[:-1] -= difference
    if view_share:
        around = _wrapped(sinogram, 1)
        curvature = 2 * sinogram - around[:, 2:] - around[:, :-2]
        gradient += np.float32(view_share) * curvature
    return gradient


def _solve(apply, right, diagonal) -> np.ndarray:
    """Solves symmetric positive equations by preconditioned conjugate gradients."""
    solution = np.zeros_like(right)
    residual = right.copy()
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = np.vdot(residual, scaled)
    goal = energy * _TOLERANCE**2
    for _ in range(_MOST_STEPS):
        if energy <= goal:
            break
        image = apply(direction)
        step = energy / np.vdot(direction, image)
        solution += step * direction
        residual -= step * image
        scaled = residual / diagonal
        energy, previous = np.vdot(residual, scaled), energy
        direction = scaled + (energy / previous) * direction
    return solution
