"""`Denoiser`: Hounsfield units in, Hounsfield units out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import keras
import numpy as np

from ct_keras.arrays import as_hu
from ct_keras.denoising.blocks import Tiling, denoise_blocks, voxels_within
from ct_keras.denoising.deployable import (
    OUTPUT_NAME,
    dimensions_of,
    is_deployable,
    wrap,
)
from ct_keras.denoising.method import Identity, Method, check_strength
from ct_keras.dicom.provenance import Derivation
from ct_keras.errors import Finding
from ct_keras.models import SizeRule, count_macs, halo_of, size_rule_of

logger = logging.getLogger(__name__)


class Denoiser(Method):
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
        ready = is_deployable(model)
        network = model.get_layer(model.name) if ready else model
        rule = size_rule or size_rule_of(network)
        self.model = model if ready else wrap(model, rule)
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

    @property
    def ranges(self) -> dict | None:
        """What the network was trained on, None if the card does not tell."""
        return self.card.get("ranges")

    def denoise_slices(
        self, slices, shape, spacing_mm, strength=1.0
    ) -> Iterator[np.ndarray]:
        """Denoises the slices of a volume as they come; see `Method`.

        Of a volume only the slices of the blocks under way are in memory.
        """
        if self.dimensions == 2 or strength == 0:
            return super().denoise_slices(slices, shape, spacing_mm, strength)
        check_strength(strength)
        cut = self.tiling.cut(shape)
        pairs = denoise_blocks(self._denoise, map(as_hu, slices), cut)
        return (
            self._mixed(low, denoised, strength, index)
            for index, (low, denoised) in enumerate(pairs)
        )

    def neighbours(self, slices: int) -> int:
        """How many slices a result needs; see `Method`."""
        if self.tiling is None:
            return 0
        return slices if self.tiling.halo is None else self.tiling.halo

    def facts(self, *, rays: bool) -> dict:
        """What a row of a table tells; see `Method`."""
        return super().facts(rays=rays) | {
            "parameters": self.network.count_params(),
            "gmac": count_macs(self.network) / 1e9,
        }

    def as_denoiser(self) -> Denoiser:
        """Returns itself, but of a self-ensemble the network alone, with a warning."""
        if not self.self_ensemble:
            return self
        finding = Finding(
            "CTK-W094",
            "exported is the network alone: the mean over flips and quarter turns is "
            "not part of it, so results differ from those of the self-ensemble",
        )
        logger.warning("%s", finding)
        parameters = dict(self.identity.parameters)
        del parameters["self_ensemble"]
        identity = replace(self.identity, parameters=parameters)
        return Denoiser(self.model, identity=identity, card=self.card)

    def _derivation(self, details: dict) -> Derivation:
        return Derivation.network(**details)

    def _denoise(self, hu: np.ndarray) -> np.ndarray:
        return _mean_of_turns(self._call, hu) if self.self_ensemble else self._call(hu)

    def _call(self, hu: np.ndarray) -> np.ndarray:
        return np.asarray(self._run(hu[None, ..., None]))[0, ..., 0]


def _mean_of_turns(
    denoise: Callable[[np.ndarray], np.ndarray], hu: np.ndarray
) -> np.ndarray:
    """Test-time augmentation: the mean over 8 flips and quarter turns."""
    # In double precision, where eight equal values have exactly that value as mean.
    total = np.zeros(hu.shape, np.float64)
    for quarters in range(4):
        turned = np.rot90(hu, quarters, axes=(-2, -1))
        result = denoise(turned)
        mirrored = denoise(turned[..., ::-1])[..., ::-1]
        for one in (result, mirrored):
            total += np.rot90(one, -quarters, axes=(-2, -1))
    return (total / 8).astype(np.float32)


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
