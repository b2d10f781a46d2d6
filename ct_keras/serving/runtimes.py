"""Exports for other runtimes: a model file, and info.json that says how to run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.deployable import INPUT_NAME, OUTPUT_NAME, blended
from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.denoising.portable import (
    AXES,
    require_packages,
    write_litert,
    write_onnx,
    write_openvino,
)
from ct_keras.files import atomic_folder
from ct_keras.filters import Filter
from ct_keras.notice import NOTICE
from ct_keras.serving.parity import check_parity
from ct_keras.serving.units import units_of

#: Runtimes add in another order than Keras; display rounds to 1 HU.
TOLERANCE_HU = 0.02
_ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
def run(image):
    return session.run(["denoised_hu"], {"low_dose_hu": image})[0]
"""
_OPENVINO = """
import openvino
options = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = openvino.Core().compile_model(sys.argv[1], "CPU", options)
def run(image):
    return compiled({"low_dose_hu": image})["denoised_hu"]
"""
_LITERT = """
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(model_path=sys.argv[1]).get_signature_runner("serving_default")
def run(image):
    return runner(low_dose_hu=image)["denoised_hu"]
"""


@dataclass(frozen=True)
class Runtime:
    """A runtime with a format of its own.

    Attributes:
        name: The format, and the extra of ct_keras that installs its packages.
        file: Name of the file of the model.
        write: Writes a deployable model to a file.
        loading: Python that loads and runs the file, see `check_parity`.
        packages: The modules that writing and checking need.
        options: Options that the runtime needs to compute in float32.
    """

    name: str
    file: str
    write: Callable[[keras.Model, Path], None]
    loading: str
    packages: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("onnx", "model.onnx", write_onnx, _ONNX, ("tf2onnx", "onnxruntime")),
        Runtime(
            "openvino",
            "model.xml",
            write_openvino,
            _OPENVINO,
            ("tf2onnx", "openvino"),
            {"INFERENCE_PRECISION_HINT": "f32"},
        ),
        Runtime(
            "litert",
            "model.tflite",
            write_litert,
            _LITERT,
            ("ai_edge_litert.interpreter",),
        ),
    )
}


def export_for_runtime(
    denoiser: Method | Filter,
    out: str | Path,
    *,
    runtime: Runtime,
    overwrite: bool = False,
) -> float:
    """Writes a denoiser for a runtime, and checks it there in a fresh process.

    Args:
        denoiser: A network or a linear filter. For a self-ensemble only the network is
            exported, with a warning.
        out: The folder to write, with the model and info.json.
        runtime: One of `RUNTIMES`.
        overwrite: Replace a folder that an export wrote.

    Returns:
        The largest difference from the Keras model over all test sizes, in HU.

    Raises:
        CtKerasError: CTK-E071 for a bad output folder, CTK-E093 if a package is missing
            or the backend is not TensorFlow, CTK-E094 if the format cannot hold the
            network or its output differs.
    """
    require_packages(runtime.name, *runtime.packages)
    denoiser = as_method(denoiser).as_denoiser()
    with atomic_folder(out, overwrite=overwrite, kind="export") as folder:
        model = blended(denoiser.model, denoiser.default_strength)
        runtime.write(model, folder / runtime.file)
        difference = check_parity(
            denoiser,
            folder / runtime.file,
            loading=runtime.loading,
            tolerance_hu=TOLERANCE_HU,
        )
        info = _info(denoiser, runtime) | {"largest_difference_hu": difference}
        (folder / "info.json").write_text(json.dumps(info, indent=1) + "\n")
    return difference


def _info(denoiser: Denoiser, runtime: Runtime) -> dict:
    axes = ", ".join((*AXES[denoiser.dimensions], "1"))
    tensor = f"float32 ({axes}), {units_of(denoiser)}, any size"
    return {
        "name": denoiser.identity.name,
        "version": denoiser.identity.version,
        "weights_sha256": denoiser.identity.weights_sha256,
        "strength": denoiser.default_strength,
        "notice": NOTICE,
        "format": runtime.name,
        "file": runtime.file,
        "options": dict(runtime.options),
        "inputs": {INPUT_NAME: tensor},
        "outputs": {OUTPUT_NAME: tensor},
    }
