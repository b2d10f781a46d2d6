"""What a reader accepts: its limits, and what it refuses unless an option accepts it.

Every refusal that an option may accept goes through `ReadOptions.settle`. So the error
names the option, and what was accepted appears as a warning and in whatever is made of
the series.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ct_keras.errors import CtKerasError, Finding
from ct_keras.settings import Settings


@dataclass(frozen=True)
class Limits(Settings):
    """Limits of a scan, as a protection against malicious or mistakenly chosen folders.

    Attributes:
        min_matrix: Minimum number of rows or columns of an image.
        max_matrix: Maximum number of rows or columns of an image.
        max_file_bytes: Maximum number of pixel bytes in one file.
        max_series_bytes: Maximum number of pixel bytes in one series.
        max_header_bytes: Maximum number of bytes before the pixels of a file.
        max_nesting: Maximum depth of sequences in a header.
        max_elements: Maximum number of elements in a header.
        max_expansion: Maximum ratio of a member of an archive to its compressed size.
        max_files: Maximum number of files in one scan.
        max_depth: Maximum depth of subfolders below the scanned folder.
    """

    min_matrix: int = 64
    max_matrix: int = 4096
    max_file_bytes: int = 512 * 2**20
    max_series_bytes: int = 8 * 2**30
    max_header_bytes: int = 16 * 2**20
    max_nesting: int = 32
    max_elements: int = 250_000
    max_expansion: int = 200
    max_files: int = 1_000_000
    max_depth: int = 16


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class ReadOptions(Settings):
    """What a reader accepts although it is refused by default, and its limits.

    Attributes:
        force_hu: Values that do not look like Hounsfield units (CTK-E044, E042).
        assume_hu: Stored values as Hounsfield units where slope or intercept is missing
            or impossible, if they look like it (CTK-E040).
        allow_no_preamble: Files without preamble or file meta, if class, matrix and
            number of pixel bytes agree (CTK-E002).
        skip_bad_slices: A series without its damaged or unreadable files; the result is
            marked as incomplete (CTK-E003 and others of single files).
        allow_gaps: For 3-D methods: uneven gaps; each run of evenly spaced slices is
            taken as a volume of its own (CTK-E032).
        allow_tilt: For 3-D methods: a sheared stack (CTK-E033).
        allow_float: Floating-point pixels; they are rounded (CTK-E047).
        limits: Bounds of what is read (CTK-E006, E007, E008, E041).

    Example:
        >>> read_series("STUDY", options=ReadOptions(force_hu=True))  # doctest: +SKIP
    """

    force_hu: bool = False
    assume_hu: bool = False
    allow_no_preamble: bool = False
    skip_bad_slices: bool = False
    allow_gaps: bool = False
    allow_tilt: bool = False
    allow_float: bool = False
    limits: Limits = DEFAULT_LIMITS

    def settle(self, option: str, error: CtKerasError) -> Finding:
        """Raises an error, or returns it as a warning if an option accepts it.

        Args:
            option: The name of one of the attributes.
            error: The refusal.

        Raises:
            CtKerasError: The refusal, with the option as a fix.
        """
        if getattr(self, option):
            code = error.code.replace("CTK-E", "CTK-W")
            return Finding(code, error.message, option)
        typed = f"{flag(option)} of {commands_with(option)}"
        own = f"accept it: {option}=True in ReadOptions ({typed})"
        raise CtKerasError(
            error.code,
            error.message,
            received=error.received,
            expected=error.expected,
            fix=own if error.fix is None else f"{error.fix}; or {own}",
        ) from error


DEFAULT_OPTIONS = ReadOptions()
#: The limits that commands can raise, and their options there.
LIMIT_OPTIONS = {
    "max_matrix": "max_matrix",
    "max_file_bytes": "max_image_mib",
    "max_series_bytes": "max_series_gib",
}
#: Those that matter to 3-D methods only.
_VOLUME_OPTIONS = ("allow_gaps", "allow_tilt")
#: The commands that read DICOM -> what they have no option for. `deidentify` copies
#: values whatever they are, and a node completes every file by itself.
_COMMANDS = {
    "denoise": (),
    "inspect": _VOLUME_OPTIONS,
    "simulate": _VOLUME_OPTIONS,
    "convert": _VOLUME_OPTIONS,
    "evaluate": _VOLUME_OPTIONS,
    "reader-study make": _VOLUME_OPTIONS,
    "deidentify": (*_VOLUME_OPTIONS, "force_hu", "allow_float"),
    "listen": ("allow_no_preamble",),
}


def accepted_by(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Returns the options that accepted something, each once."""
    return tuple(sorted({each.option for each in findings if each.option}))


def limit_fix(limit: str) -> str:
    """Returns how to raise a limit, for the refusal of what exceeds it.

    Args:
        limit: A key of `LIMIT_OPTIONS`.
    """
    typed = flag(LIMIT_OPTIONS[limit])
    return f"accept it: {limit} in Limits ({typed} of {commands_with(limit)})"


def has_option(command: str, option: str) -> bool:
    """Whether a command that reads DICOM has an option of the reader."""
    return option not in _COMMANDS[command]


def commands_with(option: str) -> str:
    """Returns the commands that have an option."""
    *others, last = (name for name in _COMMANDS if has_option(name, option))
    return f"{', '.join(others)} and {last}"


def flag(option: str) -> str:
    """Returns an option as it is typed in a command: ``--force-hu``."""
    return "--" + option.replace("_", "-")
