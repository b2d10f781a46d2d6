"""Scanner noise on an accelerator: the physics of the dose simulator in PyTorch.

The steps of `ct_keras.simulation.DoseSimulator` (project, count, draw, filter,
back-project) are done here for many noise images of a slice at once. Quantum and
electronic noise are separate images at full dose, and the noise of any dose is a
weighted sum of the two (`dose_factors`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from packed_slices import BIN_MM

from ct_keras.hu import FLOOR_HU

#: Attenuation of water per mm, and HU for an attenuation of 1 per mm.
MU_WATER_MM = 0.0194
_HU_MM = 1000 / MU_WATER_MM
#: Views over 180 degrees for the noise, and for the projections that set its variance.
VIEWS, COARSE_VIEWS = 720, 120
#: Oversampling of the filtered views, which are read by nearest neighbour.
_FINER = 4
#: Smallest number of photons that a ray counts.
_FEWEST = 20.0
_VIEWS_AT_ONCE = 36


def line_integrals(hu, spacing_mm, views: int = COARSE_VIEWS):
    """Projects a slice along parallel rays.

    Args:
        hu: (side, side), HU; pixels at the floor do not attenuate.
        spacing_mm: Pixel spacing in mm.
        views: Views over 180 degrees.

    Returns:
        float32 (views, rays), rays one pixel apart, the middle one on the axis.
    """
    side = hu.shape[0]
    mu = torch.where(hu <= FLOOR_HU, 0.0, (hu * 1e-3 + 1) * MU_WATER_MM)
    reach = math.ceil(side / math.sqrt(2)) + 1
    place = torch.arange(-reach, reach + 1, device=hu.device, dtype=torch.float32)
    place = place * (2 / (side - 1))  # 1 is the distance from centre to edge
    along, across = place[None, None, :], place[None, :, None]
    angles = torch.arange(views, device=hu.device) * (math.pi / views)
    parts = []
    for some in angles.split(_VIEWS_AT_ONCE):
        cosine, sine = some.cos()[:, None, None], some.sin()[:, None, None]
        columns = across * cosine - along * sine
        rows = across * sine + along * cosine
        grid = torch.stack([columns, rows], dim=-1)
        image = mu.expand(len(some), 1, side, side)
        values = F.grid_sample(image, grid, align_corners=True)[:, 0]
        parts.append(values.sum(dim=2) * spacing_mm)
    return torch.cat(parts)


def ray_variances(hu, physics: dict):
    """Returns the variances of quantum and electronic noise of each ray at full dose.

    Args:
        hu: (side, side), HU.
        physics: `spacing_mm`, `photons`, `electronic`, `bowtie` (bins,) and
            `modulation` of the slice, tensors.

    Returns:
        Two float32 (views, bins).
    """
    integrals = line_integrals(hu, physics["spacing_mm"])
    thickest = integrals.max(dim=1).values
    current = torch.exp(physics["modulation"] * (thickest - thickest.max()))
    repeats = VIEWS // COARSE_VIEWS
    current = (current / current.mean()).repeat_interleave(repeats)
    bins, rays = len(physics["bowtie"]), integrals.shape[1]
    position = torch.arange(bins, device=hu.device) - bins // 2
    position = position * (BIN_MM / physics["spacing_mm"]) + rays // 2
    below = position.floor().clamp(0, rays - 2).long()
    weight = (position - below).clamp(0, 1)
    integrals = integrals[:, below] * (1 - weight) + integrals[:, below + 1] * weight
    integrals = integrals.repeat_interleave(repeats, dim=0)
    incident = physics["photons"] * physics["bowtie"] * current[:, None]
    inverse = 1 / torch.clamp(incident * torch.exp(-integrals), min=_FEWEST)
    return inverse, (physics["electronic"] * inverse) ** 2


def back_project(sinograms, response, spacing_mm, side: int):
    """Filters and back-projects sinograms of noise.

    Args:
        sinograms: (views, images, bins), line integrals.
        response: (bins // 2 + 1,) ramp times window, cycles per mm.
        spacing_mm: Pixel spacing in mm.
        side: Rows and columns.

    Returns:
        float32 (images, side, side), HU.
    """
    views, images, bins = sinograms.shape
    spectra = torch.fft.rfft(sinograms) * response
    fine = torch.fft.irfft(spectra, _FINER * bins) * _FINER
    fine = fine.transpose(1, 2).contiguous()
    axis = torch.arange(side, device=fine.device) - (side - 1) / 2
    axis = axis * (spacing_mm * _FINER / BIN_MM)
    total = torch.zeros(side * side, images, device=fine.device)
    for view in range(views):
        angle = math.pi * view / views
        across = axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle)
        index = across.round().long().view(-1) + bins // 2 * _FINER
        total += fine[view].index_select(0, index)
    return total.T.reshape(images, side, side) * (math.pi / views * _HU_MM)


@torch.no_grad()
def draw_noise(hu, physics: dict, *, quantum: int, electronic: int):
    """Draws noise images of a slice at full dose.

    Args:
        hu: (side, side), HU.
        physics: See `ray_variances`, and `response` (bins // 2 + 1,).
        quantum: Number of quantum noise images.
        electronic: Number of electronic noise images.

    Returns:
        float16 (quantum, side, side) and (electronic, side, side), HU; zero where the
        slice is at the floor.
    """
    spread = [variance.sqrt()[:, None] for variance in ray_variances(hu, physics)]
    views, _, bins = spread[0].shape
    drawn = torch.randn(views, quantum + electronic, bins, device=hu.device)
    drawn[:, :quantum] *= spread[0]
    drawn[:, quantum:] *= spread[1]
    images = back_project(
        drawn, physics["response"], physics["spacing_mm"], hu.shape[0]
    )
    images = torch.where(hu <= FLOOR_HU, 0.0, images).clamp(-6e4, 6e4).half()
    return images[:quantum], images[quantum:]


def dose_factors(dose, noise_free):
    """Returns the factors on quantum and electronic noise for a dose.

    Args:
        dose: Fractions of full dose, a tensor.
        noise_free: Whether the slices have no noise of their own.
    """
    held = torch.where(noise_free, 0.0, 1.0)
    return torch.sqrt(1 / dose - held), torch.sqrt(1 / dose**2 - held)
