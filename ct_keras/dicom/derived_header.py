"""The header of one slice of a derived series, made from that of its source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from ct_keras import __version__
from ct_keras.dicom.checks import CT_IMAGE
from ct_keras.dicom.derived_frames import (
    FileIdentity,
    ImageOrigin,
    derive_frames,
    group_items,
    unassigned_items,
)
from ct_keras.dicom.geometry import slice_normal
from ct_keras.dicom.provenance import (
    IMPLEMENTATION_CLASS_UID,
    Derivation,
    code_item,
    device_uid,
    equipment_items,
    source_item,
)
from ct_keras.dicom.sources import EQUIPMENT_NAME, SourceSlice
from ct_keras.dicom.values import integer, text, values

IMPLEMENTATION_VERSION_NAME = f"CTKERAS_{__version__.replace('.', '_')}"[:16]
_LARGEST_IS = 2**31 - 1
#: Elements that would be wrong for the new pixels or cannot be verified.
_DROPPED = (
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "EncryptedAttributesSequence",
    "DataSetTrailingPadding",
    "IconImageSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelDataProviderURL",
    # Of compressed pixels.
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "EncapsulatedPixelDataValueTotalLength",
)
#: Describe pixels of other kinds; a decoder would believe them.
_OTHER_PIXELS = (
    "PlanarConfiguration",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "PixelData",
)
_SCANNER_ONLY = ("DeviceSerialNumber", "StationName")


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of a derived series are stored.

    Attributes:
        bits_stored: 1 to 16.
        signed: Whether values are two's complement.
    """

    bits_stored: int
    signed: bool

    @property
    def dtype(self) -> np.dtype:
        """The little-endian type of the file."""
        return np.dtype("<i2" if self.signed else "<u2")

    @property
    def lowest(self) -> int:
        """The lowest value that fits."""
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The highest value that fits."""
        return (1 << (self.bits_stored - self.signed)) - 1

    def holds(self, lowest: int, highest: int) -> bool:
        """Whether every value between the two fits."""
        return self.lowest <= lowest and highest <= self.highest


def derive_header(
    header: Dataset,
    derivation: Derivation,
    identity: FileIdentity,
    pixel_format: PixelFormat,
    *,
    keep_equipment: bool = False,
) -> None:
    """Turns the header of a source file into that of the derived file, in place.

    Args:
        header: The whole source header, without pixels.
        derivation: How the pixels were made.
        identity: UIDs, sources and time.
        pixel_format: How the new pixels are stored.
        keep_equipment: Keep the scanner attributes at the top level, for programs that
            read them there.
    """
    drop_private(header)
    _drop_stale(header)
    _describe(header, derivation, identity)
    if identity.source.file.multi_frame:
        derive_frames(header, derivation, identity)
    else:
        _describe_image(header, derivation, identity.images[0])
    moment = identity.moment
    header.ContributingEquipmentSequence = equipment_items(header, derivation, moment)
    if not keep_equipment:
        for keyword in _SCANNER_ONLY:
            header.pop(keyword, None)
        header.Manufacturer = EQUIPMENT_NAME
        header.ManufacturerModelName = (derivation.model_name or EQUIPMENT_NAME)[:64]
        header.SoftwareVersions = __version__
        header.DeviceUID = device_uid(derivation)
        if identity.source.file.multi_frame:  # where it is required
            header.DeviceSerialNumber = (derivation.weights_sha256 or __version__)[:64]
    _describe_pixels(header, identity.source, pixel_format)
    sop_class = identity.source.file.sop_class_uid
    header.file_meta = file_meta(identity.sop_instance_uid, sop_class)
    header.preamble = b"\0" * 128


def file_meta(sop_instance_uid: str, sop_class: str = CT_IMAGE) -> FileMetaDataset:
    """Returns the file meta information of a derived CT image."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def drop_private(dataset: Dataset) -> None:
    """Removes private elements at every depth."""
    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
        elif _may_be_sequence(dataset, tag) and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                drop_private(item)


def _may_be_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether an element may be a sequence and must be decoded."""
    vr = dataset.get_item(tag).VR
    if vr is None:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            return False
    return vr in ("SQ", "UN")


def _drop_stale(header: Dataset) -> None:
    for keyword in _DROPPED:
        header.pop(keyword, None)
    tags = list(header.keys())
    for group in {tag.group for tag in tags if 0x6000 <= tag.group <= 0x60FF}:
        if (group, 0x3000) not in header:  # embedded in the high bits of the pixels
            for tag in tags:
                if tag.group == group:
                    del header[tag]


def _describe(header: Dataset, derivation: Derivation, identity: FileIdentity) -> None:
    header.SOPInstanceUID = identity.sop_instance_uid
    header.SeriesInstanceUID = identity.series_uid
    number = (integer(header, "SeriesNumber") or 0) + 1000
    header.SeriesNumber = min(number, _LARGEST_IS)
    described = text(header, "SeriesDescription") or ""
    header.SeriesDescription = derivation.series_description(described)
    header.ImageComments = derivation.comment
    date = identity.moment.strftime("%Y%m%d")
    time = identity.moment.strftime("%H%M%S")
    header.SeriesDate = header.InstanceCreationDate = date
    header.SeriesTime = header.InstanceCreationTime = time
    _describe_compression(header, identity.source)


def _describe_compression(header: Dataset, source: SourceSlice) -> None:
    """LossyImageCompression: what was lost once stays lost."""
    header.LossyImageCompression = "01" if source.lossy else "00"
    method = source.file.lossy_method
    if method is None or text(header, "LossyImageCompressionRatio"):
        return
    header.LossyImageCompressionRatio = f"{source.lossy_ratio:g}"
    header.LossyImageCompressionMethod = method


def _describe_image(
    header: Dataset, derivation: Derivation, origin: ImageOrigin
) -> None:
    """What a single-frame image says about its origin."""
    header.ImageType = _image_type(header)
    header.RescaleType = "HU"
    decoder = origin.source.decoder
    header.DerivationDescription = derivation.full_description(decoder)
    codes = [*values(header, "DerivationCodeSequence"), code_item(*derivation.code)]
    header.DerivationCodeSequence = DicomSequence(codes)
    header.SourceImageSequence = DicomSequence(map(source_item, origin.used))


def _image_type(header: Dataset) -> list[str]:
    """DERIVED, SECONDARY, then the values of the source from the third on."""
    rest = [str(value) for value in values(header, "ImageType")][2:]
    if not rest and _is_axial(header):
        rest = ["AXIAL"]
    return ["DERIVED", "SECONDARY", *rest]


def _is_axial(header: Dataset) -> bool:
    orientation = values(header, "ImageOrientationPatient")
    if len(orientation) != 6:
        return False
    normal = slice_normal([float(value) for value in orientation])
    return bool(abs(normal[2]) > 0.7)


def _describe_pixels(
    header: Dataset, source: SourceSlice, pixel_format: PixelFormat
) -> None:
    """Describes the pixels anew; what else would describe them is dropped."""
    for keyword in _OTHER_PIXELS:
        header.pop(keyword, None)
    if not source.file.multi_frame:
        header.pop("NumberOfFrames", None)
    values = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": f"MONOCHROME{1 if source.monochrome1 else 2}",
        "Rows": source.rows,
        "Columns": source.columns,
        "BitsAllocated": 16,
        "BitsStored": pixel_format.bits_stored,
        "HighBit": pixel_format.bits_stored - 1,
        "PixelRepresentation": int(pixel_format.signed),
    }
    for keyword, value in values.items():
        header.pop(keyword, None)  # and with it a VR that may be wrong
        setattr(header, keyword, value)
    if source.rescaled:
        _describe_values(header, source)
    for dataset in (header, *unassigned_items(header)):
        _describe_padding(dataset, pixel_format)


def _describe_values(header: Dataset, source: SourceSlice) -> None:
    """Slope, intercept and padding where they are not those of the source file."""
    if not source.file.multi_frame:
        header.RescaleSlope, header.RescaleIntercept = source.slope, source.intercept
    if source.floats is None:
        return
    for dataset in (header, *group_items(header)):
        dataset.pop("RealWorldValueMappingSequence", None)  # of the values before
    if source.padding is not None:
        low, high = source.padding
        header.PixelPaddingValue = low
        header.PixelPaddingRangeLimit = high if high != low else None


def _describe_padding(dataset: Dataset, pixel_format: PixelFormat) -> None:
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = integer(dataset, keyword)
        dataset.pop(keyword, None)
        if value is not None:
            value &= 0xFFFF
            if pixel_format.signed and value & 0x8000:
                value -= 0x10000
            vr = "SS" if pixel_format.signed else "US"
            dataset.add_new(keyword, vr, value)
