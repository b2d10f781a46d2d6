"""Compares a series with the training data of a model.

The ranges are those of the model card (`ct_keras.data.training_ranges`). For a filter,
or a model without ranges, only the plausibility of the HU values is checked.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from ct_keras.dicom import Series
from ct_keras.dicom.plausibility import unlike_hu
from ct_keras.errors import CtKerasError, Finding
from ct_keras.image_quality import noise_frequency_per_cm, noise_index_hu
from ct_keras.image_quality.anatomy import shows_head
from ct_keras.image_quality.noise import middle_slices
from ct_keras.serving.guards.header import header_findings, inside
from ct_keras.serving.guards.measured import noise_findings

#: A noise index above the range by more than this factor is refused. One far below is
#: accepted: in a scan with little noise, the worst outcome is slight blur.
REFUSED_FACTOR = 2.0


@dataclass(frozen=True)
class Entrance:
    """Measures of a series before denoising.

    Attributes:
        noise_index_hu: Global noise index, None if there is too little soft tissue.
        noise_frequency_per_cm: Mean frequency of the noise, None in the same case.
        findings: Findings outside the ranges of the model card.
        overridden: Refusals that were overridden, as text.
    """

    noise_index_hu: float | None
    noise_frequency_per_cm: float | None
    findings: list[Finding] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


def check_series(
    series: Series,
    ranges: dict | None,
    *,
    model: str,
    override: bool = False,
) -> Entrance:
    """Compares a series with the training ranges of a model; pictures with nothing.

    The slices that are checked stay in memory until they are denoised
    (`Series.read_ahead`).

    Args:
        series: Any CT series.
        ranges: From the model card; None if unknown.
        model: Name of the model, for the findings.
        override: Record refusals instead of raising them.

    Returns:
        The measures and the findings CTK-W060 (header and anatomy), W061 (noise level)
        and W062 (texture). Of a card with measured losses, the latter two judge noise
        level and texture together.

    Raises:
        CtKerasError: CTK-E044, if the values do not look like HU (no peak of air within
            100 HU of -1000, values below air, almost no soft tissue, or too many values
            between lung and fat); CTK-E061, if the noise index is above twice the upper
            end of the range.
    """
    if series.scale is not None:
        return Entrance(None, None)  # all of it is about CT
    count = len(series)
    look = functools.cache(series.read_ahead)
    indices = sorted({count // 4, count // 2, 3 * count // 4})
    slices = [look(index) for index in indices]
    refusals = [unlike_hu(slices)]
    spacing_mm = series.spacing_mm[1:]
    middle = (look(index).hu for index in middle_slices(count))
    noise = noise_index_hu(middle, spacing_mm)
    planes = [pixels.hu for pixels in slices]
    texture = noise_frequency_per_cm(planes, spacing_mm)
    findings = []
    if ranges:
        seen = shows_head(planes, spacing_mm)
        findings += header_findings(series, ranges, model, shows_head=seen)
        refusals.append(_noise_far_off(noise, ranges.get("noise_index_hu"), model))
        if losses := ranges.get("losses"):
            findings += noise_findings(noise, texture, losses, model)
        else:
            findings += _noise(noise, ranges.get("noise_index_hu"), model)
            findings += _texture(texture, ranges.get("noise_frequency_per_cm"), model)
    refusals = [refusal for refusal in refusals if refusal]
    if refusals and not override:
        raise refusals[0]
    return Entrance(noise, texture, findings, [str(refusal) for refusal in refusals])


def _noise_far_off(noise, known, model: str) -> CtKerasError | None:
    if noise is None or not known:
        return None
    if noise <= known[1] * REFUSED_FACTOR:
        return None
    return CtKerasError(
        "CTK-E061",
        f"the noise is far above what {model} was trained on",
        received=f"noise index {noise:.0f} HU",
        expected=f"{known[0]:.0f} to {known[1]:.0f} HU",
        fix="choose another model, or override the guards and look at every slice",
    )


def _noise(noise, known, model: str) -> list[Finding]:
    if noise is None or not known or inside(noise, known):
        return []
    text = f"noise index {noise:.0f} HU is outside {known[0]:.0f}-{known[1]:.0f} HU, "
    text += f"the training range of {model}"
    if noise < known[0]:
        text += ": already low noise, denoising may just blur"
    return [Finding("CTK-W061", text)]


def _texture(frequency, known, model: str) -> list[Finding]:
    if frequency is None or not known or inside(frequency, known):
        return []
    return [
        Finding(
            "CTK-W062",
            f"noise texture differs from training (kernel?): mean frequency "
            f"{frequency:.1f} per cm is outside {known[0]:.1f}-{known[1]:.1f}, the "
            f"training range of {model}",
        )
    ]
