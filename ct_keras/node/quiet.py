"""Keeps out of the log what the libraries say, which may hold header values."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def no_header_values() -> Iterator[None]:
    """Silences pydicom and pynetdicom in all threads until the block ends.

    A thread that ends by an exception, as those of pynetdicom do when a peer breaks its
    protocol, leaves one line with the kind of it.
    """
    with contextlib.ExitStack() as undo:
        for name in ("pydicom", "pynetdicom"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        # For threads without a silence of their own, while another thread has one.
        warnings.showwarning = _say_nothing
        undo.callback(setattr, threading, "excepthook", threading.excepthook)
        threading.excepthook = _name_kind
        yield


def _say_nothing(*_, **__) -> None:
    """Shows no warning."""


def _name_kind(arguments: threading.ExceptHookArgs) -> None:
    kind = arguments.exc_type.__name__
    _LOG.warning("CTK-W111 a connection has ended unexpectedly: %s", kind)
