"""What the DICOMDIR of a medium lists, and what of it is not there.

Its file names are not followed: they may lead anywhere, and copies change them. The
number of images that it lists of a series shows whether some are lost, also at the ends
of a series, where the positions show no gap.

Reference:
    DICOM PS3.3, F.5: records of a directory; those of images follow that of the series.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from pydicom import dcmread

from ct_keras.dicom.checks import CT_CLASSES
from ct_keras.dicom.values import quiet_pydicom, term, text, values
from ct_keras.errors import LEFT_OUT, Finding
from ct_keras.inputs.archive import Entry, open_entry

#: A larger directory is not read: it would list some hundred thousand images.
_LARGEST_BYTES = 64 * 2**20


def lacking(
    directories: Iterable[Entry], members: Mapping[str, Collection]
) -> dict[str, Finding]:
    """Compares the directories of media with the files that were found.

    Args:
        directories: The DICOMDIR files.
        members: SeriesInstanceUID -> files of the series.

    Returns:
        SeriesInstanceUID -> CTK-W009, for the series that lack files.
    """
    listed: dict[str, set[str]] = defaultdict(set)
    for entry in directories:
        for series_uid, image_uids in _listed_images(entry).items():
            listed[series_uid] |= image_uids
    found = {}
    for series_uid, files in members.items():
        lost = len(listed[series_uid]) - len(files)
        if lost > 0:
            words = f"the DICOMDIR lists {len(listed[series_uid])} images of the series"
            found[series_uid] = Finding(LEFT_OUT, f"{words}; {lost} are not there")
    return found


def _listed_images(entry: Entry) -> dict[str, set[str]]:
    """SeriesInstanceUID -> SOPInstanceUID of its CT images; nothing if damaged."""
    listed: dict[str, set[str]] = defaultdict(set)
    try:
        with open_entry(entry) as (file, _), quiet_pydicom():
            data = file.read(_LARGEST_BYTES + 1)
            if len(data) > _LARGEST_BYTES:
                return {}
            series_uid = None
            for record in values(dcmread(io.BytesIO(data)), "DirectoryRecordSequence"):
                if term(record, "DirectoryRecordType") == "SERIES":
                    series_uid = text(record, "SeriesInstanceUID")
                elif text(record, "ReferencedSOPClassUIDInFile") in CT_CLASSES:
                    image_uid = text(record, "ReferencedSOPInstanceUIDInFile")
                    if series_uid and image_uid:
                        listed[series_uid].add(image_uid)
    except Exception:  # pydicom raises many types for what is damaged
        return {}
    return listed
