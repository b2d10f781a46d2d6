"""Packs CT slices and phantoms, with the physics of their noise, into one small file.

    python tools/pack_slices.py CT OUT.npz

CT is a folder of normal-dose CT series with the sub-folders train/ and val/ (one folder
per patient). `tools/train_accelerated.py` reads the file on a machine that has neither
the scans nor a DICOM reader. HU are quantised in steps of 1 HU or a quarter of the
slice's noise, whichever is larger.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from packed_slices import BIN_MM, BINS, write_pack

from ct_keras.dicom import Series, find_series
from ct_keras.hu import FLOOR_HU
from ct_keras.phantoms.anatomy import draw_patient
from ct_keras.phantoms.lesions import add_lesions
from ct_keras.phantoms.painter import BLUR_MM, Painter
from ct_keras.simulation import between, calibrate
from ct_keras.simulation.photons import (
    TUBE_CURRENT_MODULATION,
    bowtie,
    electronic_noise,
)

SIDE = 512
#: Weight of lossy scans and of kernels sharper than this share.
_SHARP, _RARE = 0.6, 0.3
_PHOTONS_PER_MM = 1.6e5
_VALIDATION_SLICES = 2


def main() -> None:
    """Packs both splits and the phantoms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path, help="A folder with train/ and val/.")
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--per-patient", type=int, default=25, help="Maximum number of slices."
    )
    parser.add_argument("--phantoms", type=int, default=50)
    parser.add_argument("--validation-phantoms", type=int, default=6)
    parser.add_argument("--side", type=int, default=SIDE, help="Phantom size.")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    rows: list[dict] = []
    for split, most in (("train", arguments.per_patient), ("val", _VALIDATION_SLICES)):
        for folder in sorted((arguments.ct / split).glob("*")):
            rows += scan_rows(folder, split, most)
    counts = {"train": arguments.phantoms, "val": arguments.validation_phantoms}
    for split, count in counts.items():
        rows += list(phantom_rows(split, count, arguments.side))
    position_mm = (np.arange(BINS) - BINS // 2) * BIN_MM
    write_pack(
        rows,
        arguments.out,
        bowtie=bowtie(position_mm),
        modulation=TUBE_CURRENT_MODULATION,
    )


def scan_rows(folder: Path, split: str, most: int) -> list[dict]:
    """Returns some slices of one patient with their physics.

    Args:
        folder: The patient's series.
        split: "train" or "val".
        most: Maximum number of slices, evenly spread.
    """
    found = [
        series for series in find_series(folder) if series.shape[1:] == (SIDE,) * 2
    ]
    total = sum(map(len, found))
    wanted = set(np.linspace(0, total - 1, min(most, total)).round().astype(int))
    rows, first = [], 0
    for series in found:
        places = [place - first for place in wanted if 0 <= place - first < len(series)]
        first += len(series)
        if places:
            rows += _series_rows(series, sorted(places))
    # Patients with few slices get less weight.
    weight = 1.0 if len(rows) >= 10 else 0.25 * np.sqrt(len(rows))
    for row in rows:
        row |= {"split": split, "patient": folder.name}
        row["weight"] *= weight / len(rows)
    logging.info("%s: %d slices", folder.name, len(rows))
    return rows


def _series_rows(series: Series, places: list[int]) -> list[dict]:
    found = calibrate(series)
    logging.info("  %s: %s", series.kernel, found)
    sharp = found.kernel.frequencies[0] > between(_SHARP).frequencies[0]
    rare = _RARE if series.lossy or sharp else 1.0
    rows = []
    for place in places:
        pixels = series.read(place)
        hu = np.where(pixels.padding, FLOOR_HU, pixels.hu)
        rows.append(
            {
                "hu": hu,
                "step_hu": np.clip(round((found.noise_hu or 4.0) / 4), 1, 8),
                "spacing_mm": series.spacing_mm[1],
                "kernel": found.kernel,
                "photons": found.photons * found.currents[place],
                "electronic": dict(found.physics)["electronic_noise"],
                "noise_free": False,
                "weight": rare,
            }
        )
    return rows


def phantom_rows(split: str, count: int, side: int) -> Iterator[dict]:
    """Yields phantom slices, each with a new patient, height, scanner and dose."""
    first = {"train": 50_000, "val": 60_000}[split]
    for seed in range(first, first + count):
        rng = np.random.default_rng([seed, 7])
        thickness_mm = float(rng.choice([1.0, 2.0, 3.0, 5.0]))
        pixel_mm = float(rng.uniform(0.6, 0.95)) * SIDE / side
        spacing_mm = (thickness_mm, pixel_mm, pixel_mm)
        painter = Painter(
            draw_patient(seed),
            (1, side, side),
            spacing_mm=spacing_mm,
            middle_mm=float(rng.uniform(-160, 130)),
            texture_seed=[seed, 8],
        )
        hu, labels = (plane[None] for plane in painter.paint_next(0))
        add_lesions(hu, labels, spacing_mm, blur_mm=BLUR_MM, rng=rng)
        # A typical number of photons, times or divided by up to three.
        exposure = 3.0 ** rng.uniform(-1, 1)
        yield {
            "hu": hu[0],
            "step_hu": 1,
            "spacing_mm": pixel_mm,
            "kernel": between(round(float(rng.uniform(-0.35, 1.0)), 2)),
            "photons": _PHOTONS_PER_MM * max(thickness_mm, 2.0) * exposure,
            "electronic": electronic_noise(thickness_mm),
            "noise_free": True,
            "weight": 1.0 / count,
            "split": split,
            "patient": f"phantom {seed}",
        }


if __name__ == "__main__":
    main()
