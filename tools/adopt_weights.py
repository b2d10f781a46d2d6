"""Converts weights trained on an accelerator to a run folder as of `ct-keras train`.

    python tools/adopt_weights.py WEIGHTS.npz LOG.jsonl CT RUN

`tools/train_accelerated.py` wrote WEIGHTS.npz and LOG.jsonl; CT is the folder that was
packed for it. RUN can be loaded, evaluated, exported and published.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import ct_keras
from ct_keras.data.ranges import header_ranges, span
from ct_keras.data.slice_facts import series_facts
from ct_keras.dicom import find_series
from ct_keras.files import sha256_of
from ct_keras.image_quality import noise_frequency_per_cm, noise_index_hu
from ct_keras.models import build
from ct_keras.simulation import SeriesSimulator, calibrate
from ct_keras.training.callbacks import write_history

_DOSES = (0.03, 0.85)
_SERIES = 24


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes best.keras, best.json, config.json, history.csv and ranges.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("log", type=Path, help="log.jsonl of the training.")
    parser.add_argument("ct", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--command", default="python tools/train_accelerated.py")
    parser.add_argument("--description", default="On one accelerator.")
    parser.add_argument("--validation-psnr", type=float, default=float("nan"))
    parser.add_argument("--validation-slices", type=int, default=0)
    parser.add_argument("--network", default="quiet_net")
    parser.add_argument("--width", type=int, default=32)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    network = read_network(given.weights, given.network, given.width)
    given.run.mkdir(parents=True, exist_ok=True)
    ct_keras.Denoiser(network).model.save(given.run / "best.keras")
    log = [json.loads(line) for line in given.log.read_text().splitlines()]
    write_history(given.run, history_of(log))
    best = {
        "epoch": 1,
        "step": log[-1]["step"],
        "val_psnr": given.validation_psnr,
        "sha256": sha256_of(given.run / "best.keras"),
    }
    documents = {
        "best.json": best,
        "config.json": _configuration(given, log[-1]["step"]),
        "ranges.json": scan_ranges(given.ct / "train"),
    }
    for name, document in documents.items():
        (given.run / name).write_text(json.dumps(document, indent=1) + "\n")


def history_of(log: Sequence[dict]) -> list[dict]:
    """The rows of a log as those of history.csv; each has its own seconds."""
    starts = [0.0, *(row["seconds"] for row in log[:-1])]
    return [
        {
            "step": row["step"],
            "loss": row["loss"],
            "learning_rate": row["rate"],
            "seconds": row["seconds"] - start,
        }
        for start, row in zip(starts, log, strict=True)
    ]


def read_network(weights: Path, name: str, width: int) -> keras.Model:
    """Builds a network and loads the weights of an .npz file, layer by layer."""
    network = build(name, width=width)
    with np.load(weights) as stored:
        for layer in network.layers:
            if layer.weights:
                parts = (f"{layer.name}/kernel", f"{layer.name}/bias")
                layer.set_weights([stored[part] for part in parts])
    return network


def scan_ranges(folder: Path) -> dict:
    """Measures the guards' reference values on low-dose slices of some series.

    Args:
        folder: A folder with one sub-folder per patient.

    Returns:
        As `ct_keras.data.ranges.training_ranges`.
    """
    found = [
        series for path in sorted(folder.glob("*")) for series in find_series(path)
    ]
    places = np.unique(np.linspace(0, len(found) - 1, _SERIES).round().astype(int))
    indices, frequencies = [], []
    for series in (found[place] for place in places):
        simulator = SeriesSimulator(series, calibrate(series))
        spacing_mm = series.spacing_mm[1:]
        for low_hu in simulator.low_doses(len(series) // 2, _DOSES):
            indices.append(noise_index_hu([low_hu], spacing_mm))
            frequencies.append(noise_frequency_per_cm([low_hu], spacing_mm))
    return {
        "noise_index_hu": span(indices),
        "noise_frequency_per_cm": span(frequencies),
        **header_ranges([series_facts(series) for series in found]),
    }


def _configuration(given: argparse.Namespace, steps: int) -> dict:
    return {
        "model": given.network,
        "recipe": {
            "name": "accelerated",
            "description": given.description,
            "options": {"width": given.width},
            "training": {},
            "epochs": 1,
            "steps_per_epoch": steps,
        },
        "seed": 0,
        "validation_slices": given.validation_slices,
        "command": given.command,
        "versions": {"ct_keras": ct_keras.__version__, "keras": keras.__version__},
    }


if __name__ == "__main__":
    main()
