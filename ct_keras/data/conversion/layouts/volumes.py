"""Reads the files of the layouts that are not DICOM."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ct_keras.containers import VolumeFile, is_volume_file, read_volume_file
from ct_keras.data.conversion.layouts.series_pair import LayoutOptions
from ct_keras.errors import CtKerasError, Finding
from ct_keras.files import MARKER

#: Minimum rows or columns of a slice: fewer suggest a wrong order of the axes.
_SMALLEST = 8


def read_source(
    path: Path, number: int, options: LayoutOptions, *, look: bool = True
) -> VolumeFile:
    """Reads a file of a layout.

    Args:
        path: The file.
        number: 1-based number of the file, as shown in messages.
        options: `values` and `read_options`.
        look: Whether its values must look like HU.

    Raises:
        CtKerasError: As `read_volume_file`; CTK-E041, too few rows or columns.
    """
    try:
        volume = read_volume_file(
            path, options=options.read_options, values=options.values, look=look
        )
    except CtKerasError as error:
        raise CtKerasError(
            error.code,
            f"file #{number}: {error.message}",
            received=error.received,
            expected=error.expected,
            fix=error.fix,
        ) from error
    if min(volume.shape[1:]) < _SMALLEST:
        raise CtKerasError(
            "CTK-E041",
            f"file #{number} is too small for a slice",
            received="{} x {} pixels".format(*volume.shape[1:]),
            expected="rows and columns of one slice in each page",
        )
    return volume


def skipped_findings(files: Iterable[Path], reason: str) -> list[Finding]:
    """Tells of files that a layout does not read (CTK-W001), if there are any.

    Args:
        files: All files; those of known formats and hidden ones are not counted.
        reason: Why the others are skipped.
    """
    skipped = sum(
        path.is_file()
        and not is_volume_file(path)
        and not path.name.startswith(".")
        and path.name != MARKER
        for path in files
    )
    return [Finding("CTK-W001", f"skipped {skipped} files: {reason}")] * (skipped > 0)


def check_one_scale(scales: set[str | None]) -> None:
    """Refuses pictures beside CT.

    Raises:
        CtKerasError: CTK-E063.
    """
    if len(scales) > 1:
        raise CtKerasError(
            "CTK-E063",
            "some files hold grey values of pictures, others CT in HU",
            expected="one of them in a records folder",
            fix="convert them separately, or give all files one scale (--slope, "
            "--intercept and --pictures of convert)",
        )
