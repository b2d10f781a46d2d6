"""De-identified copies of CT series: the same pixels, a header with little in it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ct_keras.dicom.derived_header import file_meta
from ct_keras.dicom.pixels import read_stored
from ct_keras.dicom.series import Series, read_header
from ct_keras.dicom.sources import SourceFile, SourceSlice
from ct_keras.dicom.values import quiet_pydicom, text
from ct_keras.dicom.writer import save_file, verify_file
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import atomic_folder
from ct_keras.privacy.clean import Cleaner, Profile, is_burned_in
from ct_keras.privacy.keys import Hasher
from ct_keras.progress import track


@dataclass(frozen=True)
class DeidentifiedSeries:
    """The outcome for one series.

    Attributes:
        images: Number of files written.
        elements: Number of header elements "kept", "replaced" (UIDs), "dropped", and
            "odd": without their value, which was not one of its kind.
        findings: What the caller should know.
    """

    images: int
    elements: dict[str, int]
    findings: tuple[Finding, ...] = ()


def deidentify_series(
    series: Series,
    out: str | os.PathLike,
    key: bytes,
    *,
    profile: Profile | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> DeidentifiedSeries:
    """Writes a de-identified copy of a CT series.

    Pixel values stay as they are, uncompressed; bits that hold no pixel values, where
    overlays may hide, are cleared. Text or a face in the image itself stays too.

    Args:
        series: From `ct_keras.read_series` or `ct_keras.find_series`.
        out: The folder to write; it appears when every file was written and verified.
        key: The secret of pseudonyms and UIDs, as `ct_keras.privacy.keys.load_key`
            gives; series that are done with the same key belong together again.
        profile: What is kept beyond the basic profile.
        overwrite: Replace a folder with content.
        progress: Show a bar.

    Raises:
        CtKerasError: CTK-E052, if the header says that text is burned into the pixels;
            otherwise as the reader and CTK-E071, E073 or E074 as the writer.
    """
    cleaner = Cleaner(profile or Profile(), Hasher(key))
    files = _files(series)
    for sources in files:
        _check_burned_in(read_header(sources[0]), sources[0])
    counts = Counter(sources[0].sop_instance_uid for sources in files)
    faces = False
    places = {source.file.place for source in series.sources}
    options = {"inputs": places, "overwrite": overwrite, "kind": "series"}
    with atomic_folder(out, **options) as folder:
        for index, sources in enumerate(track(files, "Writing", enabled=progress)):
            repeated = counts[sources[0].sop_instance_uid] > 1
            header, pixels = _image(cleaner, sources, str(index) if repeated else "")
            path = folder / f"IM{index + 1:05d}.dcm"
            _write(header, pixels, path, sources[0])
            faces |= (text(header, "BodyPartExamined") or "HEAD") in _FACES
    return DeidentifiedSeries(
        len(files), dict(cleaner.counts), tuple(_findings(cleaner.counts, faces))
    )


#: Body parts from whose images a face can be drawn.
_FACES = frozenset(
    {"HEAD", "BRAIN", "SKULL", "FACE", "JAW", "SINUS", "ORBIT", "EAR", "HEADNECK"}
)


def _files(series: Series) -> list[list[SourceSlice]]:
    """The slices of a series by file, each with all frames of it in their order.

    Raises:
        CtKerasError: CTK-E048, if a file holds frames of other series too.
    """
    by_file: dict[SourceFile, list[SourceSlice]] = {}
    for source in series.sources:
        by_file.setdefault(source.file, []).append(source)
    for sources in by_file.values():
        sources.sort(key=lambda source: source.frame)
        if len(sources) != sources[0].file.frames:
            raise CtKerasError(
                "CTK-E048",
                f"file #{sources[0].number} holds {sources[0].file.frames} frames, and "
                f"{len(sources)} of them are in this series",
                fix="split it into series first",
            )
    return list(by_file.values())


def _image(
    cleaner: Cleaner, sources: list[SourceSlice], place: str
) -> tuple[Dataset, np.ndarray]:
    """The clean header and the stored values of one file."""
    first = sources[0]
    stored, start = read_stored(first)
    whole = read_header(first, start or None)
    _check_burned_in(whole, first)
    frames = [stored, *(read_stored(source)[0] for source in sources[1:])]
    with quiet_pydicom():
        header = cleaner.clean(whole)
        if place:
            header.SOPInstanceUID = cleaner.uid(first.sop_instance_uid, place)
        _describe_pixels(header, first)
    kind = "<i2" if first.signed else "<u2"
    return header, np.stack(frames).astype(kind)


def _describe_pixels(header: Dataset, source: SourceSlice) -> None:
    """What changes because the pixels are no longer compressed."""
    header.BitsAllocated = 16
    header.LossyImageCompression = "01" if source.lossy else "00"
    method = source.file.lossy_method
    if method is not None and "LossyImageCompressionRatio" not in header:
        header.LossyImageCompressionRatio = f"{source.lossy_ratio:g}"
        header.LossyImageCompressionMethod = method
    header.file_meta = file_meta(header.SOPInstanceUID, header.SOPClassUID)
    header.preamble = b"\0" * 128


def _write(header: Dataset, pixels: np.ndarray, path: Path, source) -> None:
    uids = str(header.SOPInstanceUID), str(header.SeriesInstanceUID)
    digests = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in pixels]
    try:
        with quiet_pydicom():
            save_file(header, pixels, len(pixels), path)
    except Exception as error:  # pydicom raises many types for odd header values
        if isinstance(error, OSError) and error.errno:
            raise  # the disk, not the header
        raise CtKerasError(
            "CTK-E007", f"file #{source.number}: the header cannot be rewritten"
        ) from error
    verify_file(path, *uids, digests)


def _check_burned_in(header: Dataset, source: SourceSlice) -> None:
    if is_burned_in(header):
        raise CtKerasError(
            "CTK-E052",
            f"file #{source.number} says that text is burned into its pixels",
            expected="BurnedInAnnotation NO, or none",
            fix="remove it with a program that lets you look at the images",
        )


def _findings(counts: Counter, faces: bool) -> Iterator[Finding]:
    if counts["odd"]:
        text = f"{counts['odd']} values were not of their kind, and were dropped"
        yield Finding("CTK-W053", text)
    if faces:
        text = "the images may show a face, or text that the header does not tell of"
        yield Finding("CTK-W054", text)
