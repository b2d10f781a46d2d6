"""Makes published weights, from real CT and phantoms to the model card.

    python tools/make_weights.py NAME CT WORK

NAME is a network of the zoo; CT is a folder of normal-dose CT series with the
sub-folders train/, val/ and test/ (one folder a patient); WORK keeps the intermediate
steps, and several names can share it. A step that is done is not done again, and
training resumes, so the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path

import ct_keras
from ct_keras.cli.evaluate import measure
from ct_keras.data import convert
from ct_keras.serving import publish
from ct_keras.serving.methods import get_method
from ct_keras.simulation import make_phantom, write_phantom
from ct_keras.training import train

DOSES = (0.05, 0.1, 0.25, 0.5)
#: Seed, region and kernel: phantoms without noise of their own are clean references,
#: and their kernels widen the range of noise textures.
PHANTOMS = ((11, "abdomen", "B30f"), (12, "thorax", "B45f"), (13, "abdomen", "D45f"))
METHODS = ("input", "filter:gaussian", "filter:median", "filter:nlm")
#: What each network's training and card have of their own, and what all share.
NOTES = Path(__file__).with_name("weights.json")


def main() -> None:
    """Runs all steps."""
    notes = json.loads(NOTES.read_text())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(notes["networks"]))
    parser.add_argument("ct", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    name, work = arguments.name, arguments.work
    collect(arguments.ct, work / "collection")
    convert(
        work / "collection",
        work / "records",
        layout="single",
        split="folders",
        doses=DOSES,
    )
    own = notes["networks"][name]
    result = train(
        name,
        work / "records",
        out=work / "runs" / name,
        make_denoiser=ct_keras.Denoiser,
        resume=True,
        **own["training"],
    )
    methods = {name: ct_keras.load(result.run)}
    methods |= {other: get_method(other) for other in METHODS}
    metrics = measure(
        methods,
        work / "records",
        split="test",
        out=work / "evaluations" / name,
        tune=True,
    )
    target = Path(__file__).resolve().parents[1] / "saved_models" / name
    publish(result.run, metrics, notes["shared"] | own["card"], target)


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
