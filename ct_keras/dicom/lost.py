"""Files that are not DICOM, and were slices by their names.

A transfer that broke off, or a full disk, leaves a file of the right name that is
empty, holds zeros, or holds something else, such as a message of the server.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import PurePath

from ct_keras.errors import CtKerasError
from ct_keras.inputs.archive import Entry

#: What differs between the names of the slices of a series: numbers, UIDs, hashes.
_VARIES = re.compile(r"(?:[0-9A-Fa-f]{8}[0-9A-Fa-f-]*|[\d.-]+)+")
_BLANK = ("empty", "filled with zeros")
#: `describe` of a link, which is not followed.
LINK = "a link, which is not followed"


def describe(start: bytes) -> str:
    """Returns what is wrong with a file that begins with these bytes, not DICOM."""
    if not start:
        return _BLANK[0]
    return "not DICOM" if start.strip(b"\0") else _BLANK[1]


def lost_slices(
    foreign: Collection[tuple[int, Entry, str]], images: Collection[Entry]
) -> Iterator[tuple[Entry, str, CtKerasError]]:
    """Yields the files that were slices: place, `describe`, and refusal.

    Such a file has a name like those of the CT images in its folder, numbers apart, or
    such a name and one more suffix, unless it lies beside the file of that name. The
    suffix of the images is enough for a file without any content, and where their names
    follow no pattern that a lost slice could have followed; not for a hidden file.

    Args:
        foreign: Number, place and `describe` of every file that is not DICOM, or `LINK`
            of one that is not looked into.
        images: The places of the CT images.
    """
    suffixes = {(image.parent, image.suffix) for image in images}
    shapes = Counter(_shape(image.parent, image.name) for image in images)
    patterned = {folder for (folder, _), alike in shapes.items() if alike > 1}
    folders = Counter(image.parent for image in images)
    several = {folder for folder, count in folders.items() if count > 1}
    names = {(entry.parent, entry.name) for entry in images}
    names |= {(entry.parent, entry.name) for _, entry, _ in foreign}
    for number, entry, problem in foreign:
        unnamed = entry.suffix and entry.parent in several - patterned
        unnamed = unnamed and problem != LINK
        enough = problem in _BLANK or unnamed
        alike = enough and (entry.parent, entry.suffix) in suffixes
        bare = entry.name.removesuffix(entry.suffix)
        packed = PurePath(bare).suffix and (entry.parent, bare) not in names
        if (
            (alike and not entry.name.startswith("."))
            or _shape(entry.parent, entry.name) in shapes
            or (packed and _shape(entry.parent, bare) in shapes)
        ):
            yield entry, problem, _refusal(number, problem)


def _shape(folder: PurePath, name: str) -> tuple[PurePath, str]:
    return folder, _VARIES.sub("#", name)


def _refusal(number: int, problem: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E003",
        f"file #{number} is {problem}, and its name is that of a slice",
        fix="copy the series again from its source",
    )
