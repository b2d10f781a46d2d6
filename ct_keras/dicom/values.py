"""Strict reading of single header values.

pydicom returns whatever the file contains: text in place of a number, one value in
place of two, or nothing. These functions return a valid Python value or None.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager

from pydicom.dataset import Dataset

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_DAYS = {"D": 1, "W": 7, "M": 365.25 / 12, "Y": 365.25}


class _Silence:
    """Catches the warnings of all threads that asked for it, each into its own list.

    Python restores the display of warnings for all threads at once, whenever any of
    them leaves a block of `warnings.catch_warnings`: TensorFlow's may end while another
    thread reads headers. So what keeps warnings back stays installed after its first
    use, and hands on those of threads that did not ask.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._threads = 0
        self._mine = threading.local()
        self._undo = contextlib.ExitStack()

    @contextlib.contextmanager
    def keep(self) -> Iterator[list[warnings.WarningMessage]]:
        """Collects the warnings of this thread until the block ends."""
        lists = self._mine.__dict__.setdefault("lists", [])
        lists.append([])
        self._begin()
        try:
            yield lists[-1]
        finally:
            self._end()
            lists.pop()

    def _begin(self) -> None:
        with self._lock:
            self._install()
            self._threads += 1
            if self._threads > 1:
                return
            logger = logging.getLogger("pydicom")
            self._undo.callback(setattr, logger, "disabled", logger.disabled)
            logger.disabled = True
            self._undo.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always")

    def _end(self) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._undo.close()

    def _install(self) -> None:
        show = warnings.showwarning
        if getattr(show, "collects", None) is not self._mine:
            collect = functools.partial(self._collect, show)
            collect.collects = self._mine
            warnings.showwarning = collect

    def _collect(self, show, message, category, filename, lineno, *rest) -> None:
        lists = getattr(self._mine, "lists", None)
        if not lists:
            show(message, category, filename, lineno, *rest)
            return
        caught = warnings.WarningMessage(message, category, filename, lineno, *rest)
        lists[-1].append(caught)


_SILENCE = _Silence()


def quiet_pydicom() -> AbstractContextManager[list[warnings.WarningMessage]]:
    """Collects pydicom's warnings, whose texts may hold header values.

    Several threads may do so at the same time.

    Returns:
        A context manager that gives the warnings of this thread so far. Count them,
        never print them.
    """
    return _SILENCE.keep()


def values(dataset: Dataset, keyword: str) -> list:
    """Returns the values of an element as a list, empty if it is absent or empty."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom raises many types for values that break their VR
        return []
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Returns exactly `count` finite numbers, else None."""
    found = values(dataset, keyword)
    if len(found) != count:
        return None
    try:
        result = tuple(float(value) for value in found)
    except (TypeError, ValueError):
        return None
    if any("_" in str(getattr(value, "original_string", "")) for value in found):
        return None  # Python reads 1_0 as 10
    return result if all(math.isfinite(value) for value in result) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """Returns one finite number, else None."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def within(
    found: tuple[float, ...] | None, most: float, least: float = 0.0
) -> tuple[float, ...] | None:
    """Returns numbers whose magnitudes are all from `least` to `most`, else None.

    What no scanner can mean is as good as missing.
    """
    if found is None or not all(least <= abs(value) <= most for value in found):
        return None
    return found


def bounded(dataset: Dataset, keyword: str, most: float) -> float | None:
    """Returns one number of a magnitude up to `most`, else None."""
    found = within(numbers(dataset, keyword, 1), most)
    return found[0] if found else None


def amount(dataset: Dataset, keyword: str, most: float) -> float | None:
    """Returns one number from 0 to `most` of what cannot be negative, else None."""
    found = bounded(dataset, keyword, most)
    return None if found is None or found < 0 else found


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Returns one whole number, else None."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value == int(value) else None


def text(dataset: Dataset, keyword: str) -> str | None:
    r"""Returns the stripped text of an element, several values joined by ``\``."""
    joined = "\\".join(str(value).strip() for value in values(dataset, keyword))
    return joined or None


def terms(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Returns the values of an element for comparison: upper case, stripped.

    Many writers deviate in both from the defined terms of the standard.
    """
    return tuple(str(value).strip().upper() for value in values(dataset, keyword))


def term(dataset: Dataset, keyword: str) -> str:
    r"""Returns `terms` as one text, several values joined by ``\``."""
    return "\\".join(terms(dataset, keyword))


def age_years(dataset: Dataset) -> float | None:
    """Returns PatientAge (such as ``049Y`` or ``018M``) in years, else None."""
    found = _AGE.fullmatch(term(dataset, "PatientAge"))
    return int(found[1]) * _DAYS[found[2]] / _DAYS["Y"] if found else None
