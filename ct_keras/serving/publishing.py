"""Turns a run into published weights: files, hashes, reference output, model card.

The folder holds NAME.keras (the network at full strength, HU in and out, plain Keras),
VERSION/ (the SavedModel, at the default strength), metadata.json, README.md made from
it, golden.npz (an input and its output at the default strength, to verify a port of the
model) and SHA256SUMS.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np

import ct_keras
from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.loading import load
from ct_keras.errors import CtKerasError
from ct_keras.files import MARKER, atomic_folder, read_document, sha256_of
from ct_keras.models import count_macs, get_spec
from ct_keras.notice import NOTICE
from ct_keras.phantoms import make_phantom
from ct_keras.serving.cards import card_text, results_of
from ct_keras.serving.savedmodel import export_savedmodel
from ct_keras.serving.units import PICTURE_UNITS
from ct_keras.simulation import DoseSimulator

#: The phantom of golden.npz: one slice, or this many for a 3-D network.
GOLDEN_SEED, GOLDEN_SIZE, GOLDEN_SLICES = 900, 96, 6
_SUMS = "SHA256SUMS"
#: Columns of a run's history.csv that the card keeps.
_CURVE = (
    *("epoch", "step", "loss", "val_psnr", "val_tissue_rmse_hu"),
    *("learning_rate", "seconds"),
)
#: Scale of the training data -> how the card names it.
_FORMATS = {
    None: "hounsfield",
    "picture": PICTURE_UNITS,
}
_VALUE_RANGE = "any; values below -1500 and above 3072 HU come back unchanged"


def publish(
    run: str | Path,
    metrics: dict,
    notes: dict,
    out: str | Path,
    *,
    quality: dict | None = None,
    version: int = 1,
) -> Path:
    """Writes a folder of published weights from a run.

    Args:
        run: A run folder with best.keras.
        metrics: The document of `ct_keras.evaluation.evaluate_models` on test patients;
            the row with the name of the network is quoted.
        notes: Texts for the card: description, licence, attribution, data,
            intended_use, contraindications and training_command; and default_strength
            for a model whose output is to be blended with its input.
        out: The folder to write or replace, named after the model.
        quality: The document of `ct_keras.evaluation.quality.measure_quality` for the
            same methods, or None.
        version: Incremented when the weights change.

    Returns:
        The folder.

    Raises:
        CtKerasError: CTK-E085 or E090 for the run, CTK-E094 if the export differs.
    """
    denoiser = load(run).at_strength(notes.get("default_strength", 1.0))
    card = _card(denoiser, Path(run), notes, version)
    card |= results_of(denoiser.name, metrics, quality)
    with atomic_folder(out, inputs=[run], overwrite=True, kind="weights") as folder:
        _write(denoiser, card, folder)
    return Path(out)


def quote_again(
    folder: str | Path, metrics: dict, notes: dict, quality: dict | None = None
) -> Path:
    """Replaces results and texts in the card of published weights, which stay the same.

    Args:
        folder: A folder that `publish` wrote.
        metrics: As for `publish`.
        notes: As for `publish`; what is not given stays.
        quality: As for `publish`.

    Returns:
        The folder.

    Raises:
        CtKerasError: CTK-E091 if the card is damaged, CTK-E000 for another default
            strength, which the SavedModel would not have.
    """
    folder = Path(folder)
    card = read_document(folder / "metadata.json")
    before, after = (each.get("default_strength", 1.0) for each in (card, card | notes))
    if after != before:
        raise CtKerasError(
            "CTK-E000",
            "the default strength is part of the published SavedModel",
            received=after,
            expected=before,
            fix="publish the weights as a new version",
        )
    card |= notes | results_of(card["name"], metrics, quality)
    return _with_card(folder, card)


def complete_card(
    folder: str | Path,
    *,
    losses: dict | None = None,
    by_set: list[dict] | None = None,
    history: list[dict] | None = None,
) -> Path:
    """Adds to the card of published weights what was measured of them.

    Args:
        folder: A folder that `publish` wrote.
        losses: PSNR of a tuned filter less that of the network by noise level and
            texture, for the guards (`benchmarks/operating_range.py`).
        by_set: For each set of test slices and dose: ``set``, ``slices``,
            ``dose_fraction``, ``psnr`` (of each method at its best strength) and
            ``psnr_as_it_comes`` of the network (`benchmarks/doses.py`).
        history: How the training went; see `history_of`.

    Returns:
        The folder.

    Raises:
        CtKerasError: CTK-E091 if the card is damaged.
    """
    folder = Path(folder)
    card = read_document(folder / "metadata.json")
    if losses is not None:
        card["ranges"]["losses"] = losses
    if by_set is not None:
        card["by_set"] = by_set
    if history is not None:
        card["training"]["history"] = history
    return _with_card(folder, card)


def history_of(run: str | Path) -> list[dict]:
    """Returns the curve of a run: a dict for each epoch, empty without history.csv."""
    path = Path(run) / "history.csv"
    if not path.is_file():
        return []
    rows = csv.DictReader(path.read_text().splitlines())
    return [{key: float(row[key]) for key in _CURVE if row.get(key)} for row in rows]


def rewrap(folder: str | Path) -> Path:
    """Writes published weights again with the deployable graph of this version.

    The network and the figures of the card stay as they are; the version counts up.

    Args:
        folder: A folder that `publish` wrote.

    Returns:
        The folder.

    Raises:
        CtKerasError: CTK-E090 for the weights, CTK-E094 if the export differs.
    """
    published = load(folder)
    denoiser = Denoiser(published.network, identity=published.identity)
    denoiser = denoiser.at_strength(published.default_strength)
    card = json.loads((Path(folder) / "metadata.json").read_text())
    card["version"] = str(int(card["version"]) + 1)
    card["network_data_format"]["value_range"] = _VALUE_RANGE
    with atomic_folder(folder, overwrite=True, kind="weights") as new:
        _write(denoiser, card, new)
    return Path(folder)


def _write(denoiser: Denoiser, card: dict, folder: Path) -> None:
    """Writes every file of published weights; completes the card."""
    name = denoiser.name
    low_hu, denoised_hu = _golden(denoiser)
    denoiser.model.save(folder / f"{name}.keras")
    parity = export_savedmodel(denoiser, folder / card["version"])
    np.savez_compressed(
        folder / "golden.npz", low_dose_hu=low_hu, denoised_hu=denoised_hu
    )
    card["weights"] = {
        "file": f"{name}.keras",
        "sha256": sha256_of(folder / f"{name}.keras"),
    }
    card["savedmodel_parity_hu"] = parity
    _write_card(card, folder)


def _with_card(folder: Path, card: dict) -> Path:
    """Replaces the card of published weights."""
    with atomic_folder(folder, overwrite=True, kind="weights") as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        (new / MARKER).unlink(missing_ok=True)  # it gets its own
        _write_card(card, new)
    return folder


def _write_card(card: dict, folder: Path) -> None:
    """Writes the card as data and as text, and the sums of all files."""
    (folder / "metadata.json").write_text(json.dumps(card, indent=1) + "\n")
    (folder / "README.md").write_text(card_text(card), encoding="utf-8")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (MARKER, _SUMS)
    )
    sums = [f"{sha256_of(path)}  {path.relative_to(folder)}\n" for path in files]
    (folder / _SUMS).write_text("".join(sums))


def _golden(denoiser: Denoiser) -> tuple[np.ndarray, np.ndarray]:
    size = GOLDEN_SIZE
    slices = GOLDEN_SLICES if denoiser.dimensions == 3 else 1
    phantom = make_phantom(
        GOLDEN_SEED, region="abdomen", shape=(slices, size, size), spacing_mm=(5, 4, 4)
    )
    simulator = DoseSimulator((size, size), (4, 4), noise_free=True)
    low_hu = np.stack(
        [
            simulator.low_dose(phantom.hu[index], 0.25, seed=GOLDEN_SEED + index)
            for index in range(slices)
        ]
    )
    low_hu = np.rint(low_hu).astype(np.int16)
    if denoiser.dimensions == 2:
        low_hu = low_hu[0]
    return low_hu, denoiser(low_hu)


def _card(denoiser: Denoiser, run: Path, notes: dict, version: int) -> dict:
    """The model card as data, without results."""
    config = json.loads((run / "config.json").read_text())
    axes = "rows, columns" if denoiser.dimensions == 2 else "slices, rows, columns"
    best = json.loads((run / "best.json").read_text())
    ranges = json.loads((run / "ranges.json").read_text())
    return {
        "name": denoiser.name,
        "version": str(version),
        "notice": NOTICE,
        "paper": get_spec(config["model"]).paper,
        "parameters": denoiser.network.count_params(),
        "gmac_per_slice": count_macs(denoiser.network) / 1e9,
        "network_data_format": {
            "inputs": f"low_dose_hu, float32 (batch, {axes}, 1), any size",
            "outputs": "denoised_hu, the same",
            "format": _FORMATS[ranges.get("scale")],
            "value_range": _VALUE_RANGE,
        },
        "ranges": ranges,
        "training": {
            "best": best,
            "history": history_of(run),
            "recipe": config["recipe"],
            "seed": config["seed"],
            "validation_slices": config["validation_slices"],
            "versions": config["versions"],
            "ct_keras": ct_keras.__version__,
        },
    } | notes
