"""Iterative reconstruction with `ParallelBeam`: SART and TV-regularised PWLS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.reconstruction.total_variation import prox_tv, total_variation
from ct_keras.simulation.photons import MU_WATER_MM
from ct_keras.simulation.rays import Rays

#: Rays whose path through the image is shorter than this many pixels are ignored.
_SHORTEST_PIXELS = 0.5
#: Weights are capped at this multiple of their 10 % quantile: rays through air alone
#: would otherwise limit the step size.
_MOST_WEIGHT, _LOW_SHARE = 20.0, 0.1
_POWER_STEPS = 8
_HU_MM = 1000 / MU_WATER_MM


def sart(
    rays: Rays,
    start: np.ndarray,
    *,
    iterations: int = 3,
    subsets: int = 16,
    relaxation: float = 1.0,
    momentum: bool = True,
) -> np.ndarray:
    """Simultaneous algebraic reconstruction technique with ordered subsets of views.

    Each subset updates the image by the mean misfit of its rays per mm of path. Coarse
    structures converge after a few subsets, detail and noise later, so few iterations
    give a smooth image. The statistics of the rays are not used.

    Args:
        rays: The scan.
        start: (rows, columns), initial attenuation per mm.
        iterations: Number of passes over all views.
        subsets: Number of subsets of views, a divisor of the number of views.
        relaxation: Relaxation factor of the updates, above 0 and below 2.
        momentum: Whether to use momentum, which needs several times fewer iterations.
            The method of 1984 has none.

    Returns:
        float32 (rows, columns), attenuation per mm.

    Raises:
        CtKerasError: CTK-E000, if `subsets` does not divide the number of views.

    Reference:
        Andersen and Kak, Ultrason Imaging 6(1), 81-94, 1984,
        doi:10.1177/016173468400600107; momentum: Kim et al., IEEE Trans Med Imaging
        34(1), 167-178, 2015, doi:10.1109/TMI.2014.2350962.
    """
    subsets = _check_subsets(rays, subsets)
    steps = [
        _SartStep(rays, index, subsets, relaxation) for index in _spread_order(subsets)
    ]
    image = ahead = np.array(start, np.float32)
    pace = 1.0
    for step in steps * int(iterations):
        following = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        share = np.float32((pace - 1) / following if momentum else 0)
        new = ahead + step(ahead)
        ahead = new + share * (new - image)
        image, pace = new, following
    return image


def _check_subsets(rays, subsets) -> int:
    if not (int(subsets) == subsets >= 1 and rays.beam.views % subsets == 0):
        raise CtKerasError(
            "CTK-E000",
            "invalid number of subsets",
            received=subsets,
            expected=f"a divisor of the {rays.beam.views} views",
        )
    return int(subsets)


class _SartStep:
    """The update of an image by one subset of views."""

    def __init__(self, rays: Rays, index: int, subsets: int, relaxation: float):
        self._beam = rays.beam.subset(index, subsets)
        self._integrals = rays.integrals[:, index::subsets]
        self._aperture_mm = rays.aperture_mm
        ways = self._beam.project(np.ones(self._beam.shape, np.float32))
        shortest = np.float32(_SHORTEST_PIXELS * max(self._beam.spacing_mm))
        crossing = ways > shortest
        self._share = crossing / np.maximum(ways, shortest)
        weight = self._beam.adjoint(crossing)
        self._relaxation = relaxation / np.maximum(weight, 0.1 * weight.max())

    def __call__(self, image: np.ndarray) -> np.ndarray:
        found = self._beam.project(image, aperture_mm=self._aperture_mm)
        misfit = (self._integrals - found) * self._share
        return self._relaxation * self._beam.adjoint(misfit)


def _spread_order(count: int) -> list[int]:
    """Orders subsets so that consecutive ones have different directions."""
    step = max(1, round(count * 0.382))
    while np.gcd(step, count) > 1:
        step += 1
    return [index * step % count for index in range(count)]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The result of an iterative reconstruction.

    Attributes:
        image: float32 (rows, columns), attenuation per mm.
        objective: The value of the objective at the start and after each iteration.
    """

    image: np.ndarray
    objective: list[float]


def reconstruct_tv(
    rays: Rays, start: np.ndarray, *, strength: float, iterations: int = 60
) -> Reconstruction:
    """Statistical reconstruction with a total-variation penalty.

    Minimises ``1/2 sum (A x - p)^2 / variance + strength sum |gradient of x in HU|``
    by monotone FISTA: each iteration projects once forwards and once backwards and
    applies the proximal operator of total variation; the objective never increases.

    Args:
        rays: The scan.
        start: (rows, columns), initial attenuation per mm, for instance from filtered
            back-projection.
        strength: Weight of the penalty per HU of difference between neighbouring
            pixels; 0 fits the rays alone.
        iterations: Number of iterations.

    Returns:
        The image and the values of the objective.

    Reference:
        Beck and Teboulle, IEEE Trans Image Process 18(11), 2419-2434, 2009,
        doi:10.1109/TIP.2009.2028250; Thibault et al., Med Phys 34(11), 4526-4544, 2007,
        doi:10.1118/1.2789499.
    """
    beam, aperture_mm = rays.beam, rays.aperture_mm
    weight = ray_weights(rays.variance)
    penalty = float(strength) * _HU_MM
    length = 1 / _largest_curvature(rays, weight)
    image = np.array(start, np.float32)
    views = beam.project(image, aperture_mm=aperture_mm)

    def objective(picture, projected):
        misfit = projected - rays.integrals
        fit = 0.5 * np.vdot(weight * misfit, misfit)
        return float(fit) + penalty * total_variation(picture)

    course = [objective(image, views)]
    ahead, ahead_views, momentum, dual = image, views, 1.0, None
    for _ in range(int(iterations)):
        gradient = beam.adjoint(
            weight * (ahead_views - rays.integrals), aperture_mm=aperture_mm
        )
        trial, dual = prox_tv(ahead - length * gradient, length * penalty, dual)
        trial_views = beam.project(trial, aperture_mm=aperture_mm)
        value = objective(trial, trial_views)
        better = value <= course[-1]
        new, new_views = (trial, trial_views) if better else (image, views)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        far = np.float32(momentum / following)
        on = np.float32((momentum - 1) / following)
        ahead = new + far * (trial - new) + on * (new - image)
        ahead_views = new_views + far * (trial_views - new_views)
        ahead_views += on * (new_views - views)
        image, views, momentum = new, new_views, following
        course.append(min(value, course[-1]))
    return Reconstruction(image, course)


def ray_weights(variance: np.ndarray) -> np.ndarray:
    """Returns the weights of rays, one over variance, capped.

    Args:
        variance: (bins, views), above zero.

    Returns:
        float32 (bins, views).
    """
    weight = 1 / np.maximum(np.asarray(variance, np.float32), 1e-12)
    most = _MOST_WEIGHT * np.quantile(weight, _LOW_SHARE)
    return np.minimum(weight, np.float32(most))


def _largest_curvature(rays: Rays, weight: np.ndarray) -> float:
    """Returns the largest eigenvalue of the Hessian of the data term."""
    image = np.ones(rays.beam.shape, np.float32)
    size = 1.0
    for _ in range(_POWER_STEPS):
        image /= np.linalg.norm(image)
        views = weight * rays.beam.project(image, aperture_mm=rays.aperture_mm)
        image = rays.beam.adjoint(views, aperture_mm=rays.aperture_mm)
        size = float(np.linalg.norm(image))
    return 1.05 * size
