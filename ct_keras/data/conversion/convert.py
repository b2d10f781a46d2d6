"""Conversion of a source folder into records: shard by shard, resumable at any time.

Each shard is written atomically and listed in ``manifest.partial.json``;
``manifest.json`` is written last. Running the same command again keeps the complete
shards and writes the others.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import ct_keras
from ct_keras.data.conversion import splits
from ct_keras.data.conversion.layouts import (
    LayoutOptions,
    SeriesPair,
    find_series_pairs,
)
from ct_keras.data.conversion.plan import Plan, make_plan, split_of_patients
from ct_keras.data.conversion.restacking import restacked
from ct_keras.data.conversion.work import Recipe, freeze
from ct_keras.data.conversion.writing import JobMaker, write_shards
from ct_keras.data.manifest import (
    MANIFEST,
    PARTIAL_MANIFEST,
    Manifest,
    doses_of,
    read_finished,
    read_manifest,
    summary,
    write_manifest,
)
from ct_keras.data.shards import Shard, check_shard
from ct_keras.data.tfds import FEATURES, INFO, write_tfds
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import check_output_folder, folder_lock, remove_stale, write_errors
from ct_keras.privacy.keys import Hasher, load_key
from ct_keras.simulation.dose import check_dose, check_doses

_DEFAULT_SPLIT = "0.7,0.15,0.15"


def convert(
    src: str | os.PathLike,
    out: str | os.PathLike,
    *,
    layout: str,
    split: str | Sequence[str] | Mapping[str, object] = _DEFAULT_SPLIT,
    doses: Sequence[float] = (0.25,),
    seed: int = 0,
    workers: int | None = None,
    resample_mm: float | None = None,
    resample_slices_mm: float | None = None,
    simulation: Mapping[str, object] | None = None,
    allow_lossy: bool = False,
    hash_key_file: str | os.PathLike | None = None,
    overwrite: bool = False,
    progress: bool = False,
    **layout_options,
) -> Manifest:
    """Converts DICOM or pictures to TFRecords, split by patient.

    Repeating a call with the same source continues an interrupted conversion and
    rebuilds damaged shards of a finished one.

    Args:
        src: The source folder; a zip archive or a DICOMDIR (`single` and `tcia`).
        out: The records folder: new, empty, or started by the same call.
        layout: A name in `LAYOUTS`.
        split: See `ct_keras.data.conversion.splits.parse_split`.
        doses: Dose fractions to simulate, if the source has no low dose.
        seed: Seed of the simulated noise and of a split by ratio.
        workers: Number of processes; by default one per core.
        resample_mm: Common in-plane spacing in mm; by default that of each scan.
        resample_slices_mm: Common slice spacing in mm; by default that of each scan.
            A low dose is simulated before, so that its noise is that of the scan.
        simulation: Options of `ct_keras.simulation.calibrate`.
        allow_lossy: Whether lossy-compressed sources are accepted.
        hash_key_file: The key of the hashes; see `load_key`.
        overwrite: Whether other content of `out` is replaced.
        progress: Whether to show bars.
        **layout_options: See `LayoutOptions`; `low` and `full` may be relative to
            `src`.

    Returns:
        The manifest of the records.

    Raises:
        CtKerasError: CTK-E000 to E051 for the source; CTK-E037 also for a common
            spacing that is larger than a scan; CTK-E011, a lossy source; CTK-E071 or
            E073 for `out`, also if another run writes to it; CTK-E083 or E084 for the
            split.

    Example:
        >>> convert(
        ...     "SCANS", "RECORDS", layout="single", doses=[0.1, 0.25], split="folders"
        ... )  # doctest: +SKIP
    """
    src, out = Path(src), Path(out)
    chosen_split = splits.parse_split(split)
    doses = check_doses(doses)
    recipe = Recipe(doses, seed, resample_mm, freeze(simulation), resample_slices_mm)
    options = _layout_options(src, layout_options)
    inputs = [folder for folder in (src, options.low, options.full) if folder]
    check_output_folder(out, inputs=inputs, resumable=True)
    hasher = Hasher(load_key(hash_key_file))
    by_folder = chosen_split == splits.FOLDERS
    series_pairs, findings = find_series_pairs(
        src, layout, options, by_folder=by_folder
    )
    patients, notes = split_of_patients(series_pairs, chosen_split, seed)
    used = [each for each in series_pairs if each.patient in patients]
    check_sources(used, allow_lossy=allow_lossy)
    used = restacked(used, recipe)
    plan = make_plan(
        used, patients, recipe, dataset=layout, hasher=hasher, progress=progress
    )
    findings = [*findings, *notes, *plan.findings]
    with folder_lock(out):
        finished = _resume(out, plan, overwrite=overwrite)
        if len(finished) == len(plan.shards) and (out / MANIFEST).is_file():
            return read_manifest(out)
        jobs = JobMaker(recipe, hasher)
        shards = write_shards(out, plan, finished, jobs, workers, progress=progress)
        known = {"layout": layout, "seed": seed, "hasher": hasher}
        return finish(out, plan, shards, findings, **known)


def _layout_options(src: Path, values: dict) -> LayoutOptions:
    for name in ("low", "full"):
        if values.get(name) is not None:
            inside = src / values[name]
            values[name] = inside if inside.is_dir() else Path(values[name])
    if values.get("dose") is not None:
        values["dose"] = check_dose(values["dose"])
    values["variants"] = tuple(values.get("variants") or ())
    try:
        return LayoutOptions(**values)
    except TypeError as error:
        raise CtKerasError(
            "CTK-E000",
            "unknown option of a layout",
            received=", ".join(sorted(values)),
            expected=", ".join(LayoutOptions.__dataclass_fields__),
        ) from error


def check_sources(series_pairs: Sequence[SeriesPair], *, allow_lossy: bool) -> None:
    """Refuses images unsuitable for training: lossy or already denoised ones."""
    images = [
        image for each in series_pairs for pair in each.pairs for image in pair.images
    ]
    lossy = sum(getattr(image, "lossy", False) for image in images)
    if lossy and not allow_lossy:
        raise CtKerasError(
            "CTK-E011",
            "the source was lossy-compressed; its noise is not that of the scanner",
            received=f"{lossy} of {len(images)} images",
            fix="leave these series out, or accept them: allow_lossy=True "
            "(--allow-lossy of convert)",
        )
    misdeclared = sum(getattr(image, "misdeclared", False) for image in images)
    if misdeclared:
        raise CtKerasError(
            "CTK-E007",
            "images are not encoded as their file meta says; whoever reads the records "
            "cannot see that",
            received=f"{misdeclared} of {len(images)} images",
            fix="write them again with pydicom or gdcmconv IN OUT",
        )
    if any(getattr(image, "denoised", False) for image in images):
        raise CtKerasError(
            "CTK-E050",
            "a series was already denoised by ct_keras",
            fix="leave it out: the network would learn from its own output",
        )


def _resume(out: Path, plan: Plan, *, overwrite: bool) -> dict[str, Shard]:
    """Returns the complete shards of an earlier run of the same call."""
    if not out.is_dir():
        return {}
    earlier = read_finished(out)
    if earlier is None or earlier[0] != plan.configuration:
        if earlier is None or not overwrite:
            # Without a manifest, the content may not be from ct_keras.
            check_output_folder(out, overwrite=overwrite, kind="records")
        _clear(out, everything=True)
        return {}
    _clear(out, everything=False)
    whole = {}
    sources = {shard.entry.file: shard.entry.source_sha256 for shard in plan.shards}
    for shard in earlier[1]:
        try:
            check_shard(out / shard.file, shard, deep=True)
        except CtKerasError:
            continue
        if sources.get(shard.file) == shard.source_sha256:
            whole[shard.file] = shard
    return whole


def _clear(out: Path, *, everything: bool) -> None:
    """Removes leftovers of killed runs, or all files that a conversion writes."""
    remove_stale(out)
    if not everything:
        return
    with write_errors(out):
        # The partial manifest is removed last: until then it marks the files as ours.
        ours = MANIFEST, INFO, FEATURES, "*.tfrecord-*", PARTIAL_MANIFEST
        for pattern in ours:
            for file in out.glob(pattern):
                if file.is_file():
                    file.unlink()


def finish(out, plan, shards, findings, *, layout, seed, hasher) -> Manifest:
    """Writes the manifest of records whose shards are written."""
    if not all(shard.exact for shard in shards):
        text = "some images are not stored exactly: they were resampled, are not whole "
        text += "numbers, span more than 65535 steps, or low and normal dose differ in "
        text += "slope or intercept"
        findings.append(Finding("CTK-W078", text))
    wrong = sum(shard.displaced for shard in shards)
    if wrong:
        text = f"air, fat and soft tissue of {wrong} slices do not lie where they "
        text += "belong: check RescaleIntercept"
        findings.append(Finding("CTK-W044", text))
    manifest = Manifest(
        folder=out,
        layout=layout,
        configuration=plan.configuration,
        key_id=hasher.key_id,
        doses=doses_of(shards),
        seed=seed,
        hu_range=(
            float(np.min([shard.hu_range[0] for shard in shards])),
            float(np.max([shard.hu_range[1] for shard in shards])),
        ),
        splits=summary(shards),
        shards=tuple(shards),
        findings=tuple(str(finding) for finding in findings),
        tools=_tools(plan),
    )
    pictures = any(each.facts.scale for shard in plan.shards for each, _ in shard.items)
    write_tfds(manifest, pictures=pictures)
    write_manifest(manifest)
    return manifest


def _tools(plan: Plan) -> dict[str, str]:
    """Versions of the programs, with the decoders of compressed pixels if any."""
    names = ("tensorflow", "numpy", "pydicom")
    versions = {name: importlib.metadata.version(name) for name in names}
    for shard in plan.shards:
        for _, pair in shard.items:
            decoders = (getattr(image, "decoder", None) for image in pair.images)
            versions |= dict(name.split() for name in decoders if name)
    return {"ct_keras": ct_keras.__version__, **versions}
