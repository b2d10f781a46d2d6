"""Looks over the elements of a file before it is parsed.

A parser takes what a file claims: one element of gigabytes, millions of empty elements,
sequences nested without end. The outline follows lengths only and reads no values but
four short ones, so that a file beyond the limits costs next to nothing.
"""

from __future__ import annotations

import functools
import os
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from pydicom.datadict import dictionary_VR
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from ct_keras.dicom.checks import CT_CLASSES
from ct_keras.inputs import Limits

_MAGIC_END = 132
_META_CLASS, _SYNTAX = 0x00020002, 0x00020010
_SOP_CLASS, _MODALITY = 0x00080016, 0x00080060
_LAST_META, _LAST = 0x0002FFFF, 0xFFFFFFFF
_NAMED = frozenset({_META_CLASS, _SYNTAX, _SOP_CLASS, _MODALITY})
_LONGEST_NAME = 128
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEM_END, _SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
_ENDS = frozenset({_ITEM_END, _SEQUENCE_END})
_ITEM_TAGS = frozenset({b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"})
_UNDEFINED = 0xFFFFFFFF
_VRS = frozenset(vr.value.encode() for vr in VR)
_LONG_VRS = frozenset(vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32)
#: The least that one level of nesting takes: two tags with their lengths.
_LEVEL_BYTES = 16
#: Far beyond any list of numbers or names; where the length has 16 bits it is less.
_LONGEST_LIST = 256 * 1024
#: In a header of this size even the smallest elements are few.
_SMALL_HEADER = 2**20
_SHORTEST = 8
#: Tag, VR and length of the pixels.
_PIXEL_HEAD = 12
_WINDOW = 32 * 1024


@dataclass(slots=True)
class Outline:
    """What a first look at a file found.

    Attributes:
        problem: Which limit the file exceeds, None if none.
        names: The SOP class of the file meta, the transfer syntax, the SOP class and
            the modality, by tag; those seen before the look ended.
        header_bytes: What has to be read to parse the header: up to the pixels and the
            tag and length of these.
    """

    problem: str | None = None
    header_bytes: int = 0
    names: dict[int, str] = field(default_factory=dict)

    @property
    def meta_class(self) -> str:
        """The SOP class of the file meta, empty if it was not seen."""
        return self.names.get(_META_CLASS, "")

    @property
    def sop_class(self) -> str:
        """The SOP class of the data set, otherwise that of the file meta."""
        return self.names.get(_SOP_CLASS) or self.meta_class

    @property
    def syntax(self) -> str:
        """The UID of the transfer syntax, empty if it was not seen."""
        return self.names.get(_SYNTAX, "")

    @property
    def modality(self) -> str:
        """The modality, empty if it was not seen."""
        return self.names.get(_MODALITY, "")


@dataclass(slots=True)
class _Level:
    """An open sequence, item or data set.

    Attributes:
        end: Where it ends, None if a delimiter ends it.
        items: Whether it holds items; otherwise elements.
        explicit: Whether elements name their VR; None before the first.
        opaque: Whether its items hold bytes, not elements.
    """

    end: int | None = None
    items: bool = False
    explicit: bool | None = None
    opaque: bool = False


def look_over(file: BinaryIO, limits: Limits) -> Outline:
    """Follows the elements of a file up to its pixels.

    Args:
        file: A file with preamble, at any place; left at any place.
        limits: Bounds of the header.

    Returns:
        What was found. A file that is cut or malformed has no `problem`: the look ends
        there, and the parser, which then has little to read, judges it.
    """
    outline = Outline()
    walk = _Walk(file, limits, outline)
    try:
        walk.follow()
        outline.header_bytes = min(walk.position + _PIXEL_HEAD, walk.size)
    except _LimitError as exceeded:
        outline.problem = str(exceeded)
    return outline


class _LimitError(Exception):
    """A limit is exceeded."""


class _Walk:
    """One walk over the elements of a file."""

    def __init__(self, file: BinaryIO, limits: Limits, outline: Outline):
        self.file = file
        self.limits = limits
        self.names = outline.names
        self.outline = outline
        self.size = file.seek(0, os.SEEK_END)
        self.position = _MAGIC_END
        self.elements = 0
        self.order = "<"
        self.last = _LAST_META
        self.levels: list[_Level] = []
        self.window, self.start = b"", 0

    def follow(self) -> None:
        """Walks until the pixels, the end, or a limit."""
        self._follow(_Level(explicit=True))
        if self.outline.syntax == DeflatedExplicitVRLittleEndian:
            return  # what follows are no elements
        self.order = ">" if self.outline.syntax == ExplicitVRBigEndian else "<"
        self.last = _LAST
        self._end_early()
        self._follow(_Level())

    def _end_early(self) -> None:
        """Ends the walk at the modality if the object is certainly no CT image."""
        sop_class = self.outline.sop_class
        if self.last != _LAST_META and sop_class and sop_class not in CT_CLASSES:
            self.last = _MODALITY

    def _follow(self, level: _Level) -> None:
        """Walks over a data set until the pixels or behind its last tag."""
        levels = self.levels = [level]
        tag_form = struct.Struct(self.order + "HH")
        while True:
            while levels[-1].end is not None and self.position >= levels[-1].end:
                levels.pop()
            place = self._place(12)
            if place is None:
                return
            group, element = tag_form.unpack_from(self.window, place)
            tag = group << 16 | element
            if len(levels) == 1 and (tag > self.last or tag in _PIXELS):
                return
            self.elements += 1
            if self.elements > self.limits.max_elements:
                raise _LimitError(f"more than {self.limits.max_elements} elements")
            if levels[-1].items:
                self._take_item(tag, place)
            elif len(levels) > 1 and tag in _ENDS:
                levels.pop()
                self._skip(8)
            else:
                self._take_element(tag, place)

    def _check_position(self, position: int) -> None:
        """Refuses a header that goes on behind its limit, unless the file ends there.

        What a short file claims is harmless: there is little to read.
        """
        if position > self.limits.max_header_bytes < self.size:
            mebibytes = self.limits.max_header_bytes / 2**20
            raise _LimitError(f"header over {mebibytes:g} MiB")

    def _take_item(self, tag: int, place: int) -> None:
        level = self.levels[-1]
        (length,) = struct.unpack_from(self.order + "I", self.window, place + 4)
        self._skip(8)
        if tag == _SEQUENCE_END:
            self.levels.pop()
        elif level.opaque and length != _UNDEFINED:
            self._skip(length)
        else:
            self._open(_Level(self._end(length), explicit=level.explicit))

    def _take_element(self, tag: int, place: int) -> None:
        level = self.levels[-1]
        vr = self.window[place + 4 : place + 6]
        if level.explicit is None:
            level.explicit = vr in _VRS
        named = level.explicit and b"AA" <= vr <= b"ZZ"
        if not named:
            form, at = "I", 4
        elif vr in _LONG_VRS:
            form, at = "I", 8
        else:
            form, at = "H", 6
        if place + 12 > len(self.window) and place + at + 4 > len(self.window):
            self.position = self.size  # cut
            return
        (length,) = struct.unpack_from(self.order + form, self.window, place + at)
        self.position += at + struct.calcsize(form)
        if len(self.levels) == 1 and tag in _NAMED and length <= _LONGEST_NAME:
            self._name(tag, length)
        self._take_value(tag, vr if named else None, length)

    def _take_value(self, tag: int, vr: bytes | None, length: int) -> None:
        """Skips a value, or opens it if it may hold a sequence."""
        short = _LEVEL_BYTES * (self.limits.max_nesting - len(self.levels) // 2)
        if length < short and self.position < _SMALL_HEADER:
            self._skip(length)  # too short to nest too deep
            return
        kind = vr or _dictionary_vr(tag)
        if kind == b"SQ" or (kind == b"UN" and self._has_item(length)):
            explicit = self.levels[-1].explicit if kind == b"SQ" else None
            self._open(_Level(self._end(length), items=True, explicit=explicit))
        elif length == _UNDEFINED:
            self._open(_Level(None, items=True, opaque=True))
        elif kind not in _LONG_VRS and length > _LONGEST_LIST:
            raise _LimitError(f"a list of values over {_LONGEST_LIST // 1024} KiB")
        else:
            self._skip(length)

    def _open(self, level: _Level) -> None:
        self.levels.append(level)
        if len(self.levels) // 2 > self.limits.max_nesting:
            raise _LimitError(f"nested deeper than {self.limits.max_nesting}")

    def _end(self, length: int) -> int | None:
        """Where a value ends: by its length, and not behind what holds it."""
        if length == _UNDEFINED:
            return None
        ends = [level.end for level in self.levels if level.end is not None]
        self._check_position(self.position + length)
        return min([self.position + length, *ends])

    def _skip(self, length: int) -> None:
        self.position += length
        self._check_position(self.position)

    def _has_item(self, length: int) -> bool:
        place = self._place(8) if length else None
        return place is not None and self.window[place : place + 4] in _ITEM_TAGS

    def _name(self, tag: int, length: int) -> None:
        place = self._place(max(length, _SHORTEST))
        if place is not None:
            value = self.window[place : place + length]
            self.names[tag] = value.decode("ascii", "replace").strip(" \0")
        self._end_early()

    def _place(self, count: int) -> int | None:
        """Where the position lies in the window, None where the file ends."""
        place = self.position - self.start
        if not 0 <= place <= len(self.window) - count:
            self.file.seek(self.position)
            self.start, self.window = self.position, self.file.read(_WINDOW)
            place = 0
        return place if len(self.window) - place >= _SHORTEST else None


@functools.cache
def _dictionary_vr(tag: int) -> bytes:
    """The VR by the data dictionary, UN for an unknown element."""
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"
