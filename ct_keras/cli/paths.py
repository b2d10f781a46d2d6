"""Paths of a command: each is declared as read or as written, and checked as such.

A `SafeCommand` looks at all of its paths before it starts: no output may lie in or
around an input or another output, and only what ct_keras wrote is replaced. So a
command declares its paths by the types below and checks nothing by itself. A MODEL
counts as an input where it is a file or folder.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ct_keras.cli import partial
from ct_keras.errors import CtKerasError


class DeclaredPath(click.ParamType):
    """A parameter that may name places on the disk.

    Attributes:
        watched: Whether a change of its inputs during the command is told.
    """

    name = "path"
    watched = False

    def convert(self, value, param, ctx) -> Path:
        """The text as a path; a variable without a value is not the current folder."""
        if value == "":
            self.fail("an empty text is not a path", param, ctx)
        return Path(value)

    def inputs(self, values: Sequence, given: dict) -> list[Path]:
        """Those of the values that are read; `given` holds all parameters."""
        return []

    def outputs(self, values: Sequence, given: dict) -> list[Path]:
        """Those of the values that are written."""
        return []


class InputPath(DeclaredPath):
    """A file or folder that is read."""

    def inputs(self, values, given) -> list[Path]:
        """All of them."""
        return list(values)


class SeriesPath(InputPath):
    """A folder of DICOM files, which may still be filling, or a file."""

    watched = True


class OutputFolder(DeclaredPath):
    """A folder that is written.

    Args:
        kind: What it will be; see `ct_keras.files.marker`.
        resumable: Whether it may hold something, which the command looks at.
    """

    def __init__(self, kind: str, *, resumable: bool = False):
        self.kind = kind
        self.resumable = resumable

    def outputs(self, values, given) -> list[Path]:
        """All of them."""
        return list(values)

    def check(self, path: Path, given: dict) -> None:
        """Refuses a place that must not be written; `given` holds all parameters.

        Raises:
            CtKerasError: CTK-E071, E073.
        """
        from ct_keras.files import check_output_folder

        check_output_folder(
            path,
            overwrite=given.get("overwrite", False),
            kind=self.kind,
            resumable=self.resumable,
        )


class OutputScan(OutputFolder):
    """A folder for DICOM series, or a file like the file `source`."""

    def __init__(self):
        super().__init__("series")

    def check(self, path, given) -> None:
        """For a file also CTK-E000, if it is not of the format of the source."""
        from ct_keras.containers import check_output_file, is_volume_file

        if is_volume_file(given["source"]):
            overwrite = given.get("overwrite", False)
            check_output_file(path, given["source"], overwrite=overwrite)
        else:
            super().check(path, given)


class ModelText(DeclaredPath):
    """MODEL: a name, or a run or file, which is then read."""

    name = "text"

    def convert(self, value, param, ctx) -> str:
        """The text itself."""
        super().convert(value, param, ctx)
        return value

    def inputs(self, values, given) -> list[Path]:
        """Those that lie on the disk, unless they are names of published weights."""
        there = [text for text in values if ":" not in text and _exists(text)]
        if not there:
            return []
        from ct_keras.denoising import list_published

        return [Path(text) for text in there if text not in list_published()]


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a name that is too long
        return False


class SafeCommand(click.Command):
    """A command that first refuses outputs which could damage something.

    It ends with 8 if a folder of DICOM files changed while it ran.
    """

    def invoke(self, ctx: click.Context) -> object:
        """Checks the paths, then runs the command."""
        self.check_places(ctx.params)
        watched = [
            path
            for _, kind, values in self._declared(ctx.params)
            if kind.watched
            for path in kind.inputs(values, ctx.params)
        ]
        partial.watch(ctx, watched)
        return partial.exit_code(super().invoke(ctx))

    def check_places(self, given: dict) -> None:
        """Checks all paths of a call.

        Raises:
            CtKerasError: CTK-E000, CTK-E071.
        """
        from ct_keras.files import check_apart

        inputs, outputs = [], []
        for label, kind, values in self._declared(given):
            inputs += [(label, path) for path in kind.inputs(values, given)]
            outputs += [(label, path) for path in kind.outputs(values, given)]
        for _, path in (*inputs, *outputs):
            _check_name(path)
        check_apart(outputs, inputs)
        for _, kind, values in self._declared(given):
            for path in kind.outputs(values, given):
                kind.check(path, given)

    def _declared(self, given: dict) -> Iterator[tuple[str, DeclaredPath, Sequence]]:
        for param in self.params:
            value = given.get(param.name)
            if isinstance(param.type, DeclaredPath) and value is not None:
                several = isinstance(value, tuple)
                yield _label(param), param.type, value if several else (value,)


def _check_name(path: Path) -> None:
    """Refuses what no file can be called."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise CtKerasError(
                "CTK-E000",
                "a path is longer than the system allows",
                received=f"{max(len(os.fsencode(part)) for part in path.parts)} bytes",
                expected="at most 255 bytes in each name",
            ) from error


def _label(param: click.Parameter) -> str:
    """The name of a parameter in help: --qc, or OUT."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.human_readable_name.removesuffix("...")


command = functools.partial(click.command, cls=SafeCommand)
