"""Every network of the zoo: inference, training and memory, in Keras and in PyTorch.

    python benchmarks/networks.py [--quick] [--only red_cnn,quiet_net] [--rounds 3]
        [--threads 2] [--torch PYTHON]

Both frameworks run the same layers with the same weights (`network_files.py`), each in
a process of its own, alternately: a ratio is the median over the pairs of one run.
PyTorch is timed in its default and in its channels-last memory format; the faster one
counts. Without PyTorch (`--torch`, the Python of another environment) only Keras is
timed. Prints one JSON line for each network; times are milliseconds for a slice of
512x512 pixels, or for a step with 16 patches of 64x64 pixels (as many pixels in one
patch where the network needs a larger one). `cpu` is the time that all cores were busy:
it hardly depends on what else the machine does, but with several threads PyTorch counts
its waiting; compare it with `--threads 1`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from network_files import write

QUICK = ("quiet_net", "red_cnn")
PATCH, BATCH, BLOCK = 64, 16, 8


def prepare(name: str, folder: Path, threads: int, quick: bool) -> dict:
    """Writes the network and what to do with it; returns its facts."""
    import ct_keras
    from ct_keras.denoising.computation import bfloat16_is_fast
    from ct_keras.models import count_macs, size_rule_of

    network = ct_keras.load(name).network
    write(network, folder)
    network.save(folder / "network.keras")
    volume = len(network.inputs[0].shape) == 5
    multiple = size_rule_of(network).multiple
    patch = -(-PATCH // multiple) * multiple
    batch = max(1, BATCH * PATCH**2 // (patch**2 * (BLOCK if volume else 1)))
    depth = (BLOCK,) if volume else ()
    shape = (1, *depth, *((256, 256) if volume else (512, 512)), 1)
    image = np.random.default_rng(0).normal(0.26, 0.01, shape)
    np.save(folder / "image.npy", image.astype(np.float32))
    task = {
        "slices": 3 if quick else 6,
        "steps": 5 if quick else 15,
        "patches": (batch, *depth, patch, patch, 1),
        "half": bfloat16_is_fast(),
        "threads": threads,
    }
    (folder / "task.json").write_text(json.dumps(task))
    gmac = round(count_macs(network) / 1e9, 1)
    return {"network": name, "gmac": gmac, "slices": image.size / 512**2}


def side(python: str, name: str, folder: Path) -> dict:
    """Times one framework in its own process."""
    script = Path(__file__).with_name("sides.py")
    command = [python, str(script), name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    name: str, torch: str | None, rounds: int, threads: int, quick: bool
) -> dict:
    """One network in both frameworks, alternately."""
    with tempfile.TemporaryDirectory() as folder:
        facts = prepare(name, Path(folder), threads, quick)
        pairs = [
            (
                side(sys.executable, "keras", Path(folder)),
                side(torch, "torch", Path(folder)) if torch else None,
            )
            for _ in range(rounds)
        ]
    share = facts.pop("slices")
    row = dict(facts)
    for key, part in (("slice", share), ("half_slice", share), ("step", 1)):
        if key in pairs[0][0]:
            for place, unit in enumerate(("ms", "cpu_ms")):
                times = [keras[key][place] / part for keras, _ in pairs]
                row[f"{key}_{unit}"] = round(statistics.median(times), 1)
    row["peak_mb"] = max(keras["peak_mb"] for keras, _ in pairs)
    if torch:
        row["torch_peak_mb"] = max(peer["peak_mb"] for _, peer in pairs)
        for key in ("slice", "step"):
            for place, unit in enumerate(("", "cpu_")):
                ratios = [keras[key][place] / peer[key][place] for keras, peer in pairs]
                row[f"{key}_{unit}ratio"] = round(statistics.median(ratios), 2)
    return row


def main() -> None:
    """Times the networks one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--torch", help="Python of an environment with PyTorch.")
    arguments = parser.parse_args()
    from ct_keras.denoising import list_published

    names = QUICK if arguments.quick else list_published()
    names = arguments.only.split(",") if arguments.only else names
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    for name in names:
        row = compare(name, arguments.torch, rounds, arguments.threads, arguments.quick)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
