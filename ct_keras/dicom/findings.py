"""What a reader tells about the files and headers it accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ct_keras.dicom.headers import Kind
from ct_keras.dicom.sources import SourceSlice
from ct_keras.errors import CtKerasError, Finding


def source_findings(sources: Sequence[SourceSlice]) -> Iterator[Finding]:
    """What single headers say: lossy, derived, MONOCHROME1, no ImageType."""
    lossy = [source for source in sources if source.lossy]
    if lossy:
        ratio = lossy[0].lossy_ratio
        shown = f" (ratio {ratio:g}:1)" if ratio else ""
        yield Finding(
            "CTK-W011",
            f"source was lossy-compressed{shown}; noise statistics are not those of "
            "the scanner",
        )
    if any(source.monochrome1 for source in sources):
        yield Finding("CTK-W045", "MONOCHROME1: display is inverted, HU unaffected")
    if any(source.image_type[:1] == ("DERIVED",) for source in sources):
        yield Finding("CTK-W050", "source images are DERIVED")
    untyped = sum(not source.image_type for source in sources)
    if untyped:
        yield Finding("CTK-I022", f"{untyped} slices have no ImageType; taken as axial")


def count_findings(files: int, counts: Counter) -> Iterator[Finding]:
    """What was skipped or odd in a folder, by kind of file.

    Args:
        files: How many files were looked at.
        counts: How many of each kind, and of files with oddities.
    """
    texts = (
        (Kind.FOREIGN, "CTK-W001", f"skipped {{}} of {files} files: not DICOM"),
        (Kind.LINK, "CTK-W005", f"skipped {{}} of {files} files: links"),
        ("odd values", "CTK-W007", "{} files hold values that break DICOM's rules"),
        ("extra bytes", "CTK-W003", "{} files have pixel bytes beyond the image"),
        (
            Kind.OTHER,
            "CTK-W021",
            "skipped {} objects that are not CT images (dose report, secondary "
            "capture)",
        ),
        (Kind.LOCALIZER, "CTK-W022", "skipped localizer series ({} images)"),
    )
    for kind, code, text in texts:
        if counts[kind]:
            yield Finding(code, text.format(counts[kind]))


def nothing_found(files: int, modality: str | None) -> CtKerasError:
    """The refusal of a folder without CT: CTK-E001, or CTK-E020 for other images."""
    if modality and modality != "CT":
        return CtKerasError("CTK-E020", f"Modality is {modality}, not CT")
    return CtKerasError(
        "CTK-E001",
        f"no CT image in {files} files",
        fix="give the folder that holds the CT images",
    )
