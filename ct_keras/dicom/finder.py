"""Finds and reads the CT series in a folder."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from ct_keras.dicom.checks import ENHANCED_CT
from ct_keras.dicom.concatenation import missing_parts
from ct_keras.dicom.directory import lacking
from ct_keras.dicom.geometry import stack_geometry
from ct_keras.dicom.grouping import Stack, split_series
from ct_keras.dicom.headers import Kind, ScannedFile, scan_file
from ct_keras.dicom.pixels import read_stored
from ct_keras.dicom.plausibility import check_hu, unlike_hu
from ct_keras.dicom.series import Series
from ct_keras.dicom.sorting import SortedFiles
from ct_keras.dicom.sources import SourceSlice, source_findings
from ct_keras.errors import LEFT_OUT, REFUSED_NEIGHBOUR, CtKerasError, Finding
from ct_keras.inputs.archive import Entry, is_archive, list_members
from ct_keras.inputs.folders import folder_of, list_files
from ct_keras.inputs.foreign import nothing_found
from ct_keras.inputs.options import DEFAULT_OPTIONS, Limits, ReadOptions, limit_fix
from ct_keras.progress import track

#: Errors of a file without which the others of its series may be used.
_DAMAGED = frozenset(
    f"CTK-E{number}"
    for number in ("003", "005", "007", "012", "013", "020", "043", "049")
)
#: Series of a scan whose checked slices stay in memory until they are read again.
_SERIES_READ_AHEAD = 16
#: Slices that tell whether values of an unspecified unit are HU.
_UNIT_SLICES = 5
#: Slices of unusual slope or intercept whose values are looked at.
_RESCALED_SLICES = 8


@dataclass(frozen=True)
class Refusal:
    """A series, or a file of unknown series, that cannot be used.

    Attributes:
        error: The reason.
        files: Number of files concerned.
        whole_series: False for a file of unknown series.
        folder: Where that file is; a series with slices in this folder may lack it.
    """

    error: CtKerasError
    files: int
    whole_series: bool = True
    folder: PurePath | None = None


@dataclass
class Scan:
    """The result of scanning one folder.

    Attributes:
        series: The usable CT series.
        refusals: The series and files that cannot be used.
        findings: Findings about the folder as a whole.
        files: Number of files scanned.
    """

    series: list[Series] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    files: int = 0


def find_series(
    folder: str | os.PathLike,
    *,
    progress: bool = False,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> list[Series]:
    """Finds every usable CT series in a folder and the folders below it.

    Only headers are read, and the pixels of a few slices to check that the values are
    HU. If usable series are found too, a refused series appears in their findings as
    CTK-W030, and files that cannot be read, so that nobody knows their series, as
    CTK-W009. A series in the folder of such a file may lack it, and is refused too.

    Args:
        folder: A folder, one file, a zip archive, or the DICOMDIR of a medium.
        progress: Whether to show a progress bar.
        options: What is accepted, and the limits.

    Returns:
        At least one series, in the order of the file names.

    Raises:
        CtKerasError: CTK-E001, no CT image; CTK-E020, only another modality; or the
            first refusal, if no series is usable.
    """
    scan = scan_folder(folder, progress=progress, options=options)
    strays = [each for each in scan.refusals if not each.whole_series]
    refused = [each.error for each in scan.refusals if each.whole_series]
    usable, incomplete = [], []
    for series in scan.series:
        error = _lacking(series, strays, options)
        if error is None:
            usable.append(series)
        else:
            incomplete.append(error)
    if not usable:
        raise (incomplete or [each.error for each in scan.refusals])[0]
    refused += incomplete
    told = [*scan.findings, *_refused_findings(refused), *_stray_findings(strays)]
    for series in usable:
        series.findings[:0] = told
    return usable


def _beside(series: Series, strays: Iterable[Refusal]) -> list[Refusal]:
    """The files of unknown series in the folders of a series."""
    folders = {source.file.entry.parent for source in series.sources}
    return [each for each in strays if each.folder in folders]


def _lacking(
    series: Series, strays: list[Refusal], options: ReadOptions
) -> CtKerasError | None:
    """The refusal of a series that may lack a file beside it, None if accepted."""
    beside = _beside(series, strays)
    if not beside:
        return None
    try:
        accepted = options.settle("skip_bad_slices", _may_lack(beside[0].error))
    except CtKerasError as error:
        return error
    series.findings.append(replace(accepted, code=LEFT_OUT))
    return None


def _may_lack(error: CtKerasError) -> CtKerasError:
    """The refusal of a series that a file of unknown series may belong to."""
    own = "remove the file, or choose the series: series=NUMBER (--series of denoise "
    own += "and simulate)"
    return CtKerasError(
        error.code,
        f"{error.message}; it may be a slice of the series beside it",
        received=error.received,
        expected=error.expected,
        fix=own if error.fix is None else f"{error.fix}; or {own}",
    )


def _refused_findings(errors: Iterable[CtKerasError]) -> list[Finding]:
    return [
        Finding(REFUSED_NEIGHBOUR, f"another series here was refused: {error}")
        for error in errors
    ]


def _stray_findings(strays: Iterable[Refusal]) -> list[Finding]:
    """One finding for each reason."""
    by_code = defaultdict(list)
    for stray in strays:
        by_code[stray.error.code].append(stray.error)
    return [
        Finding(
            LEFT_OUT,
            f"{len(errors)} files of unknown series were left out: {errors[0]}",
        )
        for errors in by_code.values()
    ]


def left_out(series: Iterable[Series], *, chosen: bool = False) -> list[str]:
    """Tells what a result made of these series lacks.

    Args:
        series: From `find_series` or `read_series`.
        chosen: Whether the series were chosen, so that other series are not missed.

    Returns:
        The text of each reason once.
    """
    codes = (LEFT_OUT,) if chosen else (LEFT_OUT, REFUSED_NEIGHBOUR)
    found = (finding for each in series for finding in each.findings)
    return list(dict.fromkeys(each.text for each in found if each.code in codes))


def read_series(
    folder: str | os.PathLike,
    *,
    series: str | int | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Series:
    """Reads the CT series in a folder.

    Args:
        folder: A folder, one file, a zip archive, or the DICOMDIR of a medium.
        series: Which series to read if there are several: its SeriesInstanceUID, or its
            1-based number in the order of `ct-keras inspect`.
        options: What is accepted, and the limits.

    Returns:
        The series. If it was chosen and a file in its folder cannot be read, its
        findings say so (CTK-W009).

    Raises:
        CtKerasError: CTK-E030, if there are several and none is chosen, or if the
            chosen one is not found; otherwise as `find_series`.
    """
    if series is None:
        found = find_series(folder, options=options)
        if len(found) == 1:
            return found[0]
        raise _which(found, "exactly one is needed")
    scan = scan_folder(folder, options=options)
    if not scan.series:
        raise scan.refusals[0].error
    matches = [
        each
        for number, each in enumerate(scan.series, start=1)
        if str(series) in (str(number), each.series_uid)
    ]
    if len(matches) != 1:
        raise _which(scan.series, "not the chosen one")
    (chosen,) = matches
    strays = [each for each in scan.refusals if not each.whole_series]
    chosen.findings[:0] = [*scan.findings, *_stray_findings(_beside(chosen, strays))]
    return chosen


def _which(found: list[Series], problem: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E030",
        f"found {len(found)} CT series; {problem}",
        expected=f"a SeriesInstanceUID or a number from 1 to {len(found)}",
        fix="give a folder with one series only, or choose one: series=NUMBER "
        "(--series of denoise and simulate); ct-keras inspect lists them",
    )


def scan_folder(
    folder: str | os.PathLike,
    *,
    progress: bool = False,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Scan:
    """Scans every file below a folder.

    Args:
        folder: A folder, one file, a zip archive, or the DICOMDIR of a medium.
        progress: Whether to show a progress bar.
        options: What is accepted, and the limits.

    Raises:
        CtKerasError: CTK-E005, if the folder cannot be read; CTK-E006, too many files.
    """
    paths = _entries(Path(folder), options.limits)
    found = SortedFiles()
    for number, path in enumerate(track(paths, "Reading", enabled=progress), start=1):
        found.add(number, path, scan_file(path, number, options))
    found.find_lost()
    scan = Scan(files=len(paths))
    for error, path in found.strays:
        stray = Refusal(error, 1, whole_series=False, folder=path.parent)
        scan.refusals.append(stray)
    for files in found.members.values():
        found.counts[Kind.LOCALIZER] += _add_series(scan, files, options)
    lost = lacking(found.directories, found.members)
    for series in scan.series:
        if series.series_uid in lost:
            series.findings.append(lost[series.series_uid])
    scan.findings += found.findings(scan.files)
    if len(scan.series) > 1:
        text = f"found {len(scan.series)} CT series; each is processed separately"
        scan.findings.append(Finding("CTK-I030", text))
    if not scan.series and not scan.refusals:
        links = found.counts[Kind.LINK]
        error = nothing_found(scan.files, found.modality, found.others, links)
        scan.refusals.append(Refusal(error, scan.files))
    return scan


def _entries(folder: Path, limits: Limits) -> list[Entry]:
    """The files of a folder, or of an archive; of the folder of a DICOMDIR."""
    if folder.is_file() and is_archive(folder):
        return list_members(folder, limits)
    return list_files(folder_of(folder), limits)


def _add_series(scan: Scan, files: list[ScannedFile], options: ReadOptions) -> int:
    """Adds one SeriesInstanceUID to the scan; returns how many localizers it held."""
    try:
        kept, told = _undamaged(files, options)
        stacks, findings, localizers = split_series(
            [source for file in kept for source in file.sources]
        )
        findings = [*told, *findings]
        several = len(stacks) > 1
        for number, stack in enumerate(stacks, start=1):
            series = _make_series(stack, findings, number if several else 0, options)
            _check_size(series, options.limits)
            few = len(scan.series) < _SERIES_READ_AHEAD
            series.findings += _check_values(series, options, read_ahead=few)
            scan.series.append(series)
    except CtKerasError as error:
        scan.refusals.append(Refusal(error, len(files)))
        return 0
    return localizers


def _undamaged(
    files: list[ScannedFile], options: ReadOptions
) -> tuple[list[ScannedFile], list[Finding]]:
    """The files of a series that can be read; others refuse it unless accepted."""
    kept, errors = [], []
    for file in files:
        error = file.error
        if error is not None and error.code not in _DAMAGED:
            raise error
        if error is None and options.skip_bad_slices:
            error = _decoding_error(file)
        if error is None:
            kept.append(file)
        else:
            errors.append(error)
    errors += missing_parts(file.part for file in kept)
    if not errors:
        return kept, []
    if not kept:
        raise errors[0]
    accepted = options.settle("skip_bad_slices", errors[0])
    text = f"{len(errors)} files of the series were left out: {errors[0]}"
    return kept, [Finding(LEFT_OUT, text, accepted.option)]


def _decoding_error(file: ScannedFile) -> CtKerasError | None:
    """Why the pixels of a file cannot be decoded, None if they can."""
    try:
        for source in file.sources:
            if source.decoder is not None:
                read_stored(source)
    except CtKerasError as error:
        return error
    return None


def _make_series(
    stack: Stack, findings: list[Finding], number: int, options: ReadOptions
) -> Series:
    geometry = stack_geometry(stack)
    sources = [stack[i] for i in geometry.order]
    return Series(
        sources,
        geometry.spacing_mm,
        tilt_degrees=geometry.tilt_degrees,
        findings=[*findings, *geometry.findings, *source_findings(sources)],
        stack=number,
        options=options,
    )


def _check_size(series: Series, limits: Limits) -> None:
    needed = sum(source.pixel_bytes for source in series.sources)
    if needed > limits.max_series_bytes:
        raise CtKerasError(
            "CTK-E041",
            f"series needs {needed / 2**30:.1f} GiB of memory, "
            f"limit {limits.max_series_bytes / 2**30:g} GiB",
            fix=limit_fix("max_series_bytes"),
        )


def _check_values(
    series: Series, options: ReadOptions, *, read_ahead: bool
) -> list[Finding]:
    """Refuses a series whose values are not HU, or tells what was accepted."""
    read = series.read_ahead if read_ahead else series.read
    findings = check_hu(read, len(series), options)
    for index in _rescaled_otherwise(series):
        read(index)  # which measures its values
    error = _unit_error(series, read)
    if error is not None:
        findings.append(options.settle("force_hu", error))
    return [*findings, *series.value_findings()]


def _unit_error(series: Series, read: Callable) -> CtKerasError | None:
    """The refusal of values of unknown unit that do not look like HU."""
    unknown = [source for source in series.sources if not source.unit_known]
    if not unknown:
        return None
    unnamed = [source for source in unknown if not source.assumed]
    if any(source.file.sop_class_uid == ENHANCED_CT for source in unnamed):
        return _not_hu(unknown, "Enhanced CT names the unit of its values")
    few = range(min(len(series), _UNIT_SLICES))
    error = unlike_hu([read(index) for index in few])
    if error is None:
        return None
    problem = "the values do not look like HU"
    return _not_hu(unknown, problem, received=error.received, expected=error.expected)


def _not_hu(unknown: list[SourceSlice], problem: str, **details) -> CtKerasError:
    code, cause = "CTK-E042", "RescaleType is unspecified ('US')"
    if any(source.assumed for source in unknown):
        code, cause = "CTK-E040", "no RescaleSlope/Intercept"
    return CtKerasError(
        code, f"{cause}, and {problem}", fix="check slope and intercept", **details
    )


def _rescaled_otherwise(series: Series) -> list[int]:
    """The first slices whose slope or intercept is not the usual one of the series."""
    rescales = [(source.slope, source.intercept) for source in series.sources]
    usual = Counter(rescales).most_common(1)[0][0]
    others = [index for index, each in enumerate(rescales) if each != usual]
    return others[:_RESCALED_SLICES]
