"""Denoises or simulates an archive: item by item, resumable, with dead letters.

Every item gets a note when it is done, with what was refused in it. A run skips items
whose note names no refusal, and tries the others again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ct_keras
from ct_keras.errors import CtKerasError
from ct_keras.files import check_apart, folder_lock
from ct_keras.pipelines import storage
from ct_keras.pipelines.items import Item, find_items, is_local
from ct_keras.pipelines.runner import Runner, require_beam, run_on_each
from ct_keras.pipelines.tasks import Denoising, Simulation, known, letter


@dataclass(frozen=True)
class BatchResult:
    """The outcome of a batch.

    Attributes:
        items: Items of the archive.
        series: Series that are there now.
        slices: Their slices.
        letters: What was refused, as in dead-letters.jsonl.
    """

    items: int
    series: int
    slices: int
    letters: tuple[dict, ...]


def process_archive(
    task: Denoising | Simulation,
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    runner: Runner | None = None,
) -> BatchResult:
    """Runs a task on every item of an archive.

    Args:
        task: What is done with each series.
        source: See `ct_keras.pipelines.items.find_items`.
        out: The folder of the results, on any file system of Beam that all workers see:
            each under the name of its item, and dead-letters.jsonl. Repeating a call
            goes on with an interrupted one and tries again what was refused.
        runner: By default the DirectRunner in this process.

    Returns:
        The outcome; a refused series stops no other.

    Raises:
        CtKerasError: CTK-E093, if Beam is not installed; CTK-E001 or E005 for the
            source; CTK-E071, if `out` belongs to another call or lies in the source;
            CTK-E121, if the pipeline fails; the errors of the task's settings.
    """
    require_beam()
    out = os.fspath(out)
    items = find_items(source)
    check_places(items, out)
    task.check()
    settings = {"task": type(task).__name__.lower(), **asdict(task)}
    with begun(out, settings):
        missing = [item for item in items if not _is_done(out, item)]
        work = functools.partial(_work_on, task=task, out=out)
        run_on_each(work, missing, runner or Runner())
        return _finish(out, items)


def _work_on(item: Item, *, task: Denoising | Simulation, out: str) -> None:
    """Works on one item and writes its note; runs in a worker."""
    try:
        with (
            storage.local_source(item) as source,
            storage.local_result(out, item) as place,
        ):
            report = asdict(task(source, place))
    except Exception as error:
        report = {"series": 0, "slices": 0, "letters": [letter(known(error))]}
    storage.write_document(storage.note_of(out, item), {"item": item.name, **report})


def _is_done(out: str, item: Item) -> bool:
    note = storage.read_document_at(storage.note_of(out, item))
    if not isinstance(note, dict) or note.get("letters", True):
        return False
    return not is_local(out) or (Path(out) / item.name).exists()


def _finish(out: str, items: Sequence[Item]) -> BatchResult:
    notes = [storage.read_document_at(storage.note_of(out, item)) for item in items]
    letters = tuple(
        {"item": note["item"], **each} for note in notes for each in note["letters"]
    )
    write_letters(out, letters)
    return BatchResult(
        items=len(items),
        series=sum(note["series"] for note in notes),
        slices=sum(note["slices"] for note in notes),
        letters=letters,
    )


def write_letters(out: str, letters: Sequence[dict]) -> None:
    """Writes dead-letters.jsonl: a JSON object in each line."""
    lines = [json.dumps(each) + "\n" for each in letters]
    storage.write(storage.join(out, storage.DEAD_LETTERS), "".join(lines))


def check_places(items: Sequence[Item], out: str) -> None:
    """Refuses results in or around the archive (CTK-E071)."""
    if not is_local(out):
        return
    for item in items:
        if is_local(item.path):
            check_apart([("out", out)], [("source", item.path)])


@contextlib.contextmanager
def begun(out: str, settings: dict) -> Iterator[None]:
    """Holds the folder of the results, which must belong to the same call (CTK-E071).

    Args:
        out: The folder.
        settings: Of the call; a file of them stays in the folder.
    """
    lock = contextlib.nullcontext()
    if is_local(out):
        Path(out).mkdir(parents=True, exist_ok=True)
        lock = folder_lock(Path(out))
    settings = json.loads(json.dumps(settings | {"ct_keras": ct_keras.__version__}))
    with lock:
        path = storage.join(out, storage.NOTES, storage.SETTINGS)
        earlier = storage.read_document_at(path)
        filled = is_local(out) and any(
            not each.name.startswith(".") for each in Path(out).iterdir()
        )
        if earlier != settings and (earlier is not None or filled):
            raise CtKerasError(
                "CTK-E071",
                "the folder of the results does not belong to this call",
                received="other content" if earlier is None else "other settings",
                expected="a new folder, or the settings of the call that began it",
                fix="choose another folder",
            )
        storage.write_document(path, settings)
        yield
