"""A whole study by `ct-keras denoise`: seconds, busy seconds and peak memory.

    python benchmarks/study.py [--quick] [--slices 256]

Writes a study of 512x512 slices and denoises it, as a user does, with the default
network as it comes, in float32, and with `input`, which only reads, checks and writes.
The start of Python and TensorFlow counts. Prints one JSON line for each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from convert import make_source

RUNS = {
    "default": [],
    "default, float32": ["--precision", "float32"],
    "input": ["--model", "input"],
}


def measure(study: Path, out: Path, options: list[str]) -> dict:
    """Runs the command in its own process."""
    command = [sys.executable, "-m", "ct_keras", "denoise", study, out]
    command += ["--json", "--qc", out.with_suffix(".qc"), *options]
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        printed.seek(0)
        text = printed.read()
    if status:
        raise RuntimeError(f"denoise ended with {os.waitstatus_to_exitcode(status)}")
    series = json.loads(text)["series"][0]
    return {
        "slices": series["slices"],
        "precision": series["computation"]["precision"],
        "rms_difference_hu": series["computation"]["rms_difference_hu"],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": used.ru_maxrss // 1024,
    }


def main() -> None:
    """Writes the study and measures each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--slices", type=int)
    arguments = parser.parse_args()
    slices = arguments.slices or (32 if arguments.quick else 256)
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak memory begins at that of its parent.
        making = get_context("spawn").Process(
            target=make_source, args=(Path(folder), 1, slices)
        )
        making.start()
        making.join()
        for index, (name, options) in enumerate(RUNS.items()):
            out = Path(folder) / f"out{index}"
            row = measure(Path(folder) / "low" / "case0", out, options)
            print(json.dumps({"study": name, **row}), flush=True)


if __name__ == "__main__":
    main()
