"""Makes Enhanced CT images of single-frame ones, by hand."""

import copy
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CT = "1.2.840.10008.5.1.4.1.1.2.2"
#: Group -> element in the group -> element of a single-frame image.
SHARED = {
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "PixelMeasuresSequence": {
        "PixelSpacing": "PixelSpacing",
        "SliceThickness": "SliceThickness",
    },
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
}
PER_FRAME = {
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
        "RescaleType": "RescaleType",
    },
    "CTExposureSequence": {
        "XRayTubeCurrentInmA": "XRayTubeCurrent",
        "ExposureTimeInms": "ExposureTime",
    },
    "CTXRayDetailsSequence": {"KVP": "KVP"},
}
_MOVED = {name for group in (SHARED | PER_FRAME).values() for name in group.values()}
_DROPPED = {"InstanceNumber", "SliceLocation", "PixelData", "AcquisitionNumber"}


def enhanced(
    slices: Sequence[Dataset],
    *,
    sop_class: str = ENHANCED_CT,
    change: Callable[[int, Dataset], None] | None = None,
    **changes,
) -> Dataset:
    """One multi-frame image of single-frame ones, in their order.

    Args:
        slices: With pixels and all elements of `SHARED` and `PER_FRAME`.
        sop_class: Of the result.
        change: Takes the number of a frame and its group, and changes it.
        **changes: Elements at the top level; None removes one.
    """
    first = slices[0]
    image = Dataset()
    for element in first:
        if element.keyword not in _MOVED | _DROPPED or element.keyword == "ImageType":
            image[element.tag] = copy.deepcopy(element)
    image.SOPClassUID, image.SOPInstanceUID = sop_class, "1.2.3.900"
    image.InstanceNumber, image.NumberOfFrames = 1, len(slices)
    image.PixelPresentation, image.VolumetricProperties = "MONOCHROME", "VOLUME"
    image.SharedFunctionalGroupsSequence = Items([_group(first, SHARED)])
    groups = [_group(single, PER_FRAME) for single in slices]
    for number, group in enumerate(groups):
        content = Dataset()
        content.StackID, content.InStackPositionNumber = "1", number + 1
        content.FrameAcquisitionNumber = 1
        content.DimensionIndexValues = [1, number + 1]
        group.FrameContentSequence = Items([content])
        if change is not None:
            change(number, group)
    image.PerFrameFunctionalGroupsSequence = Items(groups)
    pixels = b"".join(single.PixelData for single in slices)
    image.add_new("PixelData", "OW", pixels)
    for keyword, value in changes.items():
        if value is None:
            image.pop(keyword, None)
        else:
            setattr(image, keyword, value)
    return image


def _group(single: Dataset, parts: dict) -> Dataset:
    group = Dataset()
    for sequence, names in parts.items():
        item = Dataset()
        for inside, name in names.items():
            if name in single:
                setattr(item, inside, single[name].value)
        setattr(group, sequence, Items([item]))
    return group


def save_compressed(
    factory,
    image: Dataset,
    path: Path,
    fragments: Sequence[bytes],
    syntax: str,
    *,
    offsets: Sequence[int] = (),
) -> Path:
    """Writes an image with its pixels in fragments, and an offset table or none."""
    image = copy.copy(image)
    image.pop("PixelData", None)
    factory.save(image, path, syntax=syntax)
    table = np.array(offsets, "<u4").tobytes()
    value = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    for item in (table, *fragments):
        value += struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    value += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    path.write_bytes(path.read_bytes() + value)
    return path
