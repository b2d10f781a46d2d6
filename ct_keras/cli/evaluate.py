"""`ct-keras evaluate`: one table for networks, filters and the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ct_keras.cli import partial
from ct_keras.cli.options import grey_values, numbers, taken_values
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import (
    echo_findings,
    echo_table,
    emit_json,
    public_command,
    say,
)
from ct_keras.cli.paths import InputPath, ModelText, OutputFolder, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import place_of
from ct_keras.inputs import ReadOptions
from ct_keras.notice import NOTICE

if TYPE_CHECKING:  # it loads most rooms, `--help` does not
    from ct_keras.evaluation.sources import Source


@safe_command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=ModelText())
@click.option("--records", type=InputPath(), help="Folder of records.")
@click.option("--split", default="test", show_default=True, help="Split of records.")
@click.option("--low", type=SeriesPath(), help="Low-dose series.")
@click.option("--full", type=SeriesPath(), help="Reference of --low.")
@click.option("--scans", type=SeriesPath(), help="Normal-dose series, to be simulated.")
@click.option(
    "--phantoms", type=click.IntRange(min=1), help="Number of phantom patients."
)
@click.option(
    "--dose",
    "doses",
    callback=numbers,
    default="0.25",
    show_default=True,
    help="Doses to simulate (scans, phantoms), such as 0.1,0.25.",
)
@click.option(
    "--fit-scans",
    type=SeriesPath(),
    help="Normal-dose series of other patients, to fit the filters to (scans).",
)
@click.option("--out", required=True, type=OutputFolder("evaluation"))
@click.option(
    "--tune/--no-tune",
    default=None,
    help="Fit the filters to other patients first: the split val, more phantoms or "
    "--fit-scans [default: if available].",
)
@click.option(
    "--quality",
    type=InputPath(),
    help="quality.json of `ct-keras quality`, whose curves the page adds.",
)
@click.option(
    "--baseline",
    metavar="MODEL",
    help="Model to test the others against, in addition to the input "
    "[default: filter:gaussian, if measured].",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the bootstrap and simulated noise.",
)
@click.option(
    "--figures",
    is_flag=True,
    help="Also write OUT/figures: slices of the page by all methods, with close-ups.",
)
@grey_values
@reading_options("evaluate")
@trust_option
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json.")
def command(
    models,
    out,
    tune,
    quality,
    baseline,
    seed,
    figures,
    trust,
    overwrite,
    as_json,
    **where,
):
    """Measures each MODEL on slice pairs: every protocol, intervals, a report page.

    MODEL is the name of published weights, a run, a .keras file, filter:NAME,
    recon:NAME (sinogram, adaptive, sart, tv: baselines of the projection domain) or
    input.
    OUT gets metrics.json, slices.csv and report.html. The pairs come from --records,
    from one pair of DICOM series or files (--low and --full), or are simulated on the
    fly from --scans or --phantoms. Only then does recon:NAME know the sinogram and its
    noise; otherwise it estimates them from the image.
    """
    curves = None
    if quality is not None:
        from ct_keras.report.quality_curves import read_quality

        curves = read_quality(quality)
    source = _source(seed=seed, values=taken_values(where), **where)
    echo_findings(source.findings())
    from ct_keras.denoising.methods import methods_by_label

    methods = methods_by_label(models, trust=trust)
    if baseline is not None and baseline not in methods:
        raise CtKerasError(
            "CTK-E000",
            "the baseline is not one of the measured models",
            received=baseline,
            expected=" or ".join(methods),
        )
    from ct_keras.evaluation.measure import measure
    from ct_keras.files import atomic_folder
    from ct_keras.report import summary_rows, write_figures, write_report

    evaluation = measure(
        methods,
        source,
        tune=tune,
        baseline=baseline,
        seed=seed,
        command=public_command(),
    )
    echo_findings(source.value_findings())
    lists = {
        "accepted": source.accepted(),
        "refused": partial.missing(source.left_out()),
    }
    evaluation.document.update((name, each) for name, each in lists.items() if each)
    with atomic_folder(out, overwrite=overwrite, kind="evaluation") as folder:
        write_report(evaluation, folder, curves=curves)
        if figures:
            write_figures(evaluation, folder / "figures")
    if as_json:
        emit_json(evaluation.document)
        return
    columns, rows = summary_rows(evaluation.document)
    echo_table(source.label.capitalize(), columns, rows)
    say(f"report.html and metrics.json are in {place_of(out)}. {NOTICE}")


def _source(
    *,
    records,
    split,
    low,
    full,
    values,
    reading,
    scans,
    phantoms,
    doses,
    fit_scans,
    seed,
) -> Source:
    """The one source that the options name."""
    from ct_keras.evaluation import sources

    wanted = [records, low or full, scans, phantoms]
    if sum(each is not None for each in wanted) != 1:
        raise CtKerasError(
            "CTK-E000",
            "evaluate needs exactly one source of slice pairs",
            expected="one of --records, --low with --full, --scans, --phantoms",
        )
    if values.given and not (low and full):
        raise CtKerasError(
            "CTK-E000",
            "--slope, --intercept, --pixel-spacing and --pictures are for files",
            expected="--low and --full",
        )
    if reading != ReadOptions() and not (low or full or scans):
        raise CtKerasError(
            "CTK-E000",
            "options of the reader are for DICOM series and files",
            expected="--scans, or --low and --full",
        )
    if records is not None:
        return sources.records_source(records, split)
    if low or full:
        return sources.series_source(low, full, values, reading)
    from ct_keras.simulation import check_doses

    doses = check_doses(doses)
    if phantoms is not None:
        return sources.phantoms_source(phantoms, doses, seed=seed)
    return sources.scans_source(
        scans, doses, seed=seed, fit_scans=fit_scans, reading=reading
    )
