"""Converts an archive of normal-dose series to TFRecords, shard by shard, by Beam.

The records are those of `ct_keras.data.convert` with the layout `single`: the same
shards and the same list of them. Series that cannot be converted become dead letters.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ct_keras.data.conversion import splits
from ct_keras.data.conversion.convert import check_sources, finish
from ct_keras.data.conversion.layouts import LayoutOptions, SeriesPair
from ct_keras.data.conversion.layouts.single import series_pairs_below
from ct_keras.data.conversion.plan import (
    Plan,
    PlannedShard,
    make_plan,
    split_of_patients,
)
from ct_keras.data.conversion.restacking import restacked
from ct_keras.data.conversion.work import Done, Job, Recipe, freeze, run
from ct_keras.data.conversion.writing import JobMaker, calibrated, write_planned
from ct_keras.data.manifest import MANIFEST
from ct_keras.data.shards import Shard, check_shard, shard_from
from ct_keras.dicom.finder import left_out
from ct_keras.errors import CtKerasError
from ct_keras.files import remove_stale
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions
from ct_keras.pipelines import storage
from ct_keras.pipelines.batch import BatchResult, begun, check_places, write_letters
from ct_keras.pipelines.items import Item, find_items, is_local
from ct_keras.pipelines.runner import Runner, require_beam, run_on_each
from ct_keras.pipelines.tasks import known, letter, unread_letter
from ct_keras.privacy.keys import Hasher, load_key
from ct_keras.simulation.dose import check_doses

LAYOUT = "single"


@dataclass(frozen=True)
class _ShardWork:
    """A shard for a worker: its plan, and the jobs of each series, not calibrated."""

    planned: PlannedShard
    jobs: tuple[tuple[SeriesPair, tuple[Job, ...]], ...]


def convert_archive(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    split: str | Sequence[str] = "0.7,0.15,0.15",
    doses: Sequence[float] = (0.25,),
    seed: int = 0,
    resample_mm: float | None = None,
    resample_slices_mm: float | None = None,
    simulation: dict | None = None,
    allow_lossy: bool = False,
    reading: ReadOptions = DEFAULT_OPTIONS,
    hash_key_file: str | os.PathLike | None = None,
    runner: Runner | None = None,
) -> BatchResult:
    """Converts every CT series of an archive, as `ct_keras.data.convert` would.

    Args:
        source: See `ct_keras.pipelines.items.find_items`; files that all workers see.
        out: The records folder, which all workers see; also dead-letters.jsonl.
            Repeating a call goes on with an interrupted one.
        split: See `ct_keras.data.conversion.splits.parse_split`, without "folders".
        doses: As of `ct_keras.data.convert`, as all that follow.
        seed: The same.
        resample_mm: The same.
        resample_slices_mm: The same.
        simulation: The same.
        allow_lossy: The same.
        reading: What the reader accepts.
        hash_key_file: The same.
        runner: By default the DirectRunner in this process.

    Returns:
        The outcome. A series that is refused, or breaks while it is read, is left out
        and stops no other.

    Raises:
        CtKerasError: As `process_archive`; CTK-E005 for another than the local file
            system; CTK-E083 or E084 for the split; CTK-E001, if no series is left.
    """
    require_beam()
    out, runner = os.fspath(out), runner or Runner()
    doses = check_doses(doses)
    recipe = Recipe(doses, seed, resample_mm, freeze(simulation), resample_slices_mm)
    items = find_items(source)
    _check_local([*(item.path for item in items), out])
    check_places(items, out)
    hasher = Hasher(load_key(hash_key_file))
    settings = {"task": "convert", "recipe": asdict(recipe), "split": split}
    settings |= {"allow_lossy": allow_lossy, "reading": asdict(reading)}
    settings |= {"key_id": hasher.key_id}
    with begun(out, settings):
        options = LayoutOptions(read_options=reading)
        found, letters = _series_of(
            items, _root_of(items), options, recipe, allow_lossy
        )
        conversion = _Conversion(Path(out), split, recipe, hasher, runner)
        refused = conversion.run([pair for _, pair in found])
        letters += [
            {"item": item.name, **refused[pair.series_key]}
            for item, pair in found
            if pair.series_key in refused
        ]
        write_letters(out, letters)
        slices = sum(shard.slices for shard in conversion.shards)
        kept = [pair for _, pair in found if pair.series_key not in refused]
        return BatchResult(len(items), len(kept), slices, tuple(letters))


class _Conversion:
    """Writes shards until no series is refused any more, then the manifest."""

    def __init__(
        self, out: Path, split, recipe: Recipe, hasher: Hasher, runner: Runner
    ):
        self.out = out
        self.notes = out / storage.NOTES / "shards"
        self.split = splits.parse_split(split)
        self.recipe = recipe
        self.hasher = hasher
        self.runner = runner
        self.shards: list[Shard] = []

    def run(self, series_pairs: Sequence[SeriesPair]) -> dict[str, dict]:
        """Returns the dead letters by the key of their series."""
        remove_stale(self.out)
        self.notes.mkdir(parents=True, exist_ok=True)
        refused: dict[str, dict] = {}
        while True:
            left = [pair for pair in series_pairs if pair.series_key not in refused]
            plan, findings = self._plan(left)
            there = self._take_over(plan)
            missing = [each for each in plan.shards if each.entry.file not in there]
            newly_refused = self._write(missing)
            if not newly_refused:
                break
            refused |= newly_refused  # the other shards are numbered anew
        self.shards = [_shard_at(self._note(each.entry.file)) for each in plan.shards]
        findings = [*findings, *plan.findings]
        facts = {"layout": LAYOUT, "seed": self.recipe.seed, "hasher": self.hasher}
        finish(self.out, plan, self.shards, findings, **facts)
        return refused

    def _plan(self, series_pairs: Sequence[SeriesPair]) -> tuple[Plan, list]:
        if not series_pairs:
            raise CtKerasError("CTK-E001", "no series of the archive can be converted")
        patients, findings = split_of_patients(
            series_pairs, self.split, self.recipe.seed
        )
        used = [each for each in series_pairs if each.patient in patients]
        return (
            make_plan(used, patients, self.recipe, dataset=LAYOUT, hasher=self.hasher),
            findings,
        )

    def _take_over(self, plan: Plan) -> set[str]:
        """Gives intact shards of an earlier plan the names that they have in this one.

        All others are removed. Returns the names of those that are there.
        """
        earlier = [_shard_at(note) for note in self.notes.glob("*.json")]
        intact = {
            shard.source_sha256: shard
            for shard in earlier
            if shard is not None and _is_intact(self.out / shard.file, shard)
        }
        kept = [
            (each.entry, intact[each.entry.source_sha256])
            for each in plan.shards
            if each.entry.source_sha256 in intact
        ]
        moved = [(new, old) for new, old in kept if new.file != old.file]
        (self.out / MANIFEST).unlink(missing_ok=True)
        for _, old in moved:
            os.replace(self.out / old.file, self.notes / old.file)
        names = {new.file for new, old in kept if new.file == old.file}
        for file in self.out.glob(f"{LAYOUT}-*.tfrecord-*"):
            if file.name not in names:
                file.unlink()
        for new, old in moved:
            os.replace(self.notes / old.file, self.out / new.file)
            renamed = {key: getattr(new, key) for key in ("file", "split", "index")}
            entry = asdict(replace(old, **renamed))
            storage.write_document(str(self._note(new.file)), entry)
        names |= {new.file for new, _ in moved}
        for note in self.notes.iterdir():
            if note.name.removesuffix(".json") not in names:
                note.unlink()
        return names

    def _write(self, missing: Sequence[PlannedShard]) -> dict[str, dict]:
        """Writes shards; returns the dead letters of the series that broke."""
        maker = JobMaker(self.recipe, self.hasher)
        work = [_ShardWork(each, _jobs_by_series(maker, each)) for each in missing]
        run_on_each(functools.partial(_write_one, out=self.out), work, self.runner)
        refused = {}
        for path in self.notes.glob("*.refused"):
            document = storage.read_document_at(str(path))
            refused[document["series_key"]] = document["letter"]
        return refused

    def _note(self, file: str) -> Path:
        return self.notes / f"{file}.json"


def _jobs_by_series(maker: JobMaker, planned: PlannedShard) -> tuple:
    """The jobs of each series; the key of the hashes stays in this process."""
    groups = itertools.groupby(planned.items, key=lambda item: item[0].series_key)
    grouped = [tuple(items) for _, items in groups]
    return tuple(
        (items[0][0], tuple(maker.jobs(replace(planned, items=items))))
        for items in grouped
    )


def _write_one(work: _ShardWork, *, out: Path) -> None:
    """Writes a shard and its entry, or which series was refused; runs in a worker."""
    notes, file = out / storage.NOTES / "shards", work.planned.entry.file
    current: list[SeriesPair] = []

    def results() -> Iterator[Done]:
        for pair, jobs in work.jobs:
            current[:] = [pair]
            options = dict(jobs[0].recipe.simulation)
            calibration = calibrated(pair.series, **options)
            for job in jobs:
                yield run(replace(job, calibration=calibration))

    try:
        shard = write_planned(out, work.planned, results())
    except Exception as error:
        document = {"series_key": current[0].series_key, "letter": letter(known(error))}
        storage.write_document(str(notes / f"{file}.refused"), document)
        return
    storage.write_document(str(notes / f"{file}.json"), asdict(shard))


def _series_of(
    items: Sequence[Item], root: Path, options, recipe: Recipe, allow_lossy: bool
) -> tuple[list[tuple[Item, SeriesPair]], list[dict]]:
    """The series of all items, and the dead letters of those that are refused."""
    found, letters = [], []
    for item in items:
        try:
            pairs = series_pairs_below(Path(item.path), root, options)
            check_sources(pairs, allow_lossy=allow_lossy)
            pairs = restacked(pairs, recipe)
        except CtKerasError as error:
            letters.append({"item": item.name, **letter(error)})
            continue
        unread = left_out([pair.series for pair in pairs if pair.series])
        letters += [{"item": item.name, **unread_letter(text)} for text in unread]
        found += [(item, pair) for pair in pairs]
    return found, letters


def _check_local(paths: Sequence[str]) -> None:
    if not all(map(is_local, paths)):
        raise CtKerasError(
            "CTK-E005",
            "records are converted from and to folders that all workers see",
            expected="paths of a local or shared file system",
            fix="mount or copy the archive first",
        )


def _root_of(items: Sequence[Item]) -> Path:
    """The folder below which patients are named."""
    first = items[0]
    return Path(first.path.removesuffix(first.name).rstrip("/") or "/")


def _shard_at(path: Path) -> Shard | None:
    """The entry of a shard, or None if it is damaged."""
    try:
        return shard_from(storage.read_document_at(str(path)))
    except (TypeError, KeyError, AttributeError):
        return None


def _is_intact(path: Path, shard: Shard) -> bool:
    try:
        check_shard(path, shard, deep=True)
    except CtKerasError:
        return False
    return True
