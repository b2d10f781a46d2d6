"""The header of each frame of a multi-frame CT image.

Enhanced and Legacy Converted Enhanced CT keep what differs between images in functional
groups: those that all frames share, and those of each frame. `frame_headers` gives each
frame a header as a single-frame image has it, so that the same checks apply.

Reference:
    DICOM PS3.3, C.7.6.16: multi-frame functional groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ct_keras.dicom.values import integer, values
from ct_keras.errors import CtKerasError

SHARED_GROUPS = "SharedFunctionalGroupsSequence"
FRAME_GROUPS = "PerFrameFunctionalGroupsSequence"
#: Functional group -> element of a single-frame image -> element in the group.
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "CTImageFrameTypeSequence": {"ImageType": "FrameType"},
    "PixelMeasuresSequence": {
        "PixelSpacing": "PixelSpacing",
        "SliceThickness": "SliceThickness",
        "SpacingBetweenSlices": "SpacingBetweenSlices",
    },
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
        "RescaleType": "RescaleType",
    },
    "FrameContentSequence": {
        "AcquisitionNumber": "FrameAcquisitionNumber",
        "TemporalPositionIdentifier": "TemporalPositionIndex",
        "StackID": "StackID",
    },
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
    "CTExposureSequence": {
        "XRayTubeCurrent": "XRayTubeCurrentInmA",
        "ExposureTime": "ExposureTimeInms",
    },
}
#: Groups of a converted image for elements that have no group of their own.
UNASSIGNED_GROUPS = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
#: What such a group may add to the header of a frame.
_CONVERTED = (
    "KVP",
    "ConvolutionKernel",
    "XRayTubeCurrent",
    "ExposureTime",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "SliceLocation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "BodyPartExamined",
    "PatientAge",
)


def frame_headers(dataset: Dataset, file_number: int) -> Iterator[Dataset]:
    """Yields the header of each frame, as of a single-frame image.

    Args:
        dataset: The header of a multi-frame image.
        file_number: The file, for messages.

    Raises:
        CtKerasError: CTK-E048, if the groups do not describe every frame.
    """
    frames = integer(dataset, "NumberOfFrames") or 0
    groups = values(dataset, FRAME_GROUPS)
    shared = (values(dataset, SHARED_GROUPS) or [Dataset()])[0]
    if frames < 1 or len(groups) != frames:
        raise CtKerasError(
            "CTK-E048",
            f"file #{file_number}: the functional groups do not describe its frames",
            received=f"{frames} frames, groups of {len(groups)}",
            fix="copy the series again from its source",
        )
    common = Dataset()
    for element in dataset.elements():
        if element.tag not in (Tag(SHARED_GROUPS), Tag(FRAME_GROUPS)):
            common[element.tag] = element
    for number, group in enumerate(groups, start=1):
        header = Dataset()
        header.update(common)
        for source in (shared, group):
            _take_assigned(header, source)
        for source in (group, shared):
            _take_unassigned(header, source)
        header.InstanceNumber = number
        yield header


def _take_assigned(header: Dataset, group: Dataset) -> None:
    for sequence, names in _GROUPS.items():
        for item in values(group, sequence)[:1]:
            for name, inside in names.items():
                _copy(header, name, item, inside)


def _take_unassigned(header: Dataset, group: Dataset) -> None:
    """Adds what neither the image nor its assigned groups have."""
    for sequence in UNASSIGNED_GROUPS:
        for item in values(group, sequence)[:1]:
            for name in _CONVERTED:
                if name not in header:
                    _copy(header, name, item, name)


def _copy(header: Dataset, name: str, item: Dataset, inside: str) -> None:
    """Copies an element, whose VR may be another one than in a single-frame image."""
    found = values(item, inside)
    if found:
        header.add_new(name, item[inside].VR, found)
