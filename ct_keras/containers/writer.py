"""Writes a volume in the format of its source: verified, or nothing at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np

from ct_keras import __version__
from ct_keras.containers import formats
from ct_keras.containers.volume import VolumeFile, sidecar_of
from ct_keras.dicom import Series, SeriesWriter
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.dicom.provenance import Derivation
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_file, only_writer, write_text
from ct_keras.files.failures import cannot_write


class VolumeWriter:
    """Collects the slices of a `VolumeFile` and writes a file like it.

    Values keep the pixel format, slope and intercept of the source; padding, and every
    value that is that of the source, is written bit for bit.

    Attributes:
        padding: Pixels that keep the stored value of the source, so far.
        clipped: Pixels outside the stored range, known when the block ends.
    """

    def __init__(
        self,
        volume: VolumeFile,
        out: str | os.PathLike,
        derivation: Derivation,
        *,
        overwrite: bool = False,
        allow_repeat: bool = False,
    ):
        self.clipped = self.padding = 0
        self._volume = volume
        self._out = Path(out)
        self._derivation = derivation.of_series(volume.accepted, incomplete=False)
        self._overwrite = overwrite
        self._lock = contextlib.ExitStack()
        if volume.denoised and derivation.denoises and not allow_repeat:
            raise CtKerasError(
                "CTK-E050",
                "the volume was already denoised by ct_keras",
                fix="denoise the original, or accept the repetition: "
                "allow_repeat=True (--allow-repeat of denoise)",
            )

    def __enter__(self) -> VolumeWriter:
        with contextlib.ExitStack() as lock:  # released, if the output is refused
            lock.enter_context(only_writer(self._out.resolve()))
            self._check_output()
            self._stored = self._volume.content.stored.copy()
            self._lock = lock.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if error is None:
                self._finish()

    def _check_output(self) -> None:
        check_output_file(self._out, self._volume.path, overwrite=self._overwrite)

    def write(
        self, slice_index: int, hu: np.ndarray, pixels: SlicePixels | None = None
    ) -> None:
        """Takes the values of one slice, in any order; see `SeriesWriter.write`."""
        pixels = pixels or self._volume.read(slice_index)
        if hu.shape != pixels.hu.shape:
            raise CtKerasError(
                "CTK-E000",
                "the values do not have the shape of the slice",
                received=hu.shape,
                expected=pixels.hu.shape,
            )
        if not np.isfinite(hu).all():
            raise CtKerasError("CTK-E070", f"slice {slice_index}: output is not finite")
        volume, kind = self._volume, self._stored.dtype
        stored = (np.asarray(hu, np.float64) - volume.intercept) / volume.slope
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            whole = np.rint(stored)
            stored = np.clip(whole, limits.min, limits.max)
            changed = whole != stored
            self.clipped += int(np.count_nonzero(changed & ~pixels.padding))
        self.padding += int(np.count_nonzero(pixels.padding))
        kept = pixels.padding | (hu == pixels.hu)
        self._stored[slice_index] = np.where(
            kept, pixels.stored, stored.astype(kind, copy=False)
        )

    def _finish(self) -> None:
        text = json.dumps(_document(self._derivation, self._volume))
        self._check_output()
        with atomic_file(self._out) as temporary:
            # The suffix decides the format, and may have two parts.
            named = temporary.with_name(f"volume{formats.format_of(self._out)}")
            self._write(named, text)
            written = formats.read(named)
            if not _same(written, self._volume.content, self._stored):
                raise CtKerasError(
                    "CTK-E074", "the written volume differs when it is read back"
                )
            os.replace(named, temporary)
        write_text(sidecar_of(self._out), text + "\n")

    def _write(self, path: Path, text: str) -> None:
        try:
            formats.write(path, self._volume.content, self._stored, text)
        except CtKerasError:
            raise
        except Exception as error:  # the libraries raise many types where it fails
            raise cannot_write(self._out, error) from error


def open_writer(
    scan: Series | VolumeFile,
    out: str | os.PathLike,
    derivation: Derivation,
    *,
    overwrite: bool = False,
    allow_repeat: bool = False,
    **of_series,
) -> SeriesWriter | VolumeWriter:
    """Returns the writer for what is made of a series or of the volume of a file.

    Args:
        scan: The source.
        out: A folder, or a file of the format of the source.
        derivation: How the result was made.
        overwrite: Replace what ct_keras wrote there.
        allow_repeat: Accept a source that ct_keras denoised before.
        **of_series: Further arguments of `SeriesWriter`, where a series is written.

    Raises:
        CtKerasError: CTK-E050.
    """
    options = {"overwrite": overwrite, "allow_repeat": allow_repeat}
    if isinstance(scan, VolumeFile):
        return VolumeWriter(scan, out, derivation, **options)
    return SeriesWriter(scan, out, derivation, **options, **of_series)


def check_output_file(
    out: str | os.PathLike, source: str | os.PathLike, *, overwrite: bool = False
) -> None:
    """Refuses an output file that would damage something.

    Raises:
        CtKerasError: CTK-E000, if it is not of the format of the source; CTK-E071, if
            it exists, unless it is to be overwritten and ct_keras wrote it.
    """
    out, wanted = Path(out), formats.format_of(source)
    if formats.format_of(out) != wanted:
        raise CtKerasError(
            "CTK-E000",
            "the output is not a file of the format of the input",
            received=formats.format_of(out) or "another name",
            expected=f"a file name with {wanted}; only DICOM series go into a folder",
        )
    aside = sidecar_of(out)
    if os.path.lexists(aside) and not _is_ours(aside):
        raise CtKerasError(
            "CTK-E071",
            f"there is a file {aside.name} that ct_keras did not write",
            received=out.name,
            fix="choose another name, or move or remove the file yourself",
        )
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise CtKerasError(
            "CTK-E071",
            "the output file exists",
            received=out.name,
            fix="choose another name, or replace it with overwrite=True (--overwrite)",
        )
    if not aside.is_file():
        raise CtKerasError(
            "CTK-E071",
            "the output file cannot be replaced: there is no file "
            f"{aside.name}, so it may not be from ct_keras",
            received=out.name,
            fix="choose another name, or move or remove the file yourself",
        )


def _is_ours(sidecar: Path) -> bool:
    """Whether a file beside an output says that ct_keras wrote it."""
    try:
        return json.loads(sidecar.read_text(encoding="utf-8"))["made_by"] == "ct_keras"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _document(derivation: Derivation, source: VolumeFile) -> Mapping[str, object]:
    described = asdict(derivation)
    return {
        "made_by": "ct_keras",
        "version": __version__,
        "denoised": derivation.denoises or source.denoised,
        "notice": derivation.comment,
        "scale": source.scale or "HU",
        **{
            key: described[key]
            for key in (
                *("description", "model_name", "model_version", "weights_sha256"),
                "parameters",
            )
        },
    }


def _same(
    written: formats.Content, source: formats.Content, stored: np.ndarray
) -> bool:
    """Whether a file holds these values, with the scale and geometry of the source."""
    with contextlib.suppress(ValueError):
        scales = [(each.slope, each.intercept) for each in (written, source)]
        return (
            written.stored.dtype == stored.dtype
            and np.array_equal(written.stored, stored)
            and np.allclose(*scales, rtol=1e-6)
            and written.lies_like(source)
        )
    return False
