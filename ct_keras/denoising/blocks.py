"""Denoising of volumes in overlapping blocks: bounded memory and no seams.

A block (tile) begins at a multiple of the network's downsampling factor. It overlaps
its neighbours by the halo, so that the receptive field of every voxel that is kept lies
inside the block. The result therefore does not depend on the tiling.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.models import SizeRule, largest_output

#: Approximate memory of a network for one block, in bytes.
BLOCK_BYTES = 8 * 2**30
#: Slices of a block, unless the overlap requires more; as many are in memory.
BLOCK_SLICES = 256
#: Copies of its widest layer that a network holds at once: input, output, workspace.
_COPIES = 3


@dataclass(frozen=True)
class Piece:
    """A part of an axis that is computed at once, and the part of it that is kept.

    Attributes:
        start: First index of the computed part.
        stop: Index after its end.
        first: First index that is kept.
        last: Index after the end of what is kept.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def kept(self) -> slice:
        """The kept part, relative to the start of the computed part."""
        return slice(self.first - self.start, self.last - self.start)


@dataclass(frozen=True)
class Tiling:
    """Size and overlap of the blocks.

    Attributes:
        size_rule: The sizes that the network accepts.
        halo: Radius of the receptive field in voxels, for every axis; None if a volume
            cannot be tiled.
        voxels: Maximum number of voxels in a block; more if the overlap requires it.
    """

    size_rule: SizeRule
    halo: int | None
    voxels: int

    def cut(self, shape: tuple[int, int, int]) -> tuple[list[Piece], ...]:
        """Cuts each axis of a volume so that the fewest voxels are computed."""
        if self.halo is None:
            return tuple([Piece(0, length, 0, length)] for length in shape)
        axes = [self._ways(length) for length in shape]
        flat = [way for way in axes[0] if way.size <= BLOCK_SLICES]
        axes[0] = flat or axes[0][-1:]
        fitting = [
            ways
            for ways in itertools.product(*axes)
            if math.prod(way.size for way in ways) <= self.voxels
        ] or [[ways[-1] for ways in axes]]
        best = min(fitting, key=lambda ways: math.prod(way.computed for way in ways))
        return tuple(
            self.pieces(length, way.size)
            for length, way in zip(shape, best, strict=True)
        )

    def pieces(self, length: int, size: int) -> list[Piece]:
        """Cuts an axis into parts of at most `size`, a multiple of the size rule."""
        if size >= length:
            return [Piece(0, length, 0, length)]
        multiple = self.size_rule.multiple
        step = (size - 2 * self.halo) // multiple * multiple
        last = _round_up(length - size, multiple)
        starts = [*range(0, last, step), last]
        edges = [0, *(start + self.halo for start in starts[1:]), length]
        return [
            Piece(start, min(start + size, length), first, end)
            for start, (first, end) in zip(
                starts, itertools.pairwise(edges), strict=True
            )
        ]

    def _smallest(self) -> int:
        """The smallest block: the last one must not be padded unlike the volume."""
        multiple, minimum = self.size_rule.multiple, self.size_rule.minimum
        needed = max(2 * self.halo + 2 * multiple, minimum + multiple)
        return _round_up(needed, multiple)

    def _ways(self, length: int) -> list[_Way]:
        """The possible cuts of an axis: for each number of parts, the smallest size."""
        multiple, minimum = self.size_rule.multiple, self.size_rule.minimum
        whole = _round_up(max(length, minimum), multiple)
        ways = {1: _Way(whole, length)}
        for size in range(whole - multiple, self._smallest() - 1, -multiple):
            pieces = self.pieces(length, size)
            computed = sum(piece.stop - piece.start for piece in pieces)
            ways[len(pieces)] = _Way(size, computed)
        return list(ways.values())


class _Way(NamedTuple):
    """One cut of an axis: the size of a part and the sum over all parts."""

    size: int
    computed: int


def voxels_within(network: keras.Model, memory: int = BLOCK_BYTES) -> int:
    """Returns approximately how many voxels a network can process at once.

    Args:
        network: A functional model of volumes.
        memory: Available memory in bytes.
    """
    widest = max(
        tensor.shape[-1]
        for layer in network.layers
        for tensor in keras.tree.flatten(layer.output)
    )
    return memory // (4 * _COPIES * widest)


def check_memory(
    network: keras.Model, shape: tuple[int, ...], size_rule: SizeRule
) -> None:
    """Refuses an image for which a network needs far too much memory.

    A small file can describe layers with outputs of any size.

    Args:
        network: A functional model of images or volumes.
        shape: (rows, columns), or (slices, rows, columns).
        size_rule: The sizes to which images are padded.

    Raises:
        CtKerasError: CTK-E041, if it needs more than 8 GiB and more than half of what
            the machine has.
    """
    padded = (
        _round_up(max(side, size_rule.minimum), size_rule.multiple) for side in shape
    )
    needed = 4 * _COPIES * largest_output(network, tuple(padded))
    limit = max(BLOCK_BYTES, _machine_bytes() // 2)
    if needed > limit:
        raise CtKerasError(
            "CTK-E041",
            f"the network needs about {needed / 2**30:.0f} GiB of memory for an image "
            f"of {'x'.join(map(str, shape))}",
            expected=f"at most {limit / 2**30:.0f} GiB",
            fix="use another model, or a machine with more memory",
        )


def _machine_bytes() -> int:
    """The memory of the machine; 0 if the system does not say it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def denoise_blocks(
    run: Callable[[np.ndarray], np.ndarray],
    slices: Iterable[np.ndarray],
    cut: tuple[list[Piece], ...],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Denoises a volume from an iterator of its slices.

    Only the slices of the current blocks are in memory.

    Args:
        run: Denoises a block, float32 (slices, rows, columns).
        slices: float32 (rows, columns), all slices of the volume in order.
        cut: From `Tiling.cut`.

    Returns:
        An iterator of each slice and its result.
    """
    along, *across = cut
    coming = iter(slices)
    window: list[np.ndarray] = []
    begin = 0
    for piece in along:
        del window[: piece.start - begin]
        begin = piece.start
        missing = piece.stop - begin - len(window)
        window.extend(itertools.islice(coming, missing))
        yield from zip(
            window[piece.kept], _denoise_window(run, window, piece, across), strict=True
        )


def _denoise_window(run, window, piece: Piece, across) -> np.ndarray:
    """Returns the denoised slices of a window that are kept."""
    denoised = np.empty((piece.last - piece.first, *window[0].shape), np.float32)
    for rows, columns in itertools.product(*across):
        block = np.stack(
            [hu[rows.start : rows.stop, columns.start : columns.stop] for hu in window]
        )
        result = run(block)[piece.kept, rows.kept, columns.kept]
        denoised[:, rows.first : rows.last, columns.first : columns.last] = result
    return denoised


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
