"""The origin of a derived series and how its headers record it."""

from __future__ import annotations

import datetime
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from ct_keras import __version__
from ct_keras.dicom.sources import (
    DENOISED_MARK,
    EQUIPMENT_NAME,
    REDUCED_MARK,
    SourceSlice,
)
from ct_keras.dicom.values import text, values
from ct_keras.errors import CtKerasError

NOT_DIAGNOSTIC = "NOT FOR DIAGNOSTIC USE"
OWN_SCHEME = "99CTKERAS"
NETWORK_CODE = ("DENOISE-NN", OWN_SCHEME, "Noise reduction by neural network")
RECONSTRUCTION_CODE = (
    "DENOISE-RECON",
    OWN_SCHEME,
    "Noise reduction on projections of the image",
)
COPY_CODE = ("COPY", OWN_SCHEME, "Unchanged copy")
DOSE_CODE = ("SIMULATE-DOSE", OWN_SCHEME, "Simulated dose reduction")
CONTAMINATION_CODE = ("ADD-NOISE", OWN_SCHEME, "Contamination with noise")
GAUSSIAN_CODE = ("113088", "DCM", "Gaussian blur")
SMOOTHING_CODE = ("113087", "DCM", "Smoothing")
SCANNER_CODE = ("109101", "DCM", "Acquisition Equipment")
PROCESSOR_CODE = ("109102", "DCM", "Processing Equipment")
SOURCE_CODE = ("121322", "DCM", "Source image for image processing operation")
_LONGEST_DESCRIPTION = 1024
_LONGEST_LABEL = 64
#: Namespace of all UIDs of this package, generated once at random.
_NAMESPACE = uuid.UUID("6f4dcb5e-0c0a-4f0e-9d0e-5b9c2a7e1d34")
_SEPARATOR = "\x1f"
_YEAR_9999_S = 253370764800


@dataclass(frozen=True)
class Derivation:
    """How a derived series was made.

    Attributes:
        description: What was done, in a few ASCII words.
        series_label: Ends the SeriesDescription; must say that the series is not for
            diagnostic use.
        model_name: Network or filter, if one was used.
        model_version: Its version.
        weights_sha256: Of the weights that were used.
        parameters: Everything else that affects the result, such as strength or seed.
        code: (value, scheme, meaning) for DerivationCodeSequence.
        denoises: Whether noise was removed; such a series is not denoised again.
        contribution: ContributionDescription of the processing equipment.
        comment: ImageComments.
    """

    description: str = "Noise reduction by neural network"
    series_label: str = f"DENOISED {NOT_DIAGNOSTIC}"
    model_name: str | None = None
    model_version: str | None = None
    weights_sha256: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    code: tuple[str, str, str] = NETWORK_CODE
    denoises: bool = True
    contribution: str = f"{DENOISED_MARK}; not for diagnostic use"
    comment: str = f"AI-DENOISED (ct_keras {__version__}). {NOT_DIAGNOSTIC}."

    @classmethod
    def network(cls, model_name: str, **details) -> Derivation:
        """Noise reduction by a neural network; `details` are other attributes."""
        return cls(model_name=model_name, **details)

    @classmethod
    def filtered(cls, model_name: str, **details) -> Derivation:
        """Noise reduction by a classical filter; `details` are other attributes."""
        code = GAUSSIAN_CODE if model_name == "gaussian" else SMOOTHING_CODE
        return cls._without_network(
            "image filter", "FILTERED", code=code, model_name=model_name, **details
        )

    @classmethod
    def reconstructed(cls, model_name: str, **details) -> Derivation:
        """Noise reduction on reprojections; `details` are other attributes."""
        return cls._without_network(
            "reconstruction from projections of the image",
            "RECONSTRUCTED FROM REPROJECTIONS",
            code=RECONSTRUCTION_CODE,
            model_name=model_name,
            **details,
        )

    @classmethod
    def computed(cls, model_name: str, **details) -> Derivation:
        """Noise reduction by a user function; `details` are other attributes."""
        return cls._without_network(
            "user function",
            "PROCESSED",
            code=SMOOTHING_CODE,
            model_name=model_name,
            **details,
        )

    @classmethod
    def unchanged(cls, model_name: str, **details) -> Derivation:
        """The same pixels under new UIDs, for instance as one arm of a reader study."""
        return cls(
            description="Unchanged copy",
            series_label=f"UNCHANGED COPY {NOT_DIAGNOSTIC}",
            model_name=model_name,
            code=COPY_CODE,
            denoises=False,
            contribution="Unchanged copy; not for diagnostic use",
            comment=f"UNCHANGED COPY (ct_keras {__version__}). {NOT_DIAGNOSTIC}.",
            **details,
        )

    @classmethod
    def _without_network(cls, means: str, word: str, **details) -> Derivation:
        described = f"{REDUCED_MARK} {means}"
        return cls(
            description=described,
            comment=f"{word} (ct_keras {__version__}). {NOT_DIAGNOSTIC}.",
            contribution=f"{described}; not for diagnostic use",
            **details,
        )

    @classmethod
    def simulated_dose(cls, dose: float, **details) -> Derivation:
        """Simulated lower dose; `details` are other attributes.

        Args:
            dose: Fraction of the dose of the source, 0.25 for a quarter.
            **details: Attributes of `Derivation`.
        """
        label = f"SIMULATED {dose * 100:g}% DOSE {NOT_DIAGNOSTIC}"
        return cls(
            description=f"Simulated dose reduction to {dose * 100:g} percent",
            series_label=label,
            code=DOSE_CODE,
            denoises=False,
            comment=f"SIMULATED LOW DOSE (ct_keras {__version__}). {NOT_DIAGNOSTIC}.",
            contribution="Simulated dose reduction; not for diagnostic use",
            **details,
        )

    def of_series(self, accepted: Sequence[str], *, incomplete: bool) -> Derivation:
        """Returns it for a source that was accepted by options, and says so.

        Args:
            accepted: The options.
            incomplete: Whether slices of the source were left out.
        """
        if not accepted:
            return self
        parameters = {**self.parameters, "accepted": ", ".join(accepted)}
        comment = f"INCOMPLETE SERIES. {self.comment}" if incomplete else self.comment
        return replace(self, parameters=parameters, comment=comment)

    @classmethod
    def contaminated(cls, kind: str, **details) -> Derivation:
        """Plain noise was added; `details` are other attributes.

        Args:
            kind: Name of the noise.
            **details: Attributes of `Derivation`.
        """
        return cls(
            description=f"Contaminated with {kind} noise",
            series_label=f"NOISE ADDED {NOT_DIAGNOSTIC}",
            code=CONTAMINATION_CODE,
            denoises=False,
            comment=f"NOISE ADDED (ct_keras {__version__}). {NOT_DIAGNOSTIC}.",
            contribution="Contamination with noise; not for diagnostic use",
            **details,
        )

    def identity(self) -> str:
        """Everything that the UIDs depend on, as one JSON text."""
        parts = {
            "code": self.code,
            "description": self.description,
            "label": self.series_label,
            "model": self.model_name,
            "version": self.model_version,
            "parameters": dict(self.parameters),
        }
        return json.dumps(parts, sort_keys=True, default=str)

    def full_description(self, decoder: str | None = None) -> str:
        """DerivationDescription: method, model, parameters; at most 1024 characters.

        Args:
            decoder: What decoded the source, if its pixels were compressed.
        """
        parts = [self.description, f"ct_keras {__version__}"]
        if decoder:
            parts.append(f"decoded by {decoder}")
        if self.model_name:
            version = f" {self.model_version}" if self.model_version else ""
            parts.append(f"model {self.model_name}{version}")
        if self.weights_sha256:
            parts.append(f"weights sha256:{self.weights_sha256}")
        parts += [f"{name} {value}" for name, value in self.parameters.items()]
        return _ascii("; ".join(parts))[:_LONGEST_DESCRIPTION]

    def series_description(self, source_description: str) -> str:
        """SeriesDescription: the source's, shortened, and the label; 64 characters."""
        label = _ascii(self.series_label)[:_LONGEST_LABEL]
        room = max(0, min(32, _LONGEST_LABEL - 1 - len(label)))
        return f"{source_description.strip()[:room]} {label}".strip()


def _ascii(words: str) -> str:
    return words.encode("ascii", "replace").decode().replace("\\", "/")


def content_uid(kind: str, *parts: str) -> str:
    """Returns a UID under 2.25 that depends on the parts only, not on the time.

    The same pixels, made in the same way, get the same UIDs, so sending a result twice
    is harmless. Different pixels get different UIDs: one UID for two sets of pixels
    corrupts an archive.

    Args:
        kind: What is identified, such as ``series`` or ``instance``.
        *parts: Everything that identifies it.

    Returns:
        At most 44 characters.

    Reference:
        DICOM PS3.5, B.2: UUID derived UID.
    """
    name = _SEPARATOR.join([kind, *parts])
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


IMPLEMENTATION_CLASS_UID = content_uid("implementation", "ct_keras")


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Returns one item of a code sequence."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def source_item(source: SourceSlice) -> Dataset:
    """Returns the item of SourceImageSequence for an image."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.file.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    if source.file.multi_frame:
        item.ReferencedFrameNumber = source.frame + 1
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = DicomSequence([code_item(*SOURCE_CODE)])
    return item


def now(dataset: Dataset | None = None) -> datetime.datetime:
    """Returns the current time for headers, with its time zone.

    The environment variable SOURCE_DATE_EPOCH overrides it, for reproducible output.

    Args:
        dataset: A header whose TimezoneOffsetFromUTC is kept.

    Raises:
        CtKerasError: CTK-E000, as `source_date`.
    """
    moment = source_date() or datetime.datetime.now().astimezone()
    offset = text(dataset, "TimezoneOffsetFromUTC") if dataset is not None else None
    try:
        return moment.astimezone(datetime.datetime.strptime(offset or "", "%z").tzinfo)
    except ValueError:
        return moment


def source_date() -> datetime.datetime | None:
    """Returns the time that the environment gives for reproducible output, or None.

    Raises:
        CtKerasError: CTK-E000, if SOURCE_DATE_EPOCH is not a time.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return None
    if not epoch.isdecimal() or int(epoch) >= _YEAR_9999_S:
        raise CtKerasError(
            "CTK-E000",
            "SOURCE_DATE_EPOCH is not a time that a header can hold",
            received=epoch,
            expected="seconds since 1970, before the year 9999",
        )
    return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)


def device_uid(derivation: Derivation) -> str:
    """Returns the UID of a model's version."""
    return content_uid(
        "device",
        derivation.model_name or "",
        derivation.model_version or "",
        derivation.weights_sha256 or "",
        __version__,
    )


def equipment_items(
    header: Dataset, derivation: Derivation, moment: datetime.datetime
) -> DicomSequence:
    """Returns ContributingEquipmentSequence: earlier items, scanner, ct_keras."""
    items = list(values(header, "ContributingEquipmentSequence"))
    known = {
        text(code, "CodeValue")
        for item in items
        for code in values(item, "PurposeOfReferenceCodeSequence")
    }
    if SCANNER_CODE[0] not in known:
        items.append(_scanner_item(header))
    items.append(_own_item(derivation, moment))
    return DicomSequence(items)


def _scanner_item(header: Dataset) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = DicomSequence([code_item(*SCANNER_CODE)])
    item.Manufacturer = text(header, "Manufacturer") or "UNKNOWN"
    for keyword in (
        "InstitutionName",
        "StationName",
        "InstitutionalDepartmentName",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
        "DeviceUID",
    ):
        if text(header, keyword):
            setattr(item, keyword, header[keyword].value)
    return item


def _own_item(derivation: Derivation, moment: datetime.datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = DicomSequence([code_item(*PROCESSOR_CODE)])
    item.Manufacturer = EQUIPMENT_NAME
    item.ManufacturerModelName = _ascii(derivation.model_name or EQUIPMENT_NAME)[:64]
    versions = [__version__]
    if derivation.model_version:
        versions.append(_ascii(derivation.model_version)[:64])
    item.SoftwareVersions = versions
    item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = _ascii(derivation.contribution)[:1024]
    return item
