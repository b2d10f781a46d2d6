"""Waiting for processes as long as they work; a busy machine may stall them."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

#: Processes hang that together use less than half a second of a processor in this time,
STALLED_S = 120
#: or more than this in all.
MOST_PROCESSOR_S = 300


def wait_for(done: Callable[[], bool], processes: Sequence[subprocess.Popen]) -> None:
    """Waits until `done`; kills the processes and raises an error if they hang."""
    since, used = time.monotonic(), 0.0
    while True:
        ended = all(process.poll() is not None for process in processes)
        if done():
            return
        if ended:
            raise RuntimeError("the processes ended before it was done")
        now = sum(map(_processor_seconds, processes))
        if now > used + 0.5 or now < used:  # it is less after one has ended
            since, used = time.monotonic(), now
        if now > MOST_PROCESSOR_S or time.monotonic() > since + STALLED_S:
            for process in processes:
                process.kill()
            raise TimeoutError(f"no end after {now:.0f} s of a processor")
        time.sleep(0.05)


def errors_of(processes: Sequence[subprocess.Popen]) -> list[str]:
    """Waits until processes end; returns what each wrote to standard error."""
    texts: dict[int, str] = {}

    def all_ended() -> bool:
        for process in processes:
            if process.pid not in texts:
                try:
                    _, error = process.communicate(timeout=0.5)
                except subprocess.TimeoutExpired:
                    return False
                texts[process.pid] = error.decode()
        return True

    wait_for(all_ended, processes)
    return [texts[process.pid] for process in processes]


def _processor_seconds(process: subprocess.Popen) -> float:
    """What a process has used; 0 after its end."""
    try:
        fields = (
            Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        )
    except OSError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
