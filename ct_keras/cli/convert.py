"""`ct-keras convert`: DICOM or pictures to TFRecords."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ct_keras.cli import partial
from ct_keras.cli.options import (
    SIMULATION,
    given,
    grey_values,
    numbers,
    simulation,
)
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.output import echo_findings, echo_table, emit_json, say
from ct_keras.cli.paths import InputPath, OutputFolder, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.data.manifest import SPLITS
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of, place_of

#: How a list of patients begins.
_LIST = re.compile(rf"({'|'.join(SPLITS)})=")


class _Places(OutputFolder):
    """[SRC] RECORDS; after --split they may include further lists of patients."""

    watched = True

    def convert(self, value, param, ctx) -> str:
        """The text itself, which may not be a path."""
        super().convert(value, param, ctx)
        return value

    def inputs(self, values, given) -> list[Path]:
        """The source."""
        return self.sort(values, given)[0][:-1]

    def outputs(self, values, given) -> list[Path]:
        """The records."""
        return self.sort(values, given)[0][-1:]

    def sort(self, values, given) -> tuple[list[Path], list[str]]:
        """Tells paths from lists: a list follows --split and names a split."""
        lists = [text for text in values if given["split"] and _LIST.match(text)]
        return [Path(text) for text in values if text not in lists], lists


_PLACES = _Places("records", resumable=True)


@safe_command()
@click.argument("paths", metavar="[SRC] RECORDS", nargs=-1, type=_PLACES)
@click.option(
    "--layout",
    required=True,
    type=click.Choice(["mayo", "tcia", "pairs", "images", "single"]),
    help="How the source is laid out.",
)
@click.option("--low", type=SeriesPath(), help="Low-dose folder (pairs, images).")
@click.option("--full", type=SeriesPath(), help="Normal-dose folder (pairs, images).")
@click.option(
    "--dose",
    "doses",
    callback=numbers,
    help="Doses to simulate (single, default 0.25); else the dose of the low images.",
)
@click.option(
    "--split",
    multiple=True,
    help="train=A,B val=C test=D | three ratios | folders.  [default: 0.7,0.15,0.15]",
)
@click.option("--seed", default=0, show_default=True, help="Seed of noise and split.")
@click.option("--variant", "variants", multiple=True, help="For example 3mm (mayo).")
@grey_values
@click.option("--resample", "resample_mm", type=float, help="Common pixel size in mm.")
@click.option(
    "--resample-slices",
    "resample_slices_mm",
    type=float,
    help="Common slice spacing in mm, by means or interpolation of slices.",
)
@click.option("--workers", type=click.IntRange(1), help="Number of processes.")
@click.option("--hash-key-file", type=InputPath(), help="Key of the patient hashes.")
@simulation
@reading_options("convert")
@click.option("--allow-lossy", is_flag=True, help="Accept lossy-compressed images.")
@partial.wait_stable
@click.option("--overwrite", is_flag=True, help="Replace existing RECORDS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(paths, doses, split, pixel_spacing, reading, as_json, **options) -> None:
    """Converts SRC to TFRecords of whole slice pairs in RECORDS, split by patient.

    The layouts pairs, images and single also take NIfTI, NRRD, MetaImage, .npy, TIFF
    and PNG files instead of DICOM. 8-bit pictures become records of pictures: networks
    trained on them denoise pictures only.

    SRC may be a zip archive or the DICOMDIR of a medium (layouts single and tcia). It
    may be left out if --low and --full are given. An interrupted run continues
    when the same command is given again. Patients, series and images are named
    by keyed hashes; the key is kept in the user's configuration folder.
    """
    from ct_keras.data import convert

    # Lists of patients may be typed as one option: --split train=A val=B test=C
    physics = given({name: options.pop(name) for name in SIMULATION})
    places, lists = _PLACES.sort(paths, {"split": split})
    src, records = _source(places, options)
    if split:
        options["split"] = [*split, *lists]
    if pixel_spacing:
        options["spacing_mm"] = (pixel_spacing, pixel_spacing)
    if options["layout"] == "single":
        options |= {"doses": doses or (0.25,), "simulation": physics}
    elif len(doses) > 1 or physics:
        named = [f"--{name.replace('_', '-')}" for name in physics]
        raise CtKerasError(
            "CTK-E000",
            "this layout comes with its own low-dose images",
            received=", ".join([f"{len(doses)} doses", *named]),
            expected="at most one --dose, that of the low-dose images, and no option "
            "of a simulation",
        )
    elif doses:
        options["dose"] = doses[0]
    manifest = convert(src, records, progress=True, read_options=reading, **options)
    echo_findings(manifest.findings)
    _show(manifest, partial.missing(manifest.refused), as_json)


def _source(places: list[Path], options: dict) -> tuple[Path, Path]:
    """Source and records; with --low and --full the source is their common folder."""
    both = options["low"] is not None and options["full"] is not None
    if len(places) == 2:
        return places[0], places[1]
    if len(places) == 1 and both:
        return options["full"].absolute(), places[0]
    raise CtKerasError(
        "CTK-E000",
        "convert needs a source and a records folder",
        received=f"{len(places)} folders",
        expected="SRC RECORDS, or RECORDS with --low and --full",
    )


def _show(manifest, refused: list[str], as_json: bool) -> None:
    doses = ", ".join(f"{dose:g}" if dose else "unknown" for dose in manifest.doses)
    if as_json:
        document = {
            "records": label_of(manifest.folder),
            "layout": manifest.layout,
            "doses": list(manifest.doses),
            "seed": manifest.seed,
            "splits": manifest.splits,
            "shards": len(manifest.shards),
            "findings": list(manifest.findings),
            "refused": refused,
        }
        emit_json(document)
        return
    columns = ["split", "patients", "series", "slices", "doses", "MB"]
    rows = []
    for split, counts in manifest.splits.items():
        whole = [str(counts[name]) for name in columns[1:4]]
        rows.append([split, *whole, doses, f"{counts['bytes'] / 1e6:.0f}"])
    echo_table("Records", columns, rows)
    where = place_of(manifest.folder, "RECORDS")
    say(f"{len(manifest.shards)} shards in {where}")
