"""`ct-keras denoise`: every CT series of a folder."""

from __future__ import annotations

from pathlib import Path

import click

from ct_keras.cli.output import echo_findings, emit_json, note, say
from ct_keras.errors import CtKerasError, ExitCode
from ct_keras.notice import NOTICE


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--model",
    help="Published weights, a run, a .keras file, filter:NAME or recon:NAME.",
)
@click.option("--strength", default=1.0, show_default=True, help="0 (input) to 1.")
@click.option("--series", "wanted", help="Only this one: its number or UID.")
@click.option("--device", help="For example CPU, CPU:0 or GPU:0.")
@click.option("--allow-repeat", is_flag=True, help="Denoise a denoised series again.")
@click.option(
    "--qc",
    type=click.Path(path_type=Path),
    help="A folder for qc.json and qc.png: what was removed, and what the guards saw.",
)
@click.option(
    "--override-guards", is_flag=True, help="Denoise what the guards refuse; recorded."
)
@click.option("--overwrite", is_flag=True, help="Replace OUT and the folder of --qc.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source,
    out,
    model,
    strength,
    wanted,
    device,
    allow_repeat,
    qc,
    override_guards,
    overwrite,
    as_json,
) -> int:
    """Denoises every CT series in IN into derived DICOM series in OUT.

    One series is written straight into OUT, several into OUT/series-1, OUT/series-2 and
    so on. A series appears when all of its slices are written and verified. Works in
    memory that does not grow with the number of slices.

    Guards compare each series with what the model was trained on, and look for
    structure in what was removed. Findings (CTK-W) go to standard error.
    """
    from ct_keras.dicom import find_series, read_series
    from ct_keras.files import check_output_folder

    found = [read_series(source, series=wanted)] if wanted else find_series(source)
    check_output_folder(out, inputs=(source,), overwrite=overwrite)
    from ct_keras.denoising.methods import get_method
    from ct_keras.serving.series import denoise_series

    results, refusals = [], []
    with _on_device(device):
        denoiser = get_method(model or _default_model())
        for number, series in enumerate(found, 1):
            echo_findings(series.findings)
            part = "" if len(found) == 1 else f"series-{number}"
            try:
                result = denoise_series(
                    series,
                    out / part,
                    denoiser,
                    strength=strength,
                    overwrite=overwrite,
                    allow_repeat=allow_repeat,
                    override_guards=override_guards,
                    quality_control=qc / part if qc else None,
                    progress=True,
                )
            except CtKerasError as error:
                if len(found) == 1:
                    raise
                note(f"series {number}: {error}")
                refusals.append(error)
                continue
            results.append(_row(number, series, result))
    _report(results, denoiser, strength, as_json)
    if refusals and not results:
        raise refusals[0]
    return ExitCode.PARTIAL if refusals else ExitCode.DONE


def _default_model() -> str:
    from ct_keras.denoising import DEFAULT_MODEL

    return DEFAULT_MODEL


def _on_device(device: str | None):
    import contextlib

    if device is None:
        return contextlib.nullcontext()
    import tensorflow as tf

    kind = device.split(":")[0].upper()
    if not tf.config.list_logical_devices(kind):
        raise CtKerasError(
            "CTK-E000",
            "no such device on this machine",
            received=device,
            expected=", ".join(d.name for d in tf.config.list_logical_devices()),
        )
    return tf.device(device)


def _row(number: int, series, result) -> dict:
    if result.clipped_pixels:
        note(f"CTK-W072 {result.clipped_pixels} values clipped to the stored range")
    echo_findings(result.findings)
    return {
        "series": number,
        "slices": result.slices,
        "rows": series.shape[1],
        "columns": series.shape[2],
        "clipped_pixels": result.clipped_pixels,
        "findings": [str(finding) for finding in result.findings],
    }


def _report(results: list[dict], denoiser, strength: float, as_json: bool) -> None:
    if as_json:
        emit_json(
            {"model": denoiser.identity.name, "strength": strength, "series": results}
        )
        return
    for row in results:
        say(f"series {row['series']}: {row['slices']} slices denoised")
    if results:
        say(NOTICE)
