"""Feeds broken files to ct_keras: success or CtKerasError, quickly, in little memory.

    python tools/fuzz.py [--inputs 100000] [--seed 0] [--kinds series,records,model]
                         [--out fuzz-findings]

Each input is read in a process with limits of its own, which goes on to the next one;
what ends it, takes longer or more memory, raises anything else than a `CtKerasError`,
warns, or gives a result that silently lacks something is a finding. Its file is kept
under OUT, with the reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_inputs import SLICES, SYNTAXES, Bent, bend, make_series

from ct_keras.errors import CtKerasError
from ct_keras.progress import track

logger = logging.getLogger("fuzz")

KINDS = ("series", "records", "model")
LONGEST_S = 30
#: Python ends a slow input itself; what does not return to Python is killed.
_KILLED_AFTER_S = 2 * LONGEST_S
MOST_BYTES = 2 * 2**30
#: Share of the series that are written too and read back.
_WRITTEN = 0.25


class Series:
    """A series of which one file is bent: read, written, read back."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.samples, self.hu = [], []
        for number, syntax in enumerate(SYNTAXES):
            sample = folder / f"sample-{number}"
            make_series(sample, syntax)
            paths = sorted(sample.glob("*.dcm"))
            self.samples.append([path.read_bytes() for path in paths])
            series = self._read(sample)
            places = [paths.index(source.path) for source in series.sources]
            self.hu.append(series.hu[np.argsort(places)])

    def _read(self, folder: Path):
        from ct_keras.dicom import read_series

        return read_series(folder)

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        from ct_keras.dicom import write_series

        folder = self.folder / "in"
        _fill(folder, self.samples[bent.sample], bent)
        series = self._read(folder)
        expected = self.hu[bent.sample]
        kept = [int(source.path.stem) for source in series.sources]
        told = {finding.code for finding in series.findings}
        if len(kept) < SLICES and not any(code[4] in "WE" for code in told):
            raise AssertionError(f"{len(kept)} of {SLICES} slices without a word")
        for index, place in enumerate(kept):
            if place != bent.file:
                np.testing.assert_array_equal(series.read(index).hu, expected[place])
        if number % int(1 / _WRITTEN):
            return "read"
        out = self.folder / "out"
        write_series(series, out, overwrite=True)
        np.testing.assert_array_equal(self._read(out).hu, series.hu)
        return "written"


class Records:
    """A folder of records of which one file is bent: the same pairs, or a refusal."""

    def __init__(self, folder: Path):
        from ct_keras.data import convert

        os.environ["CT_KERAS_HASH_KEY_FILE"] = str(folder / "key")
        (folder / "key").write_text("a key for broken records only, of no use")
        make_series(folder / "source" / "P1")
        records = folder / "records"
        options = {"layout": "single", "split": "1,0,0", "workers": 1}
        convert(folder / "source", records, hash_key_file=folder / "key", **options)
        self.names = sorted(path.name for path in records.iterdir() if path.is_file())
        self.samples = [[(records / name).read_bytes() for name in self.names]]
        self.folder = folder / "bent"
        self.expected = self._read(records)

    def _read(self, folder: Path) -> list[np.ndarray]:
        from ct_keras.data import iterate_pairs

        return [pair.low_hu for pair in iterate_pairs(folder, "train")]

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        _fill(self.folder, self.samples[0], bent, self.names)
        np.testing.assert_array_equal(self._read(self.folder), self.expected)
        return "read"


class Model:
    """A bent `.keras` file: a model, or a refusal."""

    def __init__(self, folder: Path):
        import keras

        image = keras.Input((None, None, 1), name="low_dose")
        x = keras.layers.Conv2D(1, 3, padding="same", name="a")(image)
        self.path = folder / "network.keras"
        keras.Model(image, x, name="n").save(self.path)
        self.samples = [[self.path.read_bytes()]]

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        import ct_keras

        self.path.write_bytes(bent.content)
        ct_keras.load(self.path)
        return "read"


_TARGETS: dict[str, Callable] = {"series": Series, "records": Records, "model": Model}


def _fill(folder: Path, contents: list[bytes], bent: Bent, names=None) -> None:
    folder.mkdir(exist_ok=True)
    for index, content in enumerate(contents):
        name = names[index] if names else f"{index}.dcm"
        content = bent.content if index == bent.file else content
        (folder / name).write_bytes(content)


def judge(target, bent: Bent, number: int) -> tuple[str, str | None]:
    """Runs one input.

    Returns:
        What became of it, and the reason if that is a finding.
    """
    before, started = _peak_bytes(), time.monotonic()
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
    if time.monotonic() - started > LONGEST_S:
        reason = f"more than {LONGEST_S} s"
    if _peak_bytes() - before > MOST_BYTES:
        reason = f"{(_peak_bytes() - before) / 2**30:.1f} GiB"
    return "finding" if reason else outcome, reason


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(kind: str, seed: int, numbers) -> None:
    """The process with limits: judges the inputs and prints a line of JSON for each."""

    def late(*_):
        raise TimeoutError(f"more than {LONGEST_S} s")

    signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as folder:
        target = _TARGETS[kind](Path(folder))
        used = (
            int(Path("/proc/self/statm").read_text().split()[0])
            * resource.getpagesize()
        )
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MOST_BYTES,) * 2)
        for number in numbers:
            _say(number, None, None)
            signal.alarm(LONGEST_S)
            outcome, reason = judge(target, bend(target.samples, seed, number), number)
            signal.alarm(0)
            _say(number, outcome, reason)


def _say(number: int, outcome: str | None, reason: str | None) -> None:
    sys.stdout.write(json.dumps([number, outcome, reason]) + "\n")
    sys.stdout.flush()


def run(kind: str, inputs: int, seed: int):
    """Yields (number, outcome, reason) of each input; restarts what an input ended."""
    number = 0
    while number < inputs:
        command = [sys.executable, __file__, "--worker", kind, str(seed)]
        command += [str(number), str(inputs)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        current = None
        while True:
            ready, _, _ = select.select([process.stdout], [], [], _KILLED_AFTER_S)
            line = process.stdout.readline() if ready else ""
            if not line:
                break
            current, outcome, reason = json.loads(line)
            if outcome is not None:
                yield current, outcome, reason
                number, current = current + 1, None
        process.kill()
        process.wait()
        if current is not None:
            how = f"ended with {process.returncode}" if ready else "did not return"
            yield current, "finding", f"the process {how}"
            number = current + 1
        elif number < inputs and not ready:
            raise RuntimeError("the process with limits does not start")


def keep(out: Path, kind: str, seed: int, number: int, reason: str) -> None:
    """Keeps the file of a finding, and the reason beside it."""
    with tempfile.TemporaryDirectory() as folder:
        bent = bend(_TARGETS[kind](Path(folder)).samples, seed, number)
    out.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{seed}-{number}"
    (out / name).write_bytes(bent.content)
    facts = {"sample": bent.sample, "file": bent.file, "reason": reason}
    (out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> int:
    """Returns 1 if there are findings."""
    if sys.argv[1:2] == ["--worker"]:
        kind, seed, start, stop = sys.argv[2:]
        work(kind, int(seed), range(int(start), int(stop)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    findings = 0
    for kind in given.kinds.split(","):
        started, counts = time.monotonic(), Counter()
        results = run(kind, given.inputs, given.seed)
        try:
            for number, outcome, reason in track(results, kind, total=given.inputs):
                counts[outcome] += 1
                if reason:
                    findings += 1
                    logger.warning("%s %d: %s", kind, number, reason.splitlines()[0])
                    keep(given.out, kind, given.seed, number, reason)
        except KeyboardInterrupt:
            logger.warning("stopped")
        hours = (time.monotonic() - started) / 3600
        shown = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        logger.info("%s: %d inputs in %.2f h: %s", kind, counts.total(), hours, shown)
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
