"""Writes a derived CT series: every slice, verified, or nothing at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from ct_keras import __version__
from ct_keras.dicom.derived_frames import FileIdentity, ImageOrigin
from ct_keras.dicom.derived_header import PixelFormat, derive_header
from ct_keras.dicom.pixels import SlicePixels, read_header_bytes
from ct_keras.dicom.provenance import Derivation, content_uid, now
from ct_keras.dicom.rewriting import header_errors, write_header
from ct_keras.dicom.series import Series, read_header
from ct_keras.dicom.sources import SourceSlice
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder
from ct_keras.hu import to_stored
from ct_keras.progress import track

_SPOOL_NAME = ".spool"
_SPOOL_TYPE = np.dtype("<i4")
#: Tag, VR, two bytes of nothing and length, PS3.5, 7.1.2.
_PIXELS_FOLLOW = struct.Struct("<HH2sHI")
#: Stands for a UID that is known when the pixels are.
_ANY_UID = "2.25.1"
_SIGNED_16 = PixelFormat(bits_stored=16, signed=True)
_UNSIGNED_16 = PixelFormat(bits_stored=16, signed=False)


class SeriesWriter:
    """Writes a derived series slice by slice, in bounded memory.

    New pixels and source headers are collected in one temporary file. If the `with`
    block ends without an error and every slice was given, the DICOM files are written
    from it, read back and compared, and the folder appears under its final name.
    Otherwise nothing is left behind. A series from single-frame files becomes one file
    for each slice; the frames of a multi-frame file become one file of its class.

    Stored values keep the slope, intercept and pixel format of the source if every
    value fits; otherwise the series becomes 16-bit signed. Padding keeps its stored
    values.

    Attributes:
        padding: Pixels that keep the stored value of the source, so far.
        clipped: Pixels that did not fit the stored range, known when the block ends.
        series_uid: SeriesInstanceUID of the result, known when the block ends.

    Example:
        >>> with SeriesWriter(series, "OUT", derivation) as writer:  # doctest: +SKIP
        ...     for slice_index in range(len(series)):
        ...         pixels = series.read(slice_index)
        ...         writer.write(slice_index, net(pixels.hu), pixels)
    """

    def __init__(
        self,
        series: Series,
        out: str | os.PathLike,
        derivation: Derivation | None = None,
        *,
        overwrite: bool = False,
        allow_repeat: bool = False,
        neighbours: int = 0,
        keep_equipment: bool = False,
        progress: bool = False,
    ):
        self.series = series
        self.derivation = (derivation or Derivation()).of_series(
            series.accepted, incomplete=series.incomplete
        )
        self.clipped = self.padding = 0
        self.series_uid: str | None = None
        self._out = Path(out)
        self._overwrite = overwrite
        self._neighbours = neighbours
        self._runs = series.runs
        self._keep_equipment = keep_equipment
        self._progress = progress
        self._headers: dict[int, tuple[int, int]] = {}
        self._rehearsed: set[int] = set()
        self._widened = False
        self._highest = 0
        self._spool: BinaryIO | None = None
        if series.denoised and self.derivation.denoises and not allow_repeat:
            raise CtKerasError(
                "CTK-E050",
                "series was already denoised by ct_keras",
                fix="denoise the original, or accept the repetition: "
                "allow_repeat=True (--allow-repeat of denoise)",
            )

    def __enter__(self) -> SeriesWriter:
        self._rehearse_all()
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(
                atomic_folder(
                    self._out,
                    inputs=self.series.places,
                    overwrite=self._overwrite,
                    kind="series",
                )
            )
            spool = open(self._folder / _SPOOL_NAME, "w+b")
            self._spool = stack.enter_context(spool)
            self._spool.truncate(int(np.prod(self.series.shape)) * _SPOOL_TYPE.itemsize)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if error is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._finish()
        return None

    def write(
        self, slice_index: int, hu: np.ndarray, pixels: SlicePixels | None = None
    ) -> None:
        """Takes the values of one slice, in any order.

        Args:
            slice_index: 0 is the slice nearest the feet.
            hu: (rows, columns) in HU. Padding keeps its stored values.
            pixels: The source slice, if it was read before; None reads it.

        Raises:
            CtKerasError: CTK-E000, if the shape is wrong; CTK-E007, if the header
                cannot be rewritten; CTK-E070, if a value is not finite.
        """
        source = self.series.sources[slice_index]
        hu = np.asarray(hu)
        if hu.shape != (source.rows, source.columns):
            raise CtKerasError(
                "CTK-E000",
                f"slice {slice_index + 1} does not have the shape of its source",
                received=hu.shape,
                expected=(source.rows, source.columns),
            )
        if not np.isfinite(hu).all():
            raise CtKerasError(
                "CTK-E070", f"slice {slice_index + 1}: output is not finite"
            )
        pixels = pixels or self.series.read(slice_index)
        if pixels.header:
            self._rehearse([slice_index], pixels.header)
        stored = to_stored(hu, source.slope, source.intercept)
        np.copyto(stored, pixels.stored, where=pixels.padding)
        self.padding += int(np.count_nonzero(pixels.padding))
        np.clip(stored, -(2**31), 2**31 - 1, out=stored)
        lowest, highest = int(stored.min()), int(stored.max())
        self._highest = max(self._highest, highest)
        if not source_format(source).holds(lowest, highest):
            self._widened = True
        self._spool.seek(slice_index * hu.size * _SPOOL_TYPE.itemsize)
        self._spool.write(stored.astype(_SPOOL_TYPE).tobytes())
        # Headers are stored after the pixels of all slices.
        self._headers[slice_index] = (
            self._spool.seek(0, os.SEEK_END),
            len(pixels.header),
        )
        self._spool.write(pixels.header)

    def _finish(self) -> None:
        missing = len(self.series) - len(self._headers)
        if missing:
            raise CtKerasError(
                "CTK-E075", f"{missing} of {len(self.series)} slices were not given"
            )
        digests = self._digest()
        seeds = self._seeds()
        whole = hashlib.sha256("".join(digests).encode()).hexdigest()
        self.series_uid = content_uid("series", self.series.series_uid, *seeds, whole)
        moment = now(self._header(0))
        files = self._files()
        counts = Counter(self._source(indices).sop_instance_uid for indices in files)
        numbered = enumerate(files, start=1)
        bar = track(numbered, "Writing DICOM", total=len(files), enabled=self._progress)
        for number, indices in bar:
            source = self._source(indices)
            content = [*seeds, *(digests[index] for index in indices)]
            if counts[source.sop_instance_uid] > 1:
                content.append(str(number - 1))  # only its place identifies it
            uid = content_uid("instance", source.sop_instance_uid, *content)
            images = [
                ImageOrigin(self.series.sources[index], self._used(index))
                for index in indices
            ]
            identity = FileIdentity(uid, self.series_uid, images, moment)
            path = self._folder / f"IM{number:05d}.dcm"
            self._write_file(indices, identity, path)
            expected = [digests[index] for index in indices]
            verify_file(path, uid, self.series_uid, expected)
        self._spool.close()
        (self._folder / _SPOOL_NAME).unlink()

    def _files(self) -> list[list[int]]:
        """The slices of each file: one, or the frames of a file in their order."""
        files: dict[object, list[int]] = defaultdict(list)
        for index, source in enumerate(self.series.sources):
            files[source.file if source.file.multi_frame else index].append(index)
        for indices in files.values():
            indices.sort(key=lambda index: self.series.sources[index].frame)
        return list(files.values())

    def _source(self, indices: list[int]) -> SourceSlice:
        return self.series.sources[indices[0]]

    def _write_file(
        self, indices: list[int], identity: FileIdentity, path: Path
    ) -> None:
        header = self._header(indices[0])
        with header_errors(header, identity.source.number):
            self._derive(header, identity)
            frames = (self._pixels(index) for index in indices)
            save_file(header, frames, len(indices), path)

    def _derive(self, header: Dataset, identity: FileIdentity) -> None:
        derive_header(
            header,
            self.derivation,
            identity,
            self._format(identity.source),
            keep_equipment=self._keep_equipment,
        )

    def _rehearse_all(self) -> None:
        """Rewrites the headers at hand; those of multi-frame files are read."""
        for indices in self._files():
            source = self._source(indices)
            if source.file.multi_frame:
                self._rehearse(indices, read_header_bytes(source))
            elif (pixels := self.series.ahead.get(indices[0])) is not None:
                self._rehearse(indices, pixels.header)

    def _rehearse(self, indices: list[int], data: bytes) -> None:
        """Derives a header and writes it to memory, before its pixels are computed."""
        if indices[0] in self._rehearsed:
            return
        source = self._source(indices)
        header = read_header(source, data)
        images = [
            ImageOrigin(self.series.sources[index], self._used(index))
            for index in indices
        ]
        with header_errors(header, source.number):
            identity = FileIdentity(_ANY_UID, _ANY_UID, images, now(header))
            self._derive(header, identity)
            write_header(header, BytesIO())
        self._rehearsed.update(indices)

    def _header(self, slice_index: int) -> Dataset:
        source = self.series.sources[slice_index]
        place, size = self._headers[slice_index]
        self._spool.seek(place)
        data = self._spool.read(size) if size else read_header_bytes(source)
        return read_header(source, data)

    def _format(self, source: SourceSlice) -> PixelFormat:
        """The format of the source if every slice fits, otherwise 16-bit signed."""
        own = source_format(source)
        if not self._widened:
            return own
        if own == _UNSIGNED_16 and self._highest > _SIGNED_16.highest:
            return own  # no 16-bit format holds all values
        return _SIGNED_16

    def _pixels(self, slice_index: int) -> np.ndarray:
        """Reads one slice from the spool, clipped to its final type."""
        pixel_format = self._format(self.series.sources[slice_index])
        stored = self._spooled(slice_index)
        clipped = np.clip(stored, pixel_format.lowest, pixel_format.highest)
        return clipped.astype(pixel_format.dtype)

    def _digest(self) -> list[str]:
        """SHA-256 of the pixels of each slice; also counts clipped pixels."""
        digests = []
        for index in range(len(self.series)):
            pixels = self._pixels(index)
            digests.append(hashlib.sha256(pixels.tobytes()).hexdigest())
            if self._widened:
                self.clipped += int(np.count_nonzero(self._spooled(index) != pixels))
        return digests

    def _spooled(self, slice_index: int) -> np.ndarray:
        source = self.series.sources[slice_index]
        size = source.rows * source.columns * _SPOOL_TYPE.itemsize
        self._spool.seek(slice_index * size)
        return np.frombuffer(self._spool.read(size), _SPOOL_TYPE)

    def _seeds(self) -> tuple[str, ...]:
        derivation = self.derivation
        return derivation.weights_sha256 or "", derivation.identity(), __version__

    def _used(self, slice_index: int) -> list[SourceSlice]:
        (run,) = (run for run in self._runs if run.start <= slice_index < run.stop)
        low = max(run.start, slice_index - self._neighbours)
        high = min(run.stop, slice_index + self._neighbours + 1)
        return list(self.series.sources[low:high])


def source_format(source: SourceSlice) -> PixelFormat:
    """Returns how the pixels of a source slice are stored."""
    return PixelFormat(source.bits_stored, source.signed)


def save_file(
    header: Dataset, frames: Iterable[np.ndarray], count: int, path: Path
) -> str:
    """Writes one file: header, then pixels, Explicit VR Little Endian.

    Args:
        header: Without pixels.
        frames: The pixels of one image after the other, in their final type.
        count: Number of frames.
        path: The new file.
    """
    write_header(header, path)
    length = header.Rows * header.Columns * 2 * count
    with open(path, "ab") as file:
        file.write(_PIXELS_FOLLOW.pack(0x7FE0, 0x0010, b"OW", 0, length))
        for frame in frames:
            file.write(frame.tobytes())


def verify_file(
    path: Path, sop_instance_uid: str, series_uid: str, digests: Sequence[str]
) -> None:
    """Reads a file back, decodes it as any reader would, compares pixels and UIDs.

    Args:
        path: The file.
        sop_instance_uid: What it must say.
        series_uid: What it must say.
        digests: SHA-256 of the pixels of each frame.

    Raises:
        CtKerasError: CTK-E074, if anything differs.
    """
    with quiet_pydicom():
        dataset = dcmread(path)
        same = (
            _decoded(dataset) == list(digests)
            and dataset.SOPInstanceUID == sop_instance_uid
            and dataset.SeriesInstanceUID == series_uid
            and dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        )
    if not same:
        raise CtKerasError(
            "CTK-E074",
            f"{path.name} differs from what was written",
            fix="check the disk and try again",
        )


def _decoded(dataset: Dataset) -> list[str] | None:
    """SHA-256 of the decoded pixels of each frame, None if they cannot be decoded."""
    try:
        return [
            hashlib.sha256(
                pixels.astype(f"<{pixels.dtype.str[1:]}").tobytes()
            ).hexdigest()
            for pixels in iter_pixels(dataset)
        ]
    except Exception:  # pydicom raises many types for what it cannot decode
        return None


def write_series(
    series: Series,
    out: str | os.PathLike,
    *,
    description: str | None = None,
    derivation: Derivation | None = None,
    overwrite: bool = False,
    allow_repeat: bool = False,
    progress: bool = False,
) -> None:
    """Writes a series as a derived CT series.

    Args:
        series: What to write; usually the result of `Series.with_hu`.
        out: A new or empty folder.
        description: What was done, if `derivation` is not given.
        derivation: How the values were made; the default is a neural network.
        overwrite: Replace a folder that has content.
        allow_repeat: Accept a source that ct_keras has denoised before.
        progress: Whether to show a progress bar.

    Raises:
        CtKerasError: CTK-E050, E070, E071, E073 or E074; then nothing is written.
    """
    if derivation is None:
        derivation = Derivation(description=description) if description else None
    with SeriesWriter(
        series,
        out,
        derivation,
        overwrite=overwrite,
        allow_repeat=allow_repeat,
        progress=progress,
    ) as writer:
        for slice_index in range(len(series)):
            pixels = series.read(slice_index)
            writer.write(slice_index, pixels.hu, pixels)
