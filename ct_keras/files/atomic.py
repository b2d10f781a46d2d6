"""Atomic writing of files and folders.

Output is written to a workspace next to its target, flushed to the disk and then
renamed. After a kill or with a full disk, the old state remains;
`ct_keras.files.workspace` describes what else is left, and when it is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ct_keras.files.failures import read_write_errors, write_errors
from ct_keras.files.marker import write_marker
from ct_keras.files.paths import check_output_folder
from ct_keras.files.swap import must_stay, swap_in
from ct_keras.files.workspace import open_workspace


def sha256_of(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path that becomes `path` if the block ends without an error.

    Raises:
        CtKerasError: CTK-E073, if the file cannot be written; CTK-E005, if another file
            cannot be read inside the block.
    """
    path = Path(path).absolute()
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace = open_workspace(path, shared=True)
    with contextlib.closing(workspace):
        temporary = workspace.new / f"file{path.suffix}"
        with read_write_errors(path, workspace.path):
            temporary.touch()
            yield temporary
        with write_errors(path):
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)


@contextlib.contextmanager
def only_writer(path: str | os.PathLike) -> Iterator[None]:
    """Locks an output file against other runs, for all of the work on it.

    `atomic_file` alone lets the last of several writers win.

    Raises:
        CtKerasError: CTK-E071, if a running process holds the lock; CTK-E073, if
            nothing can be written there.
    """
    path = Path(path).absolute()
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace = open_workspace(path)
    with contextlib.closing(workspace):
        yield


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file, or leaves the old one unchanged."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_texts(folder: str | os.PathLike, texts: Mapping[str, str]) -> None:
    """Writes several UTF-8 text files, or none if the disk cannot hold all.

    Args:
        folder: The folder; other files in it are kept.
        texts: File name -> text.

    Raises:
        CtKerasError: CTK-E073, if they cannot be written.
    """
    folder = Path(folder).absolute()
    with write_errors(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(
                open_workspace(folder / "texts", shared=True)
            ) as workspace:
                for name, text in texts.items():
                    (workspace.new / name).write_text(text, encoding="utf-8")
                    sync(workspace.new / name)
                for name in texts:
                    os.replace(workspace.new / name, folder / name)
            sync(folder)
        except OSError:
            if made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike,
    *,
    inputs: Iterable[str | os.PathLike] = (),
    overwrite: bool = False,
    kind: str = "folder",
) -> Iterator[Path]:
    """Yields a temporary folder that becomes `path` if the block ends without an error.

    During the block no other process can write the same folder. A link is followed; a
    mount point is kept and filled at the end.

    Args:
        path: The folder to write; see `check_output_folder` for the refusals.
        inputs: The inputs that are read meanwhile.
        overwrite: Whether to replace a folder of the same kind that ct_keras wrote.
        kind: The kind of output, such as "series", which the marker records.

    Raises:
        CtKerasError: CTK-E071, if the path is refused, at the beginning or at the end;
            CTK-E073, if it cannot be written; CTK-E005, if another file cannot be read
            inside the block.
    """
    options = {"overwrite": overwrite, "kind": kind}
    target = check_output_folder(path, inputs=inputs, **options).resolve()
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        workspace = open_workspace(target, inside=must_stay(target))
    with contextlib.closing(workspace):
        check_output_folder(target, **options)  # checked again, now that it is locked
        with read_write_errors(target, workspace.path):
            yield workspace.new
        with write_errors(target):
            write_marker(workspace.new, kind)
            for file in sorted(workspace.new.rglob("*")):
                sync(file)
            sync(workspace.new)
            swap_in(workspace, target, kind, overwrite=overwrite)
            sync(target.parent)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
