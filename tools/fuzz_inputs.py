"""Broken inputs for `tools/fuzz.py`: small series, records and models, bent at random.

An input is determined by its number and the seed: it is never stored unless it is a
finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ct_keras.dicom import create_series

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
)
SLICES = 3
_SIZE = 64
_PIXEL_BYTES = _SIZE * _SIZE * 2
#: Values that limits, signs and lengths are sensitive to.
_ENDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_TEXTS = (
    b"",
    b"nan",
    b"inf",
    b"-0",
    b"1e308",
    b"-1e-308",
    b"\\",
    b"1\\2\\3",
    b"\0",
    b"x",
)
#: Of the changes of a file, how many are in its header.
_HEADER_SHARE = 0.85


def make_series(folder: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Writes a series of three slices: a disc of soft tissue in air, with noise."""
    y, x = np.mgrid[:_SIZE, :_SIZE] - (_SIZE - 1) / 2
    noise = np.random.default_rng(0).normal(0, 10, (SLICES, _SIZE, _SIZE))
    hu = np.where(x * x + y * y < (0.35 * _SIZE) ** 2, 50.0, -1000.0) + noise
    create_series(
        hu.round(), (5.0, 1.0, 1.0), folder, patient_id="P1", series_description="x"
    )
    if syntax == ExplicitVRLittleEndian:
        return
    for path in folder.glob("*.dcm"):
        data = pydicom.dcmread(path)
        if syntax == RLELossless:
            data.compress(RLELossless)
        elif syntax == ExplicitVRBigEndian:
            data.PixelData = data.pixel_array.astype(">i2").tobytes()
        data.file_meta.TransferSyntaxUID = syntax
        dcmwrite(
            path,
            data,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )


@dataclass(frozen=True)
class Bent:
    """A broken input.

    Attributes:
        sample: Which of the samples was bent.
        file: Which of its files, an index.
        content: The new content of that file.
    """

    sample: int
    file: int
    content: bytes


def bend(samples: Sequence[Sequence[bytes]], seed: int, number: int) -> Bent:
    """Returns the broken input of a number.

    Args:
        samples: The contents of the files of each sample.
        seed: Seed of the run.
        number: The number of the input.
    """
    rng = np.random.default_rng((seed, number))
    sample = int(rng.integers(len(samples)))
    file = int(rng.integers(len(samples[sample])))
    content = bytearray(samples[sample][file])
    other = samples[int(rng.integers(len(samples)))][0]
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 8]))):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        change(content, _place(content, rng), rng, other)
    return Bent(sample, file, bytes(content))


def _place(content: bytearray, rng: np.random.Generator) -> int:
    end = len(content)
    if rng.random() < _HEADER_SHARE:
        end = max(1, len(content) - _PIXEL_BYTES)
    return int(rng.integers(max(1, end)))


def _flip(content, place, rng, other) -> None:
    if content:
        content[place % len(content)] ^= 1 << int(rng.integers(8))


def _set(content, place, rng, other) -> None:
    if content:
        content[place % len(content)] = int(rng.integers(256))


def _end_value(content, place, rng, other) -> None:
    size = int(rng.choice([1, 2, 4]))
    value = _ENDS[int(rng.integers(len(_ENDS)))] & ((1 << 8 * size) - 1)
    content[place : place + size] = value.to_bytes(size, "little")


def _text(content, place, rng, other) -> None:
    text = _TEXTS[int(rng.integers(len(_TEXTS)))]
    content[place : place + len(text)] = text


def _delete(content, place, rng, other) -> None:
    del content[place : place + int(rng.choice([1, 2, 8, 64, 512]))]


def _repeat(content, place, rng, other) -> None:
    part = content[place : place + int(rng.choice([1, 8, 64, 512]))]
    content[place:place] = part * int(rng.choice([1, 2, 50]))


def _insert(content, place, rng, other) -> None:
    content[place:place] = rng.bytes(int(rng.choice([1, 2, 8, 64])))


def _cut(content, place, rng, other) -> None:
    del content[place:]


def _splice(content, place, rng, other) -> None:
    size = int(rng.choice([8, 64, 512]))
    start = int(rng.integers(max(1, len(other))))
    content[place : place + size] = other[start : start + size]


_CHANGES: tuple[Callable, ...] = (
    *(_flip, _set, _end_value, _text, _delete),
    *(_repeat, _insert, _cut, _splice),
)
