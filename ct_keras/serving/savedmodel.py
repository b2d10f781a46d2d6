"""SavedModel with a fixed signature, checked against the Keras model.

Endpoints, all HU in and HU out:

- ``serving_default(low_dose_hu: float32 [batch, rows, columns, 1]) -> denoised_hu``
- ``denoise_int16(stored: int16 [batch, rows, columns], slope, intercept)
  -> stored`` on the same scale, rounded half to even and saturated
- ``denoise_bytes(pixels_bytes: string, rows, columns, slope, intercept)
  -> pixels_bytes``: one slice as little-endian int16, half the size of JSON numbers
- ``info() -> name, version, weights_sha256, notice``

For a 3-D network, slices come before rows, also in the bytes, and each volume is
processed as a whole.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.deployable import INPUT_NAME, OUTPUT_NAME
from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder
from ct_keras.filters import Filter
from ct_keras.notice import NOTICE

#: Maximum pixels of one request; more than any CT slice has.
MAXIMUM_PIXELS = 16 * 2**20
PARITY_SIZES = {
    2: ((1, 1), (7, 9), (33, 57), (128, 96)),
    3: ((1, 1, 1), (3, 7, 9), (9, 16, 33)),
}
PARITY_TOLERANCE_HU = 1e-3

_FRESH_PROCESS = """
import sys
import numpy as np
import tensorflow as tf
run = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
assert "ct_keras" not in sys.modules
with np.load(sys.argv[2]) as inputs:
    outputs = {name: run(tf.constant(inputs[name]))["denoised_hu"].numpy()
               for name in inputs.files}
np.savez(sys.argv[3], **outputs)
"""


def export_savedmodel(
    denoiser: Method | Filter,
    out: str | Path,
    *,
    overwrite: bool = False,
) -> float:
    """Writes a SavedModel, and checks it in a fresh process without ct_keras.

    Args:
        denoiser: A network or a linear filter. For a self-ensemble only the network is
            exported, with a warning.
        out: The folder to write.
        overwrite: Replace a folder with content.

    Returns:
        The largest difference from the Keras model over all test sizes, in HU.

    Raises:
        CtKerasError: CTK-E071 for a bad output folder, CTK-E093 if the backend is not
            TensorFlow, CTK-E094 if the output of the exported model differs.
    """
    if keras.backend.backend() != "tensorflow":
        raise CtKerasError(
            "CTK-E093",
            "SavedModel export needs the TensorFlow backend",
            received=keras.backend.backend(),
            fix="set KERAS_BACKEND=tensorflow",
        )
    denoiser = as_method(denoiser).as_denoiser()
    with atomic_folder(out, overwrite=overwrite, kind="savedmodel") as temporary:
        _write(denoiser, temporary)
        difference = _largest_difference(denoiser, temporary)
        if not difference <= PARITY_TOLERANCE_HU:
            raise CtKerasError(
                "CTK-E094",
                "the output of the exported model differs from that of the Keras model",
                received=f"{difference:.2e} HU",
                expected=f"at most {PARITY_TOLERANCE_HU} HU",
            )
    return difference


def _write(denoiser: Denoiser, folder: Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(denoiser.model)
    for name, (function, signature) in _endpoints(denoiser).items():
        archive.add_endpoint(name, function, input_signature=signature)
    archive.write_out(str(folder), verbose=False)


def _endpoints(denoiser: Denoiser) -> dict:
    """Name -> (function, input signature)."""
    import tensorflow as tf

    model, identity = denoiser.model, denoiser.identity
    leading = (1,) if denoiser.dimensions == 2 else (1, -1)
    any_size = (None,) * (1 + denoiser.dimensions)

    def serve(low_dose_hu):
        with tf.control_dependencies(_checks(low_dose_hu)):
            low_dose_hu = tf.identity(low_dose_hu)
        return {OUTPUT_NAME: model(low_dose_hu, training=False)[OUTPUT_NAME]}

    def denoise_int16(stored, slope, intercept):
        low_dose_hu = tf.cast(stored, tf.float32) * slope + intercept
        denoised = serve(low_dose_hu[..., None])[OUTPUT_NAME][..., 0]
        scaled = tf.round((denoised - intercept) / slope)
        return {"stored": tf.saturate_cast(scaled, tf.int16)}

    def denoise_bytes(pixels_bytes, rows, columns, slope, intercept):
        stored = tf.reshape(
            tf.io.decode_raw(pixels_bytes, tf.int16), (*leading, rows, columns)
        )
        result = denoise_int16(stored, slope, intercept)["stored"]
        flat = tf.reshape(result, (-1,))
        low, high = tf.bitwise.bitwise_and(flat, 255), tf.bitwise.right_shift(flat, 8)
        pairs = tf.stack([low, tf.bitwise.bitwise_and(high, 255)], axis=1)
        characters = tf.gather(_BYTES, tf.cast(tf.reshape(pairs, (-1,)), tf.int32))
        return {"pixels_bytes": tf.strings.reduce_join(characters)}

    def info():
        return {
            "name": tf.constant(identity.name),
            "version": tf.constant(identity.version or ""),
            "weights_sha256": tf.constant(identity.weights_sha256 or ""),
            "notice": tf.constant(NOTICE),
        }

    number = tf.TensorSpec((), tf.float32)
    size = tf.TensorSpec((), tf.int32)
    return {
        "serving_default": (
            serve,
            [tf.TensorSpec((*any_size, 1), tf.float32, name=INPUT_NAME)],
        ),
        "denoise_int16": (
            denoise_int16,
            [tf.TensorSpec(any_size, tf.int16), number, number],
        ),
        "denoise_bytes": (
            denoise_bytes,
            [tf.TensorSpec((), tf.string), size, size, number, number],
        ),
        "info": (info, []),
    }


_BYTES = [bytes([value]) for value in range(256)]


def _checks(low_dose_hu) -> list:
    """Checks of the input inside the graph, with error texts."""
    import tensorflow as tf

    pixels = tf.size(low_dose_hu)
    return [
        tf.debugging.assert_positive(
            pixels, "ct_keras: empty input, expected (batch, ..., rows, columns, 1)"
        ),
        tf.debugging.assert_less_equal(
            pixels, MAXIMUM_PIXELS, f"ct_keras: more than {MAXIMUM_PIXELS} pixels"
        ),
        tf.debugging.assert_all_finite(
            low_dose_hu, "ct_keras: input holds NaN or infinite values"
        ),
    ]


def _largest_difference(denoiser: Denoiser, folder: Path) -> float:
    """Runs the export in a new Python process without ct_keras."""
    generator = np.random.default_rng(0)
    inputs = {
        "x".join(map(str, size)): generator.normal(0, 400, (1, *size, 1)).astype("f4")
        for size in PARITY_SIZES[denoiser.dimensions]
    }
    with tempfile.TemporaryDirectory() as scratch:
        given, returned = Path(scratch, "given.npz"), Path(scratch, "returned.npz")
        np.savez(given, **inputs)
        process = subprocess.run(
            [sys.executable, "-P", "-c", _FRESH_PROCESS, folder, given, returned],
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
            differences = [
                outputs[name][0, ..., 0] - denoiser(x[0, ..., 0], strength=1.0)
                for name, x in inputs.items()
            ]
        return max(float(np.abs(difference).max()) for difference in differences)
