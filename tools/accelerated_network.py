"""Quiet-Net, its loss and its learning rate in PyTorch.

The network has the same layers and layer names as `ct_keras.models.quiet_net`; weights
are exchanged with Keras as an .npz file (`QuietNet.save`, `load`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ct_keras.metrics.tissues import EROSION_PIXELS, TISSUES

#: The layers work in hundreds of HU, as in `ct_keras.models.quiet_net`.
UNIT_HU = 100.0
#: Added to the SD of the inserted noise, so that quiet patches do not dominate.
_SCALE_FLOOR_HU = 5.0
#: The tissues that `regional_bias_loss` compares, and the pixels that make a region.
_REGIONAL = tuple(tissue for tissue in TISSUES if tissue.name in ("air", "lung"))
_FEWEST_PIXELS = 100
_WARM_UP, _LAST_RATE = 0.02, 1e-3
#: SD of a standard normal distribution truncated at +-2.
_SPREAD_OF_CUT_NORMAL = 0.87962566103423978


class QuietNet:
    """The network of `ct_keras.models.quiet_net` as a function of its weights.

    Attributes:
        weights: Layer name -> (kernel, bias), float32, layout of PyTorch.
    """

    def __init__(self, width: int, blocks: tuple[int, int, int], device: str):
        self.width, self.blocks, self.device = width, blocks, device
        self.weights: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        one, two, four = width, 2 * width, 4 * width
        self._add("down1_conv", 1, one, 4, 2.0)
        self._add_blocks("down1", one, blocks[0])
        self._add("down2_conv", one, two, 2, 2.0)
        self._add_blocks("down2", two, blocks[1])
        self._add("down3_conv", two, four, 2, 2.0)
        self._add_blocks("down3", four, blocks[2])
        self._add("up2_conv", four, two, 2, 2.0, transposed=True)
        self._add_blocks("up2", two, blocks[1])
        self._add("up1_conv", two, one, 2, 2.0, transposed=True)
        self._add_blocks("up1", one, blocks[0])
        self._add("correction", one, 1, 4, 0.0, transposed=True)

    def _add(self, name, before, after, size, scale, *, transposed=False):
        shape = (before, after) if transposed else (after, before)
        spread = math.sqrt(scale / (shape[1] * size**2))
        kernel = torch.empty((*shape, size, size))
        torch.nn.init.trunc_normal_(kernel, std=1.0, a=-2.0, b=2.0)
        kernel *= spread / _SPREAD_OF_CUT_NORMAL
        kernel = kernel.to(self.device).to(memory_format=torch.channels_last)
        bias = torch.zeros(after, device=self.device)
        self.weights[name] = kernel.requires_grad_(), bias.requires_grad_()

    def _add_blocks(self, name, width, count):
        for index in range(1, count + 1):
            self._add(f"{name}_block{index}_conv1", width, width, 3, 2.0)
            self._add(f"{name}_block{index}_conv2", width, width, 3, 0.1)

    def tensors(self) -> list[torch.Tensor]:
        """All weights in a fixed order."""
        return [tensor for pair in self.weights.values() for tensor in pair]

    def __call__(self, low, dtype: torch.dtype, weights=None):
        """Denoises (batch, rows, columns) HU."""
        names = list(self.weights)
        tensors = weights or self.tensors()
        pairs = dict(
            zip(names, zip(tensors[::2], tensors[1::2], strict=True), strict=True)
        )

        def conv(x, name, kind=torch.float32, **options):
            kernel, bias = (tensor.to(kind) for tensor in pairs[name])
            return F.conv2d(x.to(kind), kernel, bias, **options)

        def up(x, name, kind, **options):
            kernel, bias = (tensor.to(kind) for tensor in pairs[name])
            return F.conv_transpose2d(x.to(kind), kernel, bias, stride=2, **options)

        def residual(x, name, count):
            for index in range(1, count + 1):
                block = f"{name}_block{index}"
                inner = F.relu(conv(x, f"{block}_conv1", dtype, padding=1))
                x = x + conv(inner, f"{block}_conv2", dtype, padding=1)
            return x

        first, second, third = self.blocks
        x = (low / UNIT_HU)[:, None].to(memory_format=torch.channels_last)
        fine = conv(x, "down1_conv", stride=2, padding=1).to(dtype)
        fine = residual(fine, "down1", first)
        middle = residual(conv(fine, "down2_conv", dtype, stride=2), "down2", second)
        x = residual(conv(middle, "down3_conv", dtype, stride=2), "down3", third)
        x = residual(up(x, "up2_conv", dtype) + middle, "up2", second)
        x = residual(up(x, "up1_conv", dtype) + fine, "up1", first)
        x = up(x, "correction", torch.float32, padding=1)
        return low + UNIT_HU * x[:, 0]

    def save(self, tensors: list[torch.Tensor], path: Path) -> None:
        """Writes weights in the layout of Keras."""
        arrays = {}
        for index, name in enumerate(self.weights):
            kernel, bias = tensors[2 * index], tensors[2 * index + 1]
            kernel = kernel.detach().permute(2, 3, 1, 0).contiguous()
            arrays[f"{name}/kernel"] = kernel.cpu().numpy()
            arrays[f"{name}/bias"] = bias.detach().cpu().numpy()
        temporary = path.with_name("new.npz")
        np.savez(temporary, **arrays)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Reads what `save` wrote."""
        stored = np.load(path)
        with torch.no_grad():
            for name, (kernel, bias) in self.weights.items():
                new = torch.from_numpy(stored[f"{name}/kernel"])
                kernel.copy_(new.permute(3, 2, 0, 1))
                bias.copy_(torch.from_numpy(stored[f"{name}/bias"]))


def robust_noise_free_loss(output, batch: dict, softness: float):
    """`ct_keras.losses.robust_noise_free_loss` in PyTorch, HU."""
    share, scale = (
        values[:, None, None]
        for values in (batch["share"], batch["inserted"] + _SCALE_FLOOR_HU)
    )
    residual = output + share * (batch["low"] - output) - batch["reference"]
    relative = residual / scale
    return torch.mean(torch.sqrt(relative**2 + softness**2) - softness)


def regional_bias_loss(output, batch: dict, strengths: Mapping[float, float]):
    """Squared mean errors of regions of air and lung, relative to the noise.

    The mean of a region is what emphysema and airways are measured by, and a squared
    error of pixels hardly sees it. Stored pixels end at -1024 HU, so that noise makes
    air denser, and the output with the default strength keeps a part of this; so
    blends of the output with the input count too. Phantoms, whose air and lung have no
    noise in the reference, are left out.

    Args:
        output: float32 (batch, rows, columns), HU.
        batch: From `accelerated_data.draw_batch`.
        strengths: The weight of each strength.

    Returns:
        A scalar: the sum over tissues and strengths of means over the patches that hold
        enough of the tissue.
    """
    low, reference = batch["low"], batch["reference"]
    scale = batch["inserted"] + _SCALE_FLOOR_HU
    side = 2 * EROSION_PIXELS + 1
    total = torch.zeros((), device=output.device)
    for tissue in _REGIONAL:
        outside = (~tissue.holds(reference)).float()[:, None]
        inside = 1 - F.max_pool2d(outside, side, 1, EROSION_PIXELS)[:, 0]
        count = inside.sum(dim=(1, 2))
        large = ((count >= _FEWEST_PIXELS) & (batch["share"] > 0)).float()
        for strength, weight in strengths.items():
            error = low + strength * (output - low) - reference
            mean = (error * inside).sum(dim=(1, 2)) / count.clamp(min=1)
            squares = large * (mean / scale) ** 2
            total = total + weight * squares.sum() / large.sum().clamp(min=1)
    return total


def learning_rate(progress: float, highest: float) -> float:
    """Linear warm-up, then cosine decay to a thousandth, by progress from 0 to 1."""
    if progress < _WARM_UP:
        return highest * max(progress, 1e-3) / _WARM_UP
    place = (progress - _WARM_UP) / (1 - _WARM_UP)
    share = 0.5 * (1 + math.cos(math.pi * min(place, 1.0)))
    return highest * (_LAST_RATE + (1 - _LAST_RATE) * share)
