"""Runs all benchmarks, and prints one table.

    python benchmarks/run.py [--quick] [--torch PYTHON] [--ldct-benchmark PYTHON]

PYTHON belongs to an environment with the peer: PyTorch (`pip install torch`) and
ldct-benchmark (`pip install ldct-benchmark`); `make bench` makes both and goes on
without one that cannot be had. `--quick` takes two networks and few repetitions. The
JSON lines of the single scripts go to standard error.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

SCRIPTS = ("start", "simulation", "convert", "pipeline")
SLICES = 256


def lines_of(script: str, *options: str) -> list[dict]:
    """Runs a script; returns what it printed, and the reason if it failed.

    Each line goes to standard error as soon as it is there.
    """
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), *options]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    print(script, file=sys.stderr, flush=True)
    rows = []
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=quiet
        )
        with process:
            for line in process.stdout:
                print(line, end="", file=sys.stderr, flush=True)
                rows.append({"script": script, **json.loads(line)})
        if process.returncode:
            errors.seek(0)
            reason = errors.read().strip().splitlines()[-1:]
            reason = reason or [f"exit status {process.returncode}"]
            rows.append({"script": script, "failed": reason[0]})
    return rows


def network_table(rows: list[dict], fixed_seconds: float) -> Iterator[str]:
    """Yields the table of the networks, with the time of a study."""
    columns = "network | GMAC | slice, ms | bfloat16, ms | study, s | peak, MB"
    columns += " | step, ms | slice / PyTorch | step / PyTorch"
    yield f"| {columns} |"
    yield "|---" * (columns.count(" | ") + 1) + "|"
    for row in rows:
        if "failed" in row:
            yield f"| failed: {row['failed']} |"
            continue
        fastest = min(row["slice_ms"], row.get("half_slice_ms", row["slice_ms"]))
        cells = [
            row["network"],
            row["gmac"],
            f"{row['slice_ms']:.0f}",
            f"{row['half_slice_ms']:.0f}" if "half_slice_ms" in row else "",
            f"{fixed_seconds + SLICES * fastest / 1000:.0f}",
            row["peak_mb"],
            f"{row['step_ms']:.0f}",
            _ratio(row, "slice"),
            _ratio(row, "step"),
        ]
        yield "| " + " | ".join(map(str, cells)) + " |"


def _ratio(row: dict, key: str) -> str:
    if f"{key}_ratio" not in row:
        return "skipped"
    return f"{row[f'{key}_ratio']:.2f} ({row[f'{key}_cpu_ratio']:.2f})"


def other_table(rows: list[dict]) -> Iterator[str]:
    """Yields one line for each of the other results."""
    yield "| script | result |"
    yield "|---|---|"
    for row in rows:
        values = {key: value for key, value in row.items() if key != "script"}
        result = ", ".join(f"{key} {value}" for key, value in values.items())
        yield f"| {row['script']} | {result} |"


def main() -> None:
    """Runs the benchmarks one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--torch")
    parser.add_argument("--ldct-benchmark", dest="ldct")
    arguments = parser.parse_args()
    quick = ["--quick"] if arguments.quick else []
    others = [row for name in SCRIPTS[: 1 if quick else None] for row in lines_of(name)]
    studies = lines_of("study", *quick)
    others += studies
    torch = _usable(arguments.torch, "torch")
    networks = lines_of("networks", *quick, *(["--torch", torch] if torch else []))
    peer = _usable(arguments.ldct, "ldctbench")
    if peer:
        others += lines_of("ldct_benchmark", *quick, "--peer", peer)
    else:
        others.append({"script": "ldct_benchmark", "skipped": "it is not installed"})
    fixed = [row["seconds"] for row in studies if row.get("study") == "input"]
    print(_machine())
    if not torch:
        print("\nPyTorch: skipped, it is not installed.")
    print("", *network_table(networks, *(fixed or [0.0])), sep="\n")
    print("", *other_table(others), sep="\n")


def _usable(python: str | None, module: str) -> str | None:
    """The Python of an environment, if it has the module."""
    if python is None or not Path(python).is_file():
        return None
    check = subprocess.run([python, "-c", f"import {module}"], capture_output=True)
    return python if check.returncode == 0 else None


def _machine() -> str:
    names = ("tensorflow", "keras", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    model = models[0] if models else platform.machine()
    today = time.strftime("%Y-%m-%d")
    python = platform.python_version()
    return f"**{today}**, {os.cpu_count()} cores, {model}, Python {python}, {versions}"


if __name__ == "__main__":
    main()
