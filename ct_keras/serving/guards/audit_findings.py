"""What the audit says of what it measured: CTK-W064 and CTK-W065, and their limits."""

from __future__ import annotations

from ct_keras.errors import Finding

#: A change that stands out of the removed noise by more than this is structure.
PEAK_LIMIT = 7.0
#: Of the size of what was removed with the edges that are left.
CORRELATION_LIMIT = 0.2
#: Share of the input's power in a band of frequency that what was removed may have. A
#: filter that only lowers noise stays below 1 in all of them.
POWER_LIMIT = 1.1
#: Mean change of a kind of tissue in HU.
BIAS_LIMIT_HU = 2.0
#: Share of pixels that may change by more than five local standard deviations.
FAR_SHARE_LIMIT = 1e-3
#: Less noise than this share of the input's is left by no filter that still looks at
#: the image.
LEAST_NOISE_LEFT = 0.05


def structure(peaks: list[float], correlation: float) -> list[Finding]:
    """Blobs and edges in what was removed."""
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


def replaced(removed_power: list[float] | None) -> list[Finding]:
    """Noise that was taken away and other noise put in its place."""
    if removed_power is None or max(removed_power) <= POWER_LIMIT:
        return []
    return [
        Finding(
            "CTK-W065",
            f"removed noise shows structure: it has {max(removed_power):.0%} of the "
            "input's power in a band of frequency, so something was put in its place",
        )
    ]


def sanity(
    bias: dict[str, float | None],
    far_share: float,
    noise_left: float | None,
    not_finite: int,
) -> list[Finding]:
    """Means that moved, pixels far off, too much or too little noise, no numbers."""
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
                f"only {noise_left:.1%} of the input's noise is left: no texture of CT",
            )
        )
    if not_finite:
        findings.append(
            Finding("CTK-W064", f"{not_finite} values of the output are no number")
        )
    return findings
