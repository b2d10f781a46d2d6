"""Zip archives as input: members are read into memory, nothing is extracted.

Names of members are labels only. What an archive claims is checked before it is
believed: number and size of its members, their compression, encryption and links.

Reference:
    PKWARE APPNOTE 6.3.10: end of central directory record.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ct_keras.errors import CtKerasError
from ct_keras.files.failures import is_of_content
from ct_keras.inputs.options import Limits

MAGIC = b"PK\x03\x04"
_END, _END_64_PLACE, _END_64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_ENTRIES = struct.Struct("<10xHII")  # of the end record: entries, bytes, start
_PLACE_64 = struct.Struct("<8xQ")
_ENTRIES_64 = struct.Struct("<32xQQ")  # entries and bytes
_LONGEST_END = 22 + 0xFFFF + 20
_MOST_DIRECTORY_BYTES = 32 * 2**20
_UNKNOWN = 0xFFFFFFFF
#: Members up to this size may be packed as well as can be: so is a slice of air.
_HARMLESS_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file in a zip archive.

    Attributes:
        archive: The archive.
        index: 0-based number in its directory.
        label: Its name there; never a path on the disk, never printed.
        size: Bytes after decompression, by the directory.
    """

    archive: Path
    index: int
    label: PurePosixPath
    size: int

    @property
    def name(self) -> str:
        """The last part of the label."""
        return self.label.name

    @property
    def parent(self) -> PurePosixPath:
        """The label without its last part."""
        return self.label.parent

    @property
    def suffix(self) -> str:
        """The suffix of the label."""
        return self.label.suffix


#: Where the content of a scanned file is.
Entry = Path | ArchiveMember


def file_version(file: BinaryIO) -> tuple[int, int]:
    """Returns size and time of the last change of an open file."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def is_archive(path: Path) -> bool:
    """Whether a path is a zip archive."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:  # whoever reads it tells why
        return False


def list_members(archive: Path, limits: Limits) -> list[ArchiveMember]:
    """Lists the files in an archive, sorted by name.

    Args:
        archive: A zip archive.
        limits: Bounds of number, size and compression of the members.

    Raises:
        CtKerasError: CTK-E005, if it cannot be read; CTK-E006, too many members;
            CTK-E008, if a member is encrypted, a link or too large; CTK-E003, if the
            archive is damaged.
    """
    members = []
    try:
        with _errors():
            with open(archive, "rb") as file:
                _check_directory(file, limits)
            with zipfile.ZipFile(archive) as opened:
                for index, info in enumerate(opened.infolist()):
                    if not info.is_dir():
                        _check_member(info, limits)
                        label = PurePosixPath(info.filename)
                        size = info.file_size
                        members.append(ArchiveMember(archive, index, label, size))
    except OSError as error:
        raise CtKerasError("CTK-E005", "the zip archive cannot be read") from error
    if sum(member.size for member in members) > limits.max_series_bytes:
        raise _refused(f"holds more than {limits.max_series_bytes / 2**30:g} GiB")
    return sorted(members, key=lambda member: member.label)


@contextlib.contextmanager
def open_entry(entry: Entry) -> Iterator[tuple[BinaryIO, tuple[int, int]]]:
    """Opens a file, or a member of an archive in memory.

    Yields:
        The content, and `file_version` of the file or of the archive.

    Raises:
        OSError: If it cannot be read.
        CtKerasError: CTK-E003 or E008, if a member is not what its directory says.
    """
    if isinstance(entry, Path):
        with open(entry, "rb") as file:
            yield file, file_version(file)
        return
    with open(entry.archive, "rb") as file:
        version = file_version(file)
    yield BytesIO(_member_bytes(entry, version)), version


# The frames of one member are read one after the other.
@functools.lru_cache(maxsize=1)
def _member_bytes(member: ArchiveMember, version: tuple[int, int]) -> bytes:
    with _errors():
        archive = _opened(member.archive, version, os.getpid())
        with archive.open(archive.infolist()[member.index]) as file:
            data = file.read(member.size + 1)
    if len(data) != member.size:
        raise _refused("has a member of another size than its directory says")
    return data


@functools.lru_cache(maxsize=1)
def _opened(archive: Path, version: tuple[int, int], process: int) -> zipfile.ZipFile:
    """The archive, opened once for all of its members; not shared over a fork."""
    return zipfile.ZipFile(archive)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turns what zipfile raises into a refusal; errors of the disk stay."""
    try:
        yield
    except CtKerasError:
        raise
    except Exception as error:  # zipfile, zlib, lzma and bz2 raise many types
        if isinstance(error, OSError) and not is_of_content(error):
            raise
        raise CtKerasError(
            "CTK-E003",
            "the zip archive is damaged",
            fix="copy it again from its source",
        ) from error


def _check_directory(file: BinaryIO, limits: Limits) -> None:
    """Refuses a directory that would fill the memory before anything is read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < 22:
        raise zipfile.BadZipFile
    entries, directory_bytes, _ = _ENTRIES.unpack_from(tail, end)
    place = end - 20
    if place >= 0 and tail.startswith(_END_64_PLACE, place):
        file.seek(_PLACE_64.unpack_from(tail, place)[0])
        record = file.read(56)
        if len(record) < 56 or not record.startswith(_END_64):
            raise zipfile.BadZipFile
        entries, directory_bytes = _ENTRIES_64.unpack_from(record)
    elif directory_bytes == _UNKNOWN:
        raise zipfile.BadZipFile
    if entries > limits.max_files:
        raise CtKerasError(
            "CTK-E006", f"more than {limits.max_files:,} files".replace(",", " ")
        )
    if directory_bytes > _MOST_DIRECTORY_BYTES:
        raise _refused(f"lists its members in {directory_bytes / 2**20:.0f} MiB")


def _check_member(info: zipfile.ZipInfo, limits: Limits) -> None:
    if info.flag_bits & 1:
        raise _refused("is encrypted")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _refused("holds links")
    if info.file_size > limits.max_header_bytes + limits.max_file_bytes:
        raise _refused(f"has a member of {info.file_size / 2**20:.0f} MiB")
    expansion = info.file_size / max(1, info.compress_size)
    if info.file_size > _HARMLESS_BYTES and expansion > limits.max_expansion:
        raise _refused(f"expands more than {limits.max_expansion}-fold")


def _refused(why: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E008",
        f"the zip archive {why}",
        fix="unpack it with a program that you trust, and give the folder",
    )
