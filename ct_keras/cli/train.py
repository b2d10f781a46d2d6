"""`ct-keras train`: a recipe on TFRecords."""

from __future__ import annotations

from pathlib import Path

import click

from ct_keras.cli.output import NOTICE, emit_json, note, say
from ct_keras.errors import ExitCode


@click.command()
@click.argument("model")
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run.")
@click.option(
    "--recipe", default="report", show_default=True, help="quick|report|paper"
)
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--steps", type=click.IntRange(1), help="Steps per epoch.")
@click.option("--width", type=click.IntRange(1), help="Feature maps of the network.")
@click.option("--seed", default=0, show_default=True, help="Of weights and patches.")
@click.option("--resume", is_flag=True, help="Go on where a run in --out stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model, records, out, recipe, epochs, steps, width, seed, resume, as_json
) -> int:
    """Trains MODEL on RECORDS and keeps its best weights.

    The run folder holds config.json, history.csv, best.keras, checkpoints and a
    TensorBoard log. A run that was killed goes on with --resume and ends with the same
    weights as one that was not.
    """
    from ct_keras.serving import Denoiser
    from ct_keras.training import train

    result = train(
        model,
        records,
        out=out,
        make_denoiser=Denoiser,
        recipe=recipe,
        epochs=epochs,
        steps=steps,
        options={"width": width} if width else None,
        seed=seed,
        resume=resume,
        progress=True,
    )
    if not result.finished:
        note("stopped by a signal; go on with --resume")
        return ExitCode.INTERRUPTED
    document = {
        "run": out.name,
        "best": result.best,
        "input": {"val_psnr": result.untreated.psnr},
        "better_than_input": result.better_than_input,
    }
    if as_json:
        emit_json(document)
    else:
        gain = result.best["val_psnr"] - result.untreated.psnr
        say(
            f"best epoch {result.best['epoch']}: validation PSNR "
            f"{result.best['val_psnr']:.2f} dB, {gain:+.2f} dB against the input, RMSE "
            f"{result.best['val_rmse_hu']:.1f} HU\n{NOTICE}"
        )
    if not result.better_than_input:
        note("CTK-W088 the best weights are not better than the noisy input")
        return ExitCode.GUARD
    return ExitCode.DONE
