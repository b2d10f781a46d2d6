"""The metric protocols in common use, each with its window, range and SSIM.

The same pair of images can score 21 to 47 dB, depending on the protocol, so a value is
never given without its protocol, and protocols are never compared with each other.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from ct_keras.arrays import as_numbers, check_axes
from ct_keras.errors import CtKerasError
from ct_keras.metrics.pixelwise import hu_errors, mse, psnr_of_mse
from ct_keras.metrics.ssim import ssim
from ct_keras.metrics.vif import vif_both_ways

#: `data_range` of a protocol that takes max - min of every reference slice.
OF_REFERENCE = "reference"


@dataclass(frozen=True)
class Protocol:
    """How one group of papers computes PSNR, SSIM and RMSE of an image pair.

    Both images are clipped to [`low_hu`, `high_hu`] and then mapped to
    ``hu * scale + offset``.

    Attributes:
        id: The suffix of its keys.
        low_hu: Lower limit of clipping, HU.
        high_hu: Upper limit of clipping, HU.
        scale: Mapped units per HU.
        offset: Mapped value of 0 HU.
        data_range: Range R of PSNR and SSIM in mapped units, or `OF_REFERENCE`.
        ssim: One of `ct_keras.metrics.ssim.SSIM_NAMES`.
        source: Its users.
        clamp_ssim: Whether the SSIM map is limited to [0, 1].
        unit_rmse: Whether its users report RMSE in mapped units.
    """

    id: str
    low_hu: float
    high_hu: float
    scale: float
    offset: float
    data_range: float | str
    ssim: str
    source: str
    clamp_ssim: bool = False
    unit_rmse: bool = False

    @property
    def range_hu(self) -> float | None:
        """R in HU, or None if it differs between slices."""
        if self.data_range == OF_REFERENCE:
            return None
        return self.data_range / self.scale

    def key(self, metric: str) -> str:
        """Returns the key of ``psnr``, ``ssim``, ``rmse_hu`` or ``rmse``."""
        return metric if self.id == MAIN else f"{metric}_{self.id}"

    def map(self, hu: np.ndarray) -> np.ndarray:
        """Clips and maps HU (float64, the same shape)."""
        clipped = np.clip(np.asarray(hu, np.float64), self.low_hu, self.high_hu)
        return clipped * self.scale + self.offset


def _window(name: str, center: float, width: float) -> Protocol:
    """A window by the DICOM formula; its limits are not center -+ width / 2."""
    low = center - 0.5 - (width - 1) / 2
    high = low + width - 1
    return Protocol(
        f"ldctbench_{name}", low, high, 1 / (high - low), -low / (high - low), 1.0,
        "uniform7", f"eeulig/ldct-benchmark, published table, {name}",
    )  # fmt: skip


#: The protocol whose keys have no suffix.
MAIN = "report"

_ALL = (
    Protocol(
        MAIN, -160, 240, 1, 0, 400.0, "gauss-zero",
        "PES University report; SSinyu/RED-CNN and WGAN-VGG; wdayang/CTformer",
    ),
    Protocol(
        "dugan600", -300, 300, 1 / 600, 0.5, 1.0, "gauss-reflect",
        "Hzzone/DU-GAN", clamp_ssim=True, unit_rmse=True,
    ),
    Protocol(
        "corediff2000", -1000, 1000, 255 / 2000, 127.5, OF_REFERENCE, "gauss-zero",
        "qgao21/CoreDiff",
    ),
    _window("chest", -600, 1500),
    _window("abdomen", 50, 400),
    _window("neuro", 40, 80),
    Protocol(
        "ldctbench2924", -1024, 1900, 1, 1024, 2924.0, "uniform7",
        "eeulig/ldct-benchmark, training and model selection",
    ),
    Protocol(
        "full4096", -1024, 3072, 1, 0, 4096.0, "gauss-zero",
        "alwaysuu/CLIPDenoising; SSinyu/CycleGAN-CT-Denoising",
    ),
    Protocol(
        "wide2000", -1000, 1000, 1 / 1000, 0, 2.0, "gauss-valid",
        "Haymr/LDCT-Denoising-Pix2Pix-WGANGP, without its resize to 256x256",
    ),
)  # fmt: skip

#: Protocol id -> protocol. The ids ``hu`` and ``vif`` have no window of this kind and
#: are measured by `ct_keras.metrics.pixelwise` and `ct_keras.metrics.vif`.
PROTOCOLS: dict[str, Protocol] = {protocol.id: protocol for protocol in _ALL}


def evaluate(denoised_hu: np.ndarray, reference_hu: np.ndarray) -> dict[str, float]:
    """Measures a denoised image or volume with every protocol.

    Args:
        denoised_hu: (rows, columns) or (slices, rows, columns), HU.
        reference_hu: The same shape, HU.

    Returns:
        ``psnr`` (dB), ``ssim`` and ``rmse_hu`` by protocol `report`, and
        ``<metric>_<id>`` for the other protocols; ``vif``, ``vif_swapped``; the errors
        in HU of `ct_keras.metrics.pixelwise.hu_errors`. For a volume, the mean over
        slices with a finite value. An identical pair has a PSNR of inf; a value that is
        undefined for the image is NaN.

    Raises:
        CtKerasError: CTK-E041, if the shapes differ or are not 2-D or 3-D, or the
            images have no pixels; CTK-E044, if values are not finite; CTK-E047 as
            `ct_keras.arrays.as_numbers`.

    Example:
        >>> import numpy as np
        >>> full_dose = np.zeros((64, 64))
        >>> round(evaluate(full_dose + 4, full_dose)["psnr"], 2)
        40.0
    """
    denoised, reference = _checked(denoised_hu, reference_hu)
    if denoised.ndim == 2:
        return evaluate_slice(reference=reference, test=denoised)
    slices = [
        evaluate_slice(reference=full, test=test)
        for full, test in zip(reference, denoised, strict=True)
    ]
    return {key: finite_mean([found[key] for found in slices]) for key in slices[0]}


def evaluate_slice(*, reference: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Measures one slice with every protocol; see `evaluate` for the keys.

    Args:
        reference: (rows, columns), HU, finite.
        test: (rows, columns), HU, finite.
    """
    reference = np.asarray(reference, np.float64)
    test = np.asarray(test, np.float64)
    found: dict[str, float] = {}
    for protocol in PROTOCOLS.values():
        found |= _measure(protocol, reference, test)
    found["vif"], found["vif_swapped"] = vif_both_ways(reference=reference, test=test)
    return found | hu_errors(reference=reference, test=test)


def finite_mean(values: list[float]) -> float:
    """Averages the finite values; without any, inf if all are inf, otherwise NaN."""
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        return float(np.mean(finite))
    return math.inf if any(value == math.inf for value in values) else math.nan


def describe_protocols() -> dict[str, dict]:
    """Returns the definitions of all protocols, ready for JSON."""
    return {
        id: asdict(protocol) | {"range_hu": protocol.range_hu}
        for id, protocol in PROTOCOLS.items()
    }


def _measure(
    protocol: Protocol, reference_hu: np.ndarray, test_hu: np.ndarray
) -> dict[str, float]:
    """PSNR, SSIM and RMSE of one slice with one protocol."""
    reference, test = protocol.map(reference_hu), protocol.map(test_hu)
    data_range = protocol.data_range
    if data_range == OF_REFERENCE:
        data_range = float(reference.max() - reference.min())
    error = mse(reference=reference, test=test)
    found = {
        protocol.key("psnr"): psnr_of_mse(error, data_range=data_range),
        protocol.key("ssim"): ssim(
            reference=reference,
            test=test,
            data_range=data_range,
            definition=protocol.ssim,
            clamp=protocol.clamp_ssim,
        ),
        protocol.key("rmse_hu"): math.sqrt(error) / protocol.scale,
    }
    if protocol.unit_rmse:
        found[protocol.key("rmse")] = math.sqrt(error)
    return found


def _checked(
    denoised_hu: np.ndarray, reference_hu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Checks that two images can be compared."""
    denoised, reference = as_numbers(denoised_hu), as_numbers(reference_hu)
    check_axes(reference.shape)
    if denoised.shape != reference.shape:
        raise CtKerasError(
            "CTK-E041",
            "the two images cannot be compared",
            received=f"shapes {denoised.shape} and {reference.shape}",
            expected="equal shapes",
        )
    for name, image in (("denoised", denoised), ("reference", reference)):
        bad = int(np.count_nonzero(~np.isfinite(image)))
        if bad:
            raise CtKerasError(
                "CTK-E044",
                f"the {name} image has values that are not finite",
                received=f"{bad} of {image.size} pixels NaN or infinite",
                expected="Hounsfield units",
            )
    return denoised, reference
