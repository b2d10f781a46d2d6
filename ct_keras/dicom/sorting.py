"""Sorts the files of a folder: members of CT series, lost slices, what is skipped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ct_keras.dicom.headers import Kind, ScannedFile
from ct_keras.dicom.lost import LINK, lost_slices
from ct_keras.errors import CtKerasError, Finding
from ct_keras.inputs.archive import Entry

#: Kind of file or anomaly, code, message.
_TEXTS = (
    (Kind.FOREIGN, "CTK-W001", "skipped {count} of {files} files: not DICOM"),
    (Kind.LINK, "CTK-W005", "skipped {count} of {files} files: links"),
    ("odd values", "CTK-W007", "{count} files hold values that violate the standard"),
    ("extra bytes", "CTK-W003", "{count} files have pixel bytes beyond the image"),
    (
        Kind.OTHER,
        "CTK-W021",
        "skipped {count} objects that are not CT images (dose report, secondary "
        "capture)",
    ),
    (Kind.LOCALIZER, "CTK-W022", "skipped localizer series ({count} images)"),
)


@dataclass
class SortedFiles:
    """What the files of a folder turned out to be.

    Attributes:
        members: SeriesInstanceUID -> CT images of the series, good and bad ones.
        strays: Files that cannot be used, of which nobody knows the series: the reason
            and the place of each.
        counts: Number of files of each kind and of files with anomalies.
        others: What the files that are no CT images are, for a message, and how many.
        modality: The modality of the first other object.
        directories: The DICOMDIR files.
    """

    members: dict[str, list[ScannedFile]] = field(
        default_factory=lambda: defaultdict(list)
    )
    strays: list[tuple[CtKerasError, Entry]] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    others: Counter = field(default_factory=Counter)
    modality: str | None = None
    directories: list[Entry] = field(default_factory=list)
    _images: list[Entry] = field(default_factory=list)
    _foreign: list[tuple[int, Entry, str]] = field(default_factory=list)
    _contradicting: list[tuple[int, ScannedFile]] = field(default_factory=list)

    def add(self, number: int, path: Entry, scanned: ScannedFile) -> None:
        """Adds a file.

        Args:
            number: Its 1-based number.
            path: Its place.
            scanned: The result of `scan_file`.
        """
        kind = scanned.kind
        self._count(scanned)
        if kind in (Kind.FOREIGN, Kind.LINK):
            self._foreign.append((number, path, scanned.problem))
        elif kind is Kind.CT:
            self._images.append(path)
        elif kind is Kind.DIRECTORY:
            self.directories.append(path)
        elif kind is Kind.OTHER and scanned.series_uid:
            self._contradicting.append((number, scanned))
        if kind is Kind.CT and scanned.series_uid:
            self.members[scanned.series_uid].append(scanned)
        elif scanned.error is not None:
            self.strays.append((scanned.error, path))

    def _count(self, scanned: ScannedFile) -> None:
        self.counts[scanned.kind] += 1
        self.counts["odd values"] += bool(scanned.odd_values)
        self.counts["extra bytes"] += scanned.extra_bytes > 0
        self.counts[Kind.LOCALIZER] += scanned.localizers
        self.modality = self.modality or scanned.modality
        if scanned.what or scanned.kind in (Kind.LOCALIZER, Kind.OTHER):
            self.others[scanned.what or scanned.kind.value] += 1

    def find_lost(self) -> None:
        """Finds the slices among what is no CT image, once all files are added."""
        for path, problem, error in lost_slices(self._foreign, self._images):
            self.counts[Kind.LINK if problem == LINK else Kind.FOREIGN] -= 1
            self.strays.append((error, path))
        for number, scanned in self._contradicting:
            if scanned.series_uid in self.members:
                self.counts[Kind.OTHER] -= 1
                error = _contradiction(number, scanned.modality)
                member = replace(scanned, kind=Kind.CT, error=error)
                self.members[scanned.series_uid].append(member)

    def findings(self, files: int) -> Iterator[Finding]:
        """Yields what is skipped, and the anomalies.

        Args:
            files: Number of files scanned.
        """
        for kind, code, text in _TEXTS:
            if count := self.counts[kind]:
                yield Finding(code, text.format(count=count, files=files))


def _contradiction(number: int, modality: str | None) -> CtKerasError:
    """Refuses a CT image of a CT series whose Modality says otherwise."""
    return CtKerasError(
        "CTK-E020",
        f"file #{number} is an image of a CT series, but its Modality is {modality}, "
        "not CT",
        fix="copy the series again from its source",
    )
