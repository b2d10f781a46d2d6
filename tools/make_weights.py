"""Makes the published weights, from real CT and phantoms to the model cards.

    python tools/make_weights.py CT WORK [NAME...]

CT is a folder of normal-dose CT series with the sub-folders train/, val/ and test/ (one
folder a patient); WORK keeps the intermediate steps; NAME is a network of weights.json,
all of them by default. A step that is done is not done again, and training resumes, so
the same command goes on after a kill. The networks are measured together, in one table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
from pathlib import Path

import ct_keras
from ct_keras.data import convert
from ct_keras.denoising.methods import get_method
from ct_keras.evaluation import measure
from ct_keras.evaluation.sources import records_source
from ct_keras.phantoms import make_phantom, write_phantom
from ct_keras.report import write_report
from ct_keras.serving import publish
from ct_keras.training import train

DOSES = (0.05, 0.1, 0.25, 0.5)
#: Seed, region and kernel: phantoms without noise of their own are clean references,
#: and their kernels widen the range of noise textures.
PHANTOMS = ((11, "abdomen", "B30f"), (12, "thorax", "B45f"), (13, "abdomen", "D45f"))
METHODS = ("input", "filter:gaussian", "filter:median", "filter:nlm")
#: What each network's training and card have of their own, and what all share.
NOTES = Path(__file__).with_name("weights.json")
SAVED_MODELS = Path(__file__).resolve().parents[1] / "saved_models"


def main() -> None:
    """Runs all steps."""
    notes = json.loads(NOTES.read_text())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    names = arguments.names or list(notes["networks"])
    if unknown := set(names) - set(notes["networks"]):
        parser.error(f"not in {NOTES.name}: {', '.join(sorted(unknown))}")
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    work = arguments.work
    collect(arguments.ct, work / "collection")
    records = work / "records"
    convert(work / "collection", records, layout="single", split="folders", doses=DOSES)
    runs = {}
    for name in names:
        runs[name] = train(
            name,
            records,
            out=work / "runs" / name,
            make_denoiser=ct_keras.Denoiser,
            resume=True,
            **notes["networks"][name]["training"],
        ).run
    metrics = evaluate(runs, records, work / "evaluations")
    for name, run in runs.items():
        card = notes["shared"] | notes["networks"][name]["card"]
        publish(run, metrics, card, SAVED_MODELS / name)


def evaluate(runs: dict[str, Path], records: Path, out: Path) -> dict:
    """Measures the runs and the filters, unless just these weights were measured."""
    weights = [(run / "best.json").read_text() for run in runs.values()]
    digest = hashlib.sha256("".join(weights).encode()).hexdigest()
    folder = out / digest[:12]
    if (folder / "metrics.json").is_file():
        return json.loads((folder / "metrics.json").read_text())
    methods = {other: get_method(other) for other in METHODS}
    methods |= {name: ct_keras.load(run) for name, run in runs.items()}
    evaluation = measure(methods, records_source(records, "test"), tune=True)
    write_report(evaluation, folder)
    return evaluation.document


def collect(ct: Path, folder: Path) -> None:
    """Puts the real series and the phantoms under one roof."""
    if folder.is_dir():
        return
    temporary = folder.with_name("collecting")
    shutil.rmtree(temporary, ignore_errors=True)
    for split in ("train", "val", "test"):
        shutil.copytree(ct / split, temporary / split)
    for seed, region, kernel in PHANTOMS:
        phantom = make_phantom(seed, region=region)
        write_phantom(
            phantom,
            temporary / "train" / f"phantom-{seed}",
            noise=False,
            kernel=kernel,
        )
    temporary.replace(folder)


if __name__ == "__main__":
    main()
