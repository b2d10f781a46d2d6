"""SavedModel with a fixed signature, checked against the Keras model.

Endpoints, all HU in and HU out (for a network of pictures, their grey values on the
scale of HU, which ``info`` names):

- ``serving_default(low_dose_hu: float32 [batch, rows, columns, 1]) -> denoised_hu``
- ``denoise_int16(stored: int16 [batch, rows, columns], slope, intercept)
  -> stored`` on the same scale, rounded half to even and saturated
- ``denoise_bytes(pixels_bytes: string, rows, columns, slope, intercept)
  -> pixels_bytes``: one slice as little-endian int16, half the size of JSON numbers
- ``info() -> name, version, weights_sha256, strength, units, notice``

For a 3-D network, slices come before rows, also in the bytes, and each volume is
processed as a whole.
"""

from __future__ import annotations

from pathlib import Path

import keras

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.deployable import INPUT_NAME, OUTPUT_NAME, blended
from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.denoising.portable import require_tensorflow
from ct_keras.files import atomic_folder
from ct_keras.filters import Filter
from ct_keras.notice import NOTICE
from ct_keras.serving.parity import check_parity
from ct_keras.serving.units import units_of

#: Maximum pixels of one request; more than any CT slice has.
MAXIMUM_PIXELS = 16 * 2**20
PARITY_TOLERANCE_HU = 1e-3

_LOADING = """
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
def run(image):
    return serve(tf.constant(image))["denoised_hu"].numpy()
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
    require_tensorflow("SavedModel")
    denoiser = as_method(denoiser).as_denoiser()
    with atomic_folder(out, overwrite=overwrite, kind="export") as temporary:
        _write(denoiser, temporary)
        difference = check_parity(
            denoiser, temporary, loading=_LOADING, tolerance_hu=PARITY_TOLERANCE_HU
        )
    return difference


def _write(denoiser: Denoiser, folder: Path) -> None:
    archive = keras.export.ExportArchive()
    # Without `track`, which would store every weight twice.
    for name, (function, signature) in _endpoints(denoiser).items():
        archive.add_endpoint(name, function, input_signature=signature)
    archive.write_out(str(folder), verbose=False)


def _endpoints(denoiser: Denoiser) -> dict:
    """Name -> (function, input signature)."""
    import tensorflow as tf

    identity = denoiser.identity
    model = blended(denoiser.model, denoiser.default_strength)
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
            "strength": tf.constant(denoiser.default_strength, tf.float32),
            "units": tf.constant(units_of(denoiser)),
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
