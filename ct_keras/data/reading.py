"""Reads slice pairs from records, in NumPy, and verifies a records folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ct_keras.data.manifest import Manifest, check_sizes, read_manifest
from ct_keras.data.shards import Shard, check_shard, check_sum, damaged
from ct_keras.data.slice_facts import SliceFacts, facts_of
from ct_keras.progress import track
from ct_keras.simulation import Rays


@dataclass(frozen=True, kw_only=True)
class SlicePair(SliceFacts):
    """A low-dose slice, its normal-dose reference and their properties.

    Attributes:
        low_hu: float32 (rows, columns), HU.
        full_hu: float32 (rows, columns), HU.
        noise_share: Variance of the noise of `full_hu` over that of `low_hu`; None if
            unknown.
        rays: Sinogram of `low_hu`, if it was simulated on the fly; records have none.
    """

    low_hu: np.ndarray
    full_hu: np.ndarray
    noise_share: float | None = None
    rays: Rays | None = None


def iterate_pairs(records: str | os.PathLike, split: str) -> Iterator[SlicePair]:
    """Yields every slice pair of a split, in the order of the shards.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.

    Returns:
        An iterator of `SlicePair`, HU as NumPy arrays.

    Raises:
        CtKerasError: CTK-E085, E081, E084; CTK-E080 immediately for a truncated shard,
            and during iteration for a flipped bit.

    Example:
        >>> pairs = iterate_pairs("RECORDS", "test")  # doctest: +SKIP
        >>> next(pairs).low_hu.shape  # doctest: +SKIP
        (512, 512)
    """
    manifest = read_manifest(records)
    check_sizes(manifest, split)
    return _pairs(manifest, split)


def _pairs(manifest: Manifest, split: str) -> Iterator[SlicePair]:
    for shard in manifest.of_split(split):
        yield from shard_pairs(manifest, shard)


def shard_pairs(manifest: Manifest, shard: Shard) -> Iterator[SlicePair]:
    """Yields the slice pairs of one shard.

    Raises:
        CtKerasError: CTK-E080, if it is damaged.
    """
    return map(_pair, _serialized(manifest, shard))


def read_some_pairs(manifest: Manifest, split: str, count: int) -> Iterator[SlicePair]:
    """Yields about `count` slice pairs spread over a split, reading few others.

    Args:
        manifest: Manifest of the records.
        split: train, val or test.
        count: Number of pairs.

    Raises:
        CtKerasError: As `iterate_pairs`.
    """
    check_sizes(manifest, split)
    shards = manifest.of_split(split)
    chosen = np.linspace(0, len(shards) - 1, min(len(shards), count)).round()
    each = -(-count // len(chosen))
    for shard in (shards[int(index)] for index in chosen):
        wanted = np.linspace(0, shard.records - 1, min(shard.records, each)).round()
        wanted = set(wanted.astype(int))
        for number, serialized in enumerate(_serialized(manifest, shard)):
            if number in wanted:
                yield _pair(serialized)


def _pair(serialized: bytes) -> SlicePair:
    from ct_keras.data.records import decode

    record = decode(serialized)
    return SlicePair(
        low_hu=_hu(record.low, record),
        full_hu=_hu(record.full, record),
        noise_share=record.noise_share,
        **facts_of(record),
    )


def _serialized(manifest: Manifest, shard: Shard) -> Iterator[bytes]:
    """Yields the records of a shard; TensorFlow checks the CRC of each."""
    import tensorflow as tf

    path = manifest.folder / shard.file
    check_sum(path, shard)
    count = 0
    try:
        for item in tf.data.TFRecordDataset(str(path)):
            yield item.numpy()
            count += 1
    except tf.errors.OpError as error:
        raise damaged(shard, "a record with a wrong checksum", "none") from error
    if count != shard.records:
        raise damaged(shard, f"{count} records", f"{shard.records} records")


def _hu(stored: np.ndarray, record) -> np.ndarray:
    slope = np.float32(record.rescale_slope)
    return stored.astype(np.float32) * slope + np.float32(record.rescale_intercept)


def verify(records: str | os.PathLike, *, progress: bool = False) -> Manifest:
    """Verifies a records folder: sizes, counts and SHA-256 of every shard.

    Args:
        records: The folder that `convert` wrote.
        progress: Whether to show a bar.

    Raises:
        CtKerasError: CTK-E080 for the first damaged shard; CTK-E085, CTK-E081.
    """
    manifest = read_manifest(records)
    for shard in track(manifest.shards, "Verifying records", enabled=progress):
        check_shard(manifest.folder / shard.file, shard, deep=True)
    return manifest
