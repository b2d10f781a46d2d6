"""`ct-keras quality`: noise, sharpness and detectability on phantoms."""

from __future__ import annotations

import click

from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import echo_table, emit_json, say
from ct_keras.cli.paths import InputPath, ModelText, OutputFolder
from ct_keras.cli.paths import command as safe_command
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import place_of
from ct_keras.notice import NOTICE


@safe_command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=ModelText())
@click.option("--out", required=True, type=OutputFolder("quality"))
@click.option(
    "--dose",
    default="0.1,0.25,1",
    show_default=True,
    help="Fractions of full dose, separated by commas.",
)
@click.option("--repeats", default=20, show_default=True, help="Scans of each phantom.")
@click.option("--size", default=256, show_default=True, help="Rows and columns.")
@click.option(
    "--spacing",
    default=0.7,
    show_default=True,
    help="Pixel size in mm; times --size, about 170 mm or more.",
)
@click.option("--kernel", default="b30", show_default=True, help="b30, d45 or ramp.")
@click.option(
    "--noise",
    default=12.0,
    show_default=True,
    help="SD in the centre of the water at full dose, in HU.",
)
@click.option(
    "--lcd",
    type=InputPath(),
    help="Images in the layout of LCD-CT, for the Hotelling observer.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of noise and bootstrap.",
)
@trust_option
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print quality.json.")
def command(models, out, dose, lcd, trust, overwrite, as_json, **settings) -> None:
    """Scans phantoms at several doses and measures what each MODEL makes of them.

    MODEL is the name of published weights, a run, a .keras file, filter:NAME or input.
    OUT gets quality.json (noise power, transfer functions, contrast and bias,
    detectability by NPW, PW, NPWE and Hotelling observers, dose curves) and its plots.
    """
    doses = _doses(dose)
    from ct_keras.denoising.methods import INPUT, get_method
    from ct_keras.evaluation import QualityPlan, measure_lcd, measure_quality
    from ct_keras.image_quality import (
        lcd_rows,
        read_lcd_ct,
        summary_rows,
        write_quality,
    )

    study = read_lcd_ct(lcd) if lcd is not None else None
    plan = QualityPlan(
        doses=doses,
        repeats=settings["repeats"],
        size=settings["size"],
        spacing_mm=settings["spacing"],
        kernel=settings["kernel"],
        noise_hu=settings["noise"],
        seed=settings["seed"],
    ).checked()
    from ct_keras.denoising.methods import methods_by_label

    methods = methods_by_label(models, trust=trust)
    document = measure_quality(methods, plan, progress=True)
    if study is not None:
        methods = {INPUT: get_method(INPUT)} | methods
        seed = settings["seed"]
        document["lcd_ct"] = measure_lcd(methods, study, seed=seed, progress=True)
    write_quality(document, out, overwrite=overwrite)
    if as_json:
        emit_json(document)
        return
    columns, rows = summary_rows(document)
    echo_table("Image quality on phantoms", columns, rows)
    if study is not None:
        echo_table("Hotelling observer on LCD-CT images", *lcd_rows(document))
    say(f"quality.json and its plots are in {place_of(out)}. {NOTICE}")


def _doses(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise CtKerasError(
            "CTK-E000",
            "the doses cannot be read",
            received=text,
            expected="numbers separated by commas, such as 0.1,0.25,1",
        ) from error
