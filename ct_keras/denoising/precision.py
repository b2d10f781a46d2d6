"""Which precision a method computes in, and what that changes, measured."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_keras.denoising.method import Method
from ct_keras.errors import CtKerasError, Finding

PRECISIONS = ("auto", "float32", "bfloat16")
#: Largest root mean square difference from float32 that is accepted, in HU.
LIMIT_HU = 0.3
#: Slices, rows and columns of the block that is compared for a method of volumes.
SAMPLE_BLOCK = (8, 128, 128)
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
_CPU_FILE = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Computation:
    """The precision of a method, and what it changes.

    Attributes:
        precision: "float32" or "bfloat16".
        samples: Number of slices or blocks that were computed in both.
        rms_difference_hu: Root mean square difference from float32, the largest of
            the samples; None without samples.
        largest_difference_hu: Largest difference of a pixel.
    """

    precision: str = "float32"
    samples: int = 0
    rms_difference_hu: float | None = None
    largest_difference_hu: float | None = None

    def __str__(self) -> str:
        if self.rms_difference_hu is None:
            return self.precision
        return (
            f"{self.precision} ({self.rms_difference_hu:.2f} HU RMS from float32, "
            f"at most {self.largest_difference_hu:.1f} HU)"
        )

    @property
    def findings(self) -> list[Finding]:
        """CTK-W066, if the difference from float32 is larger than accepted."""
        if (self.rms_difference_hu or 0) <= LIMIT_HU:
            return []
        text = f"computed in {self}: more than {LIMIT_HU} HU"
        return [Finding("CTK-W066", text)]


def sample_places(shape: tuple[int, int, int], dimensions: int) -> list[tuple]:
    """Returns which parts of a volume to compare: three slices, or one block.

    Args:
        shape: (slices, rows, columns).
        dimensions: Those of the method.

    Returns:
        For each part, the ranges of slices, rows and columns.

    Example:
        >>> sample_places((4, 512, 512), 2)[0]
        (slice(1, 2, None), slice(0, 512, None), slice(0, 512, None))
    """
    count, rows, columns = shape
    if dimensions == 2:
        indices = sorted({count // 4, count // 2, 3 * count // 4})
        return [
            (slice(index, index + 1), slice(0, rows), slice(0, columns))
            for index in indices
        ]
    middle = (
        slice(max(0, (length - side) // 2), min(length, (length + side) // 2))
        for length, side in zip(shape, SAMPLE_BLOCK, strict=True)
    )
    return [tuple(middle)]


def choose_precision(
    method: Method,
    precision: str,
    samples: Sequence[np.ndarray],
    *,
    strength: float | None = None,
) -> tuple[Method, Computation]:
    """Chooses between float32 and bfloat16, and measures the difference.

    "auto" takes bfloat16 where the processor has instructions for it and the difference
    from float32 is at most 0.3 HU (root mean square) in every sample. Nothing is timed:
    the same series and processor always give the same choice.

    Args:
        method: Any method.
        precision: "auto", "float32" or "bfloat16".
        samples: What to compare, (slices, rows, columns) in HU; see `sample_places`.
        strength: As for a call.

    Returns:
        The method in the chosen precision, and what was measured.

    Raises:
        CtKerasError: CTK-E000 for an unknown precision, or for "bfloat16" if the method
            is not a network.
    """
    if precision not in PRECISIONS:
        raise CtKerasError(
            "CTK-E000",
            "unknown precision",
            received=precision,
            expected=", ".join(PRECISIONS),
        )
    auto = precision == "auto"
    if precision == "float32" or (auto and not bfloat16_is_fast()):
        return method, Computation()
    half = method.in_bfloat16()
    if half is None and not auto:
        raise CtKerasError(
            "CTK-E000",
            "only networks compute in bfloat16",
            received=method.identity.name,
            fix="use float32 or auto",
        )
    strength = method.chosen_strength(strength)
    if half is None or strength == 0:
        return method, Computation()
    computation = _compare(method, half, samples, strength)
    if auto and computation.findings:
        return method, Computation()
    return half, computation


@functools.cache
def bfloat16_is_fast() -> bool:
    """Whether this processor has bfloat16 instructions and TensorFlow uses them.

    False with a GPU, and on systems that do not list the features of the processor.
    """
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" or not _CPU_FILE.is_file():
        return False
    if not _INSTRUCTIONS & set(_CPU_FILE.read_text().split()):
        return False
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


def _compare(method, half, samples, strength) -> Computation:
    rms, largest = [], []
    for hu in samples:
        exact, rounded = (each(hu, strength=strength) for each in (method, half))
        difference = rounded.astype(np.float64) - exact
        rms.append(float(np.sqrt(np.mean(difference**2))))
        largest.append(float(np.abs(difference).max()))
    return Computation("bfloat16", len(samples), max(rms), max(largest))
