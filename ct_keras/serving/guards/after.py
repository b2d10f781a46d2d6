"""Audit of what a model removed: noise has no structure, anatomy and artefacts do.

Every slice is analysed at a pixel size of about 1.5 mm, which is enough to find what a
reader could mistake for a lesion and takes a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np

from ct_keras.errors import Finding
from ct_keras.hu import CEILING_HU, FLOOR_HU
from ct_keras.metrics.tissues import TISSUES

#: Pixel size of the audit in mm, and the sizes of the blobs (Gaussian SD in mm).
PIXEL_MM = 1.5
BLOBS_MM = (2.4, 4.0)
#: Frequency bands, given by the smoothing between them (Gaussian SD in mm).
BANDS_MM = (0.9, 1.5, 2.6, 4.5)
#: A pixel counts as far changed beyond this many local standard deviations.
FAR_SIGMAS = 5.0
#: A blob that exceeds the removed noise by more than this factor is structure.
PEAK_LIMIT = 7.0
#: Limit of the correlation of the removed part with the edges of the output.
CORRELATION_LIMIT = 0.2
#: Limit of the removed power in a frequency band, as a share of the input's power. A
#: filter that only lowers noise stays below 1 in every band.
POWER_LIMIT = 1.1
#: Limit of the mean change of a tissue class, in HU.
BIAS_LIMIT_HU = 2.0
#: Share of pixels that may change by more than five local standard deviations.
FAR_SHARE_LIMIT = 1e-3
#: Any filter that depends on the image leaves more than this share of the input's
#: noise.
LEAST_NOISE_LEFT = 0.05
_FLAT_HU_PER_PIXEL = 12.0
#: Stored values are whole HU, so a lower roughness cannot be distinguished from zero.
_LEAST_ROUGHNESS_HU = 0.1
#: What varies less varies by the rounding of float32.
_LEAST_SPREAD_HU = 0.01
#: Lower limit of the input's power in a band, in HU^2.
_LEAST_POWER = 0.25
_USUAL_SPACING_MM = 0.75
_LOCAL_MM = 30.0
_FEWEST_PIXELS = 500


@dataclass(frozen=True)
class AuditResult:
    """The result of the audit over all slices.

    Attributes:
        peaks: For each slice, the strongest removed blob in standard deviations; about
            4 for noise.
        correlation: Correlation of the removed part with the remaining edges, mean over
            slices.
        bias_hu: Mean change of each tissue class, None if there is none.
        far_share: Share of pixels that changed by more than five local standard
            deviations.
        noise_left: Standard deviation of the output over that of the input in flat
            regions; None without flat regions.
        removed_power: Removed power over that of the input in flat regions, from the
            finest to the coarsest frequency band; None without flat regions.
        not_finite: Number of output values that are NaN or infinite.
        metal: Number of input values above 3072 HU; networks return them unchanged.
        worst_slice: Index of the slice with the highest peak.
        worst_place: (row, column) of that peak at full resolution.
        findings: CTK-W064 and CTK-W065.
    """

    peaks: list[float]
    correlation: float
    bias_hu: dict[str, float | None]
    far_share: float
    noise_left: float | None
    removed_power: list[float] | None
    not_finite: int
    metal: int
    worst_slice: int
    worst_place: tuple[int, int]
    findings: list[Finding] = field(default_factory=list)


class Audit:
    """Audits slices as they are denoised; memory does not grow with their number.

    Args:
        spacing_mm: Row and column spacing of the slices; NaN if unknown.
    """

    def __init__(self, spacing_mm: tuple[float, float]):
        known = [step for step in spacing_mm if step > 0]
        self._pixel_mm = float(np.mean(known)) if known else _USUAL_SPACING_MM
        self._factor = max(1, round(PIXEL_MM / self._pixel_mm))
        self._pixel_mm *= self._factor
        self._peaks: list[float] = []
        self._correlations: list[float] = []
        self._changes = {tissue.name: [0.0, 0] for tissue in TISSUES}
        self._far = [0, 0]
        self._ratios: list[float] = []
        self._powers: list[np.ndarray] = []
        self._not_finite = self._metal = 0
        self._worst = (-1.0, 0, (0, 0))
        #: Index, input and output in HU of the slice with the highest peak so far.
        self.worst_images: tuple[int, np.ndarray, np.ndarray] | None = None

    def look(self, index: int, low_hu: np.ndarray, denoised_hu: np.ndarray) -> None:
        """Adds a slice before and after denoising, (rows, columns) in HU.

        NaN and infinite output values are counted and treated as unchanged.
        """
        finite = np.isfinite(denoised_hu)
        self._not_finite += int(np.count_nonzero(~finite))
        self._metal += int(np.count_nonzero(low_hu > CEILING_HU))
        denoised_hu = np.where(finite, denoised_hu, low_hu)
        low, out = (self._small(hu) for hu in (low_hu, denoised_hu))
        removed = low - out
        self._count_changes(out, removed)
        body = cv2.erode((out > -500).astype(np.uint8), np.ones((3, 3))) > 0
        if body.sum() < _FEWEST_PIXELS:
            self._peaks.append(0.0)
            return
        edges = _gradient(out, 1.0)
        size = cv2.GaussianBlur(np.abs(removed), (0, 0), 1.5)
        pair = np.stack([size[body], edges[body]]).astype(np.float64)
        if pair.std(axis=1).min() > _LEAST_SPREAD_HU:
            self._correlations.append(np.corrcoef(pair)[0, 1])
        flat = self._flat(out) & body
        peak, place = self._strongest_blob(removed, flat)
        self._peaks.append(peak)
        if flat.any():
            self._ratios.append(_roughness(out, flat) / _roughness(low, flat))
            powers = [self._band_powers(hu, flat) for hu in (removed, low)]
            self._powers.append(np.array(powers))
        if peak > self._worst[0]:
            self._worst = (peak, index, place)
            self.worst_images = (index, low_hu.copy(), denoised_hu.copy())

    def result(self) -> AuditResult:
        """The result for the slices so far."""
        correlation = float(np.mean(self._correlations)) if self._correlations else 0.0
        bias = {
            name: total / count if count >= _FEWEST_PIXELS else None
            for name, (total, count) in self._changes.items()
        }
        _, worst_slice, (row, column) = self._worst
        far_share = self._far[0] / max(1, self._far[1])
        noise_left = float(np.median(self._ratios)) if self._ratios else None
        removed_power = None
        if self._powers:
            removed, low = np.mean(self._powers, axis=0)
            shares = removed / np.maximum(low, _LEAST_POWER)
            removed_power = [float(share) for share in shares]
        return AuditResult(
            peaks=self._peaks,
            correlation=correlation,
            bias_hu=bias,
            far_share=far_share,
            noise_left=noise_left,
            removed_power=removed_power,
            not_finite=self._not_finite,
            metal=self._metal,
            worst_slice=worst_slice,
            worst_place=(row * self._factor, column * self._factor),
            findings=[
                *_structure(self._peaks, correlation),
                *_replaced(removed_power),
                *_sanity(bias, far_share, noise_left, self._not_finite),
            ],
        )

    def _small(self, hu: np.ndarray) -> np.ndarray:
        hu = np.maximum(hu, FLOOR_HU).astype(np.float32)
        if self._factor == 1:
            return hu
        size = tuple(max(1, length // self._factor) for length in hu.shape[::-1])
        return cv2.resize(hu, size, interpolation=cv2.INTER_AREA)

    def _flat(self, out: np.ndarray) -> np.ndarray:
        """Soft tissue and lung without edges, where only noise should be removed."""
        steep = (_gradient(out, 1.2) > _FLAT_HU_PER_PIXEL).astype(np.uint8)
        return (cv2.dilate(steep, np.ones((5, 5))) == 0) & (out < 300)

    def _band_powers(self, image: np.ndarray, flat: np.ndarray) -> list[float]:
        """Power in each frequency band over flat regions, HU^2."""
        smooth = [_blur(image, width_mm / self._pixel_mm) for width_mm in BANDS_MM]
        bands = (fine - coarse for fine, coarse in pairwise([image, *smooth]))
        return [float(np.square(band[flat]).mean()) for band in bands]

    def _strongest_blob(
        self, removed: np.ndarray, flat: np.ndarray
    ) -> tuple[float, tuple[int, int]]:
        """The strongest removed blob, in standard deviations, and its position.

        Matched filters of two sizes, divided by the local noise. The unit is the spread
        of their response in this slice, so the correlation of CT noise does not matter.
        """
        if flat.sum() < _FEWEST_PIXELS:
            return 0.0, (0, 0)
        weight = flat.astype(np.float32)
        reach = _LOCAL_MM / self._pixel_mm
        covered = np.maximum(_blur(weight, reach), 1e-3)
        sigma = np.sqrt(_blur(removed * removed * weight, reach) / covered)
        sigma = np.maximum(sigma, 0.2 * float(np.median(sigma[flat])) + 1e-3)
        best, place = 0.0, (0, 0)
        for blob_mm in BLOBS_MM:
            response = np.abs(_blur(removed, blob_mm / self._pixel_mm)) / sigma
            unit = float(np.median(response[flat])) / 0.6745
            score = np.where(flat, response / max(unit, 1e-6), 0.0)
            if score.max() > best:
                best = float(score.max())
                row, column = np.unravel_index(int(score.argmax()), score.shape)
                place = (int(row), int(column))
        return best, place

    def _count_changes(self, out: np.ndarray, removed: np.ndarray) -> None:
        smooth = cv2.GaussianBlur(out, (0, 0), 1.0)
        for tissue in TISSUES:
            inside = tissue.holds(smooth).astype(np.uint8)
            inside = cv2.erode(inside, np.ones((3, 3))) > 0
            self._changes[tissue.name][0] -= float(removed[inside].sum())
            self._changes[tissue.name][1] += int(inside.sum())
        mean = cv2.blur(out + removed, (7, 7))
        square = cv2.blur((out + removed) ** 2, (7, 7))
        sigma = np.sqrt(np.maximum(square - mean * mean, 1.0))
        self._far[0] += int((np.abs(removed) > FAR_SIGMAS * sigma).sum())
        self._far[1] += removed.size


def _gradient(image: np.ndarray, sigma: float) -> np.ndarray:
    smooth = cv2.GaussianBlur(image, (0, 0), sigma)
    return cv2.magnitude(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(
        image.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT
    )


def _roughness(image: np.ndarray, flat: np.ndarray) -> float:
    """Standard deviation of what a small blur removes."""
    rough = float((image - cv2.blur(image, (5, 5)))[flat].std())
    return max(rough, _LEAST_ROUGHNESS_HU)


def _structure(peaks: list[float], correlation: float) -> list[Finding]:
    """Findings about removed blobs and edges."""
    slices = [index for index, peak in enumerate(peaks) if peak > PEAK_LIMIT]
    findings = []
    if slices:
        shown = ", ".join(map(str, slices[:5])) + (", ..." if len(slices) > 5 else "")
        findings.append(
            Finding(
                "CTK-W065",
                f"removed noise shows structure: blobs of up to {max(peaks):.0f} "
                f"standard deviations in {len(slices)} slices ({shown})",
            )
        )
    if correlation > CORRELATION_LIMIT:
        findings.append(
            Finding(
                "CTK-W065",
                "removed noise shows structure: it follows edges (correlation "
                f"{correlation:.2f})",
            )
        )
    return findings


def _replaced(removed_power: list[float] | None) -> list[Finding]:
    """Findings about noise that was replaced by other noise."""
    if removed_power is None or max(removed_power) <= POWER_LIMIT:
        return []
    return [
        Finding(
            "CTK-W065",
            f"removed noise shows structure: it has {max(removed_power):.0%} of the "
            "input's power in a frequency band, so something was added in its place",
        )
    ]


def _sanity(
    bias: dict[str, float | None],
    far_share: float,
    noise_left: float | None,
    not_finite: int,
) -> list[Finding]:
    """Findings about bias, large changes, noise level and non-finite values."""
    findings = [
        Finding("CTK-W064", f"mean of {name} changed by {change:+.1f} HU")
        for name, change in bias.items()
        if change is not None and abs(change) > BIAS_LIMIT_HU
    ]
    if far_share > FAR_SHARE_LIMIT:
        findings.append(
            Finding(
                "CTK-W064",
                f"{far_share:.2%} of the voxels changed by more than 5 local SD",
            )
        )
    if noise_left is not None and noise_left > 1.0:
        findings.append(
            Finding("CTK-W064", f"noise rose to {noise_left:.0%} of the input's")
        )
    if noise_left is not None and noise_left < LEAST_NOISE_LEFT:
        findings.append(
            Finding(
                "CTK-W064",
                f"only {noise_left:.1%} of the input's noise is left: no CT texture",
            )
        )
    if not_finite:
        findings.append(
            Finding("CTK-W064", f"{not_finite} values of the output are not numbers")
        )
    return findings
