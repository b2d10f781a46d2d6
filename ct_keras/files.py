"""Files that appear whole or not at all.

Whatever the package writes goes to a temporary name in the target's own folder, is
flushed to the disk and then renamed. A kill or a full disk leaves the old state, plus
at most something named ``.ctk-tmp-*``.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ct_keras.errors import CtKerasError

TEMPORARY_PREFIX = ".ctk-tmp-"


def sha256_of(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def write_errors(target: str | os.PathLike) -> Iterator[None]:
    """Turns a failed write into CTK-E073 that names the reason.

    Args:
        target: What was being written; only its name is printed.

    Raises:
        CtKerasError: CTK-E073, disk full or permission denied.
    """
    try:
        yield
    except OSError as error:
        reasons = {errno.ENOSPC: "disk full", errno.EDQUOT: "quota reached"}
        reason = reasons.get(error.errno, error.strerror or "unknown reason")
        raise CtKerasError(
            "CTK-E073",
            f"cannot write: {reason}, nothing was kept",
            received=Path(target).name,
            fix="free space or choose another output path",
        ) from error


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path that becomes `path` when the block ends well.

    Raises:
        CtKerasError: CTK-E073, if the file cannot be written.
    """
    path = Path(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path.parent, path.suffix)
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a whole UTF-8 text file, or leaves the old one."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Reads a CSV with a head line in UTF-8, UTF-16 or Latin-1.

    Raises:
        CtKerasError: CTK-E005, if it cannot be read or is not text.
    """
    try:
        data = Path(path).read_bytes()
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        for encoding in ("utf-16",) if marked else ("utf-8-sig", "latin-1"):
            with contextlib.suppress(UnicodeDecodeError):
                text = data.decode(encoding)
                break
        else:
            raise ValueError("not text")
        if "\0" in text:
            raise ValueError("not text")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise CtKerasError(
            "CTK-E005",
            "cannot read a table",
            received=Path(path).name,
            expected="a CSV in UTF-8, UTF-16 or Latin-1",
        ) from error


def check_output_folder(
    path: str | os.PathLike,
    *,
    inputs: tuple[str | os.PathLike, ...] = (),
    overwrite: bool = False,
) -> Path:
    """Refuses an output folder that could harm something.

    Args:
        path: Where the output shall go.
        inputs: Folders that are read; the output may not lie in one of them.
        overwrite: Whether a folder with content may be replaced.

    Returns:
        The path, absolute.

    Raises:
        CtKerasError: CTK-E071, if it is a file, not empty, or inside an input, or if
            an input lies inside it.
    """
    path = Path(path).absolute()
    for folder in inputs:
        source = Path(folder).resolve()
        if path.resolve().is_relative_to(source) and source.is_dir():
            problem = "the output folder lies inside the input"
        elif source.is_relative_to(path.resolve()):
            problem = "the input lies inside the output folder"
        else:
            continue
        raise CtKerasError(
            "CTK-E071", problem, received=path.name, fix="choose a folder elsewhere"
        )
    if path.is_dir():
        filled = any(True for _ in path.iterdir())
        if filled and not overwrite:
            raise CtKerasError(
                "CTK-E071",
                "the output folder is not empty",
                received=path.name,
                expected="a new or empty folder",
                fix="choose another folder or pass --overwrite",
            )
    elif path.exists():
        raise CtKerasError(
            "CTK-E071",
            "the output path is a file",
            received=path.name,
            expected="a new or empty folder",
        )
    return path


@contextlib.contextmanager
def atomic_folder(
    path: str | os.PathLike,
    *,
    inputs: tuple[str | os.PathLike, ...] = (),
    overwrite: bool = False,
) -> Iterator[Path]:
    """Yields a temporary folder that becomes `path` when the block ends well.

    Args:
        path: The folder to make; see `check_output_folder` for the refusals.
        inputs: Folders that are read while it is written.
        overwrite: Whether a folder with content is replaced as a whole.

    Raises:
        CtKerasError: CTK-E071, if the path is refused; CTK-E073, if it cannot be
            written.
    """
    path = check_output_folder(path, inputs=inputs, overwrite=overwrite)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_name(path.parent)
        temporary.mkdir()
        try:
            yield temporary
            for file in sorted(temporary.rglob("*")):
                _sync(file)
            _sync(temporary)
            _swap_in(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary_name(folder: Path, suffix: str = "") -> Path:
    return folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{suffix}"


def _swap_in(temporary: Path, path: Path) -> None:
    """Puts a finished folder in the place of `path`, whatever was there."""
    if path.is_dir() and any(path.iterdir()):
        old = _temporary_name(path.parent)
        os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: str | os.PathLike) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
