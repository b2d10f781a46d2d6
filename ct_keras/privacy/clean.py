"""A header that holds what `kept` lists, and what must stand in for the rest."""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from ct_keras import __version__
from ct_keras.dicom.provenance import NOT_DIAGNOSTIC, PROCESSOR_CODE, code_item
from ct_keras.dicom.sources import DENOISED_MARK, EQUIPMENT_NAME, REDUCED_MARK
from ct_keras.dicom.values import text, values
from ct_keras.privacy import kept
from ct_keras.privacy.keys import Hasher
from ct_keras.privacy.strata import contrast

_STANDARD_UIDS = "1.2.840.10008."
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?")
_AGE = re.compile(r"(\d{3})([DWMY])")
#: Ages from here on are rare enough to tell who it is.
_HIGHEST_AGE_YEARS = 89
#: Dates are moved back by so many days at most.
_MOST_DAYS = 3650
_METHOD = f"Basic profile, closed list of kept elements; ct_keras {__version__}"[:64]
_PROFILE_CODE = ("113100", "DCM", "Basic Application Confidentiality Profile")
_PATIENT_CODE = ("113108", "DCM", "Retain Patient Characteristics Option")
#: What stands in for values of ImageType that are no terms.
_SLICE_TYPE = ("DERIVED", "SECONDARY", "AXIAL")
_MULTIFRAME_TYPE = ("DERIVED", "PRIMARY", "VOLUME", "NONE")
_DATE_CODES = {
    "keep": (
        "113106",
        "DCM",
        "Retain Longitudinal Temporal Information Full Dates Option",
    ),
    "shift": (
        "113107",
        "DCM",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
}
_DATE_WORDS = {"remove": "REMOVED", "shift": "MODIFIED", "keep": "UNMODIFIED"}


@dataclass(frozen=True)
class Profile:
    """What is kept beyond the basic profile.

    Attributes:
        dates: "remove"; "shift": by the same number of days for all series of a
            patient; or "keep".
        keep_patient: Keep sex, age, size and weight; ages over 89 become 90.
    """

    dates: str = "remove"
    keep_patient: bool = False

    def codes(self) -> list[Dataset]:
        """DeidentificationMethodCodeSequence."""
        found = [_PROFILE_CODE]
        if self.dates in _DATE_CODES:
            found.append(_DATE_CODES[self.dates])
        if self.keep_patient:
            found.append(_PATIENT_CODE)
        return [code_item(*code) for code in found]


@dataclass
class Cleaner:
    """Cleans the headers of one run.

    Attributes:
        profile: What is kept.
        hasher: Makes pseudonyms and UIDs: the same key, the same results.
        counts: Number of elements "kept", "replaced" and "dropped", and of "odd" ones:
            kept elements without their value, which was not one of its kind.
    """

    profile: Profile
    hasher: Hasher
    counts: Counter = field(default_factory=Counter)

    def pseudonym(self, header: Dataset) -> str:
        """What stands in for name and ID of a patient."""
        patient = text(header, "PatientID") or text(header, "StudyInstanceUID") or ""
        return f"CTK-{self.hasher('deidentified patient', patient)[:16].upper()}"

    def uid(self, uid: str, place: str = "") -> str:
        """Another UID for one of this data set; `place` tells repeated ones apart."""
        if uid.startswith(_STANDARD_UIDS):
            return uid
        digits = self.hasher("deidentified UID", uid + place)
        return f"2.25.{int(digits, 16)}"

    def clean(self, header: Dataset) -> Dataset:
        """Returns a new header.

        Args:
            header: The whole header of a CT image, without pixels.
        """
        days = self._days(header)
        result = self._kept(header, days)
        multiframe = "NumberOfFrames" in result
        for keyword in kept.EMPTY:
            if keyword not in result:
                setattr(result, keyword, None)
        if multiframe:
            for keyword, value in kept.MULTIFRAME_TIMES.items():
                if keyword in header and keyword not in result:
                    setattr(result, keyword, value)
        result.SOPClassUID = header.SOPClassUID
        result.ImageType = _image_type(header, multiframe)
        result.PatientID = self.pseudonym(header)
        result.PatientName = result.PatientID.replace("-", "^")
        if contrast(text(header, "ContrastBolusAgent")):
            result.ContrastBolusAgent = "CONTRAST"
        result.PatientIdentityRemoved = "YES"
        result.DeidentificationMethod = _METHOD
        result.DeidentificationMethodCodeSequence = DicomSequence(self.profile.codes())
        dates = _DATE_WORDS[self.profile.dates]
        result.LongitudinalTemporalInformationModified = dates
        _mark(header, result)
        return result

    def _kept(self, header: Dataset, days: int) -> Dataset:
        """The elements of one level that may stay."""
        result = Dataset()
        for tag in sorted(header.keys()):
            keyword = keyword_for_tag(tag)
            value = self._value(header, keyword, days) if keyword else None
            if value is not None:
                result.add_new(tag, _vr(header, tag, keyword), value)
                self.counts["replaced" if keyword in kept.UIDS else "kept"] += 1
            elif keyword in _MAY_BE_EMPTY:
                result.add_new(tag, _vr(header, tag, keyword), None)
                self.counts["odd" if values(header, keyword) else "kept"] += 1
            else:
                self.counts["dropped"] += 1
        return result

    def _value(self, header: Dataset, keyword: str, days: int):
        """The value that an element keeps, None for none."""
        if keyword in kept.SEQUENCES:
            items = [self._kept(item, days) for item in values(header, keyword)]
            return DicomSequence(items) if items else None
        found = values(header, keyword)
        if not found:
            return None
        if keyword in kept.UIDS:
            return self.uid(str(found[0]).strip())
        if keyword in kept.POINTERS:
            return header[keyword].value if _is_public(found[0]) else None
        if keyword in kept.NUMBERS:
            return _numbers(found)
        if keyword in kept.TERMS:
            return _terms(found, kept.TERMS[keyword])
        if keyword in _NAMES:
            return _NAMES[keyword](found)
        if self.profile.keep_patient:
            if keyword in kept.PATIENT_NUMBERS:
                return _numbers(found)
            if keyword in kept.PATIENT_TERMS:
                return _terms(found, kept.PATIENT_TERMS[keyword])
            if keyword == "PatientAge":
                return _age(found)
        if self.profile.dates != "remove":
            return _moment(keyword, str(found[0]).strip(), days)
        return None

    def _days(self, header: Dataset) -> int:
        if self.profile.dates != "shift":
            return 0
        number = int(self.hasher("deidentified dates", self.pseudonym(header)), 16)
        return 1 + number % _MOST_DAYS


def _vr(header: Dataset, tag, keyword: str) -> str:
    """The VR of the dictionary; where that is a choice, the one that was found."""
    listed = dictionary_VR(tag)
    return listed if len(listed) == 2 else header[tag].VR


def _numbers(found: list):
    """The values if all of them are finite numbers, as they were written."""
    try:
        fine = all(math.isfinite(float(value)) for value in found)
    except (TypeError, ValueError):
        return None
    if not fine:
        return None
    return found if len(found) > 1 else found[0]


def _terms(found: list, terms: frozenset[str]):
    """The values that are among the terms; None if the first is not."""
    words = [str(value).strip().upper() for value in found]
    if words[0] not in terms:
        return None
    fine = [word for word in words if word in terms]
    return fine if len(fine) > 1 else fine[0]


def _image_type(header: Dataset, multiframe: bool) -> list[str]:
    """ImageType with the values that must be there, and others that are terms."""
    found = [str(value).strip().upper() for value in values(header, "ImageType")]
    needed = _MULTIFRAME_TYPE if multiframe else _SLICE_TYPE
    given = [*found[: len(needed)], *[""] * (len(needed) - len(found))]
    terms = kept.TERMS["ImageType"]
    first = [
        value if value in terms else other
        for value, other in zip(given, needed, strict=True)
    ]
    return [*first, *(value for value in found[len(needed) :] if value in terms)]


def _kernel(found: list):
    names = [str(value).strip() for value in found]
    return names if all(map(kept.is_kernel, names)) else None


def _maker(found: list) -> str | None:
    return kept.maker(str(found[0]))


def _stack(found: list) -> str | None:
    """A stack has a number; anything else may be a name."""
    stack = str(found[0]).strip()
    return stack if re.fullmatch(r"\d{1,3}", stack) else None


def _scanner(found: list) -> str | None:
    name = str(found[0]).strip()
    return name if kept.is_scanner(name) else None


_NAMES: dict[str, Callable[[list], object]] = {
    "ConvolutionKernel": _kernel,
    "Manufacturer": _maker,
    "StackID": _stack,
    "ManufacturerModelName": _scanner,
}


#: Kept elements, which stay without a value where it is not one of their kind.
_MAY_BE_EMPTY = frozenset({*kept.NUMBERS, *kept.TERMS, *_NAMES})


def _age(found: list) -> str | None:
    age = _AGE.fullmatch(str(found[0]).strip())
    if age and age[2] == "Y" and int(age[1]) > _HIGHEST_AGE_YEARS:
        return "090Y"
    return age[0] if age else None


def _moment(keyword: str, value: str, days: int) -> str | None:
    """A date, time, or both, moved back by some days; None if it is not one."""
    if keyword in kept.TIMES:
        return value if _TIME.fullmatch(value) else None
    if keyword in kept.DATES:
        return _earlier(value, days) if _DATE.fullmatch(value) else None
    if keyword in kept.DATE_TIMES and (found := _DATE_TIME.fullmatch(value)):
        date = _earlier(found[1], days)
        return date and date + value[8:]
    return None


def _earlier(date: str, days: int) -> str | None:
    try:
        moment = datetime.datetime.strptime(date, "%Y%m%d")
        return (moment - datetime.timedelta(days=days)).strftime("%Y%m%d")
    except (ValueError, OverflowError):
        return None


def _is_public(tag) -> bool:
    return not (int(tag) >> 16) & 1


def _mark(header: Dataset, result: Dataset) -> None:
    """Says again that ct_keras has denoised the series, in words of its own.

    What was denoised stays so, whatever ct_keras did with it afterwards.
    """
    described = [
        text(item, "ContributionDescription") or ""
        for item in values(header, "ContributingEquipmentSequence")
        if text(item, "Manufacturer") == EQUIPMENT_NAME
    ]
    if not described:
        return
    marks = (DENOISED_MARK, REDUCED_MARK)
    used = (mark for mark in marks for each in described if each.startswith(mark))
    ours = Dataset()
    ours.PurposeOfReferenceCodeSequence = DicomSequence([code_item(*PROCESSOR_CODE)])
    ours.Manufacturer = EQUIPMENT_NAME
    ours.ContributionDescription = f"{next(used, 'Processed')}; not for diagnostic use"
    result.ContributingEquipmentSequence = DicomSequence([ours])
    result.SeriesDescription = result.ImageComments = NOT_DIAGNOSTIC


def is_burned_in(header: Dataset) -> bool:
    """Whether the header says that text stands in the pixels."""
    return (text(header, "BurnedInAnnotation") or "").upper() == "YES"
