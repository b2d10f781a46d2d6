"""Description of a series, without names, identifiers, dates or paths."""

from __future__ import annotations

from ct_keras.dicom.series import Series
from ct_keras.image_quality.noise import noise_frequency_per_cm, noise_level_hu
from ct_keras.privacy.strata import safe_kernel

#: Stands for the name of a kernel that may be something else.
_OTHER_KERNEL = "other"


def describe_series(series: Series) -> dict:
    """Describes a series: geometry, exposure, noise and findings, ready for JSON.

    Args:
        series: Any CT series; one slice of it and a few for the noise are read.

    Returns:
        A dict; unknown values are None.
    """
    slices, rows, columns = series.shape
    slice_mm, row_mm, column_mm = series.spacing_mm
    middle = series.read(slices // 2)
    frequency = noise_frequency_per_cm([middle.hu], (row_mm, column_mm))
    return {
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "spacing_mm": [_rounded(step) for step in (slice_mm, row_mm, column_mm)],
        "slice_thickness_mm": _rounded(series.slice_thickness_mm),
        "tilt_degrees": _rounded(series.tilt_degrees),
        "kernel": series.kernel and (safe_kernel(series.kernel) or _OTHER_KERNEL),
        "kvp": series.kvp,
        "tube_current_ma": _rounded(series.tube_current_ma),
        "exposure_mas": _rounded(series.exposure_mas),
        "noise_hu": _rounded(noise_level_hu(series)),
        "noise_frequency_per_cm": _rounded(frequency),
        "padding_share": _rounded(float(middle.padding.mean())),
        "decoders": list(series.decoders),
        "denoised": series.denoised,
        "findings": [str(finding) for finding in series.findings],
    }


def _rounded(value: float | None) -> float | None:
    """Rounds to four decimals; None for NaN, which JSON does not have."""
    return None if value is None or value != value else round(value, 4)
