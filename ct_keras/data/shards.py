"""One TFRecord file: its manifest entry, and checks against it."""

from __future__ import annotations

import functools
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from ct_keras.data.slice_facts import Place
from ct_keras.errors import CtKerasError
from ct_keras.files import has_shape, is_plain_name, sha256_of

#: A TFRecord frame: 8 bytes length, 4 bytes CRC, the data, 4 bytes CRC.
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4

_REBUILD = "run the same ct-keras convert command again: it rebuilds only this shard"


@dataclass(frozen=True)
class Shard:
    """One TFRecord file; all its slices are of one patient.

    Attributes:
        file: The file name.
        split: train, val or test.
        index: The number in the file name.
        case: The keyed hash of the patient.
        records: The number of slice pairs.
        slices: The number of full-dose slices (each is in `records` once per dose).
        bytes: The file size.
        sha256: The checksum of the file.
        source_sha256: The checksum of its sources and settings.
        rows: The smallest and the largest number of rows.
        columns: The smallest and the largest number of columns.
        hu_range: The smallest and the largest HU of the full-dose slices.
        exact: Whether all full-dose slices kept their stored values.
        physics: Whether its records tell how to simulate other doses.
        noise_shares: Whether its records tell how much noise the full dose holds.
        displaced: How many full-dose slices have values far from those of a body.
        places: The place of each record's slice; empty in older manifests.
    """

    file: str
    split: str
    index: int
    case: str
    records: int = 0
    slices: int = 0
    bytes: int = 0
    sha256: str = ""
    source_sha256: str = ""
    rows: tuple[int, int] = (0, 0)
    columns: tuple[int, int] = (0, 0)
    hu_range: tuple[float, float] = (0.0, 0.0)
    exact: bool = True
    physics: bool = False
    noise_shares: bool = False
    displaced: int = 0
    places: tuple[Place, ...] = ()


#: The JSON of what every shard has; the rest has defaults.
SHAPE = {
    **dict.fromkeys(("file", "split", "case", "sha256", "source_sha256"), str),
    **dict.fromkeys(("index", "records", "slices", "bytes"), int),
    "rows": (int, int),
    "columns": (int, int),
    "hu_range": (float, float),
}
_PLACES = [(str, str, frozenset({float, None}), int, int, int)]


def shard_from(entry: dict) -> Shard:
    """Rebuilds a `Shard` from its JSON entry.

    Raises:
        TypeError: If it is not that of a shard.
    """
    places = entry.get("places", [])
    named = is_plain_name(entry["file"])
    if not (named and has_shape(entry, SHAPE) and has_shape(places, _PLACES)):
        raise TypeError("not the entry of a shard")
    pairs = {name: tuple(entry[name]) for name in ("rows", "columns", "hu_range")}
    places = tuple(Place(*place) for place in places)
    return Shard(**{**entry, **pairs, "places": places})


def check_shard(path: Path, shard: Shard, *, deep: bool = False) -> None:
    """Compares a shard file with its entry: size and frames, `deep` also SHA-256.

    Raises:
        CtKerasError: CTK-E080.
    """
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            raise damaged(shard, f"{size} bytes", f"{shard.bytes} bytes")
        records = count_records(path)
        if records != shard.records:
            found = f"{records} records" if records >= 0 else "a truncated record"
            raise damaged(shard, found, f"{shard.records} records")
        if deep and sha256_of(path) != shard.sha256:
            raise damaged(shard, "a different SHA-256", "that of the manifest")
    except OSError as error:
        raise damaged(shard, "no readable file", f"{shard.bytes} bytes") from error


def check_sum(path: Path, shard: Shard) -> None:
    """Compares the SHA-256 of a shard file with its entry, once in a process.

    Swapped files and records have the right size and intact records; only their sum
    differs. A file that changes is summed again.

    Raises:
        CtKerasError: CTK-E080.
    """
    try:
        status = path.stat()
        version = (status.st_size, status.st_mtime_ns, status.st_ino)
        found = _sum_of(path.resolve(), version)
    except OSError as error:
        raise damaged(shard, "no readable file", f"{shard.bytes} bytes") from error
    if found != shard.sha256:
        raise damaged(shard, "a different SHA-256", "that of the manifest")


@functools.cache
def _sum_of(path: Path, version: tuple[int, int, int]) -> str:
    return sha256_of(path)


def damaged(shard: Shard, received: str, expected: str) -> CtKerasError:
    """Returns the error for a damaged shard."""
    return CtKerasError(
        "CTK-E080",
        f"shard {shard.index} of split {shard.split} is damaged",
        received=received,
        expected=expected,
        fix=_REBUILD,
    )


def count_records(path: str | os.PathLike) -> int:
    """Counts the frames of a TFRecord file without reading the data.

    Returns:
        The number of records, or -1 if the last one is incomplete.
    """
    size = os.path.getsize(path)
    records = offset = 0
    with open(path, "rb", buffering=0) as file:
        while offset + _HEADER.size <= size:
            file.seek(offset)
            length, _ = _HEADER.unpack(file.read(_HEADER.size))
            offset += _HEADER.size + length + _FOOTER_BYTES
            records += 1
    return records if offset == size else -1
