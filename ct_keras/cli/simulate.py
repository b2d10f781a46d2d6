"""`ct-keras simulate`: a low-dose series, or volume, from a normal-dose one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ct_keras.cli import partial
from ct_keras.cli.options import given, grey_values, simulation, taken_values
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.output import echo_findings, emit_json, note, say
from ct_keras.cli.paths import OutputScan, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError
from ct_keras.notice import NOTICE

if TYPE_CHECKING:
    import numpy as np

    from ct_keras.dicom import Derivation, SlicePixels


@safe_command()
@click.argument("source", metavar="IN", type=SeriesPath())
@click.argument("out", type=OutputScan())
@click.option("--dose", type=float, help="Fraction, such as 0.25.")
@click.option(
    "--noise",
    type=click.Choice(["gaussian", "uniform", "multiplicative"]),
    help="Instead of a dose: contaminate every pixel with plain noise.",
)
@click.option(
    "--amount",
    type=float,
    help="Of --noise: SD in HU (gaussian), limit in HU (uniform), or limit of the "
    "factor, such as 2.5 (multiplicative).",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "--series", "wanted", help="Which series, if IN holds several: number or UID."
)
@simulation
@grey_values
@reading_options("simulate")
@partial.wait_stable
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source,
    out,
    dose,
    noise,
    amount,
    seed,
    wanted,
    reading,
    overwrite,
    as_json,
    **options,
) -> None:
    """Writes the series in IN to OUT as a lower dose would have shown it.

    Noise is added in the projections; what the scan already holds is measured and
    accounted for. Works in memory that does not grow with the number of slices. IN may
    be a volume in HU (.nii, .nii.gz, .nrrd, .mha; with --pixel-spacing also .npy, .tif
    and .png), then OUT is a file of that format.

    With --noise and --amount, plain noise is added to the pixels instead, as reports on
    network training do; pictures can be contaminated too.
    """
    from ct_keras.containers import read_scan
    from ct_keras.dicom.finder import left_out
    from ct_keras.simulation.series import write_changed

    _check_choice(dose, noise, amount)
    values = taken_values(options)
    series = read_scan(source, series=wanted, options=reading, values=values)
    echo_findings(series.findings)
    if noise is None:
        change = _lower_dose(series, dose, seed, given(options))
    else:
        change = _contamination(series, noise, amount, seed)
    clipped = write_changed(
        series,
        out,
        change.derivation,
        change.slice_of,
        overwrite=overwrite,
        progress=True,
    )
    echo_findings(series.value_findings())
    if clipped:
        note(f"CTK-W072 {clipped} values clipped to the stored range")
    refused = partial.missing(left_out([series], chosen=wanted is not None))
    if as_json:
        emit_json(change.report | {"refused": refused})
    else:
        say("\n".join((*change.lines, NOTICE)))


def _check_choice(dose, noise, amount) -> None:
    """Requires either a valid dose, or a kind and an amount of noise."""
    from ct_keras.simulation import check_dose
    from ct_keras.simulation.noise import check_contamination

    if (dose is None) == (noise is None) or (noise is None) != (amount is None):
        raise CtKerasError(
            "CTK-E000",
            "simulate needs either a dose, or noise and its amount",
            expected="--dose, or --noise with --amount",
        )
    if noise is None:
        check_dose(dose)
    else:
        check_contamination(noise, amount)


@dataclass(frozen=True)
class _Change:
    """What is done to the slices of a series.

    Attributes:
        derivation: For the headers of the result.
        slice_of: Function of a slice index and its pixels that returns the new HU.
        report: For --json.
        lines: The same for people.
    """

    derivation: Derivation
    slice_of: Callable[[int, SlicePixels], np.ndarray]
    report: dict
    lines: tuple[str, ...]


def _lower_dose(series, dose: float, seed: int, options: dict) -> _Change:
    from ct_keras.simulation import SeriesSimulator, calibrate
    from ct_keras.simulation.series import low_dose_change

    simulator = SeriesSimulator(series, calibrate(series, **options))
    found = simulator.calibration
    derivation, slice_of = low_dose_change(simulator, dose, seed)
    report = _report(series, found, dose, seed)
    return _Change(derivation, slice_of, report, _lines(report))


def _contamination(series, kind: str, amount: float, seed: int) -> _Change:
    from ct_keras.dicom import Derivation
    from ct_keras.simulation import contaminate

    parameters = {"noise": kind, "amount": amount, "seed": seed}

    def slice_of(slice_index: int, pixels: SlicePixels) -> np.ndarray:
        return contaminate(pixels.hu, kind, amount, seed=(seed, slice_index))

    line = f"{len(series)} slices with {kind} noise of {amount:g} written"
    derivation = Derivation.contaminated(kind, parameters=parameters)
    report = parameters | {"slices": len(series)}
    return _Change(derivation, slice_of, report, (line,))


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


def _lines(report: dict) -> tuple[str, ...]:
    lines = [f"{report['slices']} slices at {report['dose'] * 100:g} % dose written"]
    if report["noise_free"]:
        lines.append(
            "the source is free of noise: the full noise of the dose was added"
        )
    elif report["noise_hu"] is not None:
        lines.append(f"noise of the source in soft tissue: {report['noise_hu']:.1f} HU")
    photons, origin = report["photons"], report["photons_from"]
    return (
        *lines,
        f"kernel {report['kernel']} (from {report['kernel_from']})",
        f"{photons:.3g} photons per ray (from {origin})",
    )
