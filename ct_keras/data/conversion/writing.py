"""Writes shards one after the other from the results of many processes."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ct_keras.containers import VolumePlace
from ct_keras.data.conversion.plan import Plan, PlannedShard
from ct_keras.data.conversion.pool import Workers
from ct_keras.data.conversion.work import (
    Done,
    Job,
    Recipe,
    run,
    series_seed,
)
from ct_keras.data.manifest import MANIFEST, write_partial
from ct_keras.data.shards import Shard
from ct_keras.data.slice_facts import Place, place_of
from ct_keras.dicom import Series
from ct_keras.files import sha256_of, write_errors
from ct_keras.privacy.keys import Hasher
from ct_keras.progress import track
from ct_keras.simulation.calibration import Calibration, calibrate

#: Slices of one job, if the low dose is read and if it is simulated.
_READ_SLICES, _SIMULATED_SLICES = 8, 2


class JobMaker:
    """Splits planned shards into jobs of a few slices."""

    def __init__(self, recipe: Recipe, hasher: Hasher):
        self.recipe = recipe
        self.hasher = hasher
        self.calibrations: dict[str, object] = {}

    def calibrate(self, shards: Sequence[PlannedShard], workers: Workers, progress):
        """Calibrates every series whose low dose will be simulated, once."""
        series = {
            series_pair.series_key: series_pair.series
            for shard in shards
            for series_pair, pair in shard.items
            if pair.low is None
        }
        measure = functools.partial(calibrated, **dict(self.recipe.simulation))
        found = workers.map(measure, series.values())
        shown = track(found, "Calibrating", total=len(series), enabled=progress)
        self.calibrations = dict(zip(series, shown, strict=True))

    def jobs(self, shard: PlannedShard) -> list[Job]:
        """Returns the jobs of a shard, in the order of its records."""
        jobs = []
        groups = itertools.groupby(shard.items, key=lambda item: item[0].series_key)
        for _, group in groups:
            items = list(group)
            simulated = items[0][1].low is None
            size = _SIMULATED_SLICES if simulated else _READ_SLICES
            jobs += [
                self._job(shard, items[start : start + size])
                for start in range(0, len(items), size)
            ]
        return jobs

    def _job(self, shard: PlannedShard, items) -> Job:
        series_pair = items[0][0]
        return Job(
            pairs=tuple(
                (pair, self.hasher("image", pair.image_key)) for _, pair in items
            ),
            facts=replace(
                series_pair.facts,
                case=shard.entry.case,
                series=self.hasher("series", series_pair.series_key),
            ),
            seed=series_seed(self.recipe.seed, series_pair.series_key),
            calibration=self.calibrations.get(series_pair.series_key),
            recipe=self.recipe,
        )


def write_shards(
    out: Path,
    plan: Plan,
    finished: dict[str, Shard],
    maker: JobMaker,
    workers: int | None,
    *,
    progress: bool,
) -> list[Shard]:
    """Writes the missing shards and returns all in order."""
    missing = [shard for shard in plan.shards if shard.entry.file not in finished]
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_partial(out, plan.configuration, list(finished.values()))
    (out / MANIFEST).unlink(missing_ok=True)
    slices = sum(len(shard.items) for shard in missing)
    count = min(workers or os.cpu_count() or 1, -(-slices // _READ_SLICES))
    with Workers(count) as pool:
        maker.calibrate(missing, pool, progress)
        jobs = [maker.jobs(shard) for shard in missing]
        total = sum(map(len, jobs))
        done = pool.map(run, itertools.chain.from_iterable(jobs))
        done = track(done, "Converting", total=total, enabled=progress)
        for shard, shard_jobs in zip(missing, jobs, strict=True):
            part = itertools.islice(done, len(shard_jobs))
            finished[shard.entry.file] = write_planned(out, shard, part)
            write_partial(out, plan.configuration, list(finished.values()))
        next(done, None)  # the last one counts as done when the next is asked for
    return [finished[shard.entry.file] for shard in plan.shards]


def calibrated(series: Series | VolumePlace, **options) -> Calibration:
    """Calibrates a series, or a volume that is read for this only."""
    scan = series if isinstance(series, Series) else series.open()
    return calibrate(scan, **options)


def write_planned(out: Path, planned: PlannedShard, results: Iterator[Done]) -> Shard:
    """Writes a shard from the results of its jobs; returns its manifest entry."""
    from ct_keras.data.records import encode, write_shard

    done: list[Done] = []
    places: list[Place] = []

    def serialized() -> Iterator[bytes]:
        for result in results:
            done.append(result)
            for record in result.records:
                places.append(place_of(record, record.full.shape))
                yield encode(record)

    path = out / planned.entry.file
    count, size = write_shard(path, serialized())
    records = [record for result in done for record in result.records]
    return replace(
        planned.entry,
        records=count,
        bytes=size,
        sha256=sha256_of(path),
        places=tuple(places),
        rows=_ends(place.rows for place in places),
        columns=_ends(place.columns for place in places),
        hu_range=_ends(end for result in done for end in result.hu_range),
        physics=all(record.physics is not None for record in records),
        noise_shares=all(record.noise_share is not None for record in records),
        exact=all(result.exact for result in done),
        displaced=sum(result.displaced for result in done),
    )


def _ends(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    return min(values), max(values)
