"""Feeds broken files to ct_keras: success or CtKerasError, quickly, in little memory.

    python tools/fuzz.py [--inputs 100000] [--seed 0] [--kinds series,volume,...]
                         [--out fuzz-findings]

Each input is read in a process with limits of its own, which goes on to the next one;
what ends it, takes longer or more memory, raises anything else than a `CtKerasError`,
warns, or gives a result that silently lacks something is a finding. Its file is kept
under OUT, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from fuzz_inputs import Bent, bend
from fuzz_targets import TARGETS

from ct_keras.errors import CtKerasError
from ct_keras.progress import track

logger = logging.getLogger("fuzz")

#: Processor time for one input; a busy machine may take far longer for it.
LONGEST_S = 30
#: Python ends a slow input itself; what does not return to Python is killed.
_KILLED_AFTER_S = 20 * LONGEST_S
_STARTS_WITHIN_S = 600
MOST_BYTES = 2 * 2**30
_SELF, _ENDED = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
_PEAK = re.compile(r"VmHWM:\s+(\d+)")


def judge(target, bent: Bent, number: int) -> tuple[str, str | None]:
    """Runs one input.

    Returns:
        What became of it, and the reason if that is a finding.
    """
    before, started = _peak_bytes(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            outcome, reason = target.check(bent, number), None
    except CtKerasError as error:
        outcome, reason = error.code, None
        if "\n" in str(error):
            reason = "an error of several lines"
    except Exception as error:
        outcome, reason = "finding", f"{type(error).__name__}: {error}"
    if time.process_time() - started > LONGEST_S:
        reason = f"more than {LONGEST_S} s"
    if _peak_bytes() - before > MOST_BYTES:
        reason = f"{(_peak_bytes() - before) / 2**30:.1f} GiB"
    return "finding" if reason else outcome, reason


def _peak_bytes() -> int:
    """The largest memory of this process and of those it started so far."""
    peaks = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread may have ended
            started = children.read_text().split()
            peaks += [peak for child in started for peak in _peaks_kib(child)]
    return max(peaks) * 1024


def _peaks_kib(process: str) -> list[int]:
    """The largest memory of a process, nothing if it has ended."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text()
        return [int(text) for text in _PEAK.findall(status)]
    return []


def work(kind: str, seed: int, numbers, out: Path) -> None:
    """The process with limits: judges the inputs and prints a line of JSON for each.

    The file of each is in OUT while it is judged, and stays if it is a finding.
    """

    def late(*_):
        raise TimeoutError(f"more than {LONGEST_S} s")

    signal.signal(signal.SIGPROF, late)
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[kind](Path(folder))
        used = (
            int(Path("/proc/self/statm").read_text().split()[0])
            * resource.getpagesize()
        )
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MOST_BYTES,) * 2)
        for number in numbers:
            bent = bend(target.samples, seed, number, head=target.head)
            kept = out / name_of(kind, seed, number)
            kept.write_bytes(bent.content)
            _say(number, None, [bent.sample, bent.file])
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            outcome, reason = judge(target, bent, number)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if reason is None:
                kept.unlink()
            _say(number, outcome, reason)


def name_of(kind: str, seed: int, number: int) -> str:
    """The name of the file of a finding."""
    return f"{kind}-{seed}-{number}"


def _say(number: int, outcome: str | None, what: object) -> None:
    sys.stdout.write(json.dumps([number, outcome, what]) + "\n")
    sys.stdout.flush()


def run(kind: str, inputs: int, seed: int, out: Path):
    """Yields (number, outcome, reason) of each input; restarts what an input ended.

    Of a finding, OUT gets the reason beside the file that the other process left.
    """
    out.mkdir(parents=True, exist_ok=True)
    number = 0
    while number < inputs:
        command = [sys.executable, __file__, "--worker", kind, str(seed)]
        command += [str(number), str(inputs), str(out)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        begun, place = number, None
        while True:
            patience = _STARTS_WITHIN_S if place is None else _KILLED_AFTER_S
            ready, _, _ = select.select([process.stdout], [], [], patience)
            line = process.stdout.readline() if ready else ""
            if not line:
                break
            number, outcome, what = json.loads(line)
            if outcome is None:
                place = what
                continue
            if what is not None:
                explain(out / name_of(kind, seed, number), place, what)
            yield number, outcome, what
            number, place = number + 1, None
        process.kill()
        process.wait()
        if place is not None:
            how = f"ended with {process.returncode}" if ready else "did not return"
            reason = f"the process {how}"
            explain(out / name_of(kind, seed, number), place, reason)
            yield number, "finding", reason
            number += 1
        elif number == begun and number < inputs:
            raise RuntimeError("the process with limits does not start")


def explain(path: Path, place: list[int], reason: str) -> None:
    """Writes the reason of a finding beside its file."""
    facts = {"sample": place[0], "file": place[1], "reason": reason}
    path.with_name(f"{path.name}.json").write_text(json.dumps(facts, indent=1) + "\n")


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (_SELF, _ENDED)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    """Returns 1 if there are findings."""
    if sys.argv[1:2] == ["--worker"]:
        kind, seed, start, stop, out = sys.argv[2:]
        work(kind, int(seed), range(int(start), int(stop)), Path(out))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(TARGETS))
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    findings = 0
    for kind in given.kinds.split(","):
        started, counts = _processor_s(), Counter()
        results = run(kind, given.inputs, given.seed, given.out)
        try:
            for number, outcome, reason in track(results, kind, total=given.inputs):
                counts[outcome] += 1
                if reason:
                    findings += 1
                    logger.warning("%s %d: %s", kind, number, reason.splitlines()[0])
        except KeyboardInterrupt:
            logger.warning("stopped")
        minutes = (_processor_s() - started) / 60
        shown = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        logger.info(
            "%s: %d inputs in %.1f CPU minutes: %s",
            *(kind, counts.total(), minutes, shown),
        )
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
