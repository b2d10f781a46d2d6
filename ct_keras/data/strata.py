"""Patient attributes that a record may contain: age band and body part.

Age and BodyPartExamined are mapped to a few fixed values, so that a record does not
identify anybody and results can still be grouped. A kernel name is kept if it looks
like one.
"""

from __future__ import annotations

import re

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
#: Valid kernel names.
_KERNEL = re.compile(r"[A-Za-z0-9 ._+\-/\\^]{1,32}")
BODY_PARTS = tuple(_BODY_PARTS)
#: Body part in records for several parts at once.
_SEVERAL = {"neck": {"head", "neck"}, "trunk": {"chest", "abdomen", "pelvis", "trunk"}}
_BY_TERM = {term: part for part, terms in _BODY_PARTS.items() for term in terms}


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


def safe_kernel(name: str | None) -> str | None:
    """Returns a kernel name, None if it is not a valid one."""
    name = (name or "").strip()
    return name if _KERNEL.fullmatch(name) else None
