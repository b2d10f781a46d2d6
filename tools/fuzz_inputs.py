"""Broken inputs for `tools/fuzz.py`: small series, records and models, bent at random.

An input is determined by its number, the seed and the good samples.
"""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pydicom
import SimpleITK
import tifffile
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
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
COMPRESSED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".tif")
#: Bits of grey values, and whether there are three channels.
PICTURES = tuple(
    (suffix, bits, color)
    for suffix in (".png", ".tif")
    for bits in (8, 16)
    for color in (False, True)
)
SLICES = 3
_SIZE = 64
_PIXEL_BYTES = _SIZE * _SIZE * 2
#: Functional groups, shared and of each frame, and the elements that move into them.
_SHARED = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}
_OF_FRAME = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PixelValueTransformationSequence": (
        *("RescaleIntercept", "RescaleSlope", "RescaleType"),
    ),
}
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
#: A file with fewer bytes than those of pixels and these is bent anywhere.
_FEWEST = 256
#: Of the changes of a file, how many are in its header.
_HEADER_SHARE = 0.85


def make_series(folder: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Writes a series of three slices: a disc of soft tissue in air, with noise."""
    create_series(
        _disc_hu(), (5.0, 1.0, 1.0), folder, patient_id="P1", series_description="x"
    )
    if syntax == ExplicitVRLittleEndian:
        return
    for path in folder.glob("*.dcm"):
        data = pydicom.dcmread(path)
        if syntax in COMPRESSED:
            data.compress(syntax, generate_instance_uid=False)
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


def _disc_hu() -> np.ndarray:
    y, x = np.mgrid[:_SIZE, :_SIZE] - (_SIZE - 1) / 2
    noise = np.random.default_rng(0).normal(0, 10, (SLICES, _SIZE, _SIZE))
    hu = np.where(x * x + y * y < (0.35 * _SIZE) ** 2, 50.0, -1000.0) + noise
    return hu.round()


def make_frames(*, legacy: bool = False) -> bytes:
    """The same slices as one multi-frame CT image."""
    with tempfile.TemporaryDirectory() as folder:
        make_series(Path(folder))
        slices = [pydicom.dcmread(path) for path in sorted(Path(folder).glob("*.dcm"))]
    image = copy.deepcopy(slices[0])
    image.SOPClassUID = (
        LegacyConvertedEnhancedCTImageStorage if legacy else EnhancedCTImageStorage
    )
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.NumberOfFrames = SLICES
    shared = _group(slices[0], _SHARED)
    frames = [_group(each, _OF_FRAME) for each in slices]
    for group in (_SHARED | _OF_FRAME).values():
        for keyword in group:
            if keyword in image:
                del image[keyword]
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = frames
    image.PixelData = b"".join(each.PixelData for each in slices)
    packed = io.BytesIO()
    dcmwrite(packed, image, enforce_file_format=True)
    return packed.getvalue()


def _group(single: Dataset, parts: dict[str, tuple[str, ...]]) -> Dataset:
    """The functional groups of a frame."""
    group = Dataset()
    for sequence, keywords in parts.items():
        item = Dataset()
        for keyword in keywords:
            if keyword in single:
                item[keyword] = single[keyword]
        setattr(group, sequence, [item])
    return group


def make_volume(path: Path) -> None:
    """Writes the same slices in another format, by the suffix of the path."""
    stored = _disc_hu().astype(np.int16)
    if path.suffix == ".npy":
        np.save(path, stored)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, stored)
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(stored.T, np.diag([1.0, 1.0, 5.0, 1.0])), path)
    else:
        image = SimpleITK.GetImageFromArray(stored)
        image.SetSpacing((1.0, 1.0, 5.0))
        SimpleITK.WriteImage(image, str(path), useCompression=path.suffix == ".nrrd")


def make_picture(path: Path, bits: int, *, color: bool) -> None:
    """Writes the middle slice as a picture: grey values, or three equal channels."""
    offset, step = 1024, 1 if bits == 16 else 8
    stored = (_disc_hu()[1] + offset) // step
    stored = np.clip(stored, 0, 2**bits - 1).astype(f"u{bits // 8}")
    if color:
        stored = np.repeat(stored[..., None], 3, axis=2)
    if path.suffix == ".tif":
        tifffile.imwrite(path, stored)
    else:
        path.write_bytes(cv2.imencode(".png", stored)[1].tobytes())


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


def bend(
    samples: Sequence[Sequence[bytes]],
    seed: int,
    number: int,
    *,
    head: int | None = None,
) -> Bent:
    """Returns the broken input of a number.

    Args:
        samples: The contents of the files of each sample.
        seed: Seed of the run.
        number: The number of the input.
        head: Bytes at the beginning of a file that most changes are in; None for all
            but those of the pixels of an uncompressed slice, as far as a file has more.
    """
    rng = np.random.default_rng((seed, number))
    sample = int(rng.integers(len(samples)))
    file = int(rng.integers(len(samples[sample])))
    content = bytearray(samples[sample][file])
    other = samples[int(rng.integers(len(samples)))][0]
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 8]))):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        change(content, _place(content, rng, head), rng, other)
    return Bent(sample, file, bytes(content))


def _place(content: bytearray, rng: np.random.Generator, head: int | None) -> int:
    end = len(content)
    if rng.random() < _HEADER_SHARE:
        first = end - _PIXEL_BYTES if end > _PIXEL_BYTES + _FEWEST else end
        end = first if head is None else head
    return int(rng.integers(max(1, min(end, len(content)))))


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
