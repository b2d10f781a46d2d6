"""Turns a run into published weights: files, hashes, reference output, model card.

The folder holds NAME.keras (HU in and out, plain Keras), VERSION/ (the SavedModel),
metadata.json, README.md made from it, golden.npz (an input and its output, to verify a
port of the model) and SHA256SUMS.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import ct_keras
from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.loading import load
from ct_keras.files import MARKER, atomic_folder, sha256_of
from ct_keras.metrics.metric import MAIN_METRICS, METRICS
from ct_keras.models import count_macs, get_spec
from ct_keras.notice import NOTICE
from ct_keras.phantoms import make_phantom
from ct_keras.serving.savedmodel import export_savedmodel
from ct_keras.simulation import DoseSimulator

#: The phantom of golden.npz: one slice, or this many for a 3-D network.
GOLDEN_SEED, GOLDEN_SIZE, GOLDEN_SLICES = 900, 96, 6
#: Scale of the training data -> how the card names it.
_FORMATS = {
    None: "hounsfield",
    "picture": "grey values of pictures, 4096 value / 2**bits - 1024",
}
_VALUE_RANGE = "any; values below -1500 and above 3072 HU come back unchanged"


def publish(
    run: str | Path, metrics: dict, notes: dict, out: str | Path, *, version: int = 1
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
        version: Incremented when the weights change.

    Returns:
        The folder.

    Raises:
        CtKerasError: CTK-E085 or E090 for the run, CTK-E094 if the export differs.
    """
    denoiser = load(run)
    card = _card(denoiser, Path(run), metrics, notes, version)
    with atomic_folder(out, inputs=[run], overwrite=True, kind="weights") as folder:
        _write(denoiser, card, folder)
    return Path(out)


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
    (folder / "metadata.json").write_text(json.dumps(card, indent=1) + "\n")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8")
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != MARKER
    )
    sums = [f"{sha256_of(path)}  {path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


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
    return low_hu, denoiser(low_hu, strength=1.0)


def _card(
    denoiser: Denoiser, run: Path, metrics: dict, notes: dict, version: int
) -> dict:
    """The model card as data."""
    config = json.loads((run / "config.json").read_text())
    rows = {row["model"]: row for row in metrics["rows"]}
    mine, before = rows[denoiser.name], rows["input"]
    axes = "rows, columns" if denoiser.dimensions == 2 else "slices, rows, columns"
    patients = "test patient" if mine["cases"] == 1 else "test patients"
    best = json.loads((run / "best.json").read_text())
    ranges = json.loads((run / "ranges.json").read_text())
    return {
        "name": denoiser.name,
        "version": str(version),
        "notice": NOTICE,
        "paper": get_spec(denoiser.name).paper,
        "parameters": denoiser.network.count_params(),
        "gmac_per_slice": count_macs(denoiser.network) / 1e9,
        "network_data_format": {
            "inputs": f"low_dose_hu, float32 (batch, {axes}, 1), any size",
            "outputs": "denoised_hu, the same",
            "format": _FORMATS[ranges.get("scale")],
            "value_range": _VALUE_RANGE,
        },
        "ranges": ranges,
        "reached": f"{mine['psnr']:.2f} dB PSNR against {before['psnr']:.2f} dB of the "
        f"input ({mine['cases']} {patients}, {mine['slices']} slice pairs)",
        "metrics": {
            "protocol": "report: window [-160, 240] HU, range 400 HU",
            "rows": [_quoted(row) for row in _of_interest(metrics["rows"], denoiser)],
            "by_dose": [
                _quoted(row) | {"dose_fraction": row["dose_fraction"]}
                for row in _of_interest(metrics["by_dose"], denoiser)
            ],
        },
        "training": {
            "best": best,
            "recipe": config["recipe"],
            "seed": config["seed"],
            "validation_slices": config["validation_slices"],
            "versions": config["versions"],
            "ct_keras": ct_keras.__version__,
        },
    } | notes


def _of_interest(rows: list[dict], denoiser: Denoiser) -> list[dict]:
    """The rows of this network, the input and the filters."""
    names = (denoiser.name, "input")
    return [
        row
        for row in rows
        if row["model"] in names or row["model"].startswith("filter:")
    ]


def _quoted(row: dict) -> dict:
    keys = ("model", "cases", "slices", "psnr", "ssim", "rmse_hu", "rmse_hu_hu")
    return {key: row[key] for key in keys}


def _readme(card: dict) -> str:
    """The model card as Markdown."""
    lines = [
        f"---\nlicense: {card['licence'].lower()}\nlibrary_name: keras\n"
        "tags: [ct, denoising, low-dose-ct, keras]\n---",
        f"# {card['name']}, version {card['version']}",
        f"**{card['notice']}**",
        f"{card['description']} {_against_filters(card)}",
        f"Paper: {card['paper']}. {card['parameters']:,} parameters, "
        f"{card['gmac_per_slice']:.1f} GMAC for 512x512 pixels or voxels.",
        "## Use",
        "```python\nimport ct_keras\n\n"
        f'denoised_hu = ct_keras.load("{card["name"]}")(low_dose_hu)\n```',
        f"or `ct-keras denoise STUDY OUT --model {card['name']}`. The .keras opens "
        f"with plain Keras, `{card['version']}/` is a SavedModel; both take and return "
        "Hounsfield units.",
        f"## Results\n\n{card['metrics']['protocol']}.",
        _table(card["metrics"]["rows"], "model"),
        "By dose:",
        _table(card["metrics"]["by_dose"], "dose_fraction", "model"),
        f"## Intended use\n\n{card['intended_use']}",
        f"## Not intended for\n\n{card['contraindications']}",
        f"## Data\n\n{card['data']}",
        f"## How it was trained\n\n{_training(card)}",
        f"## Attribution\n\n{card['attribution']}",
    ]
    return "\n\n".join(lines) + "\n"


def _against_filters(card: dict) -> str:
    """Its PSNR compared with the best of input and filters, for each dose."""
    doses: dict[float, dict[str, float]] = {}
    for row in card["metrics"]["by_dose"]:
        doses.setdefault(row["dose_fraction"], {})[row["model"]] = row["psnr"]
    parts = []
    for dose, psnr in doses.items():
        mine = psnr.pop(card["name"])
        best = max(psnr, key=psnr.get)
        parts.append(f"{mine - psnr[best]:+.2f} dB at {dose:.0%} ({best})")
    return (
        "Test PSNR relative to the best of input and tuned filters: "
        f"{', '.join(parts)} of the dose."
    )


def _training(card: dict) -> str:
    """The training command and recipe of the run."""
    training = card["training"]
    recipe, best = training["recipe"], training["best"]
    values = recipe["options"] | recipe["training"]
    # Cards of runs before the criterion covered all tissues keep their words.
    error = best.get("val_tissue_rmse_hu")
    criterion = (
        "best validation PSNR"
        if error is None
        else f"least validation error over all tissues, {error:.1f} HU, and PSNR"
    )
    changed = ", ".join(f"{name} {value}" for name, value in values.items())
    return (
        f"`{card['training_command']}`. Recipe {recipe['name']}: "
        f"{recipe['description']} Settings: {changed}; epochs {recipe['epochs']}, "
        f"steps per epoch {recipe['steps_per_epoch']}, seed {training['seed']}. The "
        f"weights are those of epoch {best['epoch']}, with the {criterion} "
        f"({best['val_psnr']:.2f} dB on {training['validation_slices']} whole slices)."
    )


def _table(rows: list[dict], *keys: str) -> str:
    numbers = (*MAIN_METRICS, "rmse_hu_hu")
    heads = [
        *keys,
        *(METRICS[key].head for key in MAIN_METRICS),
        "RMSE (HU, no window)",
    ]
    text = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [str(row[key]) for key in keys]
        cells += [f"{row[key]:.4g}" for key in numbers]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)
