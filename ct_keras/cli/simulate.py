"""`ct-keras simulate`: a low-dose series, or volume, from a normal-dose one."""

from __future__ import annotations

import click

from ct_keras.cli import partial
from ct_keras.cli.options import given, grey_values, simulation, taken_values
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.output import echo_findings, emit_json, note, say
from ct_keras.cli.paths import OutputScan, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.notice import NOTICE


@safe_command()
@click.argument("source", metavar="IN", type=SeriesPath())
@click.argument("out", type=OutputScan())
@click.option("--dose", type=float, required=True, help="Fraction, such as 0.25.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "--series", "wanted", help="Which series, if IN holds several: number or UID."
)
@simulation
@grey_values
@reading_options()
@partial.wait_stable
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source, out, dose, seed, wanted, reading, overwrite, as_json, **options
) -> None:
    """Writes the series in IN to OUT as a lower dose would have shown it.

    Noise is added in the projections; what the scan already holds is measured and
    accounted for. Works in memory that does not grow with the number of slices. IN may
    be a volume in HU (.nii, .nii.gz, .nrrd, .mha; with --pixel-spacing also .npy, .tif
    and .png), then OUT is a file of that format.
    """
    from ct_keras.containers import read_scan
    from ct_keras.dicom.finder import left_out
    from ct_keras.simulation import SeriesSimulator, calibrate, check_dose

    check_dose(dose)
    values = taken_values(options)
    series = read_scan(source, series=wanted, options=reading, values=values)
    echo_findings(series.findings)
    simulator = SeriesSimulator(series, calibrate(series, **given(options)))
    clipped = _write(series, out, simulator, dose, seed=seed, overwrite=overwrite)
    echo_findings(series.value_findings())
    if clipped:
        note(f"CTK-W072 {clipped} values clipped to the stored range")
    refused = partial.missing(left_out([series], chosen=bool(wanted)))
    report = _report(series, simulator.calibration, dose, seed) | {"refused": refused}
    if as_json:
        emit_json(report)
    else:
        _tell(report)


def _write(series, out, simulator, dose, *, seed, overwrite) -> int:
    """Writes every slice and returns the number of clipped pixels."""
    from ct_keras.containers import open_writer
    from ct_keras.dicom import Derivation
    from ct_keras.progress import track

    found = simulator.calibration
    derivation = Derivation.simulated_dose(
        dose,
        parameters={
            "dose": dose,
            "seed": seed,
            "kernel": found.kernel.name,
            "photons": f"{found.photons:.4g}",
        },
    )
    with open_writer(
        series, out, derivation, overwrite=overwrite, progress=True
    ) as writer:
        for slice_index in track(range(len(series)), "Simulating"):
            pixels = series.read(slice_index)
            low = simulator.low_doses(slice_index, [dose], seed=seed, pixels=pixels)
            writer.write(slice_index, low[0], pixels)
    return writer.clipped


def _report(series, found, dose, seed) -> dict:
    return {
        "dose": dose,
        "seed": seed,
        "slices": len(series),
        "photons": found.photons,
        "photons_from": found.origin,
        "kernel": found.kernel.name,
        "kernel_from": found.kernel_origin,
        "noise_hu": found.noise_hu,
        "noise_free": found.noise_free,
    }


def _tell(report: dict) -> None:
    say(f"{report['slices']} slices at {report['dose'] * 100:g} % dose written")
    if report["noise_free"]:
        say("the source is free of noise: the full noise of the dose was added")
    elif report["noise_hu"] is not None:
        say(f"noise of the source in soft tissue: {report['noise_hu']:.1f} HU")
    say(f"kernel {report['kernel']} (from {report['kernel_from']})")
    say(f"{report['photons']:.3g} photons per ray (from {report['photons_from']})")
    say(NOTICE)
