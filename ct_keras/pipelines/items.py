"""What lies in an archive: folders of DICOM files, and volume files.

Paths may belong to any file system of Beam, such as ``gs://`` or ``s3://``.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ct_keras.containers import is_volume_file
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of

_WILDCARDS = re.compile(r"[*?\[]")
#: Files beside images that are not images.
_DOCUMENTS = (".txt", ".md", ".csv", ".json", ".jsonl", ".xml", ".pdf", ".html")
_DOCUMENT_NAMES = ("DICOMDIR", "LICENSE", "README")


@dataclass(frozen=True, order=True)
class Item:
    """A folder that holds files, or a volume file.

    Attributes:
        name: Its path below the archive, with slashes: where its result is written.
        path: The folder or file.
        files: The files of a folder on another than the local file system; they are
            copied before they are read.
    """

    name: str
    path: str
    files: tuple[str, ...] = ()


def find_items(source: str | os.PathLike) -> list[Item]:
    """Finds the series folders and volume files of an archive.

    Args:
        source: A folder; a glob, such as ``/archive/*/CT*`` or ``gs://bucket/ct/**``;
            or a text file (.txt) with a path in every line.

    Returns:
        The items in the order of their names. Hidden files and documents are ignored.

    Raises:
        CtKerasError: CTK-E093, if Beam is not installed; CTK-E005 for a source that
            cannot be read; CTK-E001, if nothing is found.
    """
    source = os.fspath(source)
    if source.endswith(".txt"):
        patterns = _listed(Path(source))
        root = os.path.commonpath([posixpath.dirname(each) for each in patterns])
    else:
        patterns, root = [source.rstrip("/")], _root(source)
    groups: dict[str, list[str]] = {}
    for pattern in patterns:
        for file in _matched(pattern):
            key = file if is_volume_file(file) else posixpath.dirname(file)
            groups.setdefault(key, []).append(file)
    items = [_item(path, files, root) for path, files in groups.items()]
    if not items:
        raise CtKerasError(
            "CTK-E001",
            "the archive holds no files",
            received=label_of(Path(source)),
            expected="a folder, a glob, or a text file of paths",
        )
    return sorted(items)


def is_local(path: str) -> bool:
    """Whether a path is one of the local file system."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", path) is None


def _item(path: str, files: Iterable[str], root: str) -> Item:
    below = posixpath.relpath(path, root) if root else path
    return Item(below, path, () if is_local(path) else tuple(sorted(files)))


def _root(source: str) -> str:
    """The folder above the first wildcard; of a file, its own folder."""
    wildcard = _WILDCARDS.search(source)
    if wildcard:
        return posixpath.dirname(source[: wildcard.start()])
    if is_volume_file(source):
        return posixpath.dirname(source)
    return source.rstrip("/")


def _listed(path: Path) -> list[str]:
    """The paths of a list; relative ones are below the folder of the list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CtKerasError(
            "CTK-E005",
            "the list of series cannot be read",
            received=label_of(path),
            expected="a text file in UTF-8 with a path in every line",
        ) from error
    named = [line.strip().rstrip("/") for line in lines if line.strip()]
    if not named:
        raise CtKerasError("CTK-E001", "the list of series is empty")
    here = os.fspath(path.parent.absolute())
    return [each if not is_local(each) else os.path.join(here, each) for each in named]


def _matched(pattern: str) -> list[str]:
    """The files that match, or lie in a folder that matches."""
    from ct_keras.pipelines.runner import require_beam

    require_beam()
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    patterns = [pattern] if pattern.endswith("**") else [pattern, f"{pattern}/**"]
    try:
        matches = FileSystems.match(patterns)
    except (BeamIOError, OSError, ValueError) as error:
        raise CtKerasError(
            "CTK-E005",
            "the archive cannot be listed",
            received=type(error).__name__,
            fix="check the path; for gs://, s3:// and others install the extra of "
            "apache-beam",
        ) from error
    found = {each.path for match in matches for each in match.metadata_list}
    # A local folder that is named matches, too.
    files = (path for path in found if not (is_local(path) and Path(path).is_dir()))
    return sorted(path for path in files if _is_image(path))


def _is_image(path: str) -> bool:
    name = posixpath.basename(path)
    hidden = any(part.startswith(".") for part in path.split("/")[-2:])
    return not (hidden or name in _DOCUMENT_NAMES or name.lower().endswith(_DOCUMENTS))
