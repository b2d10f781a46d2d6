"""`ct-keras train`: a recipe on TFRecords."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ct_keras.cli.options import numbers
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import emit_json, note, say
from ct_keras.cli.paths import InputPath, ModelText, OutputFolder
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError, ExitCode
from ct_keras.files.labels import label_of
from ct_keras.notice import NOTICE


@safe_command()
@click.argument("model")
@click.argument("records", type=InputPath())
@click.option(
    "--out", required=True, type=OutputFolder("run", resumable=True), help="Run folder."
)
@click.option(
    "--recipe", default="report", show_default=True, help="quick, report or paper."
)
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs.")
@click.option("--steps", type=click.IntRange(1), help="Steps per epoch.")
@click.option("--width", type=click.IntRange(1), help="Feature maps of the network.")
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting of the network's own training algorithm, such as "
    "lambda_l1=1 or feature_extractor=vgg19.h5; can be repeated.",
)
@click.option(
    "--doses",
    callback=numbers,
    metavar="LOW,HIGH",
    help="Simulate a new dose from this range for every patch (records with "
    "simulated pairs).",
)
@click.option(
    "--loss",
    type=click.Choice(["mse", "mae", "noise_free"]),
    help="Instead of the recipe's; noise_free learns the image without noise.",
)
@click.option(
    "--patches-per-slice",
    type=click.IntRange(1),
    help="Patches cut from a slice each time it is read or, with --doses, simulated: "
    "more make an epoch cheaper and its patches less various.",
)
@click.option(
    "--learning-rate",
    type=float,
    help="At the start, instead of the recipe's; its schedule is scaled with it.",
)
@click.option(
    "--start-from",
    metavar="MODEL",
    type=ModelText(),
    help="Begin with the weights of published weights, a run or a .keras file of the "
    "same network, to train further on other data.",
)
@trust_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Of the training steps; saved weights are float32. bfloat16 halves the time "
    "on processors with instructions for it.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the run.")
@click.option(
    "--strategy",
    type=click.Choice(["mirrored", "multi-worker"]),
    help="Share each batch: mirrored, by every GPU of this machine; multi-worker, by "
    "the cluster that TF_CONFIG describes (start the command on each of its machines).",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model,
    records,
    out,
    recipe,
    epochs,
    steps,
    width,
    settings,
    doses,
    loss,
    patches_per_slice,
    learning_rate,
    start_from,
    trust,
    precision,
    seed,
    strategy,
    resume,
    as_json,
) -> int:
    """Trains MODEL on RECORDS and keeps its best weights.

    The run folder holds config.json, history.csv, best.keras, checkpoints and a
    TensorBoard log. A killed run continues with --resume and ends with the same weights
    as an uninterrupted one.
    """
    from ct_keras.training import train
    from ct_keras.training.energy import EnergyMeter

    with EnergyMeter() as meter:
        result = train(
            model,
            records,
            out=out,
            recipe=recipe,
            epochs=epochs,
            steps=steps,
            options={"width": width} if width else None,
            training=dict(_setting(text) for text in settings),
            doses=_range(doses),
            loss=loss,
            patches_per_slice=patches_per_slice,
            learning_rate=learning_rate,
            start_from=start_from,
            trust=trust,
            precision=precision,
            seed=seed,
            resume=resume,
            progress=True,
            strategy=strategy,
        )
    if not result.finished:
        note("stopped by a signal; continue with --resume")
        return ExitCode.INTERRUPTED
    document = {
        "run": label_of(out),
        "best": result.best,
        "input": {f"val_{key}": each for key, each in vars(result.untreated).items()},
        "better_than_input": result.better_than_input,
        "energy": asdict(meter.energy()),
    }
    if as_json:
        emit_json(document)
    else:
        gain = result.best["val_psnr"] - result.untreated.psnr
        say(
            f"best epoch over all tissues, {result.best['epoch']}: validation PSNR "
            f"{result.best['val_psnr']:.2f} dB, {gain:+.2f} dB against the input, RMSE "
            f"{result.best['val_rmse_hu']:.1f} HU\n{meter.energy()}\n{NOTICE}"
        )
    if not result.better_than_input:
        note("CTK-W088 the best weights are not better than the noisy input")
        return ExitCode.GUARD
    return ExitCode.DONE


def _range(doses: tuple[float, ...]) -> tuple[float, float] | None:
    """The two ends of --doses; None if it was not given."""
    if len(doses) not in (0, 2):
        raise CtKerasError(
            "CTK-E000",
            "invalid range of doses",
            received=", ".join(map(str, doses)),
            expected="--doses LOW,HIGH, such as 0.05,0.5",
        )
    return doses or None


def _setting(text: str) -> tuple[str, object]:
    """Splits NAME=VALUE; numbers, lists, true, false and null are read as such."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise CtKerasError(
            "CTK-E000", "no setting", received=text, expected="NAME=VALUE"
        )
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
