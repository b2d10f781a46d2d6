"""What all commands print, for a person or for a program.

Results go to standard output, everything else (findings, progress, log lines) to
standard error. With `--json` standard output holds one JSON document and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import click

from ct_keras.cli.characters import shown_on
from ct_keras.errors import CtKerasError


def emit_json(document: object) -> None:
    """Prints one JSON document to standard output."""
    text = json.dumps(document, indent=2, allow_nan=False)
    with _print_errors():
        click.echo(text)


def say(text: str) -> None:
    """Prints a line of the result for a person to standard output."""
    with _print_errors():
        click.echo(shown_on(sys.stdout, text))


def note(text: str) -> None:
    """Prints a line that is not part of the result to standard error.

    If nothing can be written there, as on a full disk, the command goes on: its status
    tells how it ended.
    """
    try:
        click.echo(shown_on(sys.stderr, text), err=True)
    except OSError:
        sys.stderr = nowhere()


def nowhere() -> TextIO:
    """Returns a stream in place of one that cannot be written.

    Python would flush that one again when it ends, and change the exit status.
    """
    return open(os.devnull, "w", encoding="utf-8")


def echo_findings(findings: Iterable) -> None:
    """Prints findings, one line each, to standard error."""
    for finding in findings:
        note(str(finding))


def echo_table(title: str, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Prints a table to standard output; the first column is left-aligned.

    Args:
        title: One line above it.
        columns: Headings.
        rows: As many cells each as there are headings; None is an empty cell.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # in a pipe or a log nothing is folded
    with _print_errors():
        console.print(table)


@contextlib.contextmanager
def _print_errors() -> Iterator[None]:
    """Turns a failed print to standard output into CTK-E073."""
    try:
        yield
    except OSError as error:
        sys.stdout = nowhere()
        raise CtKerasError(
            "CTK-E073",
            f"cannot print the result: {error.strerror or 'unknown reason'}",
            expected="a standard output that can be written",
            fix="what the command writes to OUT is complete; only the text is lost",
        ) from error


def public_command() -> str:
    """The command line for files that may be shared.

    The files and folders that it names go by what they are: ``--scans SCANS``. Of the
    path to a model the last part remains.
    """
    context = click.get_current_context(silent=True)
    given = context and context.find_root().obj
    words = sys.argv[1:] if given is None else given
    places = _places(context) if context else {}
    return shlex.join(["ct-keras", *(_public(word, places) for word in words)])


def _places(context: click.Context) -> dict[str, str]:
    """The paths of this call, as they were typed, and what stands for them."""
    from ct_keras.cli.paths import DeclaredPath, ModelText

    places = {}
    for param in context.command.params:
        kind, value = param.type, context.params.get(param.name)
        if not isinstance(kind, DeclaredPath) or isinstance(kind, ModelText):
            continue
        values = value if isinstance(value, tuple) else (value,)
        name = param.name.upper().replace("_", "-")
        places |= {os.path.normpath(each): name for each in values if each is not None}
    return places


def _public(word: str, places: dict[str, str]) -> str:
    """A word of the command; ``--out=/data/x`` keeps the name before the path."""
    name, equals, value = word.partition("=")
    if not equals or os.sep in name:
        name, equals, value = "", "", word
    if value and os.path.normpath(value) in places:
        return name + equals + places[os.path.normpath(value)]
    return name + equals + (Path(value).name if os.sep in value else value)
