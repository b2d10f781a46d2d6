"""`ct-keras inspect`: the CT series in a folder, and what is unusual about them."""

from __future__ import annotations

import click

from ct_keras.cli import partial
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.paths import ModelText, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError, ExitCode

_COLUMNS = (
    "series",
    "slices",
    "matrix",
    "pixel mm",
    "slice mm",
    "thickness mm",
    "tilt",
    "kernel",
    "kVp",
    "mA",
    "mAs",
    "noise HU",
    "noise 1/cm",
)


@safe_command()
@click.argument("folder", type=SeriesPath())
@partial.wait_stable
@reading_options("inspect")
@click.option(
    "--model",
    type=ModelText(),
    help="Compare with what this model was trained on: a name or a run.",
)
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(folder, reading, model, trust, as_json) -> int:
    """Lists the CT series in FOLDER: geometry, kernel, dose tags and noise.

    Noise is the global noise index in HU and the mean frequency of its power spectrum
    over the plane, in 1/cm, as in model cards; quality.json has another mean, over the
    radial spectrum. With --model, the guards of `denoise` report in advance.

    Findings (CTK-I, CTK-W) and refusals (CTK-E) go to standard error. Names, ids, dates
    and paths are never printed. Ends with 8 if some series are refused and others not.
    """
    from ct_keras.cli.output import echo_findings, emit_json, note
    from ct_keras.dicom import scan_folder
    from ct_keras.dicom.finder import left_out
    from ct_keras.image_quality import describe_series

    scan = scan_folder(folder, progress=True, options=reading)
    facts = [
        {"series": number} | describe_series(series)
        for number, series in enumerate(scan.series, 1)
    ]
    guarded = _guarded(scan.series, facts, model, trust)
    if as_json:
        emit_json(_document(scan, facts))
    elif facts:
        _print_table(facts)
    echo_findings(scan.findings)
    for number, series in enumerate(scan.series, 1):
        for finding in series.findings:
            note(f"series {number}: {finding}")
        for text in guarded[number - 1]:
            note(f"series {number}: {text}")
    if not scan.series:
        for refusal in scan.refusals[1:]:
            note(str(refusal.error))
        raise scan.refusals[0].error
    for refusal in scan.refusals:
        note(f"refused ({refusal.files} files): {refusal.error}")
    partial.missing(left_out(scan.series, chosen=True))
    return ExitCode.PARTIAL if scan.refusals else ExitCode.DONE


def _guarded(
    found, facts: list[dict], model: str | None, trust: bool
) -> list[list[str]]:
    """The findings of the guards for each series; they are added to the facts too."""
    if model is None:
        return [[] for _ in found]
    from ct_keras.denoising import load
    from ct_keras.serving.guards import check_series

    denoiser = load(model, trust=trust)
    texts = []
    for series, fact in zip(found, facts, strict=True):
        entrance = check_series(
            series, denoiser.card.get("ranges"), model=denoiser.name, override=True
        )
        texts.append([*map(str, entrance.findings), *entrance.overridden])
        try:
            denoiser.check_scale(series.scale)
        except CtKerasError as error:
            texts[-1].append(str(error))
        fact["guards"] = texts[-1]
    return texts


def _document(scan, facts: list[dict]) -> dict:
    return {
        "files": scan.files,
        "series": facts,
        "findings": [str(finding) for finding in scan.findings],
        "refusals": [
            {
                "code": refusal.error.code,
                "text": str(refusal.error),
                "files": refusal.files,
            }
            for refusal in scan.refusals
        ],
    }


def _print_table(facts: list[dict]) -> None:
    from ct_keras.cli.output import echo_table

    rows = []
    for fact in facts:
        slice_mm, row_mm, column_mm = fact["spacing_mm"]
        pixel = _number(row_mm)
        if row_mm != column_mm:
            pixel += f" x {_number(column_mm)}"
        rows.append(
            [
                fact["series"],
                fact["slices"],
                f"{fact['rows']}x{fact['columns']}",
                pixel,
                _number(slice_mm),
                _number(fact["slice_thickness_mm"]),
                f"{fact['tilt_degrees']:.1f}°",
                fact["kernel"] or "-",
                _number(fact["kvp"]),
                _number(fact["tube_current_ma"]),
                _number(fact["exposure_mas"]),
                _number(fact["noise_hu"]),
                _number(fact["noise_frequency_per_cm"]),
            ]
        )
    echo_table("CT series", _COLUMNS, rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
