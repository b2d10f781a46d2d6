"""Runs an export in a new process without ct_keras, and compares it with Keras."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.errors import CtKerasError

#: Odd ones, smaller than any padding, and not square.
SIZES = {
    2: ((1, 1), (7, 9), (33, 57), (128, 96)),
    3: ((1, 1, 1), (3, 7, 9), (9, 16, 33)),
}
_FRESH_PROCESS = """
import sys
import numpy as np
{loading}
with np.load(sys.argv[2]) as inputs:
    outputs = {{name: run(inputs[name]) for name in inputs.files}}
assert "ct_keras" not in sys.modules
np.savez(sys.argv[3], **outputs)
"""


def check_parity(
    denoiser: Denoiser, exported: Path, *, loading: str, tolerance_hu: float
) -> float:
    """Compares an export with the Keras model on images of several sizes.

    Args:
        denoiser: What was exported.
        exported: The folder or file of the export.
        loading: Python that loads ``sys.argv[1]`` and defines ``run``, from an image
            of (1, rows, columns, 1) or a volume of (1, slices, rows, columns, 1) to
            the same shape, HU.
        tolerance_hu: The largest acceptable difference.

    Returns:
        The largest difference, in HU.

    Raises:
        CtKerasError: CTK-E094, if the export does not run or its output differs.
    """
    generator = np.random.default_rng(0)
    inputs = {
        "x".join(map(str, size)): generator.normal(0, 400, (1, *size, 1)).astype("f4")
        for size in SIZES[denoiser.dimensions]
    }
    outputs = _outputs(exported, loading, inputs)
    differences = [
        np.abs(outputs[name][0, ..., 0] - denoiser(x[0, ..., 0]))
        for name, x in inputs.items()
    ]
    largest = max(float(difference.max()) for difference in differences)
    if not largest <= tolerance_hu:
        raise CtKerasError(
            "CTK-E094",
            "the output of the exported model differs from that of the Keras model",
            received=f"{largest:.2e} HU",
            expected=f"at most {tolerance_hu} HU",
        )
    return largest


def _outputs(exported: Path, loading: str, inputs: dict) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        given, returned = Path(scratch, "given.npz"), Path(scratch, "returned.npz")
        np.savez(given, **inputs)
        code = _FRESH_PROCESS.format(loading=loading)
        process = subprocess.run(
            [sys.executable, "-P", "-c", code, exported, given, returned],
            capture_output=True,
            text=True,
            cwd=scratch,
            check=False,
        )
        if process.returncode:
            raise CtKerasError(
                "CTK-E094",
                "the exported model does not run",
                received=process.stderr.strip().splitlines()[-1:],
            )
        with np.load(returned) as outputs:
            return {name: outputs[name] for name in outputs.files}
