"""What the console script sets up in its own process before a command runs."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator

from ct_keras.cli.characters import PLAIN_ERRORS
from ct_keras.cli.output import note, nowhere
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import SHOW_PATHS_VARIABLE


class Stopped(BaseException):
    """The system asked the process to stop.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int):
        self.number = number
        super().__init__(number)

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        return f"stopped by {name}; no partial output was left"

    @property
    def exit_code(self) -> int:
        """What the shell gets, as from any program that a signal ends."""
        return 128 + self.number


def import_from_packages_only() -> None:
    """Lets worker processes import nothing from the working folder.

    Python looks there first, and a folder of data may hold a file such as json.py.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def open_standard_streams() -> None:
    """Leads standard streams that are closed to nowhere.

    Otherwise the next file that is opened takes their number, and what libraries print
    ends up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
    sys.stdout, sys.stderr = sys.stdout or nowhere(), sys.stderr or nowhere()


def stop_on_signals() -> None:
    """Lets SIGTERM and SIGHUP raise `Stopped`, so that partial output is removed.

    What was set to be ignored (nohup) stays ignored. A process that is forked from
    this one, and does not clean up for it, ends as usual.
    """
    owner = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)  # not again while it cleans up
        raise Stopped(number)

    named = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    numbers = [
        number
        for number in named
        if number is not None and signal.getsignal(number) == signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, stop)


def use_plain_characters() -> None:
    """Lets a terminal that cannot show a character show something like it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN_ERRORS)


def check_source_date() -> None:
    """Refuses a SOURCE_DATE_EPOCH that is not a time; NumPy ends the process for one.

    Raises:
        CtKerasError: CTK-E000.
    """
    if not os.environ.get("SOURCE_DATE_EPOCH"):
        os.environ.pop("SOURCE_DATE_EPOCH", None)
        return
    from ct_keras.dicom.provenance import source_date

    source_date()


def choose_backend() -> None:
    """Keras works with TensorFlow unless KERAS_BACKEND says otherwise.

    What keras.json says is meant for other programs: it may name what is not installed.

    Raises:
        CtKerasError: CTK-E093, if the backend that KERAS_BACKEND names is not there.
    """
    if os.path.expanduser("~") == "~":  # a user without a home
        folder = os.path.join(tempfile.gettempdir(), f"keras-{os.getuid()}")
        os.environ.setdefault("KERAS_HOME", folder)
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    known = ("tensorflow", "jax", "torch")
    if backend not in known or importlib.util.find_spec(backend) is None:
        raise CtKerasError(
            "CTK-E093",
            "the backend of Keras is not available",
            received=f"KERAS_BACKEND={backend}",
            expected="tensorflow, or jax or torch if installed",
            fix="set KERAS_BACKEND=tensorflow",
        )


def silence_libraries() -> None:
    """Keeps what TensorFlow's C++ code writes to standard error off the terminal.

    It greets with half a dozen lines about the processor before anything can be
    configured, and its Python code warns that many networks mean many traces. Python's
    other messages go on to where they went; --debug shows all.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    sys.stderr = os.fdopen(
        os.dup(2), "w", 1, encoding=sys.stderr.encoding, errors=PLAIN_ERRORS
    )
    unread = os.open(os.devnull, os.O_WRONLY)
    os.dup2(unread, 2)
    os.close(unread)


@contextlib.contextmanager
def private_and_logged(*, paths: bool = False) -> Iterator[None]:
    """Private output files, and plain log lines on standard error, for a command.

    Afterwards the process is as it was: a program that calls `main` keeps its own
    umask, environment and logging.

    Args:
        paths: Name files and folders by their paths.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(os.umask, os.umask(0o077))
        logger, root = logging.getLogger("ct_keras"), logging.getLogger()
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.INFO)
        lines = _PlainLines()
        root.addHandler(lines)
        undo.callback(root.removeHandler, lines)
        if paths:
            undo.callback(
                _set, SHOW_PATHS_VARIABLE, os.environ.get(SHOW_PATHS_VARIABLE)
            )
            os.environ[SHOW_PATHS_VARIABLE] = "1"
        yield


def _set(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


class _PlainLines(logging.Handler):
    """Prints records where standard error goes at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))
