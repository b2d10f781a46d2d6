"""Slice pairs per second of `convert` from uncompressed DICOM.

    python benchmarks/convert.py [--slices 100] [--cases 4] [--workers 2]

Writes pairs of 512x512 series, converts them and prints one JSON line. The whole call
is timed: headers, pixels, records, checksums, manifest. TensorFlow is imported
beforehand, as its start-up is a fixed cost.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ct_keras.data import convert
from ct_keras.dicom import create_series


def make_source(root: Path, cases: int, slices: int) -> None:
    """Writes noise of body and air as pairs of series."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where((rows / 0.7) ** 2 + (columns / 0.9) ** 2 < 1, 40.0, -1000.0)
    for case in range(cases):
        for name, sd in (("low", 40), ("full", 20)):
            noise = generator.normal(0, sd, (slices, 512, 512))
            hu = np.round(body + noise).clip(-1024, 3000)
            create_series(
                hu,
                (3.0, 0.7, 0.7),
                root / name / f"case{case}",
                patient_id=f"P{case}",
                series_description=name,
            )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_source(root, arguments.cases, arguments.slices)
        key = root / "key"
        key.write_text("a key for this benchmark")
        rates = []
        for run in range(3):
            start = time.perf_counter()
            convert(
                root / "full",
                root / f"records{run}",
                layout="pairs",
                low=root / "low",
                full=root / "full",
                split="1,0,0",
                workers=arguments.workers,
                hash_key_file=key,
            )
            seconds = time.perf_counter() - start
            rates.append(arguments.cases * arguments.slices / seconds)
    result = {
        "benchmark": "convert, pairs of 512x512 DICOM",
        "pairs_per_second": [round(rate, 1) for rate in rates],
        "pairs": arguments.cases * arguments.slices,
        "workers": arguments.workers,
        "cores": os.cpu_count(),
        "tensorflow": tf.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
