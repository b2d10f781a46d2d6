"""Trains and publishes the weights, from real CT and phantoms to the model cards.

    python tools/make_weights.py CT WORK [NAME...]

CT is a folder of normal-dose CT series with the sub-folders train/, val/ and test/ (one
folder per patient); WORK holds the intermediate results; NAME is a network of
weights.json, by default all. weights.json also lists the phantoms added to the training
data, the patients left out, the doses of validation and test, and the methods that the
networks are compared with. Completed steps are not repeated and training resumes, so
the same command continues after an interruption. All networks are evaluated together,
in one table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Sequence
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

#: Training options and card texts of each network, and the card texts shared by all.
NOTES = Path(__file__).with_name("weights.json")
SAVED_MODELS = Path(__file__).resolve().parents[1] / "saved_models"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--notes", type=Path, default=NOTES)
    parser.add_argument("--saved-models", type=Path, default=SAVED_MODELS)
    given = parser.parse_args(arguments)
    notes = json.loads(given.notes.read_text())
    names = given.names or list(notes["networks"])
    if unknown := set(names) - set(notes["networks"]):
        parser.error(f"not in {given.notes.name}: {', '.join(sorted(unknown))}")
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    work = given.work
    collect(given.ct, work / "collection", notes["phantoms"], notes["left_out"])
    records = work / "records"
    doses = tuple(notes["doses"])
    convert(work / "collection", records, layout="single", split="folders", doses=doses)
    runs = {}
    for name in names:
        result = train(
            name,
            records,
            out=work / "runs" / name,
            resume=True,
            **notes["networks"][name]["training"],
        )
        if not result.finished:
            sys.exit("stopped by a signal; run the same command to continue")
        runs[name] = result.run
    metrics = evaluate(runs, records, work / "evaluations", notes["compared_with"])
    for name, run in runs.items():
        card = notes["shared"] | notes["networks"][name]["card"]
        if not is_published(run, card, given.saved_models / name):
            publish(run, metrics, card, given.saved_models / name)


def evaluate(
    runs: dict[str, Path], records: Path, out: Path, others: Sequence[str]
) -> dict:
    """Evaluates the runs and the filters, unless already done for these weights."""
    weights = [(run / "best.json").read_text() for run in runs.values()]
    digest = hashlib.sha256("".join(weights).encode()).hexdigest()
    folder = out / digest[:12]
    if (folder / "metrics.json").is_file():
        return json.loads((folder / "metrics.json").read_text())
    methods = {other: get_method(other) for other in others}
    methods |= {name: ct_keras.load(run) for name, run in runs.items()}
    evaluation = measure(methods, records_source(records, "test"), tune=True)
    write_report(evaluation, folder)
    return evaluation.document


def is_published(run: Path, notes: dict, folder: Path) -> bool:
    """Whether a folder holds exactly these weights with this card."""
    if not (folder / "metadata.json").is_file():
        return False
    card = json.loads((folder / "metadata.json").read_text())
    best = json.loads((run / "best.json").read_text())
    same = {name: card.get(name) for name in notes} == notes
    return same and card["training"]["best"] == best


def collect(
    ct: Path, folder: Path, phantoms: Sequence[dict], left_out: Sequence[str]
) -> None:
    """Collects the real series and the phantoms in one folder.

    Phantoms are noise-free references, and their kernels add noise textures.

    Args:
        ct: The real series.
        folder: The new folder.
        phantoms: Arguments of `make_phantom`, and the kernel of each.
        left_out: Patients that are not used.
    """
    if folder.is_dir():
        return
    temporary = folder.with_name("collecting")
    shutil.rmtree(temporary, ignore_errors=True)
    for split in ("train", "val", "test"):
        unused = shutil.ignore_patterns(*left_out)
        shutil.copytree(ct / split, temporary / split, ignore=unused)
    for phantom in phantoms:
        seed, kernel = phantom["seed"], phantom["kernel"]
        rest = {k: v for k, v in phantom.items() if k not in ("seed", "kernel")}
        write_phantom(
            make_phantom(seed, **rest),
            temporary / "train" / f"phantom-{seed}",
            noise=False,
            kernel=kernel,
        )
    temporary.replace(folder)


if __name__ == "__main__":
    main()
