"""Fills headers with secrets."""

import json
from pathlib import Path

from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

SECRET = "SECRETX"
PROFILE = Path(__file__).parent / "fixtures" / "privacy" / "basic_profile.json"
#: A value of each kind; a number tells one element from another.
_TEXTS = dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "CS"), SECRET + "{:08X}")
_VALUES = {
    **_TEXTS,
    "AE": SECRET + "{:08X}",
    "PN": SECRET + "^{:08X}",
    "UR": "http://" + SECRET + "/{:x}",
    "UI": "1.2.777.{}",
    "DA": "19010203",
    "TM": "012345.67",
    "DT": "19010203012345.67",
    "AS": "077Y",
}
#: Without these it is not a CT image, or not one that is read.
_NEEDED = (
    *("SOPClassUID", "ImageType", "Modality", "PhotometricInterpretation"),
    *("RescaleType", "BurnedInAnnotation", "SpecificCharacterSet"),
)


def basic_profile() -> dict[str, str]:
    """Keyword -> action of the attributes that the basic profile names."""
    actions = json.loads(PROFILE.read_text())["actions"]
    return {keyword_for_tag(int(tag, 16)): action for tag, action in actions.items()}


def plant(data: Dataset) -> int:
    """Fills the header with secrets and returns how many elements hold one."""
    planted = 0
    for tag, (listed, _, _, _, keyword) in DicomDictionary.items():
        in_header = 0x0008 <= tag >> 16 < 0x7FE0 and tag >> 16 != 0x0028
        if keyword in _NEEDED or not keyword or not in_header:
            continue
        if listed == "SQ" and keyword in basic_profile():
            inside = Dataset()
            inside.PatientName, inside.CodeMeaning = f"{SECRET}^{tag}", SECRET
            data.add_new(tag, "SQ", Sequence([inside]))
        elif listed in _VALUES:
            data.add_new(tag, listed, _VALUES[listed].format(tag))
        elif listed in ("UN", "OB") and tag >> 16 < 0x6000:
            data.add_new(tag, listed, SECRET.encode() + b"\0")
        else:
            continue
        planted += 1
    block = data.private_block(0x0011, SECRET, create=True)
    block.add_new(1, "LO", SECRET)
    data.add_new(0x60000022, "LO", SECRET)
    return planted
