"""The plan of a conversion: all shards, before the first is written."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import ct_keras
from ct_keras.data.conversion import splits
from ct_keras.data.conversion.layouts import SeriesPair, SourcePair
from ct_keras.data.conversion.pairing import lonely_findings
from ct_keras.data.conversion.work import Recipe
from ct_keras.data.manifest import SCHEMA_VERSION, SPLITS
from ct_keras.data.shards import Shard
from ct_keras.errors import LEFT_OUT, REFUSED_NEIGHBOUR, CtKerasError, Finding
from ct_keras.files import sha256_of
from ct_keras.privacy.keys import Hasher
from ct_keras.progress import track

#: Target size of a shard in bytes; larger patients are split.
SHARD_BYTES = 150e6
#: Findings of a whole source, which are not counted by series.
_OF_THE_FOLDER = (REFUSED_NEIGHBOUR, LEFT_OUT, "CTK-I084")


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be written.

    Attributes:
        entry: Its manifest entry, without what depends on the written file.
        items: The slices, each with its series pair, in the order of the records.
    """

    entry: Shard
    items: tuple[tuple[SeriesPair, SourcePair], ...]


@dataclass(frozen=True)
class Plan:
    """All shards of a conversion.

    Attributes:
        shards: In the order in which they are written.
        configuration: Checksum of everything that determines the content.
        findings: Findings while the series were read and paired.
    """

    shards: tuple[PlannedShard, ...]
    configuration: str
    findings: tuple[Finding, ...]


def split_of_patients(
    series_pairs: Sequence[SeriesPair], split, seed: int
) -> tuple[dict[str, str], list[Finding]]:
    """Decides the split of each patient.

    Args:
        series_pairs: All series pairs of the source.
        split: What `splits.parse_split` returned.
        seed: Seed of a split by ratio.

    Returns:
        A dict of patient to split, and the findings.

    Raises:
        CtKerasError: CTK-E083, if a patient would be in two splits; CTK-E084.
    """
    if split == splits.FOLDERS:
        chosen: dict[str, str] = {}
        for each in series_pairs:
            if chosen.setdefault(each.patient, each.split) != each.split:
                raise CtKerasError(
                    "CTK-E083",
                    "a patient is in two splits",
                    received=f"the folders {chosen[each.patient]} and {each.split}",
                    expected="every patient in one split",
                    fix="move all series of the patient into one folder",
                )
        return chosen, []
    names: dict[str, set[str]] = defaultdict(set)
    for each in series_pairs:
        names[each.patient] |= each.names
    chosen = splits.assign(split, names.items(), seed)
    left_out = len(names) - len(chosen)
    findings = []
    if left_out:
        text = f"{left_out} patients are in no split and were left out"
        findings.append(Finding("CTK-I084", text))
    return chosen, findings


def make_plan(
    series_pairs: Sequence[SeriesPair],
    chosen: dict[str, str],
    recipe: Recipe,
    *,
    dataset: str,
    hasher: Hasher,
    shard_bytes: float = SHARD_BYTES,
    progress: bool = False,
) -> Plan:
    """Plans the shards: each holds one patient, or a part of one.

    Args:
        series_pairs: All series pairs of the source.
        chosen: A dict of patient to split.
        recipe: How images are made and stored.
        dataset: Prefix of every file name.
        hasher: Hashes the patients.
        shard_bytes: Target size of a shard in bytes.
        progress: Whether to show a bar while the sources are read.

    Raises:
        CtKerasError: CTK-E005, if a source cannot be read.
    """
    patients: dict[str, list[SeriesPair]] = defaultdict(list)
    for each in series_pairs:
        if each.patient in chosen:
            patients[each.patient].append(each)
    used = [each for group in patients.values() for each in group]
    digests = _digests(used, progress=progress)
    planned: list[PlannedShard] = []
    for split in SPLITS:
        parts = [
            (hasher("patient", patient), part)
            for patient in sorted(patients)
            if chosen[patient] == split
            for part in _parts(patients[patient], recipe, shard_bytes)
        ]
        for index, (patient, items) in enumerate(parts):
            file = f"{dataset}-{split}.tfrecord-{index:05d}-of-{len(parts):05d}"
            entry = Shard(
                file=file,
                split=split,
                index=index,
                case=patient,
                slices=len(items),
                source_sha256=_source_sum(items, recipe, hasher, digests),
            )
            planned.append(PlannedShard(entry, items))
    return Plan(
        shards=tuple(planned),
        configuration=_configuration(planned, hasher),
        findings=_findings(used),
    )


def _parts(series_pairs, recipe, shard_bytes):
    """Yields the slices of a patient in groups of about equal size."""
    items = [(each, pair) for each in series_pairs for pair in each.pairs]
    sizes = [_record_bytes(each, pair, recipe) for each, pair in items]
    count = max(1, min(len(items), -(-int(sum(sizes)) // int(shard_bytes))))
    edges = [round(number * len(items) / count) for number in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        yield tuple(items[start:stop])


def _record_bytes(series_pair: SeriesPair, pair: SourcePair, recipe: Recipe) -> int:
    rows, columns = (getattr(pair.full, name, 512) for name in ("rows", "columns"))
    doses = len(recipe.doses) if pair.low is None else 1
    return 4 * rows * columns * doses + 1000


def _digests(series_pairs: Sequence[SeriesPair], *, progress: bool) -> dict[Path, str]:
    """SHA-256 of every source file, so that any change is noticed."""
    images = [
        image for each in series_pairs for pair in each.pairs for image in pair.images
    ]
    files = list(dict.fromkeys(image.path for image in images))
    with ThreadPoolExecutor() as pool:
        sums = pool.map(sha256_of, files)
        shown = track(sums, "Reading sources", total=len(files), enabled=progress)
        try:
            return dict(zip(files, shown, strict=True))
        except OSError as error:
            raise CtKerasError("CTK-E005", "cannot read a source file") from error


def _source_sum(items, recipe: Recipe, hasher: Hasher, digests) -> str:
    sums = hashlib.sha256()
    sums.update(json.dumps([SCHEMA_VERSION, ct_keras.__version__]).encode())
    sums.update(json.dumps(asdict(recipe), sort_keys=True, default=str).encode())
    for each, pair in items:
        facts = [
            [
                hasher("image", image.image_key),
                digests[image.path],
                image.slope,
                image.intercept,
            ]
            for image in pair.images
        ]
        facts += [asdict(each.facts), pair.slice_index]
        sums.update(json.dumps(facts).encode())
    return sums.hexdigest()


def _configuration(planned: Sequence[PlannedShard], hasher: Hasher) -> str:
    facts = [
        [shard.entry.file, shard.entry.case, shard.entry.source_sha256]
        for shard in planned
    ]
    text = json.dumps([SCHEMA_VERSION, hasher.key_id, facts])
    return hashlib.sha256(text.encode()).hexdigest()


def _findings(series_pairs: Sequence[SeriesPair]) -> tuple[Finding, ...]:
    """Findings of reader and pairing, each once with its number of series."""
    counts = Counter(
        finding
        for each in series_pairs
        for finding in set(each.findings)
        if finding.code != "CTK-I030"  # several series are expected here
    )
    found = [
        finding
        if finding.code in _OF_THE_FOLDER
        else replace(
            finding, text=f"{finding.text} ({count} of {len(series_pairs)} series)"
        )
        for finding, count in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    unmatched = sum(each.unmatched for each in series_pairs)
    return (*lonely_findings(unmatched), *found)
