"""Multi-frame images that were split over several files, by size for example.

Reference:
    DICOM PS3.3, C.7.6.16.2.2.4: concatenations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from ct_keras.dicom.values import integer, text
from ct_keras.errors import CtKerasError


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a concatenation.

    Attributes:
        whole: Identifies the concatenation; for comparison, never printed.
        number: 1-based number of the part.
        total: Number of parts, 0 if the file does not say.
    """

    whole: str
    number: int
    total: int


def part_of(dataset: Dataset) -> Part | None:
    """Returns what a header says of its part, None if it is a whole image."""
    whole = text(dataset, "ConcatenationUID")
    number = integer(dataset, "InConcatenationNumber")
    if whole is None or number is None or number < 1:
        return None
    return Part(whole, number, integer(dataset, "InConcatenationTotalNumber") or 0)


def missing_parts(parts: Iterable[Part | None]) -> Iterator[CtKerasError]:
    """Yields a refusal, CTK-E003, for each concatenation that lacks parts."""
    found: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        if part is not None:
            found[part.whole].append(part)
    for each in found.values():
        total = max(max(part.number, part.total) for part in each)
        missing = total - len({part.number for part in each})
        if missing:
            yield CtKerasError(
                "CTK-E003",
                f"{missing} of {total} parts of a multi-frame image are missing",
                fix="copy the series again from its source",
            )
