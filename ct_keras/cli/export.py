"""`ct-keras export`: a denoiser for serving."""

from __future__ import annotations

import click

from ct_keras.cli.options import strength_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import emit_json, say
from ct_keras.cli.paths import ModelText, OutputFolder
from ct_keras.cli.paths import command as safe_command
from ct_keras.notice import NOTICE


@safe_command()
@click.argument("model", type=ModelText())
@click.argument("out", type=OutputFolder("export"))
@click.option(
    "--format",
    "format_",
    default="savedmodel",
    show_default=True,
    help="savedmodel, onnx, openvino or litert.",
)
@strength_options
@trust_option
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model, out, format_, strength, like_dose, trust, overwrite, as_json
) -> None:
    """Writes MODEL to OUT for serving: HU in, HU out, any size.

    MODEL is the name of published weights, a run, a .keras file or filter:NAME of a
    linear filter (mean, gaussian, blur, gaussian_5x5). The signature is
    serving_default(low_dose_hu) -> denoised_hu. The strength becomes part of the
    export, so that it returns what `ct-keras denoise` does. It is checked against the
    Keras model in its own runtime, in a fresh process, before it appears.

    Other formats than savedmodel need packages: pip install "ct_keras[onnx]",
    "ct_keras[openvino]" or "ct_keras[litert]".
    """
    from ct_keras.denoising.methods import get_method
    from ct_keras.serving import export

    method = get_method(model, trust=trust)
    strength = method.chosen_strength(strength, like_dose)
    difference = export(
        method, out, format=format_, strength=strength, overwrite=overwrite
    )
    if as_json:
        emit_json(
            {
                "format": format_,
                "strength": strength,
                "largest_difference_hu": difference,
            }
        )
    else:
        say(
            f"{format_} written, strength {strength:g}; largest difference from Keras "
            f"{difference:.1e} HU\n{NOTICE}"
        )
