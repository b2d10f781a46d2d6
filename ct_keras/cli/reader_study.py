"""`ct-keras reader-study`: blinded pages for readers, and the scoring of answers."""

from __future__ import annotations

import click

from ct_keras.cli import partial
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import (
    echo_findings,
    echo_table,
    emit_json,
    note,
    public_command,
    say,
)
from ct_keras.cli.paths import (
    InputPath,
    ModelText,
    OutputFolder,
    SafeCommand,
    SeriesPath,
)
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import place_of
from ct_keras.inputs import ReadOptions
from ct_keras.notice import NOTICE


@click.group()
def command() -> None:
    """A blinded study: readers score hidden methods side by side.

    make writes one page for each reader and a sealed key; the readers send back the
    files that their pages save; score joins them with the key.
    """


@command.command(cls=SafeCommand)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=ModelText())
@click.option("--records", type=InputPath(), help="Folder of records.")
@click.option("--split", default="test", show_default=True)
@click.option("--low", type=SeriesPath(), help="Low-dose series.")
@click.option("--full", type=SeriesPath(), help="Reference of --low.")
@click.option("--out", required=True, type=OutputFolder("reader study"))
@click.option("--readers", default=3, show_default=True, help="Number of pages.")
@click.option("--cases", type=int, help="Upper limit; default: every patient.")
@click.option("--per-patient", default=1, show_default=True, help="Slices of each.")
@click.option(
    "--slices",
    type=InputPath(),
    help="CSV with case and slice_index (such as slices.csv): show these instead.",
)
@click.option(
    "--repeats",
    "repeat_share",
    default=0.1,
    show_default=True,
    help="Share of the cases that every reader sees twice.",
)
@click.option(
    "--criterion",
    "criteria",
    multiple=True,
    help="Ask only this (can be repeated); default: the usual seven.",
)
@click.option(
    "--percent",
    is_flag=True,
    help="Also ask whether each image is as good as one at normal dose, in percent.",
)
@click.option("--title", default="Reader study", show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Keep it secret; default: drawn, in the key.",
)
@click.option(
    "--tune/--no-tune",
    default=None,
    help="Fit the filters to the split val first (default: if there is one).",
)
@reading_options("reader-study make")
@trust_option
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def make(
    models,
    records,
    split,
    low,
    full,
    out,
    cases,
    slices,
    tune,
    reading,
    trust,
    percent,
    as_json,
    **options,
) -> None:
    """Writes a page for each reader, with each MODEL hidden in it, and the sealed key.

    MODEL is the name of published weights, a run, a .keras file or filter:NAME. The
    full and the low dose are hidden among them in every case. OUT/pages holds what the
    readers get; OUT/sealed/key.json tells which panel shows what and must stay away
    from them until all answers are in. The slices come from --records, or from one
    pair of DICOM series, --low and --full.
    """
    source = _source(records, split, low, full, reading)
    echo_findings(source.findings())
    from ct_keras.denoising.methods import methods_by_label
    from ct_keras.evaluation.measure import tuned
    from ct_keras.reader_study import (
        NORMAL_DOSE,
        USUAL_CRITERIA,
        design_remarks,
        make_study,
        public_summary,
        read_slices,
    )

    methods = tuned(methods_by_label(models, trust=trust), source, tune)
    asked = options["criteria"] or USUAL_CRITERIA
    extra = (NORMAL_DOSE,) if percent else ()
    options["criteria"] = tuple(dict.fromkeys((*asked, *extra)))
    key = make_study(
        methods,
        source.pairs,
        out,
        limit=cases,
        slices=None if slices is None else read_slices(slices),
        command=public_command(),
        progress=True,
        **options,
    )
    for remark in design_remarks(key):
        note(remark)
    partial.missing(source.left_out())
    if as_json:
        emit_json(public_summary(key))
        return
    showings = len(key["readers"][0]["showings"])
    say(
        f"Study {key['study']}: {len(key['cases'])} cases, {len(key['arms'])} images "
        f"each, {showings} screens for each of {len(key['readers'])} readers."
    )
    place = place_of(out)
    say(f"Give readers their page in {place}/pages and nothing else.")
    say(
        f"{place}/sealed/key.json unblinds the study: keep it away from the readers "
        f"until all answers are in. {NOTICE}"
    )


def _source(records, split, low, full, reading: ReadOptions):
    """The slices of a study: of records, or of a pair of series."""
    from ct_keras.evaluation.sources import records_source, series_source

    if records is None:
        return series_source(low, full, reading=reading)
    if reading != ReadOptions():
        raise CtKerasError(
            "CTK-E000",
            "options of the reader are for DICOM series and files",
            expected="--low and --full",
        )
    return records_source(records, split)


@command.command(cls=SafeCommand)
@click.argument(
    "answers", metavar="ANSWERS...", nargs=-1, required=True, type=InputPath()
)
@click.option(
    "--key", required=True, type=InputPath(), help="sealed/key.json of the study."
)
@click.option("--out", required=True, type=OutputFolder("scores"))
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the bootstrap.",
)
@click.option(
    "--allow-incomplete", is_flag=True, help="Leave out cases with missing answers."
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print scores.json.")
def score(answers, key, out, seed, allow_incomplete, overwrite, as_json) -> None:
    """Unblinds ANSWERS, the files that the readers' pages saved, and scores them.

    OUT gets scores.json (medians, intervals, Friedman and Wilcoxon tests with Holm's
    correction, VGC areas, agreement within and between readers), ratings.csv with
    every score, and scores.png. Tests and intervals go over patients.
    """
    from ct_keras.reader_study import (
        read_answers,
        read_key,
        result_tables,
        score_study,
        unblind,
        write_results,
    )

    secret = read_key(key)
    ratings = unblind(
        secret, map(read_answers, answers), allow_incomplete=allow_incomplete
    )
    document = score_study(secret, ratings, seed=seed)
    write_results(document, secret, ratings, out, overwrite=overwrite)
    if ratings.missing:
        note(f"Cases left out for missing answers: {len(ratings.missing)}.")
    absent = len(secret["readers"]) - len(ratings.readers)
    if absent:
        note(f"Readers without answers: {absent} of {len(secret['readers'])}.")
    for remark in document["design"]:
        note(remark)
    if as_json:
        emit_json(document)
        return
    for title, columns, rows in result_tables(document):
        echo_table(title, columns, rows)
    say(f"scores.json, ratings.csv and scores.png are in {place_of(out)}. {NOTICE}")
