"""`ct-keras evaluate`: one table for networks, filters and the input."""

from __future__ import annotations

from pathlib import Path

import click

from ct_keras.cli.compared import methods_by_label, public_command, tuned
from ct_keras.cli.output import NOTICE, echo_table, emit_json, say
from ct_keras.errors import CtKerasError


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--records", type=click.Path(path_type=Path), help="A records folder.")
@click.option("--split", default="test", show_default=True)
@click.option("--low", type=click.Path(path_type=Path), help="Low-dose series.")
@click.option("--full", type=click.Path(path_type=Path), help="Its reference.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option(
    "--tune/--no-tune",
    default=None,
    help="Fit the filters to the split val first (default: if there is one).",
)
@click.option(
    "--quality",
    type=click.Path(path_type=Path),
    help="quality.json of `ct-keras quality`; the page shows its curves too.",
)
@click.option(
    "--baseline",
    metavar="MODEL",
    help="The others are tested against it besides the input "
    "[default: filter:gaussian, where it is measured].",
)
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json.")
def command(
    models,
    records,
    split,
    low,
    full,
    out,
    tune,
    quality,
    baseline,
    seed,
    overwrite,
    as_json,
) -> None:
    """Measures each MODEL on slice pairs: every protocol, intervals, a report page.

    MODEL is the name of published weights, a run, a .keras file, filter:NAME,
    recon:NAME (sinogram, adaptive, sart, tv: baselines of the projection domain) or
    input.
    OUT gets metrics.json, slices.csv and report.html. The pairs come from --records, or
    from one pair of DICOM series, --low and --full.
    """
    from ct_keras.files import check_output_folder

    check_output_folder(out, overwrite=overwrite)
    curves = None
    if quality is not None:
        from ct_keras.evaluation.quality_curves import read_quality

        curves = read_quality(quality)
    methods = methods_by_label(models)
    if baseline is not None and baseline not in methods:
        raise CtKerasError(
            "CTK-E000",
            "the baseline is not among the models that are measured",
            received=baseline,
            expected=" or ".join(methods),
        )
    pairs = None if records is not None else _series_pairs(low, full)
    document = measure(
        methods,
        records,
        pairs=pairs,
        split=split,
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
    echo_table(f"Split {split}", columns, rows)
    say(f"report.html and metrics.json are in {out.name}. {NOTICE}")


def measure(
    methods: dict,
    records: Path | None,
    *,
    split: str,
    out: Path,
    pairs=None,
    tune: bool | None = None,
    curves: dict | None = None,
    baseline: str | None = None,
    seed: int = 0,
    command: str | None = None,
) -> dict:
    """Tunes the filters, measures all methods and writes the report.

    Args:
        methods: Row name -> callable from HU to HU.
        records: A records folder, or None if `pairs` is given.
        split: The split of the records that is measured.
        out: The folder that gets metrics.json, slices.csv and report.html.
        pairs: Slice pairs, instead of records.
        tune: Fit filters to the split val; None does so if there is one.
        curves: Curves of image quality that the page shows besides.
        baseline: What the others are tested against besides the input; None for the
            Gaussian filter.
        seed: Of the bootstrap.
        command: What the report says was run.

    Returns:
        The document of metrics.json.
    """
    from ct_keras.data import count_slices, iterate_pairs, read_manifest
    from ct_keras.evaluation.runner import BASELINE, evaluate_models

    total = None
    if records is not None:
        pairs = iterate_pairs(records, split)
        total = count_slices(read_manifest(records), split)
        methods = tuned(methods, records, split, tune)
    return evaluate_models(
        methods,
        pairs,
        out,
        split=split,
        costs={label: _cost(method) for label, method in methods.items()},
        command=command,
        curves=curves,
        baseline=baseline or BASELINE,
        seed=seed,
        total=total,
        progress=True,
    )


def _series_pairs(low: Path | None, full: Path | None):
    """Slice pairs of two DICOM series."""
    if low is None or full is None:
        raise CtKerasError(
            "CTK-E000",
            "evaluate needs slice pairs",
            expected="either --records, or both --low and --full",
        )
    from ct_keras.data import pair_series
    from ct_keras.dicom import read_series

    return pair_series(read_series(low), read_series(full))


def _cost(method) -> dict:
    """Parameters and operations of a network; nothing for a filter."""
    from ct_keras.models import count_macs
    from ct_keras.serving import Denoiser

    if not isinstance(method, Denoiser):
        return {}
    return {
        "parameters": method.network.count_params(),
        "gmac": count_macs(method.network) / 1e9,
    }
