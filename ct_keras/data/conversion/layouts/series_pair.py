"""The result of a layout: for each series, which images form pairs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ct_keras.containers import (
    GreyValues,
    VolumeFile,
    VolumePlace,
    VolumeSlice,
    slices_of,
)
from ct_keras.containers.slices import pixel_spacing_of
from ct_keras.data.conversion.pairing import (
    Matches,
    check_volumes,
    dose_between,
    kinship_findings,
    match_slices,
)
from ct_keras.data.slice_facts import SliceFacts, series_facts
from ct_keras.dicom import Series, SourceSlice, find_series
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files.labels import label_of
from ct_keras.inputs.folders import folder_of
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions


@dataclass(frozen=True)
class LayoutOptions:
    """Options of the layouts.

    Attributes:
        low: Folder of low-dose images (layouts `pairs` and `images`).
        full: Folder of normal-dose images (the same layouts).
        slope: HU per stored unit of files that do not say it.
        intercept: HU of the stored value 0 of such files.
        spacing_mm: Row and column spacing of such files.
        pictures: Whether files hold grey values of pictures, and not HU.
        dose: Dose fraction of the low-dose images, if it is not known otherwise.
        variants: Reconstructions, such as 3mm or 1mm_sharp; empty for all (`mayo`).
        read_options: What the reader accepts.
    """

    low: Path | None = None
    full: Path | None = None
    slope: float | None = None
    intercept: float | None = None
    spacing_mm: tuple[float, float] | None = None
    dose: float | None = None
    variants: tuple[str, ...] = ()
    pictures: bool = False
    read_options: ReadOptions = DEFAULT_OPTIONS

    @property
    def values(self) -> GreyValues:
        """What files do not say."""
        return GreyValues(self.slope, self.intercept, self.spacing_mm, self.pictures)

    def below(self, name: str) -> LayoutOptions:
        """Returns the options for a sub-folder of the low and full folders."""
        folders = [folder and folder / name for folder in (self.low, self.full)]
        return replace(self, low=folders[0], full=folders[1])

    def both_folders(self) -> tuple[Path, Path]:
        """Returns low and full.

        Raises:
            CtKerasError: CTK-E000, if one was not given; CTK-E005, if one is missing.
        """
        if self.low is None or self.full is None:
            raise CtKerasError(
                "CTK-E000",
                "this layout needs two folders",
                fix="give low and full (--low and --full of convert)",
            )
        for folder in (self.low, self.full):
            if not folder.is_dir():
                raise CtKerasError(
                    "CTK-E005",
                    "the folder cannot be read",
                    received=label_of(folder),
                    fix="unpack an archive first, and give its folder",
                )
        return self.low, self.full


@dataclass(frozen=True)
class SourcePair:
    """The source images of one slice.

    Attributes:
        full: The normal-dose image.
        low: The low-dose image, or None if it is simulated.
        slice_index: Index in the normal-dose series, from the feet.
    """

    full: SourceSlice | VolumeSlice
    low: SourceSlice | VolumeSlice | None
    slice_index: int

    @property
    def images(self) -> tuple[SourceSlice | VolumeSlice, ...]:
        """The images that are read: one, or both."""
        return (self.full,) if self.low is None else (self.full, self.low)

    @property
    def image_key(self) -> str:
        """Identifies the slice in hashes."""
        return self.full.image_key

    @property
    def parts(self) -> tuple[tuple[SourcePair, float], ...]:
        """Itself, with the whole weight."""
        return ((self, 1.0),)


@dataclass(frozen=True)
class SeriesPair:
    """One normal-dose series and its low-dose partner, if it has one.

    Attributes:
        patient: Identifies the patient; never written or printed.
        names: Names that a user may give for the patient: PatientID and folder names.
        series_key: Identifies the series; never written or printed.
        order: Sort key among the series pairs of a patient.
        pairs: The slices, from the feet.
        facts: Properties common to all slices.
        series: The normal-dose series, or where its file lies; None for several files.
        split: The split given by the folder, or None.
        unmatched: Slices without a partner.
        findings: Findings of the reader.
    """

    patient: str
    names: frozenset[str]
    series_key: str
    order: str
    pairs: tuple[SourcePair, ...]
    facts: SliceFacts
    series: Series | VolumePlace | None = None
    split: str | None = None
    unmatched: int = 0
    findings: tuple[Finding, ...] = ()

    def in_split(self, split: str) -> SeriesPair:
        """Returns a copy that is assigned to a split."""
        return replace(self, split=split)


def make_series_pair(
    full: Series,
    low: Series | None,
    *,
    patient: str,
    names: Sequence[str] = (),
    dose: float | None = None,
    variant: str = "",
    matches: Matches | None = None,
) -> SeriesPair:
    """Makes the series pair of a normal-dose series.

    Args:
        full: The normal-dose series.
        low: The low-dose series, None to simulate it.
        patient: The patient; see `patient_of`.
        names: Further names that a user may give for the patient.
        dose: Dose fraction of `low`; by default the ratio of the exposures.
        variant: Sort key before the file names.
        matches: The partners, if they are not matched by position alone.

    Raises:
        CtKerasError: CTK-E039 or E036, if the two do not fit together.
    """
    findings = [*full.findings]
    if low is None:
        pairs = tuple(SourcePair(full.sources[i], None, i) for i in range(len(full)))
        unmatched = 0
    else:
        matches = matches or match_slices(low.sources, full.sources)
        unmatched = matches.unmatched_low + matches.unmatched_full
        pairs = tuple(
            SourcePair(full.sources[i], low.sources[j], i) for j, i in matches.pairs
        )
        dose = dose or dose_between(low, full)
        findings += [*low.findings, *kinship_findings(low, full)]
    return SeriesPair(
        patient=patient,
        names=frozenset({full.patient_key, patient, *names} - {""}),
        series_key=full.series_key,
        order=f"{variant} {full.sources[0].file.label}",
        pairs=pairs,
        facts=series_facts(full, dose_fraction=dose),
        series=full,
        unmatched=unmatched,
        findings=tuple(findings),
    )


def make_volume_pair(
    full: VolumeFile,
    low: VolumeFile | None,
    *,
    patient: str,
    name: str,
    dose: float | None = None,
) -> SeriesPair:
    """Makes the series pair of a volume of another format than DICOM.

    Args:
        full: The normal-dose volume.
        low: The low-dose volume, None to simulate it.
        patient: The patient.
        name: Identifies the file among others.
        dose: Dose fraction of `low`.

    Raises:
        CtKerasError: CTK-E039, if the two do not fit together.
    """
    clean, noisy = slices_of(full, name), (None,) * len(full)
    if low is not None:
        check_volumes(low, full)
        noisy = slices_of(low, name)
    return SeriesPair(
        patient=patient,
        names=frozenset({patient, name}),
        series_key=name,
        order=name,
        pairs=tuple(map(SourcePair, clean, noisy, range(len(full)))),
        facts=SliceFacts(
            dose_fraction=dose, spacing_mm=pixel_spacing_of(full), scale=full.scale
        ),
        series=VolumePlace(full.path, full.values),
        findings=tuple([*full.findings, *(low.findings if low else ())]),
    )


def only_series(
    folder: Path, options: LayoutOptions, *, without: Collection[Path] = ()
) -> Series:
    """Returns the one CT series in a folder.

    Args:
        folder: The folder, searched with the folders below it.
        options: `read_options`.
        without: Folders whose series are ignored if they lie below `folder`.

    Raises:
        CtKerasError: CTK-E030, if there are several; errors of `find_series`.
    """
    below = {each for each in without if folder in each.parents}
    found = [
        series
        for series in find_series(folder, options=options.read_options)
        if below.isdisjoint((series.folder, *series.folder.parents))
    ]
    if len(found) != 1:
        raise CtKerasError(
            "CTK-E030",
            "a sub-folder does not hold exactly one CT series",
            received=f"{len(found)} series",
            expected="one",
            fix="put each series into a separate sub-folder",
        )
    return found[0]


def folder_parts(series: Series, root: Path) -> list[str]:
    """Returns the names of the folders between a root and a series.

    Args:
        series: The series.
        root: What `find_series` searched.
    """
    entry = series.sources[0].file.entry
    if not isinstance(entry, Path):
        return list(entry.parent.parts)
    return list(entry.parent.relative_to(folder_of(root)).parts)
