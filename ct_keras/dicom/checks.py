"""Checks of one header before its pixels are read."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ct_keras.codecs import DECODERS, has_decoder
from ct_keras.dicom.values import (
    bounded,
    integer,
    numbers,
    term,
    terms,
    text,
    within,
)
from ct_keras.errors import CtKerasError
from ct_keras.inputs.options import Limits, ReadOptions, limit_fix

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.2"
CT_CLASSES = frozenset({CT_IMAGE, ENHANCED_CT, LEGACY_ENHANCED_CT})
#: Transfer syntaxes of pixels that are not compressed, or with all the elements.
NATIVE_SYNTAXES = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)
#: Transfer syntaxes that this version reads, if the decoders are installed.
READABLE_SYNTAXES = NATIVE_SYNTAXES | frozenset(DECODERS)
#: Modalities and rescale types that messages may name.
MODALITIES = re.compile(
    "CR|CT|DOC|DX|ECG|ES|IO|IVUS|KO|MG|MR|NM|OCT|OP|OPT|OT|PR|PT|PX|REG|RF|RG|"
    "RTDOSE|RTIMAGE|RTPLAN|RTRECORD|RTSTRUCT|RWV|SEG|SM|SR|SRF|US|XA|XC"
)
RESCALE_TYPES = frozenset(
    {"OD", "%", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "CM2", "MM", "PTH"}
)

#: Prefixes of the ImageType value of a localizer, scout or projection image.
_LOCALIZER = re.compile("LOCALI[SZ]ER|SCOUT|PROJECTION|TOPOGRAM|SCANOGRAM|SURVIEW")
#: RescaleType of Hounsfield units, letters only; two spellings are in use on scanners.
_HOUNSFIELD = re.compile("HU|HOUND?SFIELD.*")
#: RescaleType of writers that do not say; GDCM, ITK and SimpleITK write US for HU.
UNSPECIFIED = frozenset({"US", "UNSPECIFIED", "UNKNOWN", "NONE", "N/A"})
#: Largest and smallest slope, largest intercept: what HU can be computed with.
_SLOPES, _FARTHEST_INTERCEPT = (1e6, 1e-6), 1e7
_PROJECTION = re.compile(r"\bprojections?\b", re.IGNORECASE)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_LAYOUT = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


def check_syntax(syntax: str, file_number: int) -> None:
    """Refuses files whose pixels cannot be decoded.

    Raises:
        CtKerasError: CTK-E007, if the file does not say; CTK-E010.
    """
    if syntax in NATIVE_SYNTAXES or has_decoder(syntax):
        return
    if not syntax:
        raise CtKerasError(
            "CTK-E007",
            f"file #{file_number} does not say how it is encoded: its file meta lacks "
            "TransferSyntaxUID",
            fix="write it again with gdcmconv IN OUT, or copy it again if it was cut",
        )
    fix = "gdcmconv --raw IN OUT (or dcmdjpeg, dcmconv +te) for each file"
    if syntax in DECODERS:
        fix = f'pip install "{DECODERS[syntax].package}"  or  {fix}'
    raise CtKerasError(
        "CTK-E010",
        f"file #{file_number} needs a decoder for {_syntax_name(syntax)}",
        expected="native pixels, RLE, lossless or 12-bit JPEG, JPEG-LS or JPEG 2000",
        fix=fix,
    )


def _syntax_name(syntax: str) -> str:
    """Name and UID; a UID that the standard does not list is not shown."""
    if not re.fullmatch(r"1\.2\.840\.10008\.1\.2(\.\d{1,3}){0,2}", syntax):
        return "an unknown transfer syntax"
    name = UID(syntax).name
    return syntax if name == syntax else f"{name} ({syntax})"


def check_header(
    dataset: Dataset, file_number: int, options: ReadOptions, float_bytes: int = 0
) -> None:
    """Refuses a CT header from which Hounsfield units cannot be computed.

    Args:
        dataset: The header, without pixels.
        file_number: The 1-based number of the file in the scan.
        options: What is accepted, and limits of the image size.
        float_bytes: Bytes of a floating-point pixel, 0 for integers.

    Raises:
        CtKerasError: CTK-E007, E040, E041, E042, E046 or E047.
    """
    for keyword in (*_IDENTITY, "Rows", "Columns"):
        if not text(dataset, keyword):
            raise CtKerasError("CTK-E007", f"file #{file_number} lacks {keyword}")
    _check_size(dataset, file_number, options.limits, float_bytes or 2)
    _check_layout(dataset, file_number, float_bytes)
    _check_rescale(dataset, options)


def count_frames(dataset: Dataset, sop_class: str, file_number: int) -> int:
    """Returns the number of frames; refuses several in a single-frame class.

    Raises:
        CtKerasError: CTK-E048.
    """
    frames = integer(dataset, "NumberOfFrames")
    if sop_class != CT_IMAGE:
        return max(0, frames or 0)
    if (frames or 1) > 1:
        raise CtKerasError(
            "CTK-E048",
            f"file #{file_number}: {frames} frames in a single-frame CT image",
            expected="Enhanced CT, or one file for each image",
            fix="split it with dcm4che emf2sf",
        )
    return 1


def _check_size(
    dataset: Dataset, file_number: int, limits: Limits, pixel_bytes: int
) -> None:
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    low, high = limits.min_matrix, limits.max_matrix
    fits = rows is not None and columns is not None
    if not fits or not (low <= rows <= high and low <= columns <= high):
        raise CtKerasError(
            "CTK-E041",
            f"image matrix {rows}x{columns} is outside {low}..{high}",
            received=f"file #{file_number}",
            fix=limit_fix("max_matrix"),
        )
    needed = rows * columns * pixel_bytes * (integer(dataset, "NumberOfFrames") or 1)
    if needed > limits.max_file_bytes:
        raise CtKerasError(
            "CTK-E041",
            f"file #{file_number} needs {needed / 2**20:.0f} MiB, "
            f"limit {limits.max_file_bytes / 2**20:.0f} MiB",
            fix=limit_fix("max_file_bytes"),
        )


def _check_layout(dataset: Dataset, file_number: int, float_bytes: int) -> None:
    samples = integer(dataset, "SamplesPerPixel")
    photometric = term(dataset, "PhotometricInterpretation")
    if samples not in (None, 1) or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise CtKerasError(
            "CTK-E047",
            f"file #{file_number}: pixels are not grey values",
            expected="one sample per pixel, MONOCHROME2 or MONOCHROME1",
        )
    allocated, stored, high_bit, sign = (
        integer(dataset, keyword) for keyword in _LAYOUT
    )
    if float_bytes and allocated in (None, 8 * float_bytes):
        return
    if allocated != 16 or stored is None or not 1 <= stored <= 16 or sign not in (0, 1):
        said = f"pixels are {allocated}-bit, expected 16-bit integers"
        if allocated == 16:
            said = "the format of its pixels is missing or impossible"
        raise CtKerasError(
            "CTK-E047",
            f"file #{file_number}: {said}",
            received=f"BitsStored {stored}, PixelRepresentation {sign}",
        )
    if high_bit != stored - 1:
        raise CtKerasError(
            "CTK-E046",
            f"HighBit {high_bit} does not fit BitsStored {stored}",
            received=f"file #{file_number}",
            expected=f"HighBit {stored - 1}",
        )


def rescale_of(dataset: Dataset) -> tuple[float, float] | None:
    """Returns slope and intercept, None if one is missing or impossible."""
    slope = within(numbers(dataset, "RescaleSlope", 1), *_SLOPES)
    intercept = bounded(dataset, "RescaleIntercept", _FARTHEST_INTERCEPT)
    return (slope[0], intercept) if slope and intercept is not None else None


def _check_rescale(dataset: Dataset, options: ReadOptions) -> None:
    with_table = "ModalityLUTSequence" in dataset
    if with_table or rescale_of(dataset) is None:
        error = CtKerasError(
            "CTK-E040",
            "no RescaleSlope/Intercept: cannot obtain Hounsfield units",
            expected="a slope that is not zero and an intercept, both of a possible "
            "size, and no lookup table",
        )
        if with_table:
            raise error
        options.settle("assume_hu", error)
    kind = term(dataset, "RescaleType") or "HU"
    if kind not in UNSPECIFIED and not all(map(is_hounsfield, kind.split("\\"))):
        named = f"'{kind}'" if kind in RESCALE_TYPES else "another unit"
        raise CtKerasError("CTK-E042", f"RescaleType is {named}, not HU")


def is_hounsfield(rescale_type: str) -> bool:
    """Whether a RescaleType means Hounsfield units, in any spelling in use."""
    return bool(_HOUNSFIELD.fullmatch("".join(filter(str.isalpha, rescale_type))))


def modality_name(modality: str) -> str:
    """Returns a modality if it is a defined term, else ``another modality``."""
    return modality if MODALITIES.fullmatch(modality) else "another modality"


def is_localizer(dataset: Dataset) -> bool:
    """Whether ImageType names a localizer, scout or projection image."""
    return any(map(_LOCALIZER.match, terms(dataset, "ImageType")))


def is_projection(dataset: Dataset) -> bool:
    """Whether a file of the class of CT images holds measured projections.

    Such files come with the images of some collections. They have no place in the
    patient, and their SeriesDescription says what they are.
    """
    placed = any(text(dataset, keyword) for keyword in _PLACE)
    described = text(dataset, "SeriesDescription") or ""
    return not placed and bool(_PROJECTION.search(described))
