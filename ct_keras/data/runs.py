"""Finds records that are consecutive slices of one series at one dose."""

from __future__ import annotations

from collections.abc import Sequence

from ct_keras.data.manifest import Manifest, shard_paths
from ct_keras.data.reading import shard_pairs
from ct_keras.data.shards import Shard
from ct_keras.data.slice_facts import Place, place_of


def consecutive_runs(places: Sequence[Place]) -> list[list[int]]:
    """Finds the longest runs of slices without a gap.

    A run never mixes patients, series, doses or sizes and never skips a slice. The
    doses of a slice may be stored one after the other, and a run may continue in the
    next shard.

    Args:
        places: Places of the records, in order.

    Returns:
        For each run, the indices of its records, in the order of the slices.
    """
    runs: list[list[int]] = []
    growing: dict[tuple, list[int]] = {}
    for number, place in enumerate(places):
        key = place[:-1]
        run = growing.get(key)
        if run is None or places[run[-1]].slice_index + 1 != place.slice_index:
            run = growing[key] = []
            runs.append(run)
        run.append(number)
    return runs


def read_places(manifest: Manifest, split: str) -> list[list[Place]]:
    """Returns the places of the slices of a split.

    Returns:
        For each shard of the split, the places of its records.

    Raises:
        CtKerasError: CTK-E080, if a shard is damaged; CTK-E084, if the split is
            unknown.
    """
    shard_paths(manifest, split)
    return [_of_shard(manifest, shard) for shard in manifest.of_split(split)]


def _of_shard(manifest: Manifest, shard: Shard) -> list[Place]:
    if len(shard.places) == shard.records:
        return list(shard.places)
    # An older manifest does not list the places.
    pairs = shard_pairs(manifest, shard)
    return [place_of(pair, pair.full_hu.shape) for pair in pairs]
