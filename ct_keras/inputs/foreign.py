"""Names what a folder without CT holds instead, and what to do about it."""

from __future__ import annotations

from collections import Counter

from pydicom.uid import UID

from ct_keras.errors import CtKerasError

#: How known files begin, and what they are.
_MAGIC = (
    (b"PK\x03\x04", "zip archive"),
    (b"Rar!", "rar archive"),
    (b"\xfd7zXZ", "xz archive"),
    (b"BZh", "bzip2 archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"MATLAB", "MATLAB file"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000 picture"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"\x93NUMPY", "NumPy array"),
    (b"NRRD", "NRRD image"),
    (b"\x89PNG", "PNG picture"),
    (b"\xff\xd8\xff", "JPEG picture"),
    (b"II*\0", "TIFF picture"),
    (b"MM\0*", "TIFF picture"),
    (b"ObjectType", "MetaImage"),
    (b"\x89HDF", "HDF5 file"),
    (b"%PDF", "PDF document"),
)
_SUFFIXES = (
    (".nii", "NIfTI image"),
    (".nii.gz", "NIfTI image"),
    (".tar", "tar archive"),
    (".tar.gz", "tar archive"),
    (".tgz", "tar archive"),
    (".mhd", "MetaImage in two files"),
    (".mgz", "FreeSurfer image"),
    (".hdr", "Analyze image"),
    (".img", "Analyze image"),
    (".mnc", "MINC image"),
)
_ARCHIVES = "archive"
_VOLUMES = {
    *("NIfTI image", "NRRD image", "MetaImage", "NumPy array"),
    *("PNG picture", "TIFF picture"),
}
_OTHER_VOLUMES = {
    *("MetaImage in two files", "FreeSurfer image", "Analyze image", "MINC image"),
    "MATLAB file",
}
_LINK = "link"


def name_foreign(name: str, start: bytes) -> str | None:
    """Returns what a file that is not DICOM is, None if unknown.

    Args:
        name: The file name.
        start: The first bytes of the file.
    """
    lower = name.lower()
    for suffix, what in sorted(_SUFFIXES, key=lambda item: -len(item[0])):
        if lower.endswith(suffix):
            return what
    return next((what for magic, what in _MAGIC if start.startswith(magic)), None)


def name_sop_class(uid: str) -> str | None:
    """Returns the standard's name of a SOP class, None if it lists no such class."""
    name = UID(uid).name if UID(uid).is_valid else uid
    return None if name == uid else name


def nothing_found(
    files: int, modality: str | None, others: Counter, links: int = 0
) -> CtKerasError:
    """Returns the refusal of a folder without CT: it names what was found instead.

    Args:
        files: Number of files.
        modality: Modality of the first other DICOM object, if any.
        others: Number of files by what they are: results of `name_foreign` and
            `name_sop_class`.
        links: Number of links, which are not followed.

    Returns:
        CTK-E020 for images of another modality, otherwise CTK-E001.
    """
    if modality and modality != "CT":
        return CtKerasError("CTK-E020", f"Modality is {modality}, not CT")
    if links:
        others = others + Counter({_LINK: links})
    shown = (f"{count} x {what}" for what, count in others.most_common(3))
    return CtKerasError(
        "CTK-E001",
        f"no CT image in {files} files",
        received=", ".join(shown) or "no file of a known kind",
        expected="DICOM files of CT images",
        fix=_fix(others),
    )


def _fix(others: Counter) -> str:
    if any(what.endswith(_ARCHIVES) for what in others):
        return "unpack the archive and give its folder, or give a zip archive itself"
    if others[_LINK]:
        return "links are not followed: give the folder that they point to"
    if _VOLUMES & set(others):
        return "give the file itself: ct-keras denoise FILE OUT, of the same format"
    if _OTHER_VOLUMES & set(others):
        return "write it as .nii.gz, .nrrd or .mha in HU, and give that file"
    return "give the folder that holds the CT images"
