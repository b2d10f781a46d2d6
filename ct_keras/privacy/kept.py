"""The elements that a de-identified header may hold; all others are dropped.

What a value may be is as closed as what an element may be: numbers must be numbers,
terms come from the lists below, and names of kernels and scanners must look like ones
that makers use. A name that somebody typed into such an element does not pass.

Reference:
    DICOM PS3.15, annex E: Basic Application Level Confidentiality Profile.
"""

from __future__ import annotations

import re

from ct_keras.dicom.sources import EQUIPMENT_NAME
from ct_keras.privacy.strata import BODY_PART_TERMS, MANUFACTURERS, manufacturer


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Geometry, pixels and acquisition: numbers.
NUMBERS = _words("""
    SeriesNumber InstanceNumber AcquisitionNumber TemporalPositionIdentifier
    NumberOfTemporalPositions TemporalPositionIndex EchoNumbers ImagesInAcquisition
    Rows Columns PixelSpacing PixelAspectRatio SliceThickness SpacingBetweenSlices
    ImagePositionPatient ImageOrientationPatient SliceLocation
    SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation NumberOfFrames
    PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept
    WindowCenter WindowWidth LossyImageCompressionRatio
    KVP XRayTubeCurrent XRayTubeCurrentInuA XRayTubeCurrentInmA ExposureTime
    ExposureTimeInuS ExposureTimeInms Exposure ExposureInuAs ExposureInmAs
    DataCollectionDiameter ReconstructionDiameter ReconstructionFieldOfView
    ReconstructionPixelSpacing ReconstructionTargetCenterPatient
    DataCollectionCenterPatient ReconstructionAngle TubeAngle
    DistanceSourceToDetector DistanceSourceToPatient
    DistanceSourceToDataCollectionCenter GantryDetectorTilt TableHeight TablePosition
    TableSpeed TableFeedPerRotation SpiralPitchFactor SingleCollimationWidth
    TotalCollimationWidth RevolutionTime FocalSpots GeneratorPower CTDIvol
    WaterEquivalentDiameter EstimatedDoseSaving CalculatedAnatomyThickness
    ContrastBolusVolume ContrastBolusTotalDose ContrastFlowRate ContrastFlowDuration
    ContrastBolusIngredientConcentration
    InStackPositionNumber FrameAcquisitionNumber FrameAcquisitionDuration
    DimensionIndexValues InConcatenationNumber InConcatenationTotalNumber
    ConcatenationFrameOffsetNumber
    """)
#: Elements of a patient that `Profile.keep_patient` adds: numbers.
PATIENT_NUMBERS = frozenset({"PatientSize", "PatientWeight"})

_YES_NO = frozenset({"YES", "NO"})
_FRAME_TYPES = _words("""
    ORIGINAL DERIVED MIXED PRIMARY SECONDARY AXIAL LOCALIZER VOLUME NONE NORMAL
    HELIX SEQUENCE STATIC STEPPED CT_SOM5 SPI SEQ SPO SPR DR MPR MIP MINIP AVERAGE
    VOLUME_RENDER ADDITION SUBTRACTION FILTERED MAXIMUM MINIMUM MEAN REFORMATTED
    RESAMPLED CTAP CT_SOM7 MONO MONOENERGETIC HEADER_CORRECTED
    """)
_ACQUISITION_TYPES = _words("""
    SEQUENCED SPIRAL CONSTANT_ANGLE STATIONARY FREE HELICAL AXIAL CINE SURVIEW NONE
    """)
#: Element -> its terms.
TERMS = {
    "Modality": frozenset({"CT"}),
    "ImageType": _FRAME_TYPES,
    "FrameType": _FRAME_TYPES,
    "PhotometricInterpretation": frozenset({"MONOCHROME1", "MONOCHROME2"}),
    "RescaleType": frozenset({"HU", "US"}),
    "BodyPartExamined": BODY_PART_TERMS,
    "Laterality": frozenset("LR"),
    "ImageLaterality": frozenset("LRUB"),
    "FrameLaterality": frozenset("LRUB"),
    "PatientPosition": _words(
        "HFP HFS HFDR HFDL FFP FFS FFDR FFDL LFP LFS RFP RFS AFP AFS PFP PFS"
    ),
    "RotationDirection": frozenset({"CW", "CC"}),
    "AcquisitionType": _ACQUISITION_TYPES,
    "ScanOptions": _ACQUISITION_TYPES
    | frozenset({"HELICAL MODE", "AXIAL MODE", "SCOUT MODE", "CINE MODE", "HELIX"}),
    "ExposureModulationType": frozenset(
        {"NONE", "ANGULAR", "LONGITUDINAL", "XYZ_EC", "XY_EC", "Z_EC", "ECG", "ORGAN"}
    ),
    "FilterType": _words("""
        STRIP WEDGE BUTTERFLY MULTIPLE FLAT SHAPED NONE BODY HEAD LARGE MEDIUM SMALL
        """)
    | frozenset({"BODY FILTER", "HEAD FILTER", "MEDIUM FILTER", "LARGE FILTER"}),
    "FilterMaterial": frozenset({"ALUMINUM", "COPPER", "TITANIUM", "TEFLON", "MIXED"}),
    "ReconstructionAlgorithm": frozenset({"FILTER_BACK_PROJ", "ITERATIVE"}),
    "MultienergyCTAcquisition": _YES_NO,
    "ConstantVolumeFlag": _YES_NO,
    "FluoroscopyFlag": _YES_NO,
    "SyntheticData": _YES_NO,
    "QualityControlImage": _YES_NO,
    "BurnedInAnnotation": frozenset({"NO"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "LossyImageCompressionMethod": _words(
        "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_2 ISO_15444_15"
    ),
    "PresentationLUTShape": frozenset({"IDENTITY", "INVERSE"}),
    "PixelPresentation": frozenset({"MONOCHROME", "COLOR", "MIXED", "TRUE_COLOR"}),
    "VolumetricProperties": frozenset({"VOLUME", "SAMPLED", "DISTORTED", "MIXED"}),
    "VolumeBasedCalculationTechnique": frozenset(
        {"NONE", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "MPR", "MIXED"}
    ),
    "ContentQualification": frozenset({"PRODUCT", "RESEARCH", "SERVICE"}),
}
#: Terms of a patient that `Profile.keep_patient` adds.
PATIENT_TERMS = {"PatientSex": frozenset("MFO")}

#: Elements that hold only elements of this page, at any depth.
SEQUENCES = _words("""
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
    PixelMeasuresSequence PlanePositionSequence PlaneOrientationSequence
    FrameContentSequence FrameVOILUTSequence PixelValueTransformationSequence
    CTImageFrameTypeSequence CTAcquisitionTypeSequence CTAcquisitionDetailsSequence
    CTTableDynamicsSequence CTPositionSequence CTGeometrySequence
    CTReconstructionSequence CTExposureSequence CTXRayDetailsSequence
    UnassignedSharedConvertedAttributesSequence
    UnassignedPerFrameConvertedAttributesSequence
    DimensionOrganizationSequence DimensionIndexSequence
    """)
#: UIDs of this data set, which become others; those of the standard stay.
UIDS = _words("""
    StudyInstanceUID SeriesInstanceUID SOPInstanceUID FrameOfReferenceUID
    DimensionOrganizationUID ConcatenationUID
    SynchronizationFrameOfReferenceUID
    """)
#: Attribute tags as values.
POINTERS = frozenset({"DimensionIndexPointer", "FunctionalGroupPointer"})
#: Elements that must be there, empty where nothing may be said.
EMPTY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
    *("PatientBirthDate", "PatientSex", "StudyID", "PositionReferenceIndicator"),
    "Manufacturer",
)
#: Times that `Profile.dates` may keep or shift.
DATES = frozenset({"StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"})
TIMES = frozenset({"StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"})
DATE_TIMES = frozenset(
    {"AcquisitionDateTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime"}
)
#: Those without which a multi-frame image is not valid, as a day that never was.
MULTIFRAME_TIMES = {
    "ContentDate": "19000101",
    "ContentTime": "000000",
    **dict.fromkeys(DATE_TIMES, "19000101000000"),
}

#: How makers call their kernels: Br40d\3, B30f, FC08-H, YA, STANDARD.
_KERNEL = re.compile(
    r"[A-Z][a-z]{0,2}\d{2,3}[a-z]?|[A-Z]{2}\d{2,3}(-H)?|[A-Z]{1,2}|\d"
    r"|STANDARD|STND|SOFT|SOFTPLUS|DETAIL|LUNG|BONE|BONEPLUS|EDGE|CHEST|SHARP|SMOOTH"
    r"|ULTRA|BRAIN|HEAD|BODY|ASIR|BODYSHARP|RAMP"
)
#: Words of the names of scanners.
_MODEL_WORD = re.compile(
    r"(somatom|definition|sensation|emotion|spirit|force|drive|edge|flash|as\+?|balance"
    r"|volume|zoom|perspective|scope|confidence|go|top|all|up|now|naeotom|alpha"
    r"|biograph|symbia|intevo|mct|horizon|vision|lightspeed|brightspeed|hispeed|vct"
    r"|ultra|plus|pro|optima|discovery|revolution|evo|apex|hd|gsi|maxima|frontier|rt"
    r"|brilliance|ict|iqon|ingenuity|incisive|mx|gemini|tf|big|bore|spectral|vereos"
    r"|aquilion|one|prime|lb|activion|asteion|genesis|precision|vision|sp|lightning"
    r"|scenaria|supria|eclos|uct|umi|neuviz|ceretom|bodytom|omnitom|xvision|ct|tm|xt|se"
    r"|phantom)\d{0,3}"
)
_MODEL_NUMBER = re.compile(r"[a-z]{0,3}\d{1,4}[a-z]{0,2}")


def is_kernel(value: str) -> bool:
    r"""Whether a value looks like a kernel.

    Example:
        >>> is_kernel("Br40d"), is_kernel("FC08-H"), is_kernel("Smith")
        (True, True, False)
    """
    return bool(_KERNEL.fullmatch(value.strip()))


def maker(value: str) -> str | None:
    """Returns the maker that a value names by its first word, None if it is not known.

    Example:
        >>> maker("Siemens Healthineers"), maker("Dr. Smith")
        ('Siemens', None)
    """
    if value.strip() == EQUIPMENT_NAME:
        return EQUIPMENT_NAME
    known = manufacturer(value) in MANUFACTURERS
    return re.findall("[A-Za-z]+", value)[0] if known else None


def is_scanner(value: str) -> bool:
    """Whether a value consists of words and numbers of the names of scanners.

    Example:
        >>> is_scanner("SOMATOM Definition AS+"), is_scanner("Room of Dr. Smith")
        (True, False)
    """
    words = re.findall(r"[^\s/,()-]+", value.lower())
    named = [word for word in words if _MODEL_WORD.fullmatch(word)]
    others = [word for word in words if word not in named]
    return bool(named) and all(_MODEL_NUMBER.fullmatch(word) for word in others)
