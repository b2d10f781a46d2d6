"""What a result lacks: series that were refused, files that came too late."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from ct_keras.cli.output import note
from ct_keras.errors import ExitCode

_WATCHES, _MISSING, _WAIT = (
    f"ct_keras.{name}" for name in ("watches", "missing", "wait")
)

#: Waits before the command until its folders of DICOM files are complete.
wait_stable = click.option(
    "--wait-stable",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _, value: ctx.meta.update({_WAIT: value}),
    help="First wait until no more files arrive: two looks, 2 s apart, must agree.",
)


def watch(ctx: click.Context, paths: Iterable[Path]) -> None:
    """Looks at the folders of a command before it starts."""
    paths = list(paths)
    if not paths:
        return
    from ct_keras.inputs.folders import FolderWatch, wait_until_stable

    if ctx.meta.get(_WAIT):
        for path in paths:
            wait_until_stable(path, tell=lambda finding: note(str(finding)))
    ctx.meta[_WATCHES] = [FolderWatch(path) for path in paths]


def missing(refused: Iterable[str]) -> list[str]:
    """Records what the result of this command lacks, so that it ends with 8.

    Args:
        refused: The reasons that are known.

    Returns:
        Them and, after one more look at the folders, what came too late.
    """
    meta = click.get_current_context().meta
    found = [each for watch in meta.pop(_WATCHES, ()) for each in watch.changes()]
    for finding in found:
        note(str(finding))
    texts = [*refused, *(finding.text for finding in found)]
    meta[_MISSING] = [*meta.get(_MISSING, ()), *texts]
    return texts


def exit_code(status: object) -> object:
    """Returns 8 if the result of this command lacks something, or else the status."""
    missing(())
    lacks = click.get_current_context().meta[_MISSING]
    return ExitCode.PARTIAL if lacks and not status else status
