"""Compares the header of a series, and the anatomy, with the training data."""

from __future__ import annotations

from collections.abc import Sequence

from ct_keras.dicom import Series
from ct_keras.errors import Finding
from ct_keras.privacy.strata import body_part, contrast, manufacturer, safe_kernel

#: Lengths and estimates this far outside a range still count as inside.
TOLERANCE = 0.25
#: Tube voltages are nominal.
_VOLTAGE_TOLERANCE = 0.05
#: A header that names several parts at once -> the parts.
_SEVERAL = {"trunk": {"chest", "abdomen", "pelvis"}, "neck": {"head"}}


def header_findings(
    series: Series, ranges: dict, model: str, *, shows_head: bool = False
) -> list[Finding]:
    """Returns a finding CTK-W060 for each property outside the training data.

    What either side does not know is not compared.

    Args:
        series: Any CT series.
        ranges: From the model card (`ct_keras.data.training_ranges`).
        model: Name of the model.
        shows_head: Whether the images show a skull, whatever the header says.
    """
    examined = "head" if shows_head else body_part(series.body_part)
    maker = manufacturer(series.manufacturer)
    texts = [
        *_lengths(series, ranges, model),
        *_voltage(series.kvp, ranges.get("kvp"), model),
        *_kernel(series.kernel, ranges.get("kernels"), model),
    ]
    parts = set(ranges.get("body_parts") or ())
    if examined and parts and not _single(parts) & _single({examined}):
        seen = " (seen in the images)" if shows_head else ""
        texts.append(_not_among(f"body part {examined}{seen}", parts, model))
    makers = ranges.get("manufacturers")
    if maker and makers and maker not in makers:
        texts.append(_not_among(f"manufacturer {maker}", makers, model))
    if contrast(series.contrast_agent) and ranges.get("contrast") is False:
        texts.append(f"a contrast agent is not in the training data of {model}")
    return [Finding("CTK-W060", text) for text in texts]


def inside(value: float, known: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    """Whether a value is in a range, or outside by less than a share of its end."""
    return known[0] * (1 - tolerance) <= value <= known[1] * (1 + tolerance)


def _lengths(series: Series, ranges: dict, model: str) -> list[str]:
    values = (
        ("pixel spacing", series.spacing_mm[1:], "pixel_spacing_mm"),
        ("slice thickness", [series.slice_thickness_mm], "slice_thickness_mm"),
    )
    return [
        f"{name} {value:.4g} mm is outside {ranges[key][0]:.4g}-{ranges[key][1]:.4g} "
        f"mm, the training range of {model}"
        for name, found, key in values
        for value in sorted({value for value in found if value and value > 0})
        if ranges.get(key) and not inside(value, ranges[key])
    ]


def _voltage(kvp: float | None, known: Sequence[float] | None, model: str) -> list[str]:
    if not kvp or not known or inside(kvp, known, _VOLTAGE_TOLERANCE):
        return []
    ends = f"{known[0]:g}-{known[1]:g}"
    return [f"kVp {kvp:g} is outside {ends}, the training range of {model}"]


def _kernel(kernel: str | None, known: Sequence[str] | None, model: str) -> list[str]:
    if not kernel or not known or kernel.casefold() in map(str.casefold, known):
        return []
    shown = safe_kernel(kernel)
    named = f"kernel {shown}" if shown else "the kernel"
    return [f"{named} is not among the training kernels of {model}"]


def _single(parts: set[str]) -> set[str]:
    """The parts, and those that a name of several stands for."""
    return parts.union(*(_SEVERAL.get(part, ()) for part in parts))


def _not_among(what: str, known: Sequence[str] | set[str], model: str) -> str:
    return f"{what} is not in the training data of {model} ({', '.join(sorted(known))})"
