"""Trains and publishes the weights, from real CT and phantoms to the model cards.

    python tools/make_weights.py CT WORK [--cards] [NAME...]

CT is a folder of normal-dose CT series with the sub-folders train/, val/ and test/ (one
folder per patient); WORK holds the intermediate results; NAME is an entry of
weights.json, by default all: a network, or a variant of the "network" that it names,
which may start from narrower weights published before it ("widen"). weights.json also
lists the phantoms added to the training data, the patients left out, the doses of
validation and test, and the methods that the networks are compared with. Completed
steps are not repeated and training resumes, so the same command continues after an
interruption. A network is published as soon as it is trained and measured; the filters
are measured once. --cards trains nothing: it measures the published weights and writes
the results in their cards anew.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from widen import widen

import ct_keras
from ct_keras.data import SlicePair, convert
from ct_keras.denoising.classical import INPUT
from ct_keras.denoising.methods import get_method
from ct_keras.evaluation import measure
from ct_keras.evaluation.quality import QualityPlan, measure_quality
from ct_keras.evaluation.sources import Source, records_source
from ct_keras.files import write_text
from ct_keras.phantoms import make_phantom, write_phantom
from ct_keras.report import write_report
from ct_keras.serving import publish, quote_again
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
    parser.add_argument("--cards", action="store_true")
    parser.add_argument("--notes", type=Path, default=NOTES)
    parser.add_argument("--saved-models", type=Path, default=SAVED_MODELS)
    given = parser.parse_args(arguments)
    notes = json.loads(given.notes.read_text())
    known = {
        name: entry
        for name, entry in notes["networks"].items()
        if given.cards or "training" in entry
    }
    names = given.names or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"not in {given.notes.name}: {', '.join(sorted(unknown))}")
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    work, saved = given.work, given.saved_models
    records = prepare(given.ct, work, notes)
    measured = Measured(records, work / "evaluations", notes)
    for name in names:
        card = notes["shared"] | known[name]["card"]
        if given.cards:
            metrics, quality = measured.beside_filters(name, saved / name, card)
            quote_again(saved / name, metrics, card, quality)
            continue
        run = trained(name, known[name], records, work, saved)
        if not is_published(run, card, saved / name):
            metrics, quality = measured.beside_filters(name, run, card)
            publish(
                run,
                metrics,
                card,
                saved / name,
                quality=quality,
                version=next_version(saved / name),
            )


def prepare(ct: Path, work: Path, notes: dict) -> Path:
    """Collects the scans and converts them; returns the folder of the records."""
    collect(ct, work / "collection", notes["phantoms"], notes["left_out"])
    records = work / "records"
    doses = tuple(notes["doses"])
    convert(work / "collection", records, layout="single", split="folders", doses=doses)
    return records


def trained(name: str, entry: dict, records: Path, work: Path, saved: Path) -> Path:
    """Trains a network of weights.json, or goes on; returns the run."""
    network, run = entry.get("network", name), work / "runs" / name
    options = entry["training"]
    if "widen" in entry:
        start = work / "starts" / f"{name}.keras"
        if not start.is_file():
            widen(saved / entry["widen"], start, options["options"]["width"])
        options = options | {"start_from": start}
    result = train(network, records, out=run, resume=True, **options)
    if not result.finished:
        sys.exit("stopped by a signal; run the same command to continue")
    return run


class Measured:
    """What was measured of networks and filters on the test records and phantoms.

    Args:
        records: The records.
        folder: Where results are kept: one folder for the filters and one for each
            network and its weights.
        notes: "compared_with", "test_slices" and "quality" of weights.json.
    """

    def __init__(self, records: Path, folder: Path, notes: dict):
        self.folder = folder
        self.others = notes["compared_with"]
        self.source = middle_of_series(
            records_source(records, "test"), notes["test_slices"]
        )
        quality = notes["quality"]
        self.plan = QualityPlan(**quality | {"doses": tuple(quality["doses"])})

    def beside_filters(self, name: str, weights: Path, card: dict) -> tuple[dict, dict]:
        """Returns the metrics and the image quality of a network and the filters.

        The network is measured as its card lets it come, and at its best strength.
        """
        methods = {other: get_method(other) for other in self.others}
        filters = self._measured("filters", methods)
        denoiser = ct_keras.load(weights)
        strength = card.get("default_strength", denoiser.default_strength)
        denoiser = denoiser.at_strength(strength)
        # Published weights are those of a run in another file.
        best = denoiser.card.get("training", {}).get("best", {})
        digest = best.get("sha256", denoiser.identity.weights_sha256)
        label = f"{name}-{digest[:12]}-{strength:g}"
        own = self._measured(label, {name: denoiser})
        metrics = filters[0] | {
            key: filters[0][key] + [row for row in own[0][key] if row["model"] != INPUT]
            for key in ("rows", "by_dose", "patients")
        }
        methods = filters[1]["methods"] | own[1]["methods"]
        return metrics, filters[1] | {"methods": methods}

    def _measured(self, label: str, methods: dict) -> tuple[dict, dict]:
        """Measures methods, unless it was done; metrics.json and quality.json."""
        paths = [
            self.folder / label / f"{what}.json" for what in ("metrics", "quality")
        ]
        if not paths[0].is_file():
            write_report(measure(methods, self.source, tune=True), paths[0].parent)
        if not paths[1].is_file():
            quality = measure_quality(methods, self.plan, progress=True)
            write_text(paths[1], json.dumps(quality))
        metrics, quality = (json.loads(path.read_text()) for path in paths)
        return metrics, quality


def middle_of_series(source: Source, slices: int) -> Source:
    """The pairs of so many slices in the middle of each series, at every dose."""
    found = defaultdict(set)
    for pair in source.pairs():
        found[pair.case, pair.series].add(pair.slice_index)
    chosen = {}
    for series, indices in found.items():
        first = max(0, (len(indices) - slices) // 2)
        chosen[series] = set(sorted(indices)[first : first + slices])

    def kept(pair: SlicePair) -> bool:
        return pair.slice_index in chosen[pair.case, pair.series]

    return replace(
        source,
        pairs=lambda: filter(kept, source.pairs()),
        total=sum(1 for _ in filter(kept, source.pairs())),
    )


def next_version(folder: Path) -> int:
    """The version of new weights for a folder: 1, or one more than it holds."""
    card = folder / "metadata.json"
    return 1 + int(json.loads(card.read_text())["version"]) if card.is_file() else 1


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
