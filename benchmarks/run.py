"""Runs all benchmarks available on this machine; about five minutes on two cores."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("start", "simulation", "convert", "pipeline", "denoise", "red_cnn")


def main() -> None:
    """Runs the benchmarks one after another."""
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in BENCHMARKS:
        if name == "red_cnn" and importlib.util.find_spec("torch") is None:
            print("red_cnn: skipped, PyTorch is not installed")
            continue
        print(name, flush=True)
        script = Path(__file__).with_name(f"{name}.py")
        subprocess.run([sys.executable, str(script)], check=True, env=quiet)


if __name__ == "__main__":
    main()
