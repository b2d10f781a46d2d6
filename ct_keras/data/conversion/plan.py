"""What a conversion will write: every shard is known before the first is begun."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import ct_keras
from ct_keras.data.conversion import splits
from ct_keras.data.conversion.keys import Hasher
from ct_keras.data.conversion.layouts import Case, Pair
from ct_keras.data.conversion.work import Recipe
from ct_keras.data.manifest import SCHEMA_VERSION, SPLITS
from ct_keras.data.shards import Shard
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import sha256_of
from ct_keras.progress import track

#: The size that shards of long cases stay below.
SHARD_BYTES = 150e6


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be written.

    Attributes:
        entry: What the manifest will say of it, but for what only its file tells.
        items: The slices with their cases, in the order of the records.
    """

    entry: Shard
    items: tuple[tuple[Case, Pair], ...]


@dataclass(frozen=True)
class Plan:
    """All shards of a conversion.

    Attributes:
        shards: In the order in which they are written.
        configuration: Sum over everything that decides the content.
        findings: What was noticed about the cases.
    """

    shards: tuple[PlannedShard, ...]
    configuration: str
    findings: tuple[Finding, ...]


def split_of_cases(
    cases: Sequence[Case], split, seed: int
) -> tuple[dict[str, str], list[Finding]]:
    """Decides the split of each patient.

    Args:
        cases: All cases of the source.
        split: What `splits.parse_split` returned.
        seed: Of a draw by ratio.

    Returns:
        Patient to split, and what was noticed.

    Raises:
        CtKerasError: CTK-E083, if a patient would be in two splits; CTK-E084.
    """
    if split == splits.FOLDERS:
        chosen: dict[str, str] = {}
        for case in cases:
            if chosen.setdefault(case.patient, case.split) != case.split:
                raise CtKerasError(
                    "CTK-E083",
                    "a patient is in two splits",
                    received=f"the folders {chosen[case.patient]} and {case.split}",
                    expected="every patient in one split",
                    fix="move all series of the patient into one folder",
                )
        return chosen, []
    names: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        names[case.patient] |= case.names
    chosen = splits.assign(split, names.items(), seed)
    left_out = len(names) - len(chosen)
    findings = []
    if left_out:
        text = f"{left_out} patients are in no split and were left out"
        findings.append(Finding("CTK-I084", text))
    return chosen, findings


def make_plan(
    cases: Sequence[Case],
    chosen: dict[str, str],
    recipe: Recipe,
    *,
    dataset: str,
    hasher: Hasher,
    shard_bytes: float = SHARD_BYTES,
    progress: bool = False,
) -> Plan:
    """Lays out the shards: one patient each, a long case in several.

    Args:
        cases: All cases of the source.
        chosen: Patient to split.
        recipe: How images are made and stored.
        dataset: Begins every file name.
        hasher: Names patients.
        shard_bytes: The size that shards stay below.
        progress: Whether to show a bar while the sources are read.

    Raises:
        CtKerasError: CTK-E005, if a source cannot be read.
    """
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.patient in chosen:
            patients[case.patient].append(case)
    used = [case for group in patients.values() for case in group]
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


def _parts(cases, recipe, shard_bytes):
    """Yields the slices of a patient in groups of equal size below the limit."""
    items = [(case, pair) for case in cases for pair in case.pairs]
    sizes = [_record_bytes(case, pair, recipe) for case, pair in items]
    count = max(1, min(len(items), -(-int(sum(sizes)) // int(shard_bytes))))
    edges = [round(number * len(items) / count) for number in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        yield tuple(items[start:stop])


def _record_bytes(case: Case, pair: Pair, recipe: Recipe) -> int:
    rows, columns = (getattr(pair.full, name, 512) for name in ("rows", "columns"))
    doses = len(recipe.doses) if pair.low is None else 1
    return 4 * rows * columns * doses + 1000


def _digests(cases: Sequence[Case], *, progress: bool) -> dict[Path, str]:
    """The content of every source file: what changed is noticed whatever its size."""
    images = [image for case in cases for pair in case.pairs for image in pair.images]
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
    for case, pair in items:
        facts = [
            [
                hasher("image", image.sop_instance_uid),
                digests[image.path],
                image.slope,
                image.intercept,
            ]
            for image in pair.images
        ]
        facts += [asdict(case.facts), pair.slice_index]
        sums.update(json.dumps(facts).encode())
    return sums.hexdigest()


def _configuration(planned: Sequence[PlannedShard], hasher: Hasher) -> str:
    facts = [
        [shard.entry.file, shard.entry.case, shard.entry.source_sha256]
        for shard in planned
    ]
    text = json.dumps([SCHEMA_VERSION, hasher.key_id, facts])
    return hashlib.sha256(text.encode()).hexdigest()


def _findings(cases: Sequence[Case]) -> tuple[Finding, ...]:
    """What the reader and pairing noticed, each once with its number of series."""
    counts = Counter(
        finding
        for case in cases
        for finding in set(case.findings)
        if finding.code != "CTK-I030"  # several series are what is expected here
    )
    found = [
        Finding(finding.code, f"{finding.text} ({count} of {len(cases)} series)")
        for finding, count in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    unmatched = sum(case.unmatched for case in cases)
    if unmatched:
        text = f"{unmatched} slices have no partner and were left out"
        found.insert(0, Finding("CTK-W039", text))
    return tuple(found)
