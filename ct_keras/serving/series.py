"""Denoises a DICOM series, or the volume of a file, in bounded memory."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ct_keras.containers import VolumeFile, VolumeWriter, open_writer
from ct_keras.denoising.computation import (
    Computation,
    choose_computation,
    sample_places,
)
from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.dicom import Series, SeriesWriter
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.dicom.provenance import Derivation
from ct_keras.errors import Finding
from ct_keras.files import check_apart, check_output_folder
from ct_keras.progress import track
from ct_keras.serving.guards import Audit, check_series, write_quality_control
from ct_keras.serving.pipeline import read_ahead, write_behind


@dataclass(frozen=True)
class DenoisedSeries:
    """The outcome for one series.

    Attributes:
        slices: Number of slices written.
        clipped_pixels: Number of values outside the stored range, which were clipped.
        findings: Findings of the guards, before and after denoising.
        computation: How it was computed, and what that changes.
    """

    slices: int
    clipped_pixels: int
    findings: tuple[Finding, ...] = ()
    computation: Computation = field(default_factory=Computation)


def denoise_series(
    series: Series | VolumeFile,
    out: str | Path,
    method: Method,
    *,
    strength: float | None = None,
    like_dose: float | None = None,
    precision: str = "float32",
    engine: str = "auto",
    overwrite: bool = False,
    allow_repeat: bool = False,
    override_guards: bool = False,
    quality_control: str | Path | None = None,
    progress: bool = False,
    after_slice: Callable[[], None] | None = None,
) -> DenoisedSeries:
    """Writes the denoised series as a derived DICOM series, or a volume as a file.

    Slices are read, denoised and written at the same time, at most `pipeline.WAITING`
    apart. Only these, the slices that the guards read and, for a 3-D network, those of
    a block are kept in memory. Padding outside the reconstruction circle keeps its
    stored values.

    Args:
        series: From `ct_keras.read_series`, `ct_keras.find_series` or
            `ct_keras.containers.read_volume_file`.
        out: The folder to write, or for a volume the file, of the format of its source.
            It appears when every slice was written and verified.
        method: A `Method`, or a function from HU to HU.
        strength: 0 (the input, bit for bit) to 1 (the method's output); by default that
            of the method.
        like_dose: Instead of a strength: leave the noise of this many times the dose.
        precision: "float32", "bfloat16" or "auto": bfloat16 where the processor is
            faster with it and the result of this network and series nearly the same;
            see `ct_keras.denoising.computation`.
        engine: "auto", "tensorflow", or "openvino" or "onnx" where installed.
        overwrite: Replace a folder with content.
        allow_repeat: Accept a series that ct_keras denoised before.
        override_guards: Denoise what the guards refuse; the derived series says so.
        quality_control: A folder to write with qc.json and qc.png.
        progress: Show a bar.
        after_slice: Called when a slice is denoised; what it raises ends the work and
            leaves nothing behind.

    Raises:
        CtKerasError: As the method, CTK-E050, CTK-E071, CTK-E073 as the writer,
            CTK-E063 for a scale that the method does not know,
            CTK-E044, CTK-E061 as `ct_keras.serving.guards.check_series`, and for a 3-D
            method CTK-E032, E033, E036 or E037 as `ct_keras.dicom.require_volume`.
    """
    method = as_method(method).with_spacing(series.spacing_mm[1:])
    method.check_scale(series.scale)
    strength = method.chosen_strength(strength, like_dose)
    accepted = series.require_volume() if method.dimensions == 3 else []
    _check_outputs(series, out, quality_control, overwrite=overwrite)
    name, ranges = method.identity.name, method.ranges
    entrance = check_series(series, ranges, model=name, override=override_guards)
    method, computation = choose_computation(
        method,
        _samples(series, method.dimensions),
        precision=precision,
        engine=engine,
        strength=strength,
    )
    audit = Audit(series.spacing_mm[1:])
    extra = {} if like_dose is None else {"like_dose": like_dose}
    extra |= {"guards_overridden": True} if entrance.overridden else {}
    writer = open_writer(
        series,
        out,
        _derivation(method, strength, extra),
        overwrite=overwrite,
        allow_repeat=allow_repeat,
        neighbours=method.neighbours(len(series)),
    )
    _write(method, series, strength, writer, audit, progress, after_slice)
    if quality_control is not None:
        write_quality_control(
            quality_control,
            entrance,
            audit,
            computation,
            model=name,
            ranges=ranges,
            strength=strength,
            decoders=series.decoders,
            overwrite=overwrite,
        )
    findings = (
        *accepted,
        *_padding_finding(writer.padding),
        *(*series.value_findings(), *entrance.findings, *computation.findings),
        *audit.result().findings,
    )
    return DenoisedSeries(len(series), writer.clipped, findings, computation)


def _padding_finding(pixels: int) -> list[Finding]:
    if not pixels:
        return []
    text = f"{pixels:,} padding pixels kept as they were".replace(",", " ")
    return [Finding("CTK-I039", text)]


def _derivation(method: Method, strength: float, extra: dict) -> Derivation:
    """How the series is made, with what the caller chose besides the method."""
    derivation = method.derivation(strength)
    return replace(derivation, parameters=derivation.parameters | extra)


def _write(
    method: Method,
    series: Series,
    strength: float,
    writer: SeriesWriter | VolumeWriter,
    audit: Audit,
    progress: bool,
    after_slice: Callable[[], None] | None,
) -> None:
    """Denoises the slices while the next are read and the last are written."""

    def write(index: int, pixels: SlicePixels, hu: np.ndarray) -> None:
        writer.write(index, hu, pixels)
        audit.look(index, pixels.hu, hu)

    with (
        writer,
        read_ahead(series.read, len(series)) as slices,
        write_behind(write) as put,
    ):
        results = _denoised(method, series, slices, strength)
        bar = track(results, "Denoising", total=len(series), enabled=progress)
        for index, (pixels, hu) in enumerate(bar):
            put(index, pixels, hu)
            if after_slice is not None:
                after_slice()


def _check_outputs(
    series: Series, out: str | Path, quality_control: str | Path | None, *, overwrite
) -> None:
    """Refuses folders that overlap each other or the series, before any work."""
    outputs = [("out", out)]
    if quality_control is not None:
        outputs.append(("quality_control", quality_control))
        kind = "quality control"
        check_output_folder(quality_control, overwrite=overwrite, kind=kind)
    check_apart(outputs, [("series", place) for place in series.places])


def _samples(series: Series, dimensions: int) -> list[np.ndarray]:
    """The parts to compute in two precisions, of slices that then stay in memory."""
    return [
        np.stack(
            [
                series.read_ahead(index).hu[rows, columns]
                for index in range(len(series))[slices]
            ]
        )
        for slices, rows, columns in sample_places(series.shape, dimensions)
    ]


def _denoised(
    method: Method, series: Series, read: Iterator[SlicePixels], strength: float
) -> Iterator[tuple[SlicePixels, np.ndarray]]:
    """Yields each slice and its result; a slice is kept until its result is ready."""
    under_way: deque[SlicePixels] = deque()

    def slices() -> Iterator[np.ndarray]:
        for pixels in read:
            under_way.append(pixels)
            yield pixels.hu

    coming, spacing_mm = slices(), series.spacing_mm[1:]
    runs = series.runs if method.dimensions == 3 else [slice(0, len(series))]
    for run in runs:
        shape = (run.stop - run.start, *series.shape[1:])
        part = itertools.islice(coming, shape[0])
        for hu in method.denoise_slices(part, shape, spacing_mm, strength):
            yield under_way.popleft(), hu
