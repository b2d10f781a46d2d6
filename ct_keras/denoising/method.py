"""`Method`: the common interface of everything that denoises."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ct_keras.arrays import as_hu, as_numbers
from ct_keras.dicom.provenance import Derivation
from ct_keras.errors import CtKerasError
from ct_keras.progress import track

if TYPE_CHECKING:  # it imports Keras, which most methods do not need
    from ct_keras.denoising.denoiser import Denoiser

FILTER_PREFIX = "filter:"
#: Row and column spacing of the pixels in mm; None if unknown.
Spacing = Sequence[float] | None


@dataclass(frozen=True)
class Identity:
    """The identity of a method, for derived DICOM series, tables and cards.

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


class Method(ABC):
    """Maps HU to HU: a network, a filter, a reconstruction, or the unchanged input.

    Contract: float32 Hounsfield units in and out, any size >= 1, the same shape. A 2-D
    method works slice by slice: the output of a slice does not depend on other slices.
    A 3-D method takes an image as a volume of one slice.

    A subclass implements `_denoise` for one image. A 3-D method, or one that needs more
    than the pixels, overrides `denoise_slices` or `denoise_pairs`.

    Attributes:
        identity: See `Identity`.
        dimensions: 2 if it works slice by slice, 3 if it works on volumes.
        ranges: Ranges of its training data (`ct_keras.data.training_ranges`), or None.
        tunable: Whether `tuned` has an effect.
        default_strength: The strength that applies if none is given.
        engine: The runtime that computes a network; None for other methods.
        scales: The scales of images that it can take: None for HU, "picture" for grey
            values of pictures (`ct_keras.hu.picture_rescale`).
    """

    identity: Identity
    dimensions: int = 2
    ranges: dict | None = None
    tunable: bool = False
    default_strength: float = 1.0
    engine: str | None = None
    scales: Collection[str | None] = (None, "picture")

    @abstractmethod
    def _denoise(self, hu: np.ndarray) -> np.ndarray:
        """Denoises one image, float32 (rows, columns), or a block of a volume."""

    def __call__(
        self,
        hu: np.ndarray,
        *,
        strength: float | None = None,
        spacing_mm: Spacing = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Denoises one image or a volume.

        Args:
            hu: (rows, columns) or (slices, rows, columns), HU.
            strength: Output = input + strength (result - input). 0 returns the input
                bit for bit.
            spacing_mm: Row and column spacing, for methods that need it; None if
                unknown.
            progress: Show a bar for a volume.

        Returns:
            float32 of the same shape, HU.

        Raises:
            CtKerasError: CTK-E041 for wrong axes, no pixels or a result of a different
                shape, CTK-E044 if the input and CTK-E070 if the output is not finite,
                CTK-E000 for a strength outside 0..1.
        """
        hu = as_hu(hu)
        volume = hu.reshape(-1, *hu.shape[-2:])
        slices = self.denoise_slices(volume, volume.shape, spacing_mm, strength)
        shown = progress and hu.ndim == 3
        denoised = np.empty_like(volume)
        bar = track(slices, "Denoising", total=len(volume), enabled=shown)
        for place, result in zip(denoised, bar, strict=True):
            place[...] = result
        return denoised.reshape(hu.shape)

    def denoise_slices(
        self,
        slices: Iterable[np.ndarray],
        shape: tuple[int, int, int],
        spacing_mm: Spacing,
        strength: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Denoises an iterator of the slices of a volume.

        Memory does not grow with the number of slices.

        Args:
            slices: (rows, columns), HU, all slices of the volume in order.
            shape: Shape of the volume.
            spacing_mm: Row and column spacing; None or NaN if unknown.
            strength: As for a call.

        Returns:
            An iterator of the results, float32 (rows, columns), HU.

        Raises:
            CtKerasError: As for a call.
        """
        strength = self.chosen_strength(strength)
        method = self.with_spacing(spacing_mm)
        return (
            method._blended(hu, strength, index)
            for index, hu in enumerate(map(as_hu, slices))
        )

    def denoise_image(self, hu: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
        """Denoises a single image; see `denoise_slices`."""
        return next(self.denoise_slices([hu], (1, *np.shape(hu)), spacing_mm))

    def denoise_pairs(
        self, pairs: Sequence, strength: float | None = None
    ) -> list[np.ndarray]:
        """Denoises the low dose of slice pairs, using any of their attributes.

        Args:
            pairs: `ct_keras.data.SlicePair` records, or objects with the same
                attributes: consecutive slices of one series at one dose. A 2-D method
                gives the same result for one pair at a time.
            strength: As for a call.

        Returns:
            For each pair, float32 (rows, columns), HU.

        Raises:
            CtKerasError: As for a call.
        """
        shape = (len(pairs), *np.shape(pairs[0].low_hu))
        slices = (pair.low_hu for pair in pairs)
        return list(self.denoise_slices(slices, shape, pairs[0].spacing_mm, strength))

    def chosen_strength(
        self, strength: float | None = None, like_dose: float | None = None
    ) -> float:
        """Returns the strength to apply: a given one, that of a dose, or the default.

        Args:
            strength: 0 to 1, or None.
            like_dose: Instead of a strength; see `strength_like_dose`.

        Raises:
            CtKerasError: CTK-E000, if one is out of range or both are given.
        """
        if like_dose is None:
            return check_strength(
                self.default_strength if strength is None else strength
            )
        if strength is not None:
            raise CtKerasError(
                "CTK-E000",
                "both a strength and a multiple of the dose are given",
                received=f"{strength:g} and {like_dose:g}",
                expected="one of them",
            )
        return strength_like_dose(like_dose)

    def check_scale(self, scale: str | None) -> None:
        """Refuses images of a scale that the method does not know.

        Raises:
            CtKerasError: CTK-E063, for pictures where HU are needed, and the reverse.
        """
        if scale not in self.scales:
            names = {None: "CT in HU", "picture": "grey values of pictures"}
            raise CtKerasError(
                "CTK-E063",
                f"{self.identity.name} is for other images",
                received=names[scale],
                expected=" or ".join(names[each] for each in self.scales),
                fix="choose a model that was trained on such images, or a filter",
            )

    def with_spacing(self, spacing_mm: Spacing) -> Method:
        """Returns the method for this pixel spacing; most methods ignore it."""
        return self

    def tuned(self, pairs: Sequence, *, progress: bool = False) -> Method:
        """Returns the method fitted to slice pairs of other patients."""
        return self

    def in_bfloat16(self) -> Method | None:
        """Returns the method in half precision; None if it is not a network."""
        return None

    def on_engine(self, engine: str) -> Method | None:
        """Returns the method on "onnx" or "openvino"; None if it is not a network."""
        return None

    def neighbours(self, slices: int) -> int:
        """Returns how many slices on either side affect the result of a slice."""
        return 0

    def facts(self, *, rays: bool) -> dict:
        """Returns the entries of a table row that describe the method.

        Args:
            rays: Whether it was measured on pairs that include their sinograms.
        """
        identity = self.identity
        return {"version": identity.version, "weights_sha256": identity.weights_sha256}

    def derivation(self, strength: float) -> Derivation:
        """Returns how a derived series was made, for its headers."""
        identity = self.identity
        details = {
            "model_name": identity.name,
            "model_version": identity.version,
            "weights_sha256": identity.weights_sha256,
            "parameters": identity.parameters | {"strength": strength},
        }
        return (
            self._derivation(details) if strength else Derivation.unchanged(**details)
        )

    def _derivation(self, details: dict) -> Derivation:
        """The derivation for a strength above 0."""
        return Derivation.computed(**details)

    def as_denoiser(self) -> Denoiser:
        """Returns the method as a network that can be exported.

        Raises:
            CtKerasError: CTK-E000, if it cannot be expressed as a network.
        """
        from ct_keras.filters.linear_models import list_linear

        linear = ", ".join(FILTER_PREFIX + name for name in list_linear())
        raise CtKerasError(
            "CTK-E000",
            "the method has no network to export",
            received=self.identity.name,
            expected=f"published weights, a run, a .keras file, {linear}",
        )

    def _blended(self, hu: np.ndarray, strength: float, index: int) -> np.ndarray:
        """Denoises one image and blends it with the result."""
        return (
            hu.copy()
            if strength == 0
            else self._mixed(hu, self._denoise(hu), strength, index)
        )

    def _mixed(
        self, hu: np.ndarray, denoised: np.ndarray, strength: float, index: int
    ) -> np.ndarray:
        """Blends a slice with its result, which must have the same shape."""
        denoised = np.asarray(as_numbers(denoised), np.float32)
        where = f"{self.identity.name}, slice {index}"
        if denoised.shape != hu.shape:
            raise CtKerasError(
                "CTK-E041",
                "an image does not have the shape of its input",
                received=f"{denoised.shape} ({where})",
                expected=hu.shape,
            )
        if not np.isfinite(denoised).all():
            raise CtKerasError("CTK-E070", f"{where}: output is not finite")
        return blend(hu, denoised, strength)


def blend(hu: np.ndarray, denoised: np.ndarray, strength: float) -> np.ndarray:
    """Returns input + strength (result - input); strength 1 is the result itself.

    Args:
        hu: float32, any shape, the input.
        denoised: float32, the same shape, the result.
        strength: 0 to 1.
    """
    return denoised if strength == 1 else hu + np.float32(strength) * (denoised - hu)


def check_strength(strength: float) -> float:
    """Returns a strength; refuses one outside 0..1 with CTK-E000."""
    known = isinstance(strength, numbers.Real)
    if not (known and 0 <= strength <= 1):
        raise CtKerasError(
            "CTK-E000", "strength is out of range", received=strength, expected="0..1"
        )
    return strength


def strength_like_dose(like_dose: float) -> float:
    """Returns the strength that leaves the noise of a higher dose.

    If x is the noise-free image and z the scan, x + (z - x) / sqrt(K) has the noise
    level and texture of K times the dose, because noise variance is proportional to
    1/dose. So the strength is 1 - 1/sqrt(K), as far as the method's result is x.

    Args:
        like_dose: K, from 1 (the input) to infinity (the method's output).

    Raises:
        CtKerasError: CTK-E000, if it is below 1 or not a number.

    Example:
        >>> strength_like_dose(4)
        0.5
    """
    if not like_dose >= 1:
        raise CtKerasError(
            "CTK-E000",
            "invalid multiple of the dose",
            received=like_dose,
            expected="from 1 (no change) to inf (the method's output)",
        )
    return 1 - 1 / math.sqrt(like_dose)
