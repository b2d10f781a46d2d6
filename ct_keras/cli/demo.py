"""`ct-keras demo`: the whole workflow in minutes."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import click

from ct_keras.cli import partial
from ct_keras.cli.output import echo_findings, echo_table, emit_json, note, say
from ct_keras.cli.paths import OutputFolder, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.files.labels import place_of
from ct_keras.notice import NOTICE

#: Phantom patients: split, seed, region.
PATIENTS = (
    ("train", 101, "abdomen"),
    ("train", 102, "thorax"),
    ("train", 103, "abdomen"),
    ("train", 104, "thorax"),
    ("val", 201, "abdomen"),
    ("val", 202, "thorax"),
    ("test", 301, "abdomen"),
    ("test", 302, "thorax"),
)
SHAPE = (8, 320, 320)
SPACING_MM = (6.0, 1.2, 1.2)
DOSE = 0.1
RECIPE = {"recipe": "quick", "epochs": 8, "steps": 100}
FILTERS = ("filter:gaussian", "filter:median", "filter:nlm")


@safe_command()
@click.option("--out", default="demo", show_default=True, type=OutputFolder("demo"))
@click.option(
    "--input",
    "source",
    type=SeriesPath(),
    help="Normal-dose CT series to test on, instead of phantom patients.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json.")
def command(out, source, overwrite, as_json) -> None:
    """Runs the whole workflow on built-in data, in minutes on two CPU cores.

    Phantom patients as DICOM, a low dose simulated from them, TFRecords, a short
    training of RED-CNN, evaluation against classical filters and the published default
    model on patients that training never saw, and a denoised DICOM series. Open
    OUT/report.html at the end.
    """
    from ct_keras.files import atomic_folder

    inputs = (source,) if source else ()
    started = time.monotonic()
    making = atomic_folder(out, inputs=inputs, overwrite=overwrite, kind="demo")
    with making as folder:
        document = _run(folder, source)
    if as_json:
        emit_json(document)
        return
    from ct_keras.report import summary_rows

    echo_table(f"Held-out patients at {DOSE:.0%} dose", *summary_rows(document))
    minutes, place = (time.monotonic() - started) / 60, place_of(out)
    say(
        f"Done in {minutes:.1f} minutes. Open {place}/report.html; the denoised series "
        f"is in {place}/denoised.\n"
        f"{NOTICE}"
    )


def _run(folder: Path, source: Path | None) -> dict:
    note("1/5  phantom patients as DICOM")
    _write_patients(folder / "dicom", source)
    note(f"2/5  low dose ({DOSE:.0%}) and TFRecords")
    from ct_keras.data import convert

    records = folder / "records"
    convert(
        folder / "dicom",
        records,
        layout="single",
        split="folders",
        doses=(DOSE,),
        hash_key_file=_key(folder),
        progress=True,
    )
    note("3/5  training RED-CNN")
    from ct_keras.denoising import DEFAULT_MODEL, load
    from ct_keras.training import train

    result = train(
        "red_cnn",
        records,
        out=folder / "run",
        progress=True,
        **RECIPE,
    )
    if not result.finished:
        raise click.Abort()
    denoiser = load(folder / "run")
    note("4/5  evaluation against filters and published weights")
    published = load(DEFAULT_MODEL)
    if source is None:
        # The phantoms are the truth, which has no noise that should be left.
        published = published.at_strength(1.0)
    document = _evaluate(folder, records, denoiser, published)
    note("5/5  a low-dose DICOM series and its denoised version")
    _denoise(folder, denoiser)
    return document


def _key(folder: Path) -> Path:
    """A key for the patient hashes of this demo alone."""
    path = folder / "hash.key"
    path.write_text(secrets.token_hex(16))
    return path


def _write_patients(folder: Path, source: Path | None) -> None:
    from ct_keras.phantoms import make_phantom, write_phantom
    from ct_keras.progress import track

    patients = [entry for entry in PATIENTS if entry[0] != "test" or source is None]
    for split, seed, region in track(patients, "Phantom patients"):
        phantom = make_phantom(seed, region=region, shape=SHAPE, spacing_mm=SPACING_MM)
        # Without noise of its own: what comes out is compared with the truth.
        write_phantom(phantom, folder / split / f"phantom-{seed}", noise=False)
    if source is not None:
        _copy_series(source, folder / "test" / "input")


def _copy_series(source: Path, target: Path) -> None:
    """Copies the files of the one series of a folder, an archive or a medium."""
    from ct_keras.dicom import read_series
    from ct_keras.dicom.finder import left_out
    from ct_keras.inputs.archive import open_entry

    series = read_series(source)
    echo_findings(series.findings)
    partial.missing(left_out([series]))
    target.mkdir(parents=True)
    entries = dict.fromkeys(piece.file.entry for piece in series.sources)
    for index, entry in enumerate(entries):
        with open_entry(entry) as (file, _):
            (target / f"{index:05d}.dcm").write_bytes(file.read())


def _evaluate(folder: Path, records: Path, denoiser, published) -> dict:
    from ct_keras.denoising.methods import get_method
    from ct_keras.evaluation.measure import measure
    from ct_keras.evaluation.sources import records_source
    from ct_keras.report import write_report

    methods = {"input": get_method("input"), "red_cnn, trained now": denoiser}
    methods[f"{published.name}, published"] = published
    methods |= {name: get_method(name) for name in FILTERS}
    evaluation = measure(
        methods,
        records_source(records, "test"),
        tune=True,
        command="ct-keras demo",
    )
    write_report(evaluation, folder)
    return evaluation.document


def _denoise(folder: Path, denoiser) -> None:
    from ct_keras.dicom import Derivation, find_series, write_series
    from ct_keras.serving.series import denoise_series
    from ct_keras.simulation import simulate_dose

    normal = find_series(folder / "dicom" / "test")[0]
    write_series(
        simulate_dose(normal, DOSE),
        folder / "low_dose",
        derivation=Derivation.simulated_dose(DOSE),
    )
    (low,) = find_series(folder / "low_dose")
    denoise_series(low, folder / "denoised", denoiser, progress=True)
