"""Writes qc.json and qc.png: the results of the guards, for inspection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ct_keras import hu as scale
from ct_keras.denoising.computation import Computation
from ct_keras.files import atomic_folder
from ct_keras.notice import NOTICE
from ct_keras.serving.guards.after import PEAK_LIMIT, Audit
from ct_keras.serving.guards.before import Entrance

_RESIDUAL_HU = 60.0


def write_quality_control(
    out: str | Path,
    entrance: Entrance,
    audit: Audit,
    computation: Computation,
    *,
    model: str,
    ranges: dict | None,
    strength: float,
    decoders: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Writes a folder with qc.json and qc.png.

    Args:
        out: The folder to write.
        entrance: The measures before denoising.
        audit: The audit of the denoised slices.
        computation: How it was computed, and what that changes.
        model: Name of the model.
        ranges: The training ranges in its card.
        strength: The strength of the denoising, 0 to 1.
        decoders: What decoded the pixels of the source.
        overwrite: Replace a folder with content.

    Returns:
        The folder.

    Raises:
        CtKerasError: CTK-E071, if `out` is not empty; CTK-E073, if it cannot be
            written.
    """
    result = audit.result()
    document = {
        "notice": NOTICE,
        "model": model,
        "strength": strength,
        "decoders": list(decoders),
        "computation": asdict(computation),
        "trained_on": ranges,
        "before": {
            "noise_index_hu": entrance.noise_index_hu,
            "noise_frequency_per_cm": entrance.noise_frequency_per_cm,
        },
        "overridden": entrance.overridden,
        "removed": {
            key: value for key, value in asdict(result).items() if key != "findings"
        },
        "limits": {"peak": PEAK_LIMIT},
        "findings": [
            {"code": finding.code, "text": finding.text}
            for finding in (
                *(*entrance.findings, *computation.findings),
                *result.findings,
            )
        ],
    }
    making = atomic_folder(out, overwrite=overwrite, kind="quality control")
    with making as folder:
        (folder / "qc.json").write_text(json.dumps(document, indent=1) + "\n")
        _picture(audit, result, folder / "qc.png", f"{model}, strength {strength:g}")
    return Path(out)


def _picture(audit: Audit, result, path: Path, title: str) -> None:
    """Draws the slice with the strongest blob, and the peaks of all slices."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=(3, 1.2))
    figure.suptitle(f"{title}. {NOTICE}", fontsize=10)
    if audit.worst_images is not None:
        index, low, denoised = audit.worst_images
        window = {
            "cmap": "gray",
            "vmin": scale.ABDOMEN.low,
            "vmax": scale.ABDOMEN.high,
        }
        removed = np.maximum(low, scale.FLOOR_HU) - np.maximum(denoised, scale.FLOOR_HU)
        difference = {"cmap": "RdBu_r", "vmin": -_RESIDUAL_HU, "vmax": _RESIDUAL_HU}
        panels = (
            (f"slice {index}, before ({scale.ABDOMEN})", low, window),
            ("after", denoised, window),
            (f"removed, -{_RESIDUAL_HU:g} to {_RESIDUAL_HU:g} HU", removed, difference),
        )
        row, column = result.worst_place
        for place, (heading, image, options) in enumerate(panels):
            axes = figure.add_subplot(grid[0, place])
            axes.imshow(image, **options)
            axes.plot(column, row, "o", mfc="none", mec="gold", ms=18)
            axes.set_title(heading, fontsize=9)
            axes.set_axis_off()
    axes = figure.add_subplot(grid[1, :])
    axes.plot(result.peaks, "o-", ms=3)
    axes.axhline(PEAK_LIMIT, color="firebrick", ls="--", label="structure above this")
    axes.set(xlabel="slice", ylabel="strongest removed blob, SD", ylim=(0, None))
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=90)
