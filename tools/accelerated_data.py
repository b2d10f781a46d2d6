"""Slices and noise in device memory, and the batches drawn from them in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from accelerated_noise import dose_factors, draw_noise
from packed_slices import PHYSICS

from ct_keras.hu import FLOOR_HU

#: Range of the random doses, log-uniform. Noise-free phantoms reach full dose; a scan
#: at full dose would get no noise and teach nothing.
_LOWEST_DOSE, HIGHEST_DOSE = 0.03, 0.85
#: Share of the patches that come from phantoms, if there are scans too.
_PHANTOM_SHARE = 0.3
#: Share of the patches whose contrast and noise are scaled down, and the smallest
#: factor: for heads and other scans with little noise.
_QUIET_SHARE, _QUIETEST, _QUIET_CENTRE_HU = 0.2, 0.3, 40.0
#: Patch positions per slice, and the smallest share of body in a patch.
_PLACES, _BODY_HU, LEAST_BODY = 256, -950.0, 0.3


class Bank:
    """Slices, noise images of each, and sampling probabilities, in device memory.

    Args:
        pack: The training slices; see `packed_slices.read_pack`.
        patches: Patch sizes that will be drawn.
        quantum: Number of quantum noise images of each slice.
        electronic: Number of electronic noise images of each slice.
        device: The device that holds the arrays.
        least_body: Smallest share of body in a patch.

    Attributes:
        arrays: The arrays that `draw_batch` draws from.
        renewed: Number of slices whose noise has been renewed.
    """

    def __init__(
        self,
        pack: dict[str, np.ndarray],
        *,
        patches: Iterable[int],
        quantum: int,
        electronic: int,
        device: str,
        least_body: float = LEAST_BODY,
    ):
        self.renewed = 0
        self._counts = {"quantum": quantum, "electronic": electronic}
        hu = pack["hu"]
        count, side = hu.shape[:2]
        chances = _chances(pack["weight"], pack["noise_free"])
        generator = np.random.default_rng(0)
        self._physics = {
            name: torch.as_tensor(pack[name], device=device) for name in PHYSICS
        }
        self.arrays = {
            "reference": torch.as_tensor(hu, device=device),
            "noise_free": torch.as_tensor(pack["noise_free"], device=device),
            "cumulated": torch.as_tensor(
                np.cumsum(chances).astype(np.float32), device=device
            ),
        }
        for patch in patches:
            places = np.stack(
                [_body_places(one, patch, least_body, generator) for one in hu]
            ).astype(np.int64)
            self.arrays[f"places{patch}"] = torch.as_tensor(places, device=device)
        for name, images in self._counts.items():
            shape = (count, images, side, side)
            self.arrays[name] = torch.zeros(shape, dtype=torch.float16, device=device)
        for index in range(count):
            self._renew(index)

    def renew(self) -> None:
        """Draws new noise for the next slice."""
        self._renew(self.renewed % len(self.arrays["reference"]))
        self.renewed += 1

    def _renew(self, index: int) -> None:
        physics = {name: values[index] for name, values in self._physics.items()}
        fields = draw_noise(self.arrays["reference"][index], physics, **self._counts)
        for name, images in zip(self._counts, fields, strict=True):
            self.arrays[name][index] = images


def _chances(weight: np.ndarray, noise_free: np.ndarray) -> np.ndarray:
    """Sampling probability of each slice, with fixed shares for scans and phantoms."""
    chances = weight.astype(np.float64).copy()
    shares = {True: _PHANTOM_SHARE, False: 1 - _PHANTOM_SHARE}
    for kind, share in shares.items():
        if np.any(noise_free == kind):
            chances[noise_free == kind] *= share / chances[noise_free == kind].sum()
    return chances / chances.sum()


def _body_places(
    hu: np.ndarray, patch: int, least_body: float, generator
) -> np.ndarray:
    """Upper left corners (positions, 2) of patches that contain enough body."""
    room = np.array(hu.shape) - patch + 1
    corners = generator.integers(0, room, (20 * _PLACES, 2))
    total = cv2.integral((hu > _BODY_HU).astype(np.uint8))
    top, left = corners.T
    low, right = top + patch, left + patch
    inside = total[low, right] - total[top, right] - total[low, left] + total[top, left]
    body = corners[inside >= least_body * patch**2]
    if not len(body):
        body = corners
    return np.resize(body, (_PLACES, 2)).astype(np.int32)


@torch.no_grad()
def draw_batch(
    arrays: dict, patch: int, batch: int, highest_dose: float = HIGHEST_DOSE
) -> dict:
    """Draws patches at random doses, each with new noise.

    Args:
        arrays: The arrays of a `Bank`.
        patch: Rows and columns of a patch.
        batch: Number of patches.
        highest_dose: Of scans; phantoms reach full dose.

    Returns:
        `low` and `reference` float32 (batch, patch, patch), HU; `share` (batch,), the
        reference's share of the noise variance, 0 for phantoms; `inserted` (batch,),
        SD of the inserted noise, HU.
    """
    device = arrays["reference"].device
    numbers = torch.rand(13, batch, device=device)
    slices = torch.searchsorted(arrays["cumulated"], numbers[0])
    slices = slices.clamp(max=len(arrays["cumulated"]) - 1)
    places = arrays[f"places{patch}"]
    corner = places[slices, (numbers[1] * places.shape[1]).long()]
    count, rare = arrays["quantum"].shape[1], arrays["electronic"].shape[1]
    first = (numbers[2] * count).long()
    second = (first + 1 + (numbers[3] * (count - 1)).long()) % count
    third = (numbers[4] * rare).long()
    step = torch.arange(patch, device=device)
    rows = (corner[:, 0, None] + step)[:, :, None]
    columns = (corner[:, 1, None] + step)[:, None, :]

    def cut(images, *index):
        return images[(*(i[:, None, None] for i in index), rows, columns)].float()

    # A rotation of two independent noise images gives a third of the same variance.
    angle = (2 * np.pi) * numbers[5][:, None, None]
    quantum = angle.cos() * cut(arrays["quantum"], slices, first)
    quantum += angle.sin() * cut(arrays["quantum"], slices, second)
    electronic = cut(arrays["electronic"], slices, third)
    sign = torch.where(numbers[6] < 0.5, -1.0, 1.0)[:, None, None]
    reference = cut(arrays["reference"], slices)
    free = arrays["noise_free"][slices]
    dose = _draw_doses(numbers[7], free, highest_dose)
    factors = dose_factors(dose, free)
    parts = [factor[:, None, None] for factor in factors]
    inserted = parts[0] * quantum + parts[1] * sign * electronic
    share = _noise_share(factors, quantum, electronic, free)
    images = _varied(numbers[8:], torch.stack([reference, inserted], dim=-1))
    reference, inserted = images[..., 0], images[..., 1]
    # Scanners and networks clip at the floor.
    return {
        "low": (reference + inserted).clamp(min=FLOOR_HU),
        "reference": reference.contiguous(),
        "share": share,
        "inserted": inserted.square().mean(dim=(1, 2)).sqrt(),
    }


def _draw_doses(uniform, free, highest_dose: float):
    """Returns log-uniform doses; those of phantoms reach full dose."""
    highest = torch.where(free, 1.0, highest_dose)
    return _LOWEST_DOSE * (highest / _LOWEST_DOSE) ** uniform


def _noise_share(factors, quantum, electronic, free):
    """The variance of the reference's noise over that of the low dose, (batch,).

    It equals the dose, except for electronic noise, which grows faster.
    """
    quantum, electronic = (
        part.square().mean(dim=(1, 2)) for part in (quantum, electronic)
    )
    held = quantum + electronic
    added = factors[0] ** 2 * quantum + factors[1] ** 2 * electronic
    return torch.where(free, 0.0, held / (held + added + 1e-6))


def _varied(numbers, images):
    """Applies flips, quarter turns and random contrast to (batch, n, n, 2)."""
    turns = (numbers[:3] < 0.5)[:, :, None, None, None]
    images = torch.where(turns[0], images.flip(1), images)
    images = torch.where(turns[1], images.flip(2), images)
    images = torch.where(turns[2], images.transpose(1, 2), images)
    quiet, uniform = numbers[3:5, :, None, None, None]
    gain = torch.where(quiet < _QUIET_SHARE, _QUIETEST**uniform, 1.0)
    inserted = images[..., 1:] * gain
    reference = (images[..., :1] - _QUIET_CENTRE_HU) * gain + _QUIET_CENTRE_HU
    return torch.cat([reference, inserted], dim=-1)
