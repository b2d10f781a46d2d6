"""`ct-keras judge`: does the lesion come back?"""

from __future__ import annotations

import click

from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import echo_table, emit_json, say
from ct_keras.cli.paths import ModelText, OutputFolder
from ct_keras.cli.paths import command as safe_command
from ct_keras.files.labels import place_of
from ct_keras.notice import NOTICE


@safe_command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=ModelText())
@click.option("--out", required=True, type=OutputFolder("judge"))
@click.option("--dose", default=0.05, show_default=True, help="Fraction of full dose.")
@click.option(
    "--judges",
    type=OutputFolder("judges", resumable=True),
    help="Folder that keeps the trained networks for the next call with this seed.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of training and bootstrap.",
)
@trust_option
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print judge.json.")
def command(models, out, dose, judges, seed, trust, overwrite, as_json) -> None:
    """Measures what images denoised by each MODEL can still be used for.

    A network that segments organs and one that finds faint lesions judge phantom
    patients at full dose, at a low dose, and at the low dose after each MODEL. MODEL is
    the name of published weights, a run, a .keras file or filter:NAME. The two networks
    are trained first; with that, one MODEL takes about a quarter of an hour on two CPU
    cores. The share that came back is given where the low dose clearly lost something.
    OUT gets judge.json and judge.png.
    """
    from ct_keras.denoising.methods import methods_by_label
    from ct_keras.tasks.judge import judge

    methods = methods_by_label(models, trust=trust)
    document = judge(
        methods,
        out,
        dose=dose,
        judges=judges,
        seed=seed,
        overwrite=overwrite,
        progress=True,
    )
    if as_json:
        emit_json(document)
        return
    columns = ["model", "dose", "mean Dice", "back", "AUC", "back"]
    rows = [
        [
            row["model"],
            f"{row['dose_fraction']:.0%}",
            _with_interval(row, "mean_dice"),
            _share(row, "dice_recovered"),
            _with_interval(row, "auc"),
            _share(row, "auc_recovered"),
        ]
        for row in document["rows"]
    ]
    echo_table("What the low dose lost and what came back", columns, rows)
    say(f"judge.json and judge.png are in {place_of(out)}. {NOTICE}")


def _with_interval(row: dict, key: str) -> str:
    if row[f"{key}_ci95"] is None:  # of a single patient
        return f"{row[key]:.3f}"
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:.3f} ({low:.3f} to {high:.3f})"


def _share(row: dict, key: str) -> str:
    if row.get(key) is None:
        return "-"
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:+.0%} ({low:+.0%} to {high:+.0%})"
