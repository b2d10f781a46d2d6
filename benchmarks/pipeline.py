"""Patches per second of `training_patches` from TFRecords of 512x512 slices.

    python benchmarks/pipeline.py [--records RECORDS] [--seconds 10]

Without records it generates four patients of forty slices. Prints one JSON line for
each setting. The first batches, which fill the buffers, are not counted.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from ct_keras.data import training_patches
from ct_keras.data.manifest import Manifest, write_manifest
from ct_keras.data.records import encode, write_shard
from ct_keras.data.shards import Shard
from ct_keras.data.slice_facts import Record
from ct_keras.files import sha256_of

SETTINGS = (
    {},
    {"patch_size": 55},
    {"patch_size": 64, "batch_size": 64},
    {"augment": False},
    {"reject": False},
)


def make_records(folder: Path, cases: int = 4, slices: int = 40) -> None:
    """Writes noise of body and air as records."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where((rows / 0.7) ** 2 + (columns / 0.9) ** 2 < 1, 1064, 24)
    shards = []
    for index in range(cases):
        case = f"{index:032x}"
        records = []
        for slice_index in range(slices):
            full = (body + generator.integers(-20, 20, body.shape)).astype(np.int16)
            low = (full + generator.integers(-40, 40, body.shape)).astype(np.int16)
            record = Record(
                low,
                full,
                1.0,
                -1024.0,
                case,
                case=case,
                series=case,
                slice_index=slice_index,
            )
            records.append(encode(record))
        file = f"bench-train.tfrecord-{index:05d}-of-{cases:05d}"
        count, size = write_shard(folder / file, records)
        grid = (512, 512)
        digest = sha256_of(folder / file)
        shard = (file, "train", index, case, count, count, size, digest, "", grid, grid)
        shards.append(Shard(*shard))
    hu_range = (-1024.0, 3000.0)
    manifest = Manifest(
        folder, "pairs", "", "", (0.25,), 0, hu_range, {}, tuple(shards)
    )
    write_manifest(manifest)


def measure(records: Path, seconds: float, settings: dict) -> tuple[float, float]:
    """Returns patches per second, and per core-second."""
    dataset = training_patches(records, first_epoch=0, steps=10_000, **settings)
    batches = iter(dataset)
    size = next(batches)[0].shape[0]
    for _ in range(50):
        next(batches)
    start, count = time.perf_counter(), 0
    busy = time.process_time()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += size
    busy = time.process_time() - busy
    return count / (time.perf_counter() - start), count / busy


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = arguments.records or Path(folder)
        if arguments.records is None:
            make_records(records)
        for settings in SETTINGS:
            rate, per_core = measure(records, arguments.seconds, settings)
            result = {
                "benchmark": "training patches",
                "settings": settings or "default: 80x80, batch 32",
                "patches_per_second": round(rate),
                "patches_per_core_second": round(per_core),
                "cores": os.cpu_count(),
                "tensorflow": tf.__version__,
            }
            print(json.dumps(result))


if __name__ == "__main__":
    main()
