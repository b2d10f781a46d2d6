"""TIFF: each page is a slice; grey values, or HU where they are signed or floats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

from ct_keras.containers.formats import Content, check_voxels, one_channel
from ct_keras.errors import CtKerasError


def read(path: Path) -> Content:
    """Reads all pages, which must be alike."""
    # OME is a text that may name other files, which would be opened.
    with tifffile.TiffFile(path, is_ome=False) as file:
        pages = list(_pages(file))
        first = pages[0]
        kinds = {(page.shape, str(page.dtype)) for page in pages}
        shape = (len(pages), first.imagelength, first.imagewidth)
        if len(kinds) > 1:
            raise CtKerasError(
                "CTK-E047",
                "the pages of the file differ in size or pixel format",
                received=f"{len(kinds)} kinds among {len(pages)} pages",
                expected="pages that are slices of one volume",
            )
        kind = first.dtype or np.dtype("V1")
        check_voxels(path, shape, kind, samples=first.samplesperpixel)
        _check_planes(path, file, pages)
        kept = _description(first), _resolution(first)
        derivation = _tag(first, "Software")
    # It decodes every compression, TIFF libraries in Python need further packages.
    done, planes = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)
    if not done or len(planes) != len(pages):
        raise ValueError("damaged pages")
    stored = np.stack([one_channel(plane) for plane in planes])
    ours = isinstance(derivation, str) and '"ct_keras"' in derivation
    return Content(
        stored,
        scaled=stored.dtype.kind != "u",
        derivation=derivation if ours else None,
        original=(planes[0].shape[2:], *kept),
    )


def write(path: Path, content: Content, stored: np.ndarray, derivation: str) -> None:
    """Writes the pages with resolution and description of the original."""
    channels, description, resolution = content.original
    if channels:
        stored = np.repeat(stored[..., None], channels[0], axis=3)
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(stored):
            writer.write(
                page,
                photometric="rgb" if channels else "minisblack",
                compression="zlib",
                contiguous=False,
                metadata=None,
                description=None if number else description,
                software=derivation,
                **resolution,
            )


def _pages(file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """Yields the pages; each names the place of the next, which may be a circle."""
    places = set()
    for page in file.pages:
        if page.offset in places:
            raise ValueError("a page follows itself")
        places.add(page.offset)
        yield page.aspage()


def _check_planes(
    path: Path, file: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]
) -> None:
    """Refuses a page that stands for several planes: only its first would be read.

    Volumes have a depth. ImageJ writes the planes of a long stack one after the other
    behind a single page, whose text tells their number.
    """
    first = pages[0]
    plane = first.imagelength * first.imagewidth * first.samplesperpixel
    told = sum(series.size for series in file.series)
    there = path.stat().st_size >= told * first.dtype.itemsize
    deep = any(page.imagedepth > 1 for page in pages)
    if deep or (there and told > len(pages) * plane):
        raise CtKerasError(
            "CTK-E047",
            "a page of the file stands for several slices",
            received=f"{told // plane} slices in {len(pages)} pages",
            expected="one page for each slice",
            fix="write it again with a page for each slice",
        )


def _resolution(page: tifffile.TiffPage) -> dict:
    """The size of a pixel as it is written again, empty if it is not a valid one."""
    axes = tuple(_tag(page, f"{axis}Resolution") for axis in "XY")
    if not all(isinstance(each, tuple) and len(each) == 2 for each in axes):
        return {}
    unit = _tag(page, "ResolutionUnit")
    known = unit is None or unit in list(tifffile.RESUNIT)
    if not known or not all(number > 0 for each in axes for number in each):
        return {}
    return {"resolution": axes, "resolutionunit": unit}


def _description(page: tifffile.TiffPage) -> bytes | None:
    """What the picture is, as it is written again; None if there is no text."""
    text = _tag(page, "ImageDescription")
    return text.encode() if isinstance(text, str) else None


def _tag(page: tifffile.TiffPage, name: str) -> object:
    tag = page.tags.get(name)
    return None if tag is None else tag.value
