"""Which records are consecutive slices of one series at one dose."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ct_keras.data.manifest import Manifest, shard_paths
from ct_keras.data.shards import Shard, damaged

#: Bytes before and after the data of a record: its length, and the sums over both.
_FRAME = 8, 4, 4
#: A feature with more bytes than this is an image, and is passed over.
_SMALL = 4096


class Place(NamedTuple):
    """Where the slice of a record lies.

    Attributes:
        case: Hash of the patient.
        series: Hash of the normal-dose series.
        dose_fraction: Dose of the low-dose slice.
        rows: Rows of both slices.
        columns: Columns of both slices.
        slice_index: Number in the series, from the feet.
    """

    case: str
    series: str
    dose_fraction: float
    rows: int
    columns: int
    slice_index: int


def consecutive_runs(places: Sequence[Place]) -> list[list[int]]:
    """Finds the longest runs of slices without a gap.

    A run never mixes patients, series, doses or sizes and never skips a slice. The
    doses of a slice may follow each other, and a run may go on in the next shard.

    Args:
        places: Of records, in their order.

    Returns:
        For each run the numbers of its records, in the order of the slices.
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
    """Reads where the slices of a split lie, without reading the images.

    Returns:
        For each shard of the split the places of its records.

    Raises:
        CtKerasError: CTK-E080, if a shard is damaged; CTK-E084, if there is no such
            split.
    """
    shards = manifest.of_split(split)
    paths = shard_paths(manifest, split)
    return [_of_shard(*pair) for pair in zip(paths, shards, strict=True)]


def _of_shard(path: Path, shard: Shard) -> list[Place]:
    from google.protobuf.message import DecodeError

    head, head_sum, data_sum = _FRAME
    places = []
    try:
        with open(path, "rb") as file:
            for _ in range(shard.records):
                length = int.from_bytes(file.read(head), "little")
                end = file.seek(head_sum, os.SEEK_CUR) + length
                places.append(_place(file, end))
                file.seek(end + data_sum)
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise damaged(shard, "a record that cannot be parsed", "none") from error
    return places


def _place(file: io.BufferedReader, end: int) -> Place:
    """Reads the small features of the ``tf.train.Example`` that ends at `end`."""
    from tensorflow.train import Features

    small = bytearray()
    _field(file)  # the only field of an Example holds all features
    while file.tell() < end:
        begin = file.tell()
        stop = _field(file) + file.tell()
        if stop - begin <= _SMALL:
            file.seek(begin)
            small += file.read(stop - begin)
        file.seek(stop)
    feature = Features.FromString(bytes(small)).feature
    return Place(
        feature["case"].bytes_list.value[0].decode(),
        feature["series"].bytes_list.value[0].decode(),
        feature["dose_fraction"].float_list.value[0],
        feature["rows"].int64_list.value[0],
        feature["columns"].int64_list.value[0],
        feature["slice_index"].int64_list.value[0],
    )


def _field(file: io.BufferedReader) -> int:
    """Reads the tag and the size of a protocol buffer field; returns the size."""
    file.seek(1, os.SEEK_CUR)
    size = shift = 0
    while (byte := file.read(1)[0]) > 127:
        size |= (byte & 127) << shift
        shift += 7
    return size | byte << shift
