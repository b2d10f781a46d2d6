"""Slice pairs out of records, in NumPy, and the full check of a records folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ct_keras.data.manifest import Manifest, read_manifest, shard_paths
from ct_keras.data.shards import Shard, check_shard, damaged
from ct_keras.progress import track
from ct_keras.simulation import Rays


@dataclass(frozen=True)
class SlicePair:
    """A low-dose slice and its normal-dose reference.

    Attributes:
        low_hu: float32 (rows, columns), HU.
        full_hu: float32 (rows, columns), HU.
        case: Hash of the patient.
        series: Hash of the normal-dose series.
        slice_index: Number in the series, from the feet.
        dose_fraction: Dose of `low_hu` over that of `full_hu`; None if unknown.
        spacing_mm: Row and column spacing; None if unknown.
        slice_thickness_mm: None if unknown.
        kernel: Reconstruction kernel; None if unknown.
        age_band: One of `ct_keras.data.conversion.strata.AGE_BANDS`; None if unknown.
        body_part: One of `ct_keras.data.conversion.strata.BODY_PARTS`; None if unknown.
        rays: Sinogram of `low_hu`, where it was simulated just now; records have none.
    """

    low_hu: np.ndarray
    full_hu: np.ndarray
    case: str
    series: str
    slice_index: int
    dose_fraction: float | None = None
    spacing_mm: tuple[float, float] | None = None
    slice_thickness_mm: float | None = None
    kernel: str | None = None
    age_band: str | None = None
    body_part: str | None = None
    rays: Rays | None = None


def iterate_pairs(records: str | os.PathLike, split: str) -> Iterator[SlicePair]:
    """Yields every slice pair of a split, in the order of the shards.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.

    Returns:
        An iterator of `SlicePair`, HU as NumPy arrays.

    Raises:
        CtKerasError: CTK-E085, E081, E084 at once; CTK-E080 at once for a cut shard
            and at the record for a flipped bit.

    Example:
        >>> pairs = iterate_pairs("RECORDS", "test")  # doctest: +SKIP
        >>> next(pairs).low_hu.shape  # doctest: +SKIP
        (512, 512)
    """
    manifest = read_manifest(records)
    shard_paths(manifest, split)
    return _pairs(manifest, split)


def _pairs(manifest: Manifest, split: str) -> Iterator[SlicePair]:
    for shard in manifest.of_split(split):
        for serialized in _serialized(manifest, shard):
            yield _pair(serialized)


def read_some_pairs(manifest: Manifest, split: str, count: int) -> Iterator[SlicePair]:
    """Yields about `count` slice pairs spread over a split, reading little more.

    Args:
        manifest: Of the records.
        split: train, val or test.
        count: How many pairs are wanted.

    Raises:
        CtKerasError: As `iterate_pairs`.
    """
    shard_paths(manifest, split)
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
        case=record.case,
        series=record.series,
        slice_index=record.slice_index,
        dose_fraction=_tidy(record.dose_fraction) or None,
        spacing_mm=tuple(map(_tidy, record.spacing_mm))
        if all(record.spacing_mm)
        else None,
        slice_thickness_mm=_tidy(record.slice_thickness_mm) or None,
        kernel=record.kernel or None,
        age_band=record.age_band or None,
        body_part=record.body_part or None,
    )


def _serialized(manifest: Manifest, shard: Shard) -> Iterator[bytes]:
    """Yields the records of a shard; TensorFlow checks the CRC of each."""
    import tensorflow as tf

    count = 0
    try:
        for item in tf.data.TFRecordDataset(str(manifest.folder / shard.file)):
            yield item.numpy()
            count += 1
    except tf.errors.OpError as error:
        raise damaged(shard, "a record with a wrong checksum", "none") from error
    if count != shard.records:
        raise damaged(shard, f"{count} records", f"{shard.records} records")


def _hu(stored: np.ndarray, record) -> np.ndarray:
    slope = np.float32(record.rescale_slope)
    return stored.astype(np.float32) * slope + np.float32(record.rescale_intercept)


def _tidy(value: float) -> float:
    """Undoes the digits that float32 adds: 0.10000000149 is 0.1."""
    return float(f"{value:.6g}")


def verify(records: str | os.PathLike, *, progress: bool = False) -> Manifest:
    """Checks a records folder as a whole: sizes, counts and SHA-256 of every shard.

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
