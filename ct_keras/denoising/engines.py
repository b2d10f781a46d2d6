"""Other runtimes for a network, in float32: ONNX Runtime and OpenVINO.

On the processors that were measured TensorFlow is faster (`benchmarks/README.md`), so
they are used only where asked for, and their packages are not installed by default.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from ct_keras.denoising.deployable import INPUT_NAME
from ct_keras.denoising.portable import require_packages, to_onnx


def compiled_by(engine: str, model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Converts a deployable model in memory, and compiles it.

    Args:
        engine: "onnx" or "openvino".
        model: From `low_dose_hu` to `denoised_hu`.

    Returns:
        A function from (batch, ..., rows, columns, 1) to the same shape, HU, any size.

    Raises:
        CtKerasError: CTK-E093, if a package is missing or Keras does not run on
            TensorFlow.
    """
    package, compile_model = {
        "onnx": ("onnxruntime", _onnx_runtime),
        "openvino": ("openvino", _openvino),
    }[engine]
    require_packages(engine, "tf2onnx", package)
    return compile_model(to_onnx(model).SerializeToString())


def _onnx_runtime(document: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(document, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {INPUT_NAME: image})[0]


def _openvino(document: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    core = openvino.Core()
    # It would round to bfloat16 by itself, also at the ends of the network.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(document), "CPU", settings)
    return lambda image: compiled(image)[0]
