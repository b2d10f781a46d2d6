"""CT slices and the physics of their noise in one small file.

A slice is quantised in steps of a whole number of HU and stored as lossless JPEG 2000.
This module needs neither DICOM nor Keras, so that a machine without them can read the
file.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ct_keras.hu import FLOOR_HU

#: Number and width (mm) of the detector bins in which noise is drawn, for every grid.
BINS, BIN_MM = 2560, 0.4
#: Keys of the noise physics of a slice.
PHYSICS = (
    "spacing_mm",
    "photons",
    "electronic",
    "response",
    "bowtie",
    "modulation",
)
_HIGHEST_HU = 3071


def write_pack(
    rows: list[dict], out: Path, *, bowtie: np.ndarray, modulation: float
) -> None:
    """Writes the packed file.

    Args:
        rows: One per slice: `hu` (side, side), `step_hu`, `spacing_mm`, `kernel` (a
            `ct_keras.simulation.Kernel`), `photons`, `electronic`, `noise_free`,
            `weight` (its sampling weight), `split` and `patient`.
        bowtie: (BINS,) transmission of the bowtie filter at each bin.
        modulation: Strength of the angular tube-current modulation.
        out: The .npz file.
    """
    frequency_mm = np.fft.rfftfreq(BINS, BIN_MM)
    pictures = [_encoded(row["hu"], int(row["step_hu"])) for row in rows]
    kernels = list({row["kernel"].name: row["kernel"] for row in rows}.values())
    names = [kernel.name for kernel in kernels]
    responses = [frequency_mm * kernel.window(frequency_mm) for kernel in kernels]
    plain = ("step_hu", "spacing_mm", "photons", "electronic", "weight")
    np.savez(
        out,
        pictures=np.frombuffer(b"".join(pictures), np.uint8),
        lengths=np.array([len(picture) for picture in pictures]),
        response=np.array(responses, np.float32),
        kernel=np.array([names.index(row["kernel"].name) for row in rows]),
        bowtie=bowtie.astype(np.float32),
        modulation=np.float32(modulation),
        noise_free=np.array([row["noise_free"] for row in rows]),
        validation=np.array([row["split"] == "val" for row in rows]),
        patient=np.array([row["patient"] for row in rows]),
        **{key: np.array([row[key] for row in rows], np.float32) for key in plain},
    )


def _encoded(hu: np.ndarray, step_hu: int) -> bytes:
    """Encodes a slice as JPEG 2000, in steps of `step_hu` above the floor."""
    floored = np.clip(hu, FLOOR_HU, _HIGHEST_HU) - FLOOR_HU
    codes = np.rint(floored / step_hu).astype(np.uint16)
    target = io.BytesIO()
    Image.fromarray(codes).save(target, "JPEG2000", irreversible=False)
    return target.getvalue()


def read_pack(path: Path, most: int | None = None) -> dict[str, np.ndarray]:
    """Reads a packed file of `write_pack`.

    Args:
        path: The .npz file.
        most: Maximum number of slices, evenly spread; None for all.

    Returns:
        Arrays with one entry per slice: `hu` float32 (slices, side, side), the keys of
        `PHYSICS`, `noise_free`, `validation` and `weight`.
    """
    with np.load(path) as stored:
        pack = dict(stored)
    ends = np.cumsum(pack["lengths"])
    pictures = np.split(pack["pictures"], ends[:-1])
    count = len(pictures)
    kept = np.unique(np.linspace(0, count - 1, min(most or count, count)).astype(int))
    steps = pack["step_hu"]

    def decode(index):
        picture = np.asarray(Image.open(io.BytesIO(pictures[index].tobytes())))
        return picture.astype(np.float32) * steps[index] + np.float32(FLOOR_HU)

    with ThreadPoolExecutor(16) as pool:
        hu = np.stack(list(pool.map(decode, kept)))
    own = ("spacing_mm", "photons", "electronic", "noise_free", "validation", "weight")
    return {
        "hu": hu,
        "response": pack["response"][pack["kernel"][kept]],
        "bowtie": np.repeat(pack["bowtie"][None], len(kept), axis=0),
        "modulation": np.full(len(kept), pack["modulation"], np.float32),
        **{name: pack[name][kept] for name in own},
    }
