"""Reads items from, and publishes results to, local and other file systems.

Local results are written in place, atomically. Those for another file system are made
in a temporary folder and copied; what counts as finished is told by a note that is
written last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from ct_keras.files import write_errors
from ct_keras.pipelines.items import Item, is_local

#: Where the folder of results keeps its notes.
NOTES = "_batch"
SETTINGS, DEAD_LETTERS = "settings.json", "dead-letters.jsonl"


def join(folder: str, *names: str) -> str:
    """A path below a folder of any file system."""
    return posixpath.join(folder, *names)


def note_of(out: str, item: Item) -> str:
    """The path of the note on an item."""
    digest = hashlib.sha256(item.name.encode()).hexdigest()
    return join(out, NOTES, "items", f"{digest[:40]}.json")


@contextlib.contextmanager
def local_source(item: Item) -> Iterator[Path]:
    """The item on the local file system; a copy, if it lies elsewhere."""
    if is_local(item.path):
        yield Path(item.path)
        return
    with tempfile.TemporaryDirectory(prefix="ct-keras-") as folder:
        place = Path(folder) / posixpath.basename(item.path)
        if item.files == (item.path,):
            _fetch(item.path, place)
        else:
            place.mkdir()
            for file in item.files:
                _fetch(file, place / posixpath.basename(file))
        yield place


@contextlib.contextmanager
def local_result(out: str, item: Item) -> Iterator[Path]:
    """Where to write the result of an item; it is copied afterwards if need be."""
    if is_local(out):
        place = Path(out) / item.name
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="ct-keras-") as folder:
        place = Path(folder) / posixpath.basename(item.name)
        yield place
        for file in [place, *place.rglob("*")]:
            if file.is_file():
                below = file.relative_to(place).as_posix()
                _publish(file, posixpath.normpath(join(item.name, below)), out)


def write_document(path: str, document: object) -> None:
    """Writes JSON, completely or not at all."""
    write(path, json.dumps(document, indent=1, sort_keys=True) + "\n")


def write(path: str, text: str) -> None:
    """Writes a text, completely or not at all."""
    if is_local(path):
        # A runner may work on an item twice at once: the last one stands.
        place = Path(path)
        own = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        with write_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(text, encoding="utf-8")
            os.replace(own, place)
        return
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path) as file:
        file.write(text.encode())


def read_document_at(path: str) -> object:
    """Returns the JSON of a file, or None if it is not there or damaged."""
    try:
        return json.loads(read(path))
    except (OSError, ValueError):
        return None


def read(path: str) -> str:
    """Returns a text.

    Raises:
        OSError: If it cannot be read.
    """
    if is_local(path):
        return Path(path).read_text(encoding="utf-8")
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(path) as file:
        return file.read().decode()


def _fetch(path: str, place: Path) -> None:
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(path) as source, place.open("wb") as target:
        shutil.copyfileobj(source, target)


def _publish(file: Path, name: str, out: str) -> None:
    from apache_beam.io.filesystems import FileSystems

    with file.open("rb") as source, FileSystems.create(join(out, name)) as target:
        shutil.copyfileobj(source, target)
