"""`ct-keras evaluate`: one table for networks, filters and the input."""

from __future__ import annotations

from pathlib import Path

import click

from ct_keras.cli.compared import methods_by_label, public_command, tuned
from ct_keras.cli.options import numbers
from ct_keras.cli.output import NOTICE, echo_table, emit_json, say
from ct_keras.cli.sources import (
    Source,
    phantoms_source,
    records_source,
    scans_source,
    series_source,
)
from ct_keras.errors import CtKerasError

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--records", type=_FOLDER, help="A records folder.")
@click.option("--split", default="test", show_default=True, help="Of the records.")
@click.option("--low", type=_FOLDER, help="Low-dose series.")
@click.option("--full", type=_FOLDER, help="Its reference.")
@click.option("--scans", type=_FOLDER, help="Normal-dose series, to be simulated.")
@click.option(
    "--phantoms", type=click.IntRange(min=1), help="So many phantom patients."
)
@click.option(
    "--dose",
    "doses",
    callback=numbers,
    default="0.25",
    show_default=True,
    help="Doses to simulate (scans, phantoms), as 0.1,0.25.",
)
@click.option(
    "--fit-scans",
    type=_FOLDER,
    help="Normal-dose series of others; the filters are fitted to them (scans).",
)
@click.option("--out", required=True, type=_FOLDER)
@click.option(
    "--tune/--no-tune",
    default=None,
    help="Fit the filters to other patients first: the split val, further phantoms or "
    "--fit-scans [default: where there are some].",
)
@click.option(
    "--quality",
    type=_FOLDER,
    help="quality.json of `ct-keras quality`; the page shows its curves too.",
)
@click.option(
    "--baseline",
    metavar="MODEL",
    help="The others are tested against it besides the input "
    "[default: filter:gaussian, where it is measured].",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the bootstrap and of simulated noise.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json.")
def command(models, out, tune, quality, baseline, seed, overwrite, as_json, **where):
    """Measures each MODEL on slice pairs: every protocol, intervals, a report page.

    MODEL is the name of published weights, a run, a .keras file, filter:NAME,
    recon:NAME (sinogram, adaptive, sart, tv: baselines of the projection domain) or
    input.
    OUT gets metrics.json, slices.csv and report.html. The pairs come from --records,
    from one pair of DICOM series (--low and --full), or the low dose is simulated on
    the way, from --scans or --phantoms; only then recon:NAME knows the sinogram and its
    noise, and does not estimate them from the image.
    """
    from ct_keras.files import check_output_folder

    check_output_folder(out, overwrite=overwrite)
    curves = None
    if quality is not None:
        from ct_keras.evaluation.quality_curves import read_quality

        curves = read_quality(quality)
    source = _source(seed=seed, **where)
    methods = methods_by_label(models)
    if baseline is not None and baseline not in methods:
        raise CtKerasError(
            "CTK-E000",
            "the baseline is not among the models that are measured",
            received=baseline,
            expected=" or ".join(methods),
        )
    document = measure(
        methods,
        source,
        out=out,
        tune=tune,
        curves=curves,
        baseline=baseline,
        seed=seed,
        command=public_command(),
    )
    if as_json:
        emit_json(document)
        return
    from ct_keras.evaluation import summary_rows

    columns, rows = summary_rows(document)
    echo_table(source.label.capitalize(), columns, rows)
    say(f"report.html and metrics.json are in {out.name}. {NOTICE}")


def measure(
    methods: dict,
    source: Source,
    *,
    out: Path,
    tune: bool | None = None,
    curves: dict | None = None,
    baseline: str | None = None,
    seed: int = 0,
    command: str | None = None,
) -> dict:
    """Tunes the filters, measures all methods and writes the report.

    Args:
        methods: Row name -> callable from HU to HU.
        source: The slice pairs.
        out: The folder that gets metrics.json, slices.csv and report.html.
        tune: Fit filters to other patients; None does so where there are some.
        curves: Curves of image quality that the page shows besides.
        baseline: What the others are tested against besides the input; None for the
            Gaussian filter.
        seed: Of the bootstrap.
        command: What the report says was run.

    Returns:
        The document of metrics.json.
    """
    from ct_keras.evaluation.runner import BASELINE, evaluate_models

    fitted = tuned(methods, source, tune)
    return evaluate_models(
        fitted,
        source.pairs(),
        out,
        split=source.label,
        facts={
            label: _facts(method, source, fitted=fitted is not methods)
            for label, method in fitted.items()
        },
        command=command,
        curves=curves,
        baseline=baseline or BASELINE,
        seed=seed,
        total=source.total,
        progress=True,
    )


def _source(
    *, records, split, low, full, scans, phantoms, doses, fit_scans, seed
) -> Source:
    """The one source that was asked for."""
    wanted = [records, low or full, scans, phantoms]
    if sum(each is not None for each in wanted) != 1:
        raise CtKerasError(
            "CTK-E000",
            "evaluate needs slice pairs from one place",
            expected="one of --records, --low with --full, --scans, --phantoms",
        )
    if records is not None:
        return records_source(records, split)
    if low or full:
        return series_source(low, full)
    from ct_keras.simulation import check_dose

    doses = tuple(map(check_dose, doses))
    if phantoms is not None:
        return phantoms_source(phantoms, doses, seed=seed)
    return scans_source(scans, doses, seed=seed, fit_scans=fit_scans)


def _facts(method, source: Source, *, fitted: bool) -> dict:
    """What a row tells of a method: its cost, its weights, its settings."""
    from ct_keras.models import count_macs
    from ct_keras.serving import Denoiser
    from ct_keras.serving.methods import FilterDenoiser, ReconstructionDenoiser

    facts = {
        "version": method.identity.version,
        "weights_sha256": method.identity.weights_sha256,
    }
    if isinstance(method, Denoiser):
        facts["parameters"] = method.network.count_params()
        facts["gmac"] = count_macs(method.network) / 1e9
    if isinstance(method, FilterDenoiser):
        facts["settings"] = method.identity.parameters
        facts["tuned_among"] = dict(method.filter.grid) if fitted else None
    if isinstance(method, ReconstructionDenoiser):
        facts["sinogram"] = "known" if source.rays else "projected from the image"
    return facts
