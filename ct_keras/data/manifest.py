"""The manifest of a records folder: its shards and their contents.

``manifest.json`` is written last: a folder without it is not a complete records folder.
It holds counts, sizes and SHA-256 sums, but no name, identifier, date or path of the
source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ct_keras.data.shards import Shard, check_shard, check_sum, shard_from
from ct_keras.errors import LEFT_OUT, REFUSED_NEIGHBOUR, CtKerasError
from ct_keras.files import has_shape, read_document, write_text
from ct_keras.files.labels import label_of

FORMAT = "ct_keras records"
SCHEMA_VERSION = "1.3"
MANIFEST = "manifest.json"
PARTIAL_MANIFEST = "manifest.partial.json"
SPLITS = ("train", "val", "test")
_SUMMING_THREADS = 4


@dataclass(frozen=True)
class Manifest:
    """The contents of a records folder.

    Attributes:
        folder: The records folder; not part of the file.
        layout: The layout it was converted from.
        configuration: SHA-256 of everything that determines the content.
        key_id: Identifies the key of the hashes without revealing it.
        doses: The dose fractions of the low-dose slices; 0 is unknown.
        seed: The seed of simulated noise and of a split by ratio.
        hu_range: The smallest and the largest HU of the full-dose slices.
        splits: For each split its patients, series, slices, records and bytes.
        shards: All shards in the order of their names.
        findings: Findings of the conversion, as lines of text.
        tools: Versions of the programs that wrote it.
        schema_version: Schema of the records.
    """

    folder: Path
    layout: str
    configuration: str
    key_id: str
    doses: tuple[float, ...]
    seed: int
    hu_range: tuple[float, float]
    splits: dict[str, dict[str, int]]
    shards: tuple[Shard, ...]
    findings: tuple[str, ...] = ()
    tools: dict[str, str] = field(default_factory=dict)
    schema_version: str = SCHEMA_VERSION

    @property
    def refused(self) -> list[str]:
        """The findings about series and files of the source that were left out."""
        codes = (REFUSED_NEIGHBOUR, LEFT_OUT)
        return [finding for finding in self.findings if finding.startswith(codes)]

    def of_split(self, split: str) -> tuple[Shard, ...]:
        """Returns the shards of a split.

        Raises:
            CtKerasError: CTK-E084, if the split is unknown or empty.
        """
        shards = tuple(shard for shard in self.shards if shard.split == split)
        if not any(shard.records for shard in shards):
            known = sorted({shard.split for shard in self.shards})
            raise CtKerasError(
                "CTK-E084",
                "the records have no such split, or it is empty",
                received=split,
                expected="one of " + ", ".join(known),
                fix="convert again with this split (--split of convert)",
            )
        return shards

    def check_files(self) -> None:
        """Checks the size and the frames of every shard.

        Raises:
            CtKerasError: CTK-E080 for the first shard that is missing or truncated.
        """
        for shard in self.shards:
            check_shard(self.folder / shard.file, shard)

    def to_json(self) -> str:
        """Returns the text of ``manifest.json``."""
        document = {"format": FORMAT, **asdict(self), "compression": "none"}
        document.pop("folder")
        document["intensity"] = {
            "stored": "int16, little endian, one pair of images per record",
            "hu": "stored * rescale_slope + rescale_intercept",
        }
        shards = [json.dumps(shard, sort_keys=True) for shard in document.pop("shards")]
        head = json.dumps(document, indent=1, sort_keys=True).removesuffix("\n}")
        return head + ',\n "shards": [\n  ' + ",\n  ".join(shards) + "\n ]\n}\n"


def read_manifest(records: str | os.PathLike) -> Manifest:
    """Reads the manifest of a records folder.

    Args:
        records: The folder that `convert` wrote.

    Raises:
        CtKerasError: CTK-E085, if there is none or the conversion was not finished;
            CTK-E081, if a newer version wrote it.
    """
    folder = Path(records)
    try:
        document = read_document(folder / MANIFEST)
        if not isinstance(document, dict):
            raise ValueError("not a manifest")
    except (OSError, ValueError) as error:
        partial = (folder / PARTIAL_MANIFEST).is_file()
        raise CtKerasError(
            "CTK-E085",
            "the conversion of this folder was not finished"
            if partial
            else "this is not a records folder",
            received=label_of(folder),
            expected=f"a folder with a readable {MANIFEST}",
            fix="run ct-keras convert" + (" again with the same options" * partial),
        ) from error
    _check_schema(document)
    return _from_document(folder, document)


def _check_schema(document: dict) -> None:
    version = str(document.get("schema_version", "none"))
    if document.get("format") != FORMAT or (
        version.split(".")[0] != SCHEMA_VERSION.split(".")[0]
    ):
        raise CtKerasError(
            "CTK-E081",
            "the records have a schema that this version cannot read",
            received=version,
            expected=SCHEMA_VERSION,
            fix="update ct_keras, or convert again",
        )


_SHAPE = {
    **dict.fromkeys(("layout", "configuration", "key_id", "schema_version"), str),
    "doses": [float],
    "seed": int,
    "hu_range": (float, float),
    "splits": {str: {str: int}},
    "shards": [{str: object}],
    "findings": [str],
    "tools": {str: str},
}


def _from_document(folder: Path, document: dict) -> Manifest:
    names = {item.name for item in fields(Manifest)} - {"folder"}
    try:
        if not has_shape(document, _SHAPE):
            raise TypeError("not a manifest")
        values = {name: document[name] for name in names}
        values["shards"] = tuple(shard_from(entry) for entry in values["shards"])
    except (AttributeError, KeyError, TypeError) as error:
        raise CtKerasError(
            "CTK-E085",
            f"{MANIFEST} lacks an entry, or one has the wrong type",
            received=label_of(folder),
            fix="convert again",
        ) from error
    for name in ("doses", "hu_range", "findings"):
        values[name] = tuple(values[name])
    return Manifest(folder=folder, **values)


def shard_paths(manifest: Manifest, split: str) -> list[Path]:
    """Returns the shard files of a split after checking them.

    Sizes and frames of all come first: they find every truncation, including those that
    TensorFlow silently ignores (at a record boundary or up to 11 bytes after one). The
    SHA-256 of each, at the first use in a process, finds swapped files and records.

    Raises:
        CtKerasError: CTK-E080, if a shard is missing, truncated, has a wrong number of
            records or another content; CTK-E084, if the split is unknown or empty.
    """
    shards = manifest.of_split(split)
    check_sizes(manifest, split)
    paths = [manifest.folder / shard.file for shard in shards]
    with ThreadPoolExecutor(_SUMMING_THREADS) as threads:
        for _ in threads.map(check_sum, paths, shards):
            pass
    return paths


def check_sizes(manifest: Manifest, split: str) -> None:
    """Checks the sizes and frames of the shards of a split; see `shard_paths`.

    Raises:
        CtKerasError: CTK-E080, CTK-E084.
    """
    for shard in manifest.of_split(split):
        check_shard(manifest.folder / shard.file, shard)


def count_slices(manifest: Manifest, split: str) -> int:
    """Returns the number of slice pairs (records) in a split."""
    return sum(shard.records for shard in manifest.of_split(split))


def doses_of(shards: Sequence[Shard]) -> tuple[float, ...]:
    """Returns the dose fractions of the records in ascending order; 0 is unknown."""
    places = (place for shard in shards for place in shard.places)
    return tuple(sorted({place.dose_fraction or 0.0 for place in places}))


def summary(shards: Sequence[Shard]) -> dict[str, dict[str, int]]:
    """Returns for each split its patients, series, slices, records and bytes."""
    totals = {}
    for split in SPLITS:
        own = [shard for shard in shards if shard.split == split]
        if own:
            totals[split] = {
                "patients": len({shard.case for shard in own}),
                "series": len(
                    {place.series for shard in own for place in shard.places}
                ),
                "slices": sum(shard.slices for shard in own),
                "records": sum(shard.records for shard in own),
                "bytes": sum(shard.bytes for shard in own),
            }
    return totals


def write_manifest(manifest: Manifest) -> None:
    """Writes ``manifest.json`` and deletes the partial one."""
    write_text(manifest.folder / MANIFEST, manifest.to_json())
    (manifest.folder / PARTIAL_MANIFEST).unlink(missing_ok=True)


def write_partial(folder: Path, configuration: str, shards: Sequence[Shard]) -> None:
    """Records the finished shards while a conversion runs."""
    document = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "configuration": configuration,
        "shards": [asdict(shard) for shard in shards],
    }
    write_text(folder / PARTIAL_MANIFEST, json.dumps(document, sort_keys=True))


def read_finished(folder: Path) -> tuple[str, list[Shard]] | None:
    """Returns configuration and shards of an earlier run into the same folder.

    Returns:
        None, if there is none that this version can read.
    """
    for name in (MANIFEST, PARTIAL_MANIFEST):
        try:
            document = read_document(folder / name)
            if document["schema_version"] == SCHEMA_VERSION:
                shards = [shard_from(entry) for entry in document["shards"]]
                return document["configuration"], shards
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            continue
    return None
