"""NRRD and MetaImage (.mha), by SimpleITK, an optional package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_keras.containers.formats import Content, axial_order, check_voxels
from ct_keras.errors import CtKerasError

#: Key of the text that ct_keras writes.
_KEY = "ct_keras"


def read(path: Path) -> Content:
    """Reads a file, whose values are HU."""
    itk = _simple_itk()
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = [side for side in reader.GetSize() if reader.GetDimension() <= 3 or side > 1]
    kind = itk.GetArrayViewFromImage(itk.Image([1, 1], reader.GetPixelID())).dtype
    check_voxels([*size, *[0] * (reader.GetNumberOfComponents() > 1)], kind)
    image = reader.Execute()
    array = itk.GetArrayFromImage(image)
    array = array.reshape((1, *array.shape) if array.ndim == 2 else array.shape[-3:])
    axes = image.GetDimension()
    spacing = [*image.GetSpacing(), np.nan][:3]
    directions = np.eye(3)
    directions[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
    # An array has its axes in the reverse order.
    order = tuple(2 - axis for axis in axial_order(directions))
    known = _KEY in image.GetMetaDataKeys()
    return Content(
        array.transpose(order),
        spacing_mm=tuple(float(spacing[2 - axis]) for axis in order),
        placement=(*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()),
        derivation=image.GetMetaData(_KEY) if known else None,
        original=(image, order),
    )


def write(path: Path, content: Content, stored: np.ndarray, derivation: str) -> None:
    """Writes the values with geometry and entries of the original."""
    itk = _simple_itk()
    original, order = content.original
    values = np.ascontiguousarray(stored.transpose(np.argsort(order)))
    shape = original.GetSize()[::-1]
    image = itk.GetImageFromArray(values.reshape(shape))
    image.CopyInformation(original)
    for key in original.GetMetaDataKeys():
        image.SetMetaData(key, original.GetMetaData(key))
    image.SetMetaData(_KEY, derivation)
    itk.WriteImage(image, str(path), useCompression=True)


def _simple_itk():
    try:
        import SimpleITK
    except ImportError as error:
        raise CtKerasError(
            "CTK-E093",
            "NRRD and MetaImage need the package SimpleITK",
            fix='pip install "ct_keras[itk]"',
        ) from error
    return SimpleITK
