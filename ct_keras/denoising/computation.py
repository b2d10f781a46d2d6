"""How a method computes: precision and engine, and what they change, measured."""

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
ENGINES = ("auto", "tensorflow", "openvino", "onnx")
#: Largest root mean square difference from float32 that is accepted, in HU.
LIMIT_HU = 0.3
#: Slices, rows and columns of the block that is compared for a method of volumes.
SAMPLE_BLOCK = (8, 128, 128)
_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
_CPU_FILE = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Computation:
    """How a method computes, and what that changes.

    Attributes:
        precision: "float32" or "bfloat16".
        engine: The runtime of a network: "tensorflow" (or another backend of Keras),
            "openvino" or "onnx"; None for other methods.
        samples: Number of slices or blocks that were computed both ways.
        rms_difference_hu: Root mean square difference from float32 in Keras, the
            largest of the samples; None without samples.
        largest_difference_hu: Largest difference of a pixel.
    """

    precision: str = "float32"
    engine: str | None = None
    samples: int = 0
    rms_difference_hu: float | None = None
    largest_difference_hu: float | None = None

    def __str__(self) -> str:
        how = self.precision
        if self.engine:
            how += f" by {self.engine}"
        if self.rms_difference_hu is None:
            return how
        return (
            f"{how} ({self.rms_difference_hu:.2f} HU RMS from float32, "
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


def choose_computation(
    method: Method,
    samples: Sequence[np.ndarray],
    *,
    precision: str = "auto",
    engine: str = "auto",
    strength: float | None = None,
) -> tuple[Method, Computation]:
    """Chooses how a method computes, and measures the difference from float32.

    The precision "auto" takes bfloat16 where the processor has instructions for it and
    the difference from float32 is at most 0.3 HU (root mean square) in every sample.
    The engine "auto" is the backend of Keras, the fastest that was measured. Nothing is
    timed: the same series and processor always give the same choice.

    Args:
        method: Any method.
        samples: What to compare, (slices, rows, columns) in HU; see `sample_places`.
        precision: "auto", "float32" or "bfloat16".
        engine: "auto", "tensorflow", or a runtime that is installed besides: "openvino"
            or "onnx", which compute in float32.
        strength: As for a call.

    Returns:
        The method that computes as chosen, and what was measured.

    Raises:
        CtKerasError: CTK-E000 for an unknown precision or engine, or one that the
            method does not have; CTK-E093 for an engine that is not installed.
    """
    _check("precision", precision, PRECISIONS)
    _check("engine", engine, ENGINES)
    other = engine in ("openvino", "onnx")
    if other and precision == "bfloat16":
        raise CtKerasError(
            "CTK-E000",
            "this engine computes in float32 only",
            received=f"{engine} and {precision}",
            fix="use the engine auto",
        )
    auto = precision == "auto"
    hopeless = auto and (method.engine is None or not bfloat16_is_fast())
    if not other and (precision == "float32" or hopeless):
        return method, Computation(engine=method.engine)
    chosen = method.on_engine(engine) if other else method.in_bfloat16()
    if chosen is None and (other or not auto):
        raise CtKerasError(
            "CTK-E000",
            "only networks have a choice of precision and engine",
            received=method.identity.name,
            fix="use auto",
        )
    strength = method.chosen_strength(strength)
    if chosen is None or strength == 0:
        return method, Computation(engine=method.engine)
    measured = _compare(method, chosen, samples, strength)
    kind = "float32" if other else "bfloat16"
    computation = Computation(kind, chosen.engine, *measured)
    if auto and not other and computation.findings:
        return method, Computation(engine=method.engine)
    return chosen, computation


def _check(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise CtKerasError(
            "CTK-E000", f"unknown {what}", received=given, expected=", ".join(known)
        )


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


def _compare(method, chosen, samples, strength) -> tuple[int, float, float]:
    """Number of samples, largest root mean square and largest difference in HU."""
    rms, largest = [], []
    for hu in samples:
        exact, other = (each(hu, strength=strength) for each in (method, chosen))
        difference = other.astype(np.float64) - exact
        rms.append(float(np.sqrt(np.mean(difference**2))))
        largest.append(float(np.abs(difference).max()))
    return len(samples), max(rms), max(largest)
