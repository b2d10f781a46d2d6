"""`Denoiser`: Hounsfield units in, Hounsfield units out."""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import keras
import numpy as np

from ct_keras.arrays import as_hu
from ct_keras.denoising.blocks import (
    Tiling,
    check_memory,
    denoise_blocks,
    voxels_within,
)
from ct_keras.denoising.deployable import (
    OUTPUT_NAME,
    dimensions_of,
    is_deployable,
    wrap,
)
from ct_keras.denoising.half_network import in_bfloat16
from ct_keras.denoising.method import Identity, Method, check_strength
from ct_keras.dicom.provenance import Derivation
from ct_keras.errors import Finding
from ct_keras.models import SizeRule, count_macs, halo_of, size_rule_of

logger = logging.getLogger(__name__)


class Denoiser(Method):
    """Removes noise from CT images.

    Contract: float32 Hounsfield units in and out, (rows, columns) or (slices, rows,
    columns), any size >= 1. Pixels below -1500 HU (outside the reconstruction circle)
    and above 3072 HU (metal) come back unchanged. A 2-D network works slice by slice:
    the output of a slice does not depend on other slices. A 3-D network takes an image
    as a volume of one slice, and works in overlapping blocks.

    Args:
        model: A network in network units (any `ct_keras.models.build(...)`, trained or
            not), or a deployable model with the input `low_dose_hu`.
        size_rule: The sizes that a network accepts; by default derived from its layers.
        halo: Radius of the receptive field of a 3-D network in voxels; by default
            derived from its layers. If a layer sees the whole image or is unknown,
            volumes are denoised as a whole.
        block_voxels: Maximum number of voxels in a block; by default what fits into
            about 8 GiB.
        self_ensemble: Test-time augmentation: the mean over the 8 flips and quarter
            turns of each slice. It takes eight times as long and is often slightly
            better. Exported models do not include it.
        identity: Name, version and hash; by default taken from the model.

    Attributes:
        model: The deployable `keras.Model`, HU to HU, which can be exported.
        network: The `keras.Model` in network units inside it.
        dimensions: 2 for a network of slices, 3 for a network of volumes.
        tiling: How volumes are cut into blocks; None for a 2-D network.
        identity: The argument, or its default.
        engine: What computes it: the backend of Keras, "openvino" or "onnx".
        card: The model card of published weights (metadata.json); for a run, only the
            `ranges` of its training data; otherwise an empty dict.

    Raises:
        CtKerasError: CTK-E091 for a network that does not map one single-channel image
            to one of the same size.

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
        self._size_rule = rule
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
        self.engine = keras.backend.backend()
        self._run = _compiled(self.model)
        self._fitting: set[tuple[int, ...]] = set()

    @property
    def name(self) -> str:
        """The network's name."""
        return self.identity.name

    @property
    def default_strength(self) -> float:
        """That of the model card, otherwise 1."""
        return self.card.get("default_strength", 1.0)

    def at_strength(self, strength: float) -> Denoiser:
        """Returns the network with another default strength.

        Args:
            strength: 0 to 1.

        Raises:
            CtKerasError: CTK-E000, if it is out of range.
        """
        other = copy.copy(self)
        other.card = self.card | {"default_strength": check_strength(strength)}
        other.__dict__.pop("_half", None)  # it has the former strength
        return other

    @property
    def ranges(self) -> dict | None:
        """Ranges of the training data, None if the card has none."""
        return self.card.get("ranges")

    @property
    def scales(self) -> tuple[str | None]:
        """That of the training data; HU, if the card does not say it."""
        return ((self.ranges or {}).get("scale"),)

    def denoise_slices(
        self, slices, shape, spacing_mm, strength=None
    ) -> Iterator[np.ndarray]:
        """Denoises an iterator of the slices of a volume; see `Method`.

        Only the slices of the current blocks are in memory.
        """
        strength = self.chosen_strength(strength)
        if self.dimensions == 2 or strength == 0:
            return super().denoise_slices(slices, shape, spacing_mm, strength)
        cut = self.tiling.cut(shape)
        pairs = denoise_blocks(self._denoise, map(as_hu, slices), cut)
        return (
            self._mixed(low, denoised, strength, index)
            for index, (low, denoised) in enumerate(pairs)
        )

    def neighbours(self, slices: int) -> int:
        """Number of neighbouring slices; see `Method`."""
        if self.tiling is None:
            return 0
        return slices if self.tiling.halo is None else self.tiling.halo

    def facts(self, *, rays: bool) -> dict:
        """Entries of a table row; see `Method`."""
        return super().facts(rays=rays) | {
            "parameters": self.network.count_params(),
            "gmac": count_macs(self.network) / 1e9,
        }

    def in_bfloat16(self) -> Denoiser:
        """Returns the network in half precision; see `Method`."""
        return self._half

    @functools.cached_property
    def _half(self) -> Denoiser:
        return self._variant(in_bfloat16(self.network), precision="bfloat16")

    def on_engine(self, engine: str) -> Denoiser:
        """Returns the network on another runtime; see `Method`."""
        from ct_keras.denoising.engines import compiled_by

        other = self._variant(self.network, engine=engine)
        other.engine, other._run = engine, compiled_by(engine, self.model)
        return other

    def _variant(self, network: keras.Model, **parameters) -> Denoiser:
        """The same denoiser with another network, and these further parameters."""
        parameters = self.identity.parameters | parameters
        tiling = self.tiling
        return Denoiser(
            network,
            size_rule=self._size_rule,
            halo=tiling and tiling.halo,
            block_voxels=tiling and tiling.voxels,
            self_ensemble=self.self_ensemble,
            identity=replace(self.identity, parameters=parameters),
            card=self.card,
        )

    def as_denoiser(self) -> Denoiser:
        """Returns itself; for a self-ensemble the network alone, with a warning."""
        if not self.self_ensemble:
            return self
        finding = Finding(
            "CTK-W094",
            "only the network is exported: the mean over flips and quarter turns is "
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
        if hu.shape not in self._fitting:
            check_memory(self.network, hu.shape, self._size_rule)
            self._fitting.add(hu.shape)
        return _mean_of_turns(self._call, hu) if self.self_ensemble else self._call(hu)

    def _call(self, hu: np.ndarray) -> np.ndarray:
        return np.asarray(self._run(hu[None, ..., None]))[0, ..., 0]


def _mean_of_turns(
    denoise: Callable[[np.ndarray], np.ndarray], hu: np.ndarray
) -> np.ndarray:
    """Test-time augmentation: the mean over 8 flips and quarter turns."""
    # In float64, so that the mean of eight equal values is exactly that value.
    total = np.zeros(hu.shape, np.float64)
    for quarters in range(4):
        turned = np.rot90(hu, quarters, axes=(-2, -1))
        result = denoise(turned)
        mirrored = denoise(turned[..., ::-1])[..., ::-1]
        for one in (result, mirrored):
            total += np.rot90(one, -quarters, axes=(-2, -1))
    return (total / 8).astype(np.float32)


def _compiled(model: keras.Model) -> Callable:
    """A compiled call of the model that is not retraced for every image size."""

    def run(image):
        return model(image, training=False)[OUTPUT_NAME]

    if keras.backend.backend() != "tensorflow":
        return run
    import tensorflow as tf

    # The graph computes sizes at run time, which XLA cannot compile.
    shape = (None,) * (1 + dimensions_of(model)) + (1,)
    signature = [tf.TensorSpec(shape, tf.float32)]
    return tf.function(run, input_signature=signature, jit_compile=False)


def _hash_weights(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(keras.ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()
