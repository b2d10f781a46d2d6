"""`Denoiser`: Hounsfield units in, Hounsfield units out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.models import SizeRule, get_spec, list_models
from ct_keras.progress import track
from ct_keras.serving.deployable import INPUT_NAME, OUTPUT_NAME, wrap


@dataclass(frozen=True)
class Identity:
    """What a denoiser is called, for derived DICOM series, tables and cards.

    Attributes:
        name: The network's or the filter's name.
        version: Of the published weights, or None.
        weights_sha256: Of the weight file, or of the weights themselves.
        parameters: Settings that change the result.
    """

    name: str
    version: str | None = None
    weights_sha256: str | None = None
    parameters: dict = field(default_factory=dict)


class Denoiser:
    """Removes noise from CT images.

    Contract: float32 Hounsfield units in and out, (rows, columns) or
    (slices, rows, columns), any rows and columns >= 1, slice by slice. Pixels below
    -1024 HU (outside the reconstruction circle) come back as they were. The same input
    gives the same output, whatever lies around it in a volume.

    Args:
        model: A network in network units (any `ct_keras.models.build(...)`, trained or
            not), or a deployable model with the input `low_dose_hu`.
        size_rule: The sizes that a network accepts; by default what the registry says
            of a network of that name, else any size.
        identity: Name, version and hash; by default read off the model.

    Attributes:
        model: The deployable `keras.Model`, HU to HU, which is what gets exported.
        network: The `keras.Model` in network units inside it.
        identity: See above.
        card: The model card of published weights (metadata.json), else an empty dict.

    Example:
        >>> denoiser = Denoiser(ct_keras.models.build("red_cnn", width=8))
        >>> denoiser(np.zeros((7, 9))).shape
        (7, 9)
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        size_rule: SizeRule | None = None,
        identity: Identity | None = None,
        card: dict | None = None,
    ):
        if model.inputs[0].name == INPUT_NAME:
            self.model = model
        else:
            known = model.name in list_models()
            rule = get_spec(model.name).size_rule if known else SizeRule()
            self.model = wrap(model, size_rule or rule)
        self.network = self.model.get_layer(self.model.name)
        self.identity = identity or Identity(
            self.model.name, weights_sha256=_hash_weights(self.network)
        )
        self.card = card or {}
        self._run = _compiled(self.model)

    @property
    def name(self) -> str:
        """The network's name."""
        return self.identity.name

    def __call__(
        self, hu: np.ndarray, *, strength: float = 1.0, progress: bool = False
    ) -> np.ndarray:
        """Denoises one image or a volume.

        Args:
            hu: (rows, columns) or (slices, rows, columns), HU.
            strength: Output = input + strength (network - input). 0 gives the input
                back bit for bit.
            progress: Show a bar for a volume.

        Returns:
            float32 of the same shape, HU.

        Raises:
            CtKerasError: CTK-E041 for another number of dimensions or no pixels,
                CTK-E044 if the input and CTK-E070 if the output is not finite, CTK-E000
                for a strength outside 0..1.
        """
        return apply_slicewise(
            self._denoise_slice, hu, strength=strength, progress=progress
        )

    def _denoise_slice(self, hu: np.ndarray) -> np.ndarray:
        return np.asarray(self._run(hu[None, :, :, None]))[0, :, :, 0]


def apply_slicewise(
    denoise_slice: Callable[[np.ndarray], np.ndarray],
    hu: np.ndarray,
    *,
    strength: float = 1.0,
    progress: bool = False,
) -> np.ndarray:
    """Runs a 2-D denoiser over an image or a volume; see `Denoiser.__call__`."""
    hu = np.asarray(hu, np.float32)
    check_strength(strength)
    if hu.ndim not in (2, 3) or hu.size == 0:
        raise CtKerasError(
            "CTK-E041",
            "cannot denoise an array of this shape",
            received=hu.shape,
            expected="(rows, columns) or (slices, rows, columns), at least one pixel",
        )
    if not np.isfinite(hu).all():
        raise CtKerasError(
            "CTK-E044",
            "the input holds values that are not finite",
            received=f"{np.count_nonzero(~np.isfinite(hu))} NaN or infinite pixels",
            expected="Hounsfield units",
        )
    if strength == 0:
        return hu.copy()
    volume = hu.reshape(-1, *hu.shape[-2:])
    denoised = np.empty_like(volume)
    slices = track(range(len(volume)), "Denoising", enabled=progress and hu.ndim == 3)
    for index in slices:
        denoised[index] = denoise_slice(volume[index])
        if not np.isfinite(denoised[index]).all():
            raise CtKerasError("CTK-E070", f"slice {index}: output is not finite")
    if strength != 1:
        denoised = volume + np.float32(strength) * (denoised - volume)
    return denoised.reshape(hu.shape)


def check_strength(strength: float) -> None:
    """Refuses a strength outside 0..1 with CTK-E000."""
    if not 0 <= strength <= 1:
        raise CtKerasError(
            "CTK-E000", "strength is out of range", received=strength, expected="0..1"
        )


def _compiled(model: keras.Model) -> Callable:
    """A call of the model without tracing it again for every image size."""

    def run(image):
        return model(image, training=False)[OUTPUT_NAME]

    if keras.backend.backend() != "tensorflow":
        return run
    import tensorflow as tf

    # Sizes are found at run time inside the graph, which XLA cannot compile.
    signature = [tf.TensorSpec((None, None, None, 1), tf.float32)]
    return tf.function(run, input_signature=signature, jit_compile=False)


def _hash_weights(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()
