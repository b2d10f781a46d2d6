"""`ct-keras denoise`: every CT series of a folder, or the volume of a file."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import click

from ct_keras.cli import partial
from ct_keras.cli.options import grey_values, strength_options, taken_values
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import echo_findings, emit_json, note, say
from ct_keras.cli.parts import parts_of
from ct_keras.cli.paths import ModelText, OutputFolder, OutputScan, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError
from ct_keras.notice import NOTICE


@safe_command()
@click.argument("source", metavar="IN", type=SeriesPath())
@click.argument("out", type=OutputScan())
@click.option(
    "--model",
    type=ModelText(),
    help="Published weights, a run, a .keras file, filter:NAME, recon:NAME or input "
    "(an unchanged copy).",
)
@strength_options
@click.option("--series", "wanted", help="Only this series: number or UID.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="auto: bfloat16 where this processor is faster with it and the result differs "
    "from float32 by at most 0.3 HU (root mean square).",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "tensorflow", "openvino", "onnx"]),
    default="auto",
    show_default=True,
    help="openvino and onnx (ONNX Runtime), if installed, compute in float32.",
)
@click.option("--device", help="For example CPU, CPU:0 or GPU:0.")
@click.option("--allow-repeat", is_flag=True, help="Accept a denoised series.")
@click.option(
    "--qc",
    type=OutputFolder("quality control"),
    help="Folder for qc.json and qc.png: what was removed, and what the guards found.",
)
@grey_values
@reading_options("denoise")
@click.option(
    "--override-guards", is_flag=True, help="Denoise what the guards refuse; recorded."
)
@partial.wait_stable
@trust_option
@click.option("--overwrite", is_flag=True, help="Replace OUT and the folder of --qc.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source,
    out,
    model,
    strength,
    like_dose,
    wanted,
    precision,
    engine,
    device,
    allow_repeat,
    qc,
    reading,
    override_guards,
    overwrite,
    trust,
    as_json,
    **of_values,
) -> None:
    """Denoises every CT series in IN into derived DICOM series in OUT.

    One series is written straight into OUT, several into OUT/series-1, OUT/series-2 and
    so on. A series appears when all of its slices are written and verified. Works in
    memory that does not grow with the number of slices.

    IN may also be a volume in HU: .nii, .nii.gz, .nrrd, .mha, .npy, .tif or .png. Then
    OUT is a file of the same format, with the same geometry and pixel format. PNG and
    TIFF of 16 bits need --slope and --intercept, if they are CT. Those of 8 bits are
    pictures: they need a model that was trained on pictures, or a filter.

    The exit status is 8 if some series were refused, or if IN changed meanwhile.

    Guards compare each series with what the model was trained on, and look for
    structure in what was removed. Findings (CTK-W) go to standard error.
    """
    from ct_keras.containers import find_scans, read_scan
    from ct_keras.dicom.finder import left_out

    known = {"options": reading, "values": taken_values(of_values)}
    if wanted is not None:
        found = [read_scan(source, series=wanted, **known)]
    else:
        found = find_scans(source, **known)
    from ct_keras.denoising.methods import get_method
    from ct_keras.serving.series import denoise_series

    results, refusals = [], []
    several = len(found) > 1
    with (
        _on_device(device),
        parts_of(out, "series", several, overwrite) as parts,
        parts_of(qc, "quality control", several, overwrite) as controls,
    ):
        denoiser = get_method(model, trust=trust)
        applied = denoiser.chosen_strength(strength, like_dose)
        for number, series in enumerate(found, 1):
            echo_findings(series.findings)
            part = f"series-{number}" if several else ""
            try:
                result = denoise_series(
                    series,
                    parts / part,
                    denoiser,
                    strength=strength,
                    like_dose=like_dose,
                    precision=precision,
                    engine=engine,
                    overwrite=overwrite,
                    allow_repeat=allow_repeat,
                    override_guards=override_guards,
                    quality_control=controls / part if controls else None,
                    progress=True,
                )
            except CtKerasError as error:
                if not several:
                    raise
                note(f"series {number}: {error}")
                refusals.append(error)
                continue
            results.append(_row(number, series, result))
        if refusals and not results:
            raise refusals[0]
    unread = left_out(found, chosen=wanted is not None)
    refused = partial.missing([*unread, *map(str, refusals)])
    _report(results, refused, denoiser, applied, as_json)


def _on_device(device: str | None):
    if device is None:
        return contextlib.nullcontext()
    import tensorflow as tf

    kind = device.split(":")[0].upper()
    if not tf.config.list_logical_devices(kind):
        raise CtKerasError(
            "CTK-E000",
            "this machine does not have that device",
            received=device,
            expected=", ".join(d.name for d in tf.config.list_logical_devices()),
        )
    return tf.device(device)


def _row(number: int, series, result) -> dict:
    if result.clipped_pixels:
        note(f"CTK-W072 {result.clipped_pixels} values clipped to the stored range")
    echo_findings(result.findings)
    if result.computation.samples:
        note(f"computed in {result.computation}")
    return {
        "series": number,
        "slices": result.slices,
        "rows": series.shape[1],
        "columns": series.shape[2],
        "clipped_pixels": result.clipped_pixels,
        "computation": asdict(result.computation),
        "findings": [str(finding) for finding in result.findings],
    }


def _report(
    results: list[dict], refused: list[str], denoiser, strength: float, as_json: bool
) -> None:
    if as_json:
        emit_json(
            {
                "model": denoiser.identity.name,
                "strength": strength,
                "series": results,
                "refused": refused,
            }
        )
        return
    for row in results:
        say(f"series {row['series']}: {row['slices']} slices denoised")
    if results:
        say(NOTICE)
