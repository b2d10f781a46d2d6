"""Seconds for `ct-keras --help` and `import ct_keras`, median of 9 runs."""

import json
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import ct_keras": [sys.executable, "-c", "import ct_keras"],
    "ct-keras --help": [sys.executable, "-m", "ct_keras", "--help"],
}


def main() -> None:
    """Prints one JSON line."""
    seconds = {name: [] for name in COMMANDS}
    for _ in range(9):
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begin)
    print(json.dumps({k: round(statistics.median(v), 3) for k, v in seconds.items()}))


if __name__ == "__main__":
    main()
