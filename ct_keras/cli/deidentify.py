"""`ct-keras deidentify`: CT series without their patients."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import click

from ct_keras.cli import partial
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.output import echo_findings, emit_json, note, say
from ct_keras.cli.parts import parts_of
from ct_keras.cli.paths import InputPath, OutputFolder, SeriesPath
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError, Finding
from ct_keras.notice import NOTICE

_OUTCOMES = ("kept", "replaced", "dropped", "odd")


@safe_command()
@click.argument("source", metavar="IN", type=SeriesPath())
@click.argument("out", type=OutputFolder("series"))
@click.option(
    "--dates",
    type=click.Choice(["remove", "shift", "keep"]),
    default="remove",
    show_default=True,
    help="shift: by the same number of days for all series of a patient.",
)
@click.option(
    "--keep-patient",
    is_flag=True,
    help="Keep sex, age, size and weight; ages over 89 become 90.",
)
@click.option(
    "--hash-key-file",
    type=InputPath(),
    help="Key of pseudonyms and UIDs; the same key gives the same ones.",
)
@reading_options("deidentify")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source, out, dates, keep_patient, hash_key_file, reading, overwrite, as_json
) -> None:
    """Writes de-identified copies of the CT series in IN to OUT.

    Pixel values stay as they are. Of the header only geometry, pixel format and
    acquisition parameters stay, and only values that are what they should be: numbers,
    terms of closed lists. UIDs and the patient get pseudonyms from a secret key, so
    that what belongs together still does; the key stays in your configuration folder.
    All else is dropped, private elements included (PS3.15, basic profile).

    Images that say that text is burned into them are refused, and objects that are not
    CT images are left out. Look at the images yourself: a face in a head scan, or text
    that the header does not tell of, is not removed.
    """
    from ct_keras.dicom import find_series
    from ct_keras.dicom.finder import left_out
    from ct_keras.privacy import Profile, deidentify_series
    from ct_keras.privacy.keys import load_key

    key = load_key(hash_key_file)
    profile = Profile(dates=dates, keep_patient=keep_patient)
    found = find_series(source, options=replace(reading, force_hu=True))
    results, refusals = [], []
    several = len(found) > 1
    with parts_of(out, "series", several, overwrite) as parts:
        for number, series in enumerate(found, 1):
            echo_findings(series.findings)
            part = parts / (f"series-{number}" if several else "")
            options = {"profile": profile, "overwrite": overwrite, "progress": True}
            try:
                result = deidentify_series(series, part, key, **options)
            except CtKerasError as error:
                if not several:
                    raise
                note(f"series {number}: {error}")
                refusals.append(error)
                continue
            echo_findings(result.findings)
            results.append((number, result))
        if refusals and not results:
            raise refusals[0]
    refused = partial.missing([*left_out(found), *map(str, refusals)])
    _report(results, refused, as_json)


def _report(results: list, refused: list[str], as_json: bool) -> None:
    elements = Counter()
    for _, result in results:
        elements.update(result.elements)
    counts = {outcome: elements[outcome] for outcome in _OUTCOMES}
    if as_json:
        rows = [
            {
                "series": number,
                "images": result.images,
                "findings": [str(finding) for finding in result.findings],
            }
            for number, result in results
        ]
        emit_json({"series": rows, "elements": counts, "refused": refused})
        return
    for number, result in results:
        say(f"series {number}: {result.images} images de-identified")
    say(
        f"header elements: {counts['kept']} kept, {counts['replaced']} UIDs replaced, "
        f"{counts['dropped'] + counts['odd']} dropped"
    )
    say(str(Finding("CTK-I055", "the images themselves were not looked at for text")))
    say(NOTICE)
