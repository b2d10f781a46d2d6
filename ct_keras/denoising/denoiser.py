"""`Denoiser`: Hounsfield units in, Hounsfield units out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import keras
import numpy as np

from ct_keras.denoising.blocks import Tiling, denoise_blocks, voxels_within
from ct_keras.denoising.deployable import INPUT_NAME, OUTPUT_NAME, dimensions_of, wrap
from ct_keras.errors import CtKerasError
from ct_keras.models import SizeRule, halo_of, size_rule_of
from ct_keras.progress import track


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
    (slices, rows, columns), any size >= 1. Pixels below -1024 HU (outside the
    reconstruction circle) come back as they were. A network of images works slice by
    slice: the same slice gives the same output, whatever lies around it. A network of
    volumes takes an image as a volume of one slice, and works in overlapping blocks.

    Args:
        model: A network in network units (any `ct_keras.models.build(...)`, trained or
            not), or a deployable model with the input `low_dose_hu`.
        size_rule: The sizes that a network accepts; by default what its layers say.
        halo: Voxels by which a result of a network of volumes depends on its
            neighbours; by default what its layers say. Where one of them sees the whole
            image, or is not known, volumes are denoised whole.
        block_voxels: What a block of a volume may have; by default what the network
            can take in about 8 GiB.
        self_ensemble: Denoise the 8 flips and quarter turns of each image (of the
            planes of a volume) and take the mean: eight times the time, often a little
            better. What gets exported does not hold it.
        identity: Name, version and hash; by default read off the model.

    Attributes:
        model: The deployable `keras.Model`, HU to HU, which is what gets exported.
        network: The `keras.Model` in network units inside it.
        dimensions: 2 for a network of images, 3 for one of volumes.
        tiling: How volumes are cut into blocks; None for a network of images.
        identity: See above.
        card: The model card of published weights (metadata.json); of a run only the
            `ranges` of what it was trained on; else an empty dict.

    Raises:
        CtKerasError: CTK-E091 for a network that does not lead from one image of one
            channel to one of the same size.

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
        halo: int | None = None,
        block_voxels: int | None = None,
        self_ensemble: bool = False,
        identity: Identity | None = None,
        card: dict | None = None,
    ):
        network = model
        if getattr(model, "inputs", None) and model.inputs[0].name == INPUT_NAME:
            network = model.get_layer(model.name)
        rule = size_rule or size_rule_of(network)
        self.model = wrap(model, rule) if network is model else model
        self.network = self.model.get_layer(self.model.name)
        self.dimensions = dimensions_of(self.model)
        self.tiling = None
        if self.dimensions == 3:
            voxels = block_voxels or voxels_within(self.network)
            halo = halo_of(self.network) if halo is None else halo
            self.tiling = Tiling(rule, halo, voxels)
        self.identity = identity or Identity(
            self.model.name, weights_sha256=_hash_weights(self.network)
        )
        self.self_ensemble = self_ensemble
        if self_ensemble:
            parameters = self.identity.parameters | {"self_ensemble": True}
            self.identity = replace(self.identity, parameters=parameters)
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
        if self.dimensions == 2:
            return apply_slicewise(
                self._denoise_array, hu, strength=strength, progress=progress
            )
        hu = _checked(hu)
        volume = hu.reshape(-1, *hu.shape[-2:])
        slices = self.denoise_slices(volume, volume.shape, strength=strength)
        bar = track(slices, "Denoising", total=len(volume), enabled=progress)
        return np.stack(list(bar)).reshape(hu.shape)

    def denoise_slices(
        self,
        slices: Iterable[np.ndarray],
        shape: tuple[int, int, int],
        *,
        strength: float = 1.0,
    ) -> Iterator[np.ndarray]:
        """Denoises the slices of a volume as they come.

        Memory does not grow with the number of slices.

        Args:
            slices: (rows, columns), HU, all of the volume in their order.
            shape: Of the volume.
            strength: As for a call.

        Returns:
            An iterator of the results, float32 (rows, columns), HU.

        Raises:
            CtKerasError: As for a call.
        """
        check_strength(strength)
        if self.dimensions == 2:
            return (self(hu, strength=strength) for hu in slices)
        checked = (_checked(hu) for hu in slices)
        if strength == 0:
            return (hu.copy() for hu in checked)
        pairs = denoise_blocks(self._denoise_array, checked, self.tiling.cut(shape))
        return (
            _blend(low, denoised, strength, index)
            for index, (low, denoised) in enumerate(pairs)
        )

    def _denoise_array(self, hu: np.ndarray) -> np.ndarray:
        """Denoises an image, or with a network of volumes a block."""
        return _mean_of_turns(self._call, hu) if self.self_ensemble else self._call(hu)

    def _call(self, hu: np.ndarray) -> np.ndarray:
        return np.asarray(self._run(hu[None, ..., None]))[0, ..., 0]


def apply_slicewise(
    denoise_slice: Callable[[np.ndarray], np.ndarray],
    hu: np.ndarray,
    *,
    strength: float = 1.0,
    progress: bool = False,
) -> np.ndarray:
    """Runs a 2-D denoiser over an image or a volume; see `Denoiser.__call__`."""
    check_strength(strength)
    hu = _checked(hu)
    if strength == 0:
        return hu.copy()
    volume = hu.reshape(-1, *hu.shape[-2:])
    denoised = np.empty_like(volume)
    slices = track(range(len(volume)), "Denoising", enabled=progress and hu.ndim == 3)
    for index in slices:
        result = denoise_slice(volume[index])
        denoised[index] = _blend(volume[index], result, strength, index)
    return denoised.reshape(hu.shape)


def _checked(hu: np.ndarray) -> np.ndarray:
    """Returns an image or a volume as float32, or refuses it."""
    hu = np.asarray(hu, np.float32)
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
    return hu


def _blend(
    low: np.ndarray, denoised: np.ndarray, strength: float, index: int
) -> np.ndarray:
    """Mixes a slice with its result, which must be finite."""
    if not np.isfinite(denoised).all():
        raise CtKerasError("CTK-E070", f"slice {index}: output is not finite")
    if strength == 1:
        return denoised
    return low + np.float32(strength) * (denoised - low)


def _mean_of_turns(
    denoise: Callable[[np.ndarray], np.ndarray], hu: np.ndarray
) -> np.ndarray:
    """Denoises the 8 turns of a square, turns the results back and takes their mean."""
    # In double precision, where eight equal values have exactly that value as mean.
    total = np.zeros(hu.shape, np.float64)
    for quarters in range(4):
        turned = np.rot90(hu, quarters, axes=(-2, -1))
        result = denoise(turned)
        mirrored = denoise(turned[..., ::-1])[..., ::-1]
        for one in (result, mirrored):
            total += np.rot90(one, -quarters, axes=(-2, -1))
    return (total / 8).astype(np.float32)


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
    shape = (None,) * (1 + dimensions_of(model)) + (1,)
    signature = [tf.TensorSpec(shape, tf.float32)]
    return tf.function(run, input_signature=signature, jit_compile=False)


def _hash_weights(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()
