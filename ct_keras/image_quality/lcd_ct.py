"""Reads images of LCD-CT, the FDA's test of low-contrast detectability.

    FOLDER/ground_truth.mhd
    FOLDER/dose_010/signal_present/signal_present.mhd   and its .raw files
    FOLDER/dose_010/signal_absent/signal_absent.mhd
    FOLDER/dose_100/...                                 the dose in percent

Values are HU + 1000; in some published images, a further 32768 is added although the
header declares a signed type. The byte order in a header may be wrong too, so that of
integers is determined from the data. The third axis of the images is the repeat.

Reference:
    U.S. Food and Drug Administration, LCD-CT (RST24MD08.01), 2023,
    doi:10.5281/zenodo.7996580.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage

from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of
from ct_keras.image_quality.nps import squares

OFFSET = 1000.0
_TYPES = {"MET_SHORT": "i2", "MET_USHORT": "u2", "MET_FLOAT": "f4", "MET_UCHAR": "u1"}
#: Regions that exceed water by more than this, in HU, are inserts.
_STANDS_OUT_HU = 0.5
_MOST_FILES = 100_000


@dataclass(frozen=True)
class LcdInsert:
    """A disc of the ground truth.

    Attributes:
        contrast_hu: Contrast to water in HU.
        diameter: Diameter in pixels, from its area.
        center: (row, column) in pixels from 0.
    """

    contrast_hu: float
    diameter: float
    center: tuple[float, float]


@dataclass(frozen=True, eq=False)
class LcdStudy:
    """Images of one reconstruction.

    Attributes:
        inserts: The discs, the strongest contrast first.
        present: Dose fraction -> float32 (repeats, rows, columns) HU, with the discs.
        absent: The same without the discs.
        spacing_mm: (row, column), None if the headers do not have it.
    """

    inserts: tuple[LcdInsert, ...]
    present: Mapping[float, np.ndarray]
    absent: Mapping[float, np.ndarray]
    spacing_mm: tuple[float, float] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inserts in results; equal inserts also have their position."""
        names = [
            f"{insert.contrast_hu:g} HU {insert.diameter:.1f} pixels"
            for insert in self.inserts
        ]
        return tuple(
            name
            if names.count(name) == 1
            else "{} at row {:.0f}, column {:.0f}".format(name, *insert.center)
            for name, insert in zip(names, self.inserts, strict=True)
        )

    def regions(
        self, insert: LcdInsert, present: np.ndarray, absent: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cuts the region around an insert from images with and without it.

        As in LCD-CT, regions are twice as wide as the largest insert.
        """
        size = 2 * math.ceil(max(other.diameter for other in self.inserts))
        stacks = (squares(stack, [insert.center], size) for stack in (present, absent))
        with_it, without = (stack[:, 0] for stack in stacks)
        return with_it, without


def read_lcd_ct(folder: str | os.PathLike) -> LcdStudy:
    """Reads all doses of one reconstruction in the layout of LCD-CT.

    Raises:
        CtKerasError: CTK-E001, if the folder does not have this layout; CTK-E005, if a
            file is missing, truncated or of an unsupported type.
    """
    folder = Path(folder)
    found = {
        int(match[1]) / 100: path
        for path in sorted(folder.glob("dose_*"))
        if (match := re.fullmatch(r"dose_(\d{1,3})", path.name)) and int(match[1])
    }
    truth = folder / "ground_truth.mhd"
    if not found or not truth.is_file():
        raise CtKerasError(
            "CTK-E001",
            "no LCD-CT images in the folder",
            received=label_of(folder),
            expected="ground_truth.mhd and folders such as dose_010/signal_present",
        )
    parts = {
        kind: {dose: _read_folder(path / kind) for dose, path in found.items()}
        for kind in ("signal_present", "signal_absent")
    }
    inserts = find_inserts(read_metaimage(truth).squeeze() - np.float32(OFFSET))
    present, absent = parts["signal_present"], parts["signal_absent"]
    return LcdStudy(inserts, present, absent, _spacing(truth))


def read_metaimage(path: str | os.PathLike) -> np.ndarray:
    """Reads a MetaImage header (.mhd) and the raw files that it names.

    Supports single files and numbered ones (``name_%03d.raw 1 10 1``), uncompressed.

    Returns:
        float32 (slices, rows, columns).

    Raises:
        CtKerasError: CTK-E005, if a file is missing, truncated or of an unsupported
            type.
    """
    path = Path(path)
    header = _header(path)
    try:
        columns, rows, *rest = (int(text) for text in header["DimSize"].split())
        kind = np.dtype(_TYPES[header["ElementType"]])
        names = _raw_names(header["ElementDataFile"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, "the header is not supported") from error
    slices = math.prod(rest)
    data = b"".join(_bytes(path, name) for name in names)
    if len(data) != slices * rows * columns * kind.itemsize:
        raise _unreadable(path, "the raw data do not have the size in the header")
    if kind.kind == "f":
        values = np.frombuffer(data, kind.newbyteorder(_claimed_order(header)))
    else:
        orders = [np.frombuffer(data, kind.newbyteorder(order)) for order in "<>"]
        # Values with the wrong byte order fill the whole range.
        values = min(orders, key=lambda each: np.std(each.astype(np.float64)))
    return values.reshape(slices, rows, columns).astype(np.float32)


def find_inserts(truth_hu: np.ndarray) -> tuple[LcdInsert, ...]:
    """Finds the discs in a noise-free image (rows, columns) with water at 0 HU."""
    labels, count = scipy.ndimage.label(truth_hu > _STANDS_OUT_HU)
    inserts = []
    for number in range(1, count + 1):
        weight = np.where(labels == number, truth_hu, 0).astype(np.float64)
        contrast, total = float(weight.max()), weight.sum()
        row, column = (
            float((weight * place).sum() / total) for place in np.indices(weight.shape)
        )
        diameter = 2 * math.sqrt(total / contrast / math.pi)
        inserts.append(LcdInsert(contrast, diameter, (row, column)))
    return tuple(sorted(inserts, key=lambda insert: -insert.contrast_hu))


def _read_folder(folder: Path) -> np.ndarray:
    headers = sorted(folder.glob("*.mhd"))
    if not headers:
        raise _unreadable(folder, "there is no .mhd header")
    stack = read_metaimage(headers[0])
    shift = 32768 * round(float(np.median(stack)) / 32768)
    return stack - np.float32(OFFSET + shift)


def _header(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("latin-1")
    except OSError as error:
        raise _unreadable(path, "the header cannot be read") from error
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _claimed_order(header: dict[str, str]) -> str:
    names = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return ">" if any(header.get(n, "").lower() == "true" for n in names) else "<"


def _spacing(path: Path) -> tuple[float, float] | None:
    """(row, column) spacing in mm, None where the header has none."""
    steps = _header(path).get("ElementSpacing", "").split()
    try:
        columns, rows = (float(step) for step in steps[:2])
    except ValueError:
        return None
    return (rows, columns) if min(rows, columns) > 0 else None


def _raw_names(text: str) -> list[str]:
    """Returns the file names of an ElementDataFile entry."""
    name, *numbers = text.split()
    if not numbers:
        return [name]
    start, stop, step = (int(number) for number in numbers)
    indices = range(start, stop + 1, step)
    if len(indices) > _MOST_FILES:
        raise ValueError(len(indices))
    return [name % index for index in indices]


def _bytes(header: Path, name: str) -> bytes:
    # Only files next to the header are read, regardless of the path in it.
    try:
        return (header.parent / Path(name).name).read_bytes()
    except OSError as error:
        raise _unreadable(header, "one of its raw files cannot be read") from error


def _unreadable(path: Path, problem: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E005", f"not a MetaImage: {problem}", received=label_of(path)
    )
