"""Attributes of patient and scanner that a record may contain.

Age, BodyPartExamined, Manufacturer and ContrastBolusAgent are mapped to a few fixed
values, so that a record does not identify anybody and results can still be grouped. A
kernel name is kept if it looks like one.
"""

from __future__ import annotations

import re

from ct_keras.dicom.sources import EQUIPMENT_NAME

#: First year and name of each band.
_AGE_BANDS = ((0, "0-17"), (18, "18-39"), (40, "40-59"), (60, "60-79"), (80, "80+"))
AGE_BANDS = tuple(name for _, name in _AGE_BANDS)
#: Body part in records -> values of BodyPartExamined (DICOM PS3.16, annex L).
_BODY_PARTS = {
    "head": ("HEAD", "BRAIN", "SKULL", "FACE", "JAW", "SINUS", "ORBIT", "EAR"),
    "neck": ("NECK", "CSPINE", "THYROID", "HEADNECK"),
    "chest": (
        "CHEST",
        "THORAX",
        "LUNG",
        "HEART",
        "BREAST",
        "MEDIASTINUM",
        "TSPINE",
        "LUNGS",
        "THX",
    ),
    "abdomen": (
        "ABDOMEN",
        "LIVER",
        "KIDNEY",
        "PANCREAS",
        "SPLEEN",
        "COLON",
        "LSPINE",
        "ABD",
    ),
    "pelvis": (
        "PELVIS",
        "HIP",
        "PROSTATE",
        "UTERUS",
        "BLADDER",
        "SSPINE",
        "PEL",
        "PELV",
    ),
    "trunk": (
        "CHESTABDOMEN",
        "CHESTABDPELVIS",
        "ABDOMENPELVIS",
        "WHOLEBODY",
        "CAP",
        "TAP",
    ),
    "limb": ("EXTREMITY", "ARM", "HAND", "SHOULDER", "LEG", "KNEE", "ANKLE", "FOOT"),
}
#: Manufacturer in records -> first words of Manufacturer, with companies taken over.
_MANUFACTURERS = {
    "Canon": ("CANON", "TOSHIBA"),
    "Fujifilm": ("FUJIFILM", "HITACHI"),
    "GE": ("GE", "GENERAL"),
    "Neusoft": ("NEUSOFT", "NMS"),
    "Philips": ("PHILIPS", "MARCONI", "PICKER"),
    "Samsung": ("SAMSUNG", "NEUROLOGICA"),
    "Siemens": ("SIEMENS",),
    "United Imaging": ("UIH", "UNITED"),
    "Varian": ("VARIAN",),
}
MANUFACTURERS = tuple(_MANUFACTURERS)
_OTHER = "other"
#: ContrastBolusAgent of scans without one.
_NO_AGENT = {"NO", "NONE", "NON", "N", "WITHOUT", "NATIVE", "UNENHANCED"}
#: Valid kernel names.
_KERNEL = re.compile(r"[A-Za-z0-9 ,._+\-/\\^]{1,32}")
#: Words in names of kernels; others of more letters than this may be a person's name.
_KERNEL_WORDS = frozenset(
    {
        *("ABDOMEN", "ADMIRE", "AIDR", "ASIR", "AXIAL", "BODY", "BODYSHARP", "BONE"),
        *("BONEPLUS", "BRAIN", "CARDIAC", "CHEST", "CHST", "DETAIL", "EDGE"),
        *("ENHANCED", "FINE", "HEAD", "HEART", "HIGH", "IDOSE", "INNER", "LIVER"),
        *("LUNG", "MEDIUM", "NECK", "NORMAL", "PEDIATRIC", "PLUS", "RAMP", "ROUTINE"),
        *("SAFIRE", "SHARP", "SINUS", "SMOOTH", "SOFT", "SOFTPLUS", "SPINE"),
        *("STANDARD", "STND", "TISSUE", "ULTRA", "VESSEL", "XRES"),
    }
)
_MOST_KERNEL_LETTERS = 3
BODY_PARTS = tuple(_BODY_PARTS)
#: Body part in records for several parts at once.
_SEVERAL = {"neck": {"head", "neck"}, "trunk": {"chest", "abdomen", "pelvis", "trunk"}}
_BY_TERM = {term: part for part, terms in _BODY_PARTS.items() for term in terms}
#: All values of BodyPartExamined that are known.
BODY_PART_TERMS = frozenset(_BY_TERM)


def age_band(years: float | None) -> str | None:
    """Returns the band of an age, None if it is unknown or invalid.

    Example:
        >>> age_band(49), age_band(0.5), age_band(None)
        ('40-59', '0-17', None)
    """
    if years is None or not 0 <= years < 130:
        return None
    return [name for first, name in _AGE_BANDS if years >= first][-1]


def body_part(examined: str | None) -> str | None:
    """Returns the body part for a BodyPartExamined, None if it is unknown.

    Example:
        >>> body_part("Chest"), body_part("ABDOMEN PELVIS"), body_part("Mr. Smith")
        ('chest', 'trunk', None)
    """
    words = re.findall("[A-Z]+", (examined or "").upper())
    whole = _BY_TERM.get("".join(words))
    parts = {whole} if whole else {_BY_TERM[word] for word in words if word in _BY_TERM}
    if len(parts) > 1:
        parts = {name for name, several in _SEVERAL.items() if parts <= several}
    return parts.pop() if parts else None


def manufacturer(name: str | None) -> str | None:
    """Returns the manufacturer of a scanner, "other" for one that is not listed.

    None if it is not named, or the images come from ct_keras.

    Example:
        >>> manufacturer("GE MEDICAL SYSTEMS"), manufacturer("TOSHIBA_MEC")
        ('GE', 'Canon')
    """
    words = re.findall("[A-Z]+", (name or "").upper())
    if not words or (name or "").strip() == EQUIPMENT_NAME:
        return None
    listed = (key for key, first in _MANUFACTURERS.items() if words[0] in first)
    return next(listed, _OTHER)


def contrast(agent: str | None) -> str | None:
    """Returns "yes" if ContrastBolusAgent names an agent, otherwise None.

    Example:
        >>> contrast("OMNIPAQUE 350"), contrast("NONE"), contrast(None)
        ('yes', None, None)
    """
    words = re.findall("[A-Z]+", (agent or "").upper())
    return "yes" if words and words[0] not in _NO_AGENT else None


def safe_kernel(name: str | None) -> str | None:
    r"""Returns a kernel name, None if it is not a valid one: the element is free text.

    Example:
        >>> safe_kernel("Br40d\\3"), safe_kernel("BONEPLUS"), safe_kernel("Dr. Smith")
        ('Br40d\\3', 'BONEPLUS', None)
    """
    name = (name or "").strip()
    words = (word.upper() for word in re.findall("[A-Za-z]+", name))
    known = all(
        len(word) <= _MOST_KERNEL_LETTERS or word in _KERNEL_WORDS for word in words
    )
    return name if known and _KERNEL.fullmatch(name) else None
