"""Runs decoders in a process of their own: damaged data may crash or stall them.

One process serves all decoding of its parent and ends with it. It takes requests from
standard input: the length of a JSON document, the document, the compressed frame. It
answers with one byte and the length of the pixels, and the pixels.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

#: Seconds for one frame; a large one takes less than one.
TIME_LIMIT_S = 30.0
#: Address space that decoding may take; 4096 x 4096 pixels take a third of it.
_MEMORY_BYTES = 2**30
_LENGTHS = struct.Struct("<IQ")
_ANSWER = struct.Struct("<?Q")
_SOURCE = Path(__file__).resolve().parents[2]
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from ct_keras.codecs import decoders, process; "
    "process.serve(decoders.decode_here)"
)
#: What libjpeg says on standard error when it goes on with invented pixels. A few bytes
#: too many behind the image are harmless.
_DAMAGE = re.compile(rb"Corrupt JPEG data(?!: \d{1,3} extraneous bytes)")


class DecodingError(Exception):
    """The frame cannot be decoded.

    Attributes:
        stalled: Whether the decoder took too long.
    """

    def __init__(self, *, stalled: bool = False):
        self.stalled = stalled
        super().__init__(stalled)


class _Server:
    """The process, started when it is needed, again after a crash."""

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Starts anew, without ending the process: after a fork it is the parent's."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None

    def decode(self, data: bytes, options: dict) -> bytes:
        """Returns the decoded pixels; see `decode_apart`."""
        with self._lock:
            process = self._running()
            expired = threading.Event()
            timer = threading.Timer(TIME_LIMIT_S, self._expire, (process, expired))
            timer.start()
            try:
                return _ask(process, data, options)
            except DecodingError:
                raise
            except (OSError, EOFError) as error:
                self.stop()
                raise DecodingError(stalled=expired.is_set()) from error
            except BaseException:  # the answer would be taken for the next one
                self.stop()
                raise
            finally:
                timer.cancel()

    def _running(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            paths = [*filter(None, sys.path), str(_SOURCE)]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, *paths],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the parent
            )
        return self._process

    def _expire(self, process: subprocess.Popen, expired: threading.Event) -> None:
        expired.set()
        process.kill()

    def stop(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()


_SERVER = _Server()
atexit.register(_SERVER.stop)
if hasattr(os, "register_at_fork"):  # not on every system
    os.register_at_fork(after_in_child=_SERVER.forget)


def decode_apart(data: bytes, options: dict) -> bytes:
    """Decodes one frame in the other process.

    Args:
        data: The compressed frame.
        options: Arguments of `decoders.decode_here`, ready for JSON.

    Returns:
        The pixels as bytes.

    Raises:
        DecodingError: The decoder refuses, crashes, invents pixels or takes too long.
    """
    return _SERVER.decode(data, options)


def _ask(process: subprocess.Popen, data: bytes, options: dict) -> bytes:
    document = json.dumps(options).encode()
    process.stdin.write(_LENGTHS.pack(len(document), len(data)))
    process.stdin.write(document)
    process.stdin.write(data)
    process.stdin.flush()
    decoded, length = _ANSWER.unpack(_read(process.stdout, _ANSWER.size))
    pixels = _read(process.stdout, length)
    if not decoded:
        raise DecodingError
    return pixels


def _read(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def serve(decode: Callable[[bytes, dict], bytes]) -> None:
    """Answers requests until standard input ends; runs in the other process.

    Args:
        decode: Takes a frame and options, returns pixels; may raise anything.
    """
    _limit_memory()
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    with tempfile.TemporaryFile() as messages:
        for stream in (1, 2):  # C libraries write to both
            os.dup2(messages.fileno(), stream)
        with contextlib.suppress(EOFError):
            while True:
                sizes = _LENGTHS.unpack(_read(requests, _LENGTHS.size))
                options, data = (_read(requests, size) for size in sizes)
                pixels = _try(decode, data, json.loads(options), messages)
                answers.write(_ANSWER.pack(pixels is not None, len(pixels or b"")))
                answers.write(pixels or b"")
                answers.flush()


def _try(
    decode: Callable[[bytes, dict], bytes], data: bytes, options: dict, messages
) -> bytes | None:
    """The pixels, None if the decoder fails or says that they are invented."""
    messages.seek(0)
    messages.truncate()
    try:
        pixels = decode(data, options)
    except Exception:  # decoders raise many types
        return None
    messages.seek(0)
    return None if _DAMAGE.search(messages.read(2**16)) else pixels


def _limit_memory() -> None:
    """Limits what may be added to the address space of the libraries, on Linux."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
