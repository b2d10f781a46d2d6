"""Writes a derived CT series: every slice, verified, or nothing at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from ct_keras import __version__
from ct_keras.dicom.derived_header import PixelFormat, SliceIdentity, derive_header
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.dicom.provenance import Derivation, content_uid, now
from ct_keras.dicom.series import Series, read_header
from ct_keras.dicom.sources import SourceSlice
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder
from ct_keras.hu import to_stored
from ct_keras.progress import track

_SPOOL_NAME = ".spool"
_SPOOL_TYPE = np.dtype("<i4")
_SIGNED_16 = PixelFormat(bits_stored=16, signed=True)
_UNSIGNED_16 = PixelFormat(bits_stored=16, signed=False)


class SeriesWriter:
    """Writes a derived series slice by slice, in bounded memory.

    New pixels and source headers are collected in one temporary file. If the `with`
    block ends without an error and every slice was given, the DICOM files are written
    from it, read back and compared, and the folder appears under its final name.
    Otherwise nothing is left behind.

    Stored values keep the slope, intercept and pixel format of the source if every
    value fits; otherwise the series becomes 16-bit signed. Padding keeps its stored
    values.

    Attributes:
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
        self.derivation = derivation or Derivation()
        self.clipped = 0
        self.series_uid: str | None = None
        self._out = Path(out)
        self._overwrite = overwrite
        self._neighbours = neighbours
        self._keep_equipment = keep_equipment
        self._progress = progress
        self._headers: dict[int, tuple[int, int]] = {}
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
        with contextlib.ExitStack() as stack:
            folders = {source.path.parent for source in self.series.sources}
            self._folder = stack.enter_context(
                atomic_folder(
                    self._out,
                    inputs=folders,
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
            CtKerasError: CTK-E000, if the shape is wrong; CTK-E070, if a value is not
                finite.
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
        stored = to_stored(hu, source.slope, source.intercept)
        np.copyto(stored, pixels.stored, where=pixels.padding)
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
        slices = range(len(self.series))
        counts = Counter(source.sop_instance_uid for source in self.series.sources)
        for index in track(slices, "Writing DICOM", enabled=self._progress):
            source = self.series.sources[index]
            content = [*seeds, digests[index]]
            if counts[source.sop_instance_uid] > 1:
                content.append(str(index))  # what identifies it is its place only
            uid = content_uid("instance", source.sop_instance_uid, *content)
            used = self._used(index)
            identity = SliceIdentity(uid, self.series_uid, source, used, moment)
            path = self._folder / f"IM{index + 1:05d}.dcm"
            self._write_slice(index, identity, path)
            verify_slice(path, uid, self.series_uid, digests[index])
        self._spool.close()
        (self._folder / _SPOOL_NAME).unlink()

    def _write_slice(
        self, slice_index: int, identity: SliceIdentity, path: Path
    ) -> None:
        source = self.series.sources[slice_index]
        header = self._header(slice_index)
        pixels = self._pixels(slice_index)
        try:
            with quiet_pydicom():
                derive_header(
                    header,
                    self.derivation,
                    identity,
                    self._format(source),
                    keep_equipment=self._keep_equipment,
                )
                save_slice(header, pixels, path)
        except Exception as error:  # pydicom raises many types for odd header values
            if isinstance(error, OSError) and error.errno:
                raise  # the disk, not the header
            raise CtKerasError(
                "CTK-E007", f"file #{source.number}: the header cannot be rewritten"
            ) from error

    def _header(self, slice_index: int) -> Dataset:
        place, size = self._headers[slice_index]
        self._spool.seek(place)
        return read_header(self.series.sources[slice_index], self._spool.read(size))

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
        low = max(0, slice_index - self._neighbours)
        return list(self.series.sources[low : slice_index + self._neighbours + 1])


def source_format(source: SourceSlice) -> PixelFormat:
    """Returns how the pixels of a source slice are stored."""
    return PixelFormat(source.bits_stored, source.signed)


def save_slice(header: Dataset, pixels: np.ndarray, path: Path) -> None:
    """Writes one file: header, then pixels, Explicit VR Little Endian."""
    header.add_new("PixelData", "OW", pixels.tobytes())
    dcmwrite(  # Dataset.save_as refuses sources of the other byte order
        path,
        header,
        implicit_vr=False,
        little_endian=True,
        enforce_file_format=True,
        overwrite=False,
    )


def verify_slice(
    path: Path, sop_instance_uid: str, series_uid: str, digest: str
) -> None:
    """Reads a file back and compares pixels and UIDs.

    Raises:
        CtKerasError: CTK-E074, if anything differs.
    """
    with quiet_pydicom():
        dataset = dcmread(path)
        same = (
            hashlib.sha256(dataset.PixelData).hexdigest() == digest
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
