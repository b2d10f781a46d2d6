"""NIfTI-1 and NIfTI-2 in one file, .nii or .nii.gz, by nibabel."""

from __future__ import annotations

import contextlib
import gzip
import io
from pathlib import Path

import nibabel
import numpy as np

from ct_keras.containers.formats import Content, axial_order, check_voxels

#: Code of a comment among the header extensions.
_COMMENT = 6
_DESCRIPTION = b"DENOISED, NOT FOR DIAGNOSTIC USE (ct_keras)"
_MM = {"meter": 1e3, "micron": 1e-3}


def read(path: Path) -> Content:
    """Reads a file; values stay as stored, with the scale of the header apart."""
    image = nibabel.load(path)
    shape = _squeezed(image.shape)
    check_voxels(path, shape, image.dataobj.dtype)
    stored = np.asanyarray(image.dataobj.get_unscaled()).reshape(shape)
    order = axial_order(image.affine[:3, :3])
    if len(shape) == 2:
        stored, order = stored[..., None], (2, 1, 0)
    unit = _MM.get(image.header.get_xyzt_units()[0], 1.0)
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0) * unit
    return Content(
        stored.transpose(order),
        slope=float(image.dataobj.slope),
        intercept=float(image.dataobj.inter),
        spacing_mm=tuple(float(lengths[axis]) for axis in order),
        placement=tuple(image.affine.ravel().tolist()),
        derivation=_derivation(image.header),
        original=(type(image), image.affine, image.header, image.shape, order),
    )


def write(path: Path, content: Content, stored: np.ndarray, derivation: str) -> None:
    """Writes the values with the header of the original: affine, units, scale."""
    kind, affine, header, shape, order = content.original
    values = stored.transpose(np.argsort(order)).reshape(shape)
    header = header.copy()
    header.set_slope_inter(1, 0)
    header["descrip"] = _DESCRIPTION
    header.extensions.append(
        nibabel.nifti1.Nifti1Extension("comment", derivation.encode())
    )
    data = kind(values, affine, header).to_bytes()
    # The library scales values itself, so the scale is set when they are written.
    block = type(header).from_fileobj(io.BytesIO(data), check=False)
    block["scl_slope"], block["scl_inter"] = content.slope, content.intercept
    data = block.binaryblock + data[len(block.binaryblock) :]
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)
    path.write_bytes(data)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without trailing axes of length 1: time, and more than three."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _derivation(header) -> str | None:
    """What ct_keras wrote last; each step adds a comment to those before."""
    for extension in reversed(header.extensions):
        if extension.get_code() == _COMMENT:
            with contextlib.suppress(UnicodeDecodeError):
                text = bytes(extension.get_content()).decode().rstrip("\0")
                if '"ct_keras"' in text:
                    return text
    return None
