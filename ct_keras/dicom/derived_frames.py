"""The functional groups of a derived multi-frame CT image.

What a single-frame image says in its own elements (derived, from which images, in which
unit) a multi-frame image says in groups, here once for each frame.

Reference:
    DICOM PS3.3, C.7.6.16.2.6: Derivation Image functional group; C.8.16.1: Image Type
    and Frame Type, whose second value is PRIMARY.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from ct_keras.dicom.frames import FRAME_GROUPS, SHARED_GROUPS, UNASSIGNED_GROUPS
from ct_keras.dicom.provenance import (
    Derivation,
    code_item,
    content_uid,
    source_item,
)
from ct_keras.dicom.sources import SourceSlice
from ct_keras.dicom.values import text, values

_DERIVATION = "DerivationImageSequence"
_RESCALE = "PixelValueTransformationSequence"
_RESCALE_ELEMENTS = ("RescaleSlope", "RescaleIntercept", "RescaleType")
_EVIDENCE = "SourceImageEvidenceSequence"
#: Elements in groups of a converted image that would be wrong for the new pixels.
_STALE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "IconImageSequence",
)
_CONCATENATION = ("ConcatenationUID", "SOPInstanceUIDOfConcatenationSource")


@dataclass(frozen=True)
class ImageOrigin:
    """Where a derived image comes from.

    Attributes:
        source: The slice whose place it takes.
        used: The source slices it was computed from.
    """

    source: SourceSlice
    used: Sequence[SourceSlice]


@dataclass(frozen=True)
class FileIdentity:
    """UIDs, images and creation time of one derived file.

    Attributes:
        sop_instance_uid: Of this file.
        series_uid: Of the derived series.
        images: One for each image in the file, in the order of the source file.
        moment: Creation time.
    """

    sop_instance_uid: str
    series_uid: str
    images: Sequence[ImageOrigin]
    moment: datetime.datetime

    @property
    def source(self) -> SourceSlice:
        """The source of the first image."""
        return self.images[0].source


def derive_frames(
    header: Dataset, derivation: Derivation, identity: FileIdentity
) -> None:
    """Turns the functional groups of a source file into those of the derived file.

    Frames of the source that are not among the images are left out.

    Args:
        header: The whole header; changed in place.
        derivation: How the pixels were made.
        identity: The images that become frames, and UIDs.
    """
    images = identity.images
    header.ImageType = _derived(values(header, "ImageType"))
    shared = values(header, SHARED_GROUPS)
    all_groups = values(header, FRAME_GROUPS)
    groups = [all_groups[image.source.frame] for image in images]
    earlier = [item for group in shared[:1] for item in values(group, _DERIVATION)]
    for group in shared:
        group.pop(_DERIVATION, None)
    for group, image in zip(groups, images, strict=True):
        items = copy.deepcopy(earlier) or list(values(group, _DERIVATION))
        items.append(_derivation_item(derivation, image))
        setattr(group, _DERIVATION, DicomSequence(items))
    for group in (*shared, *groups):
        _update(group)
    if any(values(group, _RESCALE) for group in (*shared, *groups)):
        for name in _RESCALE_ELEMENTS:  # of no frame, and other programs believe them
            header.pop(name, None)
    if any(image.source.rescaled for image in images):
        for group in shared:
            group.pop(_RESCALE, None)
        for group, image in zip(groups, images, strict=True):
            setattr(group, _RESCALE, DicomSequence([_rescale_item(image.source)]))
    setattr(header, FRAME_GROUPS, DicomSequence(groups))
    for item in unassigned_items(header):
        for keyword in _STALE:
            item.pop(keyword, None)
    header.NumberOfFrames = len(groups)
    evidence = [*values(header, _EVIDENCE), _evidence_item(images)]
    setattr(header, _EVIDENCE, DicomSequence(evidence))
    for keyword in _CONCATENATION:
        if text(header, keyword):
            uid = content_uid(keyword, text(header, keyword), identity.series_uid)
            setattr(header, keyword, uid)


def _derived(image_type: Sequence[object]) -> list[str]:
    """DERIVED, then the values of the source from the second on."""
    rest = [str(value) for value in image_type][1:]
    return ["DERIVED", *(rest or ["PRIMARY"])]


def _derivation_item(derivation: Derivation, image: ImageOrigin) -> Dataset:
    item = Dataset()
    decoder = image.source.decoder
    item.DerivationDescription = derivation.full_description(decoder)
    item.DerivationCodeSequence = DicomSequence([code_item(*derivation.code)])
    item.SourceImageSequence = DicomSequence(map(source_item, image.used))
    return item


def _evidence_item(images: Sequence[ImageOrigin]) -> Dataset:
    """The source files by study and series, as the standard wants references listed."""
    files = {
        source.sop_instance_uid: source for image in images for source in image.used
    }
    first = images[0].source  # a stack is of one study and series
    item = Dataset()
    item.StudyInstanceUID = first.study_uid
    item.ReferencedSeriesSequence = DicomSequence(
        [_series_item(first.series_uid, list(files.values()))]
    )
    return item


def _series_item(series_uid: str, sources: Sequence[SourceSlice]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_uid
    item.ReferencedSOPSequence = DicomSequence()
    for source in sources:
        reference = Dataset()
        reference.ReferencedSOPClassUID = source.file.sop_class_uid
        reference.ReferencedSOPInstanceUID = source.sop_instance_uid
        item.ReferencedSOPSequence.append(reference)
    return item


def _rescale_item(source: SourceSlice) -> Dataset:
    item = Dataset()
    item.RescaleSlope, item.RescaleIntercept = source.slope, source.intercept
    item.RescaleType = "HU"
    return item


def _update(group: Dataset) -> None:
    for item in values(group, "CTImageFrameTypeSequence"):
        item.FrameType = _derived(values(item, "FrameType"))
    for item in values(group, _RESCALE):
        item.RescaleType = "HU"


def unassigned_items(header: Dataset) -> Iterator[Dataset]:
    """Yields the items of a converted image for elements without a group of their own.

    Args:
        header: The header of an image of any class.
    """
    for group in group_items(header):
        for keyword in UNASSIGNED_GROUPS:
            yield from values(group, keyword)


def group_items(header: Dataset) -> Iterator[Dataset]:
    """Yields the functional groups of all frames, and those of each frame.

    Args:
        header: The header of an image of any class.
    """
    for sequence in (SHARED_GROUPS, FRAME_GROUPS):
        yield from values(header, sequence)
