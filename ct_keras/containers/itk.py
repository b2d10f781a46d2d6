"""NRRD and MetaImage (.mha), by SimpleITK, an optional package."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ct_keras.containers.formats import Content, axial_order, check_voxels
from ct_keras.errors import CtKerasError

#: Key of the text that ct_keras writes.
_KEY = "ct_keras"
_LONGEST_HEADER = 2**20
#: The last line of a header whose voxels follow in the same file.
_LOCAL = re.compile(rb"ElementDataFile[ \t]*[=:][ \t]*(LOCAL|Local|local)[ \t]*\r?\n")
#: How many axes an .mha file says that it has.
_AXES = re.compile(rb"NDims[ \t]*[=:]([^\r\n]*)")
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_NRRD_ELSEWHERE = re.compile(rb"^data ?file *:", re.MULTILINE | re.IGNORECASE)


def read(path: Path) -> Content:
    """Reads a file, whose values are HU."""
    itk = _simple_itk()
    _check_header(path)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = [side for side in reader.GetSize() if reader.GetDimension() <= 3 or side > 1]
    kind = itk.GetArrayViewFromImage(itk.Image([1, 1], reader.GetPixelID())).dtype
    check_voxels(path, [*size, *[0] * (reader.GetNumberOfComponents() > 1)], kind)
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
    """Writes the values with geometry and entries of the original.

    Entries that are not UTF-8 are left out: SimpleITK cannot write them.
    """
    itk = _simple_itk()
    original, order = content.original
    values = np.ascontiguousarray(stored.transpose(np.argsort(order)))
    shape = original.GetSize()[::-1]
    image = itk.GetImageFromArray(values.reshape(shape))
    image.CopyInformation(original)
    for key in filter(_is_text, original.GetMetaDataKeys()):
        if _is_text(value := original.GetMetaData(key)):
            image.SetMetaData(key, value)
    image.SetMetaData(_KEY, derivation)
    itk.WriteImage(image, str(path), useCompression=True)


def _check_header(path: Path) -> None:
    """Refuses a file whose voxels would come from another one, or have odd axes.

    Both formats can name any file that they take for voxels; and ITK ends the process
    if the name is odd, or the number of axes.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    if path.name.lower().endswith(".mha"):
        first = max(0, start.find(b"ElementDataFile"))
        complete = _LOCAL.match(start, first) is not None
        axes = {found.strip() for found in _AXES.findall(start[:first])}
        if not axes <= {b"1", b"2", b"3", b"4"}:
            raise CtKerasError(
                "CTK-E003",
                "the number of axes in the header is not possible",
                expected="NDims = 2 or 3",
                fix="write or copy the file again",
            )
    else:
        end = _NRRD_END.search(start)
        complete = end is not None and not _NRRD_ELSEWHERE.search(start, 0, end.end())
    if not complete:
        raise CtKerasError(
            "CTK-E003",
            "the voxels do not follow the header in the same file",
            expected="an .mha file with ElementDataFile = LOCAL, or an .nrrd file "
            "without a data file",
            fix="save header and voxels as one file",
        )


def _is_text(value: str) -> bool:
    """Whether SimpleITK takes this text back: it gives bytes as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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
